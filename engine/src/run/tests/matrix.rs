//! The invalidation matrix: one test for each ingredient of a key, and one for each thing that is none.

use std::path::Path;

use crate::graph::Feed;
use crate::kind::{Code, Kind};
use crate::store::settings::Settings;
use crate::testing::{Asked, From, Project, Sketch, TOY, Toy, facts_with, processes, word};

/// One stage on a file; everything a test changes is changed on this.
fn one(project: &Project) -> Sketch {
    let mut sketch = project.sketch();
    sketch.toy("stage", Toy { number: 1.5, ..word("word") }, &[From::File("data/a")]);
    sketch
}

/// The settings of a cache whose salt is what the project's file `salt` says.
fn salted(root: &Path) -> Settings {
    Settings { salt: std::fs::read_to_string(root.join("salt")).unwrap_or_default(), ..Settings::default() }
}

/// Runs the plain pipeline, then the changed one; what the second run started, and why.
fn after(change: impl FnOnce(&Project, &mut Sketch)) -> (Vec<String>, String) {
    let project = Project::with(salted);
    project.write("data/a", "hello there");
    project.run(&one(&project));
    let mut sketch = one(&project);
    change(&project, &mut sketch);
    let seen = project.run(&sketch);
    assert_eq!(seen.finished.exit, 0, "{seen:?}");
    (seen.started().into_iter().map(str::to_owned).collect(), seen.reason("stage").to_owned())
}

fn reruns(change: impl FnOnce(&Project, &mut Sketch), because: &str) {
    let (started, reason) = after(change);
    assert_eq!(started, ["stage"]);
    assert!(reason.contains(because), "{reason}");
}

fn reruns_nothing(change: impl FnOnce(&Project, &mut Sketch)) {
    let (started, _) = after(change);
    assert_eq!(started, [""; 0]);
}

fn only(sketch: &mut Sketch) -> &mut crate::graph::Stage {
    &mut sketch.pipeline.stages[0]
}

#[test]
fn an_edited_file_is_an_ingredient() {
    reruns(|project, _| project.write("data/a", "hello again"), "input in");
}

#[test]
fn a_file_edited_to_the_same_length_is_an_ingredient() {
    reruns(|project, _| project.write("data/a", "hello_there"), "input in");
}

#[test]
fn a_setting_is_an_ingredient() {
    reruns(|_, sketch| only(sketch).config["word"] = "other".into(), "config word: \"word\" → \"other\"");
}

#[test]
fn a_number_is_an_ingredient_by_its_value() {
    reruns(|_, sketch| only(sketch).config["number"] = 2.5.into(), "config number: 1.5 → 2.5");
}

#[test]
fn the_version_of_the_code_is_an_ingredient() {
    let newer = Kind { code: Code { version: 2, ..TOY.code }, ..TOY };
    reruns(|_, sketch| only(sketch).kind = newer, "version of the kind's code");
}

#[test]
fn the_source_of_a_module_is_an_ingredient() {
    let edited = Kind { code: Code { modules: &[("toy", "bbbb")], ..TOY.code }, ..TOY };
    reruns(|_, sketch| only(sketch).kind = edited, "code of `toy` changed");
}

#[test]
fn a_further_module_is_an_ingredient() {
    let more = Kind { code: Code { modules: &[("more", "cccc"), ("toy", "aaaa")], ..TOY.code }, ..TOY };
    reruns(|_, sketch| only(sketch).kind = more, "code: `more` came in");
}

#[test]
fn the_number_of_a_sample_is_an_ingredient() {
    reruns(|_, sketch| only(sketch).policy.sample = 1, "sample");
}

#[test]
fn the_salt_of_the_store_is_an_ingredient() {
    reruns(|project, _| project.write("salt", "poisoned in november"), "salt");
}

#[test]
fn a_further_source_on_a_port_is_an_ingredient() {
    reruns(
        |project, sketch| {
            project.write("data/b", "");
            let path = project.root.join("data/b");
            only(sketch).inputs[0].from.push(Feed::File { label: "data/b".to_owned(), path });
        },
        "input in",
    );
}

