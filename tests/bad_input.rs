//! Input that is wrong, through the program: it says which file, row and column, nothing is lost, and the cache is as
//! good afterwards as it was before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[path = "whole/project.rs"]
mod project;

use project::{Outcome, PIPE, Project, outcome};

/// The cache holds nothing that is damaged, and what was known is known.
#[track_caller]
fn is_still_good(project: &Project) {
    project.pipe(&["verify"]).ends_with(0).names(&["0 damaged"]);
    let known = project.run(&["--json"]);
    known.ends_with(0);
    assert_eq!(known.stages("stage-hit").len(), 7);
    assert!(known.stages("stage-started").is_empty());
}

/// Runs a workload from a trace with these bytes, which must fail in words and leave the rest whole.
#[track_caller]
fn a_trace(bytes: impl AsRef<[u8]>, named: &[&str]) {
    let project = Project::served();
    project.write("data/trace.csv", bytes);
    let pipeline = r#"
name = "bad"
[stage.workload]
kind = "workload"
in = { trace = "data/trace.csv" }
config = { token_ids = "none" }
"#;
    project.write("pipelines/bad.toml", pipeline);
    project.pipe(&["run", "bad"]).ends_with(3).names(&["data/trace.csv"]).names(named);
    is_still_good(&project);
    let good = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n";
    project.write("data/trace.csv", good);
    project.pipe(&["run", "bad"]).ends_with(0);
}

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n";

#[test]
fn a_negative_number_in_a_trace_is_named_with_its_line_and_column() {
    a_trace(format!("{HEADER}2023-11-16 18:15:50.9,-3,109\n"), &["line 3", "`ContextTokens`", "`-3` is negative"]);
}

#[test]
fn a_word_where_a_number_belongs_is_named_with_its_line_and_column() {
    a_trace(format!("{HEADER}2023-11-16 18:15:50.9,12,many\n"), &["line 3", "`GeneratedTokens`", "`many`"]);
}

#[test]
fn a_row_that_ends_early_is_named_with_its_line() {
    a_trace(format!("{HEADER}2023-11-16 18:15:50.9,12\n"), &["line 3"]);
}

#[test]
fn a_trace_without_a_column_names_it_and_says_which_are_known() {
    let text = "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46.68,374\n";
    a_trace(text, &["line 1", "there is no column `GeneratedTokens`", "`TIMESTAMP,ContextTokens,GeneratedTokens`"]);
}

#[test]
fn a_trace_without_a_row_is_told_from_one_without_a_byte() {
    a_trace("TIMESTAMP,ContextTokens,GeneratedTokens\n", &["no request"]);
    a_trace("", &["is empty"]);
}

