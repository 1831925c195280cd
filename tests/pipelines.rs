//! Whole pipelines through the program: what runs, what does not run again, how it ends, and what it leaves for people.

use std::collections::BTreeSet;

#[path = "whole/project.rs"]
mod project;

use project::{PIPE, Project};

const ALL: [&str; 7] = ["workload", "weights", "profile", "sim", "real", "verdict", "report"];

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// Runs the quick start once more and fails unless exactly these stages start and all others are known.
#[track_caller]
fn runs_again(project: &Project, words: &[&str], started: &[&str]) {
    let outcome = project.pipe(&[&["run"], words, &["--json"]].concat());
    outcome.ends_with(0);
    assert_eq!(outcome.stages("stage-started"), set(started));
    assert_eq!(outcome.stages("stage-hit").len(), ALL.len() - started.len());
}

#[test]
fn everything_runs_once_and_the_second_run_starts_no_process() {
    let first = Project::first_run();
    first.ends_with(0);
    assert_eq!(first.stages("stage-done"), set(&ALL));
    assert_eq!(first.stages("stage-hit"), set(&[]));
    runs_again(&Project::served(), &["quickstart"], &[]);
}

#[test]
fn a_comment_or_the_order_of_keys_runs_nothing() {
    let project = Project::served();
    let file = "pipelines/quickstart.toml";
    project.edit(file, "seed = 7, length_scale", "over_limit = \"clip\", seed = 7, length_scale");
    project.edit(file, ", over_limit = \"clip\" }", " }");
    project.edit(file, "[stage.sim]\n", "# A remark.\n[stage.sim]   # and one more\n");
    project.edit(
        "configs/scheduler/cpu.toml",
        "max_sequences = 4\nblock_tokens = 16\n",
        "block_tokens = 16\nmax_sequences = 4\n",
    );
    project.edit("models/tiny-qwen3/model.toml", "layers = 4\n", "layers = 4 # few\n");
    runs_again(&project, &["quickstart"], &[]);
}

#[test]
fn a_stage_or_a_pipeline_of_another_name_runs_nothing() {
    let project = Project::served();
    let text = project.text("pipelines/quickstart.toml");
    let text = text.replace("name = \"quickstart\"", "name = \"other\"");
    let text = text.replace("[stage.sim]", "[stage.guess]").replace("\"sim.run\"", "\"guess.run\"");
    project.write("pipelines/other.toml", text);
    runs_again(&project, &["other"], &[]);
    assert!(project.at("results/other/guess/run/requests.parquet").is_file());
}

/// The profile is among them: what it times reaches as far as the scheduler's limits, and a narrower limit is another
/// grid. The workload and the weights know no scheduler.
#[test]
fn a_limit_of_the_scheduler_reaches_exactly_the_stages_that_read_it() {
    let project = Project::served();
    project.edit("configs/scheduler/cpu.toml", "max_batched_tokens = 32", "max_batched_tokens = 24");
    runs_again(&project, &["quickstart"], &["profile", "sim", "real", "verdict", "report"]);
}

#[test]
fn a_setting_of_the_comparison_measures_nothing_again() {
    let project = Project::served();
    runs_again(&project, &["quickstart", "verdict.gate.e2e_p50_error_max=1e6"], &["verdict", "report"]);
}

#[test]
fn a_gate_that_fails_ends_with_4_also_when_the_verdict_is_known() {
    let project = Project::served();
    let gate = ["verdict.gate.e2e_p50_error_max=1e-12", "--json"];
    let first = project.run(&gate);
    first.ends_with(4);
    assert_eq!(first.stages("stage-started"), set(&["verdict", "report"]));
    let again = project.run(&gate);
    again.ends_with(4);
    assert_eq!(again.stages("stage-started"), set(&[]));
    project.run(&[]).ends_with(0);
}

#[test]
fn a_failing_stage_skips_what_hangs_on_it_and_nothing_else() {
    let project = Project::served();
    let text = project.text("pipelines/quickstart.toml");
    let more = r#"
[stage.broken]
kind = "command"
config = { argv = ["/bin/sh", "-c", "echo no such luck >&2; exit 7"], outputs = { out = "out" } }

[stage.after]
kind = "command"
in = { it = "broken.out" }
config = { argv = ["/bin/cp", "{in.it}", "{out.copy}"], outputs = { copy = "copy" } }

[stage.apart]
kind = "command"
in = { summary = "verdict.summary" }
config = { argv = ["/bin/cp", "{in.summary}", "{out.copy}"], outputs = { copy = "copy" } }
"#;
    project.write("pipelines/quickstart.toml", text + more);
    let outcome = project.run(&["--json"]);
    outcome.ends_with(3).names(&["no such luck"]);
    assert_eq!(outcome.stages("stage-failed"), set(&["broken"]));
    assert_eq!(outcome.stages("stage-skipped"), set(&["after"]));
    assert_eq!(outcome.stages("stage-done"), set(&["apart"]));
    assert_eq!(outcome.stages("stage-hit"), set(&ALL));
    assert_eq!(project.text("results/quickstart/apart/copy"), project.text("results/quickstart/verdict/summary.txt"));
}