#[test]
fn the_order_of_sources_is_an_ingredient() {
    let project = Project::new();
    project.write("a", "1");
    project.write("b", "2");
    let mut sketch = project.sketch();
    sketch.toy("stage", word("w"), &[From::File("a"), From::File("b")]);
    project.run(&sketch);
    only(&mut sketch).inputs[0].from.reverse();
    assert_eq!(project.run(&sketch).started(), ["stage"]);
}

#[test]
fn the_port_that_a_source_comes_in_by_is_an_ingredient() {
    let project = Project::new();
    project.write("a", "1");
    let mut sketch = project.sketch();
    sketch.on_port("stage", word("w"), 0, &[From::File("a")]);
    project.run(&sketch);
    let mut sketch = project.sketch();
    sketch.on_port("stage", word("w"), 1, &[From::File("a")]);
    assert_eq!(project.run(&sketch).started(), ["stage"]);
}

#[test]
fn an_oracle_that_is_asked_for_is_an_ingredient() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("stage", Toy { measured: true, ..word("w") }, &[]);
    project.run(&sketch);
    let host = crate::oracle::Host { processor: "Toy 2".to_owned(), cores: 8, memory_mib: 1 << 20 };
    let other = crate::oracle::Facts::given(host, crate::oracle::Cards::default());
    let stop = crate::run::Stop::new();
    let seen = project.run_with(&sketch, &Asked::default(), &other, &crate::testing::InProcess, &stop).unwrap();
    assert_eq!(seen.started(), ["stage"]);
    assert!(seen.reason("stage").contains("Toy 1, 8 cores → Toy 2, 8 cores"), "{}", seen.reason("stage"));
}

#[test]
fn an_oracle_that_is_not_asked_for_is_none() {
    let project = Project::new();
    project.write("data/a", "hello there");
    project.run(&one(&project));
    let card = crate::oracle::Card { uuid: "GPU-1".into(), name: "Toy".into(), memory_mib: 1, bus: "1".into() };
    let (facts, stop) = (facts_with(&[card]), crate::run::Stop::new());
    let seen = project.run_with(&one(&project), &Asked::default(), &facts, &crate::testing::InProcess, &stop).unwrap();
    assert_eq!(seen.started(), [""; 0]);
}

#[test]
fn a_touched_file_is_not_a_changed_file() {
    reruns_nothing(|project, _| {
        let file = std::fs::File::options().append(true).open(project.root.join("data/a")).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(100)).unwrap();
    });
}

#[test]
fn a_file_written_again_with_the_same_bytes_is_not_a_changed_file() {
    reruns_nothing(|project, _| {
        std::fs::remove_file(project.root.join("data/a")).unwrap();
        project.write("data/a", "hello there");
    });
}

#[test]
fn the_path_of_a_file_is_no_ingredient() {
    reruns_nothing(|project, sketch| {
        project.write("elsewhere/b", "hello there");
        let path = project.root.join("elsewhere/b");
        only(sketch).inputs[0].from[0] = Feed::File { label: "elsewhere/b".to_owned(), path };
    });
}

#[test]
fn the_name_of_a_stage_is_no_ingredient() {
    reruns_nothing(|_, sketch| only(sketch).name = "renamed".to_owned());
}

#[test]
fn the_name_of_the_pipeline_is_no_ingredient() {
    reruns_nothing(|_, sketch| sketch.pipeline.name = "renamed".to_owned());
}

#[test]
fn needs_are_no_ingredient() {
    reruns_nothing(|_, sketch| {
        only(sketch).contract.needs.cpus = 4;
        only(sketch).contract.needs.memory_mib = 100;
        only(sketch).contract.needs.quiet = true;
    });
}

#[test]
fn retries_and_time_limits_are_no_ingredient() {
    reruns_nothing(|_, sketch| {
        only(sketch).policy.retries = 3;
        only(sketch).policy.timeout_s = Some(9.0);
    });
}

#[test]
fn the_order_of_a_configuration_is_no_ingredient() {
    reruns_nothing(|_, sketch| {
        let serde_json::Value::Object(config) = &*only(sketch).config else { panic!("a toy's is a table") };
        let turned: serde_json::Map<String, serde_json::Value> =
            config.iter().rev().map(|(name, value)| (name.clone(), value.clone())).collect();
        only(sketch).config = serde_json::Value::Object(turned).into();
    });
}