#[test]
fn a_trace_that_is_no_text_is_named_with_its_line() {
    a_trace(b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,4\xff4\n", &["line 2", "not UTF-8"]);
}

#[test]
fn a_truncated_table_on_a_port_is_named_and_stops_only_its_stage() {
    let project = Project::served();
    let whole = std::fs::read(project.at("results/quickstart/workload/requests.parquet")).expect("it is there");
    let pipeline = r#"
name = "cut"
[choose]
model = "tiny-qwen3"
[stage.sim]
kind = "sim"
in = { requests = "data/cut.parquet", ops = "data/ops", model = "@model" }
"#;
    project.write("pipelines/cut.toml", pipeline);
    project.write("data/README", "");
    std::os::unix::fs::symlink(project.at("results/quickstart/profile/ops"), project.at("data/ops")).expect("a link");
    for cut in [0, 3, whole.len() / 2, whole.len() - 1] {
        project.write("data/cut.parquet", &whole[..cut]);
        project.pipe(&["run", "cut"]).ends_with(3).names(&["data/cut.parquet", "failed sim"]);
    }
    is_still_good(&project);
    project.write("data/cut.parquet", &whole);
    project.pipe(&["run", "cut", "sim.scheduler.kv_blocks=64"]).ends_with(0);
}

#[test]
fn a_setting_that_is_no_setting_is_found_before_anything_runs() {
    let project = Project::served();
    let told = |words: &[&str], named: &[&str]| {
        let outcome = project.run(words);
        outcome.ends_with(2).names(named);
        assert!(!outcome.said().contains("panicked"), "{}", outcome.err);
    };
    told(&["workload.rate_per_s=nan"], &["`nan` is not a finite number", "workload.rate_per_s=nan"]);
    told(&["workload.rate_per_s=-1.0"], &["rate_per_s", "positive"]);
    told(&["workload.requests=0"], &["requests", "at least 1"]);
    told(&["workload.requests=many"], &["requests"]);
    is_still_good(&project);
}

#[test]
fn a_prompt_longer_than_the_pool_is_refused_by_its_number_and_the_pool_s_size() {
    let project = Project::served();
    project.edit("configs/scheduler/cpu.toml", "kv_blocks = 32", "kv_blocks = 1");
    let outcome = project.run(&[]);
    outcome.ends_with(3).names(&["request 0", "KV blocks", "the pool has 1"]);
    project.edit("configs/scheduler/cpu.toml", "kv_blocks = 1", "kv_blocks = 32");
    is_still_good(&project);
}

#[test]
fn a_pipeline_file_may_hold_tabs_a_byte_order_mark_and_carriage_returns() {
    let project = Project::served();
    let file = "pipelines/quickstart.toml";
    let text = project.text(file);
    let tabs = text.replace("\nkind = ", "\n\tkind\t=\t");
    for written in [tabs, format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
        project.write(file, &written);
        is_still_good(&project);
        // A mistake is found in the line where it stands.
        let line = written.lines().position(|l| l.contains("seed = 7")).expect("it stands there") + 1;
        project.write(file, written.replace("seed = 7", "sead = 7"));
        project.run(&[]).ends_with(2).names(&[&format!("pipelines/quickstart.toml:{line}:"), "`seed`"]);
    }
}

#[test]
fn a_pipeline_file_that_is_not_utf_8_is_named_with_its_line_and_column() {
    let project = Project::served();
    let good = project.text("pipelines/quickstart.toml");
    project.write("pipelines/quickstart.toml", b"name = \"quick\xffstart\"\n");
    project.run(&[]).ends_with(2).names(&["pipelines/quickstart.toml:1:14", "not UTF-8"]);
    project.write("pipelines/quickstart.toml", good);
    is_still_good(&project);
}

/// As somebody whom the cache's owner lets in nowhere: root may read everything, and becomes nobody for this.
fn as_nobody(project: &Project, words: &[&str]) -> Option<Outcome> {
    let root = outcome(project.command("id").arg("-u")).out.trim() == "0";
    if !root {
        return Some(project.pipe(words));
    }
    let words: Vec<&str> =
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", PIPE].iter().chain(words).copied().collect();
    let has_setpriv = std::process::Command::new("setpriv").arg("--version").output().is_ok();
    has_setpriv.then(|| outcome(project.command("setpriv").args(&words)))
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_cache_that_cannot_be_read_is_named_and_left_alone() {
    let project = Project::served();
    mode(&project.at(""), 0o755);
    let cache = project.at("cache");
    mode(&cache, 0o000);
    let refused = as_nobody(&project, &["run", "quickstart"]);
    mode(&cache, 0o755);
    match refused {
        Some(outcome) if outcome.code.is_none() || outcome.said().contains("setpriv:") => {
            eprintln!("not shown: nobody cannot reach the program below {}", env!("CARGO_TARGET_TMPDIR"));
        }
        Some(outcome) => {
            outcome.ends_with(1).names(&["Permission denied", "cache"]);
        }
        None => eprintln!("not shown: root reads everything, and there is no `setpriv` to become nobody"),
    }
    is_still_good(&project);
}

/// On a file system of 96 KiB of its own, in a name space where an ordinary user may mount one.
#[test]
fn a_cache_on_a_full_disk_fails_the_stage_that_filled_it_and_keeps_the_rest() {
    let project = Project::served();
    project.write("full/README", "");
    let isolated = |script: &str| outcome(project.command("unshare").args(["-Urm", "sh", "-c", script]));
    let mount = "mount -t tmpfs -o size=96k none full";
    let possible = project.command("unshare").arg("--version").output().is_ok();
    if !possible || isolated(mount).code != Some(0) {
        eprintln!("not shown: `unshare -Urm` with a tmpfs is not allowed here");
        return;
    }
    let script = format!(
        "{mount} && {{ {PIPE} run quickstart --cache full; echo first $?; {PIPE} verify --cache full; echo verify $?; \
         mount -o remount,size=64m full; {PIPE} run quickstart weights --cache full; echo again $?; }} 2>&1"
    );
    let told = isolated(&script);
    told.ends_with(0).names(&["No space left", "first 3", "0 damaged", "verify 0", "again 0"]);
    is_still_good(&project);
}