#[test]
fn a_card_that_is_not_here_is_told_before_anything_runs() {
    let project = Project::served();
    let card = "[hardware]\ndevice = \"cuda\"\nname = \"Z9000\"\nmemory_mib = 81920\n";
    project.write("configs/hardware/z9000.toml", card);
    let outcome = project.run(&["hardware=z9000"]);
    outcome.ends_with(2).names(&["Z9000", "81920 MiB", "found:", "would run here: hardware=cpu"]);
    project.run(&["hardware=z9000", "workload"]).ends_with(0);
}

#[test]
fn outputs_have_names_that_other_programs_can_open() {
    let project = Project::served();
    for file in [
        "workload/requests.parquet",
        "real/sample.txt",
        "real/run/tokens.parquet",
        "verdict/verdict.json",
        "verdict/summary.txt",
        "report/page.html",
    ] {
        let path = project.at("results/quickstart").join(file);
        assert!(std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() > 0), "{file}");
    }
    let told = project.run(&[]);
    told.ends_with(0).names(&["results/quickstart/report/page.html"]);
    serde_json::from_str::<serde_json::Value>(&project.text("results/quickstart/verdict/verdict.json"))
        .expect("a verdict is JSON");
}

#[test]
fn the_page_loads_nothing_from_anywhere() {
    let page = Project::served().text("results/quickstart/report/page.html").to_lowercase();
    assert!(page.contains("<svg"), "there are figures in it");
    for load in ["src=", "<link", "<iframe", "@import", "url(http", "url(//", "href=\"http", "fetch(", "xmlhttprequest"]
    {
        assert!(!page.contains(load), "`{load}` is in the page");
    }
    // What remains of addresses are the names of XML's spaces, which nobody loads.
    for (at, _) in page.match_indices("http://").chain(page.match_indices("https://")) {
        assert!(page[..at].ends_with("xmlns=\"") || page[..at].ends_with("xmlns:xlink=\""), "{}", &page[at..at + 60]);
    }
}

#[test]
fn an_exported_run_reads_back_as_the_same_run() {
    let project = Project::served();
    project.pipe(&["export", "results/quickstart/real", "data/real"]).ends_with(0);
    project.pipe(&["export", "results/quickstart/workload", "data/workload"]).ends_with(0);
    assert_eq!(project.text("data/workload/prompts.jsonl").lines().count(), 8);
    let back = r#"
name = "back"
[stage.verdict]
kind = "compare"
in = { predicted = "data/real", measured = "data/measured" }
config = { gate = { ttft_p50_error_max = 0.0, tbt_p99_error_max = 0.0, e2e_p50_error_max = 0.0 } }
"#;
    project.write("pipelines/back.toml", back);
    std::os::unix::fs::symlink(project.at("results/quickstart/real/run"), project.at("data/measured"))
        .expect("a link can be made");
    project.pipe(&["run", "back"]).ends_with(0).names(&["TTFT"]);
}

#[test]
fn the_version_needs_no_project() {
    let nowhere = tempfile::tempdir().expect("a directory can be made");
    let outcome = project::outcome(std::process::Command::new(PIPE).arg("--version").current_dir(nowhere.path()));
    outcome.ends_with(0).names(&[env!("CARGO_PKG_VERSION")]);
}

/// A browser goes by the name at the end of a link, and a blob has no extension: what has one lies there as a file.
#[test]
fn a_page_lies_under_results_as_a_file_and_is_mended() {
    let project = Project::served();
    let page = project.at("results/quickstart/report/page.html");
    let is_file = || std::fs::symlink_metadata(&page).expect("it is there").file_type().is_file();
    assert!(is_file());
    let good = std::fs::read(&page).expect("it can be read");
    assert!(good.len() > 4096, "a page is no small output, which would be a file anyway");
    std::fs::remove_file(&page).expect("the directory is ours");
    std::fs::write(&page, "scribbled").expect("it can be written");
    runs_again(&project, &["quickstart"], &[]);
    assert!(is_file());
    assert_eq!(std::fs::read(&page).expect("it can be read"), good);
}

#[test]
fn a_simulation_alone_ends_with_a_table_and_a_page() {
    let project = Project::served();
    let text = project.text("pipelines/quickstart.toml");
    let text = text.replace("name = \"quickstart\"", "name = \"alone\"");
    let text = text.split("[stage.real]").next().expect("the text before it");
    project.write(
        "pipelines/alone.toml",
        format!("{text}\n[stage.report]\nkind = \"report\"\nin = {{ predicted = \"sim.run\" }}\n"),
    );
    let outcome = project.pipe(&["run", "alone"]);
    outcome.ends_with(0).names(&["would serve 8 requests", "TTFT", "p99", "results/alone/report/page.html"]);
    assert!(project.text("results/alone/report/page.html").contains("A simulation; nothing was measured"));
}