#[test]
fn an_input_by_meaning_is_blind_to_how_it_is_written() {
    let project = Project::new();
    project.write("a", "h e l l o");
    let mut sketch = project.sketch();
    sketch.on_port("stage", word("w"), 1, &[From::File("a")]);
    project.run(&sketch);
    project.write("a", "hello\n");
    assert_eq!(project.run(&sketch).started(), [""; 0]);
    project.write("a", "hullo\n");
    assert_eq!(project.run(&sketch).started(), ["stage"]);
}

#[test]
fn equal_bytes_stop_the_wave() {
    let project = Project::new();
    project.write("a", "same, then this");
    let mut sketch = project.sketch();
    sketch.toy("cut", Toy { keep: Some(4), ..word("") }, &[From::File("a")]);
    sketch.toy("after", word("x"), &[From::Stage("cut")]);
    sketch.toy("last", word("y"), &[From::Stage("after")]);
    project.run(&sketch);
    project.write("a", "same, then that");
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), ["cut"]);
    project.write("a", "other");
    assert_eq!(project.run(&sketch).started(), ["cut", "after", "last"]);
    assert_eq!(project.result("last"), "y0(x0(othe))");
}

#[test]
fn going_back_to_an_old_input_brings_its_results_back() {
    let project = Project::new();
    for size in [crate::testing::Size::Small, crate::testing::Size::Large, crate::testing::Size::Tree] {
        let mut sketch = project.sketch();
        sketch.toy("stage", Toy { size, ..word("w") }, &[From::File("a")]);
        project.write("a", "old");
        project.run(&sketch);
        let old = project.result("stage");
        project.write("a", "new");
        assert_eq!(project.run(&sketch).started(), ["stage"]);
        assert_ne!(project.result("stage"), old);
        project.write("a", "old");
        assert_eq!(project.run(&sketch).started(), [""; 0]);
        assert_eq!(project.result("stage"), old);
    }
}

#[test]
fn a_deleted_result_is_put_back_and_not_computed() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("small", word("w"), &[]);
    sketch.toy("large", Toy { size: crate::testing::Size::Large, ..word("w") }, &[]);
    project.run(&sketch);
    let before = (project.result("small"), project.result("large"));
    std::fs::remove_dir_all(project.root.join("results")).unwrap();
    assert_eq!(project.run(&sketch).started(), [""; 0]);
    assert_eq!((project.result("small"), project.result("large")), before);
}

#[test]
fn an_edited_result_is_put_right_and_believed_by_nobody() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("first", word("w"), &[]);
    sketch.toy("second", word("x"), &[From::Stage("first")]);
    project.run(&sketch);
    let path = project.root.join("results/sketch/first/out");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "w1()").unwrap();
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), [""; 0]);
    assert_eq!(project.result("first"), "w0()");
}

#[test]
fn a_lost_memory_costs_no_run() {
    let project = Project::new();
    project.write("data/a", "hello there");
    project.run(&one(&project));
    std::fs::remove_dir_all(project.root.join(".pipe")).unwrap();
    assert_eq!(project.run(&one(&project)).started(), [""; 0]);
}

/// Pipelines of `command` stages, as `load` makes them.
fn command(project: &Project, text: &str) -> Sketch {
    let config: toml::Value = toml::from_str(text).unwrap();
    let wired = crate::kind::Wired { inputs: vec!["in".to_owned()], ..Default::default() };
    let resolved = crate::command::resolve(config, &wired, &[]).unwrap();
    let mut sketch = project.sketch();
    let stage = sketch.toy("stage", Toy::default(), &[From::File("data/a")]);
    stage.kind = crate::command::KIND;
    stage.config = resolved.config.into();
    stage.contract = resolved.contract.into();
    sketch
}

const SORT: &str = r#"argv = ["sort", "-o", "{out.sorted}", "{in.in}"]
outputs = { sorted = "deep/sorted.txt" }
"#;

#[test]
fn a_command_runs_on_links_in_a_clean_environment() {
    let project = Project::new();
    project.write("data/a", "b\na\n");
    let text = r#"argv = ["sh", "-c", "sort {in.in} > {out.sorted}; env | sort > {out.env}; pwd > {out.where}"]
env = { DECLARED = "yes" }
outputs = { sorted = "deep/sorted.txt", env = "env", where = "where" }
"#;
    let seen = project.run(&command(&project, text));
    assert_eq!(seen.finished.exit, 0, "{seen:?}");
    let read = |port: &str| std::fs::read_to_string(project.root.join("results/sketch/stage").join(port)).unwrap();
    assert_eq!(read("sorted.txt"), "a\nb\n");
    let env = read("env");
    let names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    let expected =
        ["CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "DECLARED", "HOME", "LANG", "OMP_NUM_THREADS", "PATH", "PWD"];
    assert_eq!(names.iter().filter(|n| **n != "_" && **n != "SHLVL").copied().collect::<Vec<_>>()[..8], expected);
    assert!(env.contains(&format!("HOME={}", read("where").trim())), "{env}");
}

/// Runs `SORT`, then the changed command; what the second run said.
fn after_command(change: impl FnOnce(&Project) -> String) -> crate::testing::Seen {
    let project = Project::new();
    project.write("data/a", "b\na\n");
    let seen = project.run(&command(&project, SORT));
    assert_eq!(seen.finished.exit, 0, "{seen:?}");
    let text = change(&project);
    project.run(&command(&project, &text))
}

#[test]
fn a_command_that_did_not_change_is_a_hit() {
    assert_eq!(after_command(|_| SORT.to_owned()).started(), [""; 0]);
}

#[test]
fn the_words_of_a_command_are_an_ingredient() {
    let seen = after_command(|_| SORT.replace("\"-o\"", "\"-r\", \"-o\""));
    assert_eq!(seen.started(), ["stage"]);
    assert!(seen.reason("stage").contains("config argv"), "{}", seen.reason("stage"));
}

#[test]
fn the_declared_environment_of_a_command_is_an_ingredient() {
    assert_eq!(after_command(|_| format!("{SORT}env = {{ LC_ALL = \"C\" }}\n")).started(), ["stage"]);
}

#[test]
fn the_output_names_of_a_command_are_an_ingredient() {
    assert_eq!(after_command(|_| SORT.replace("sorted", "ordered")).started(), ["stage"]);
}

#[test]
fn the_bytes_of_a_tool_are_an_ingredient() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::new();
    project.write("data/a", "b\na\n");
    let tool = project.root.join("tool");
    let make = |flag: &str| {
        project.write("tool", &format!("#!/bin/sh\nsort {flag} \"$@\"\n"));
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    make("");
    let sketch = command(&project, &SORT.replace("\"sort\"", &format!("{:?}", tool.display())));
    project.run(&sketch);
    assert_eq!(project.run(&sketch).started(), [""; 0]);
    make("-r");
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), ["stage"]);
    assert!(seen.reason("stage").starts_with("tool "), "{}", seen.reason("stage"));
}

#[test]
fn what_a_probe_says_is_an_ingredient() {
    let project = Project::new();
    project.write("data/a", "b\na\n");
    project.write("version", "1");
    let version = project.root.join("version");
    let probe = format!("{SORT}probes = [[\"cat\", {:?}]]\n", version.display());
    let sketch = command(&project, &probe);
    project.run(&sketch);
    assert_eq!(project.run(&sketch).started(), [""; 0]);
    project.write("version", "2");
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), ["stage"]);
    assert!(seen.reason("stage").starts_with("tool "), "{}", seen.reason("stage"));
}

#[test]
fn kinds_run_as_processes_give_what_they_give_in_process() {
    let project = Project::new();
    project.write("data/a", "hello there");
    let (facts, stop) = (crate::testing::facts(), crate::run::Stop::new());
    let seen = project.run_with(&one(&project), &Asked::default(), &facts, &processes(), &stop).unwrap();
    assert_eq!(seen.started(), ["stage"]);
    assert_eq!(project.result("stage"), "word1.5(hellothere)");
    assert_eq!(project.run(&one(&project)).started(), [""; 0]);
}
