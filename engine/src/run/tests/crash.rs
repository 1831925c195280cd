//! Killed at every named place, then run again: the same answers, and no lie in the cache.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::run::Stop;
use crate::testing::{Asked, From, Project, Size, Sketch, Toy, facts, processes, word};

/// Every place in engine and stage at which a process can be made to die.
const ENGINE: &[&str] = &[
    "attempt.manifest",
    "commit.hashed",
    "commit.blob",
    "commit.blobs",
    "commit.record",
    "memory.append",
    "publish.temporary",
    "reserved",
    "results.link",
];
const STAGE: &[&str] = &["exec.begun", "exec.outputs", "exec.outcome", "exec.concluded"];

pub(super) fn sketch(root: &Path) -> Sketch {
    let mut sketch = Sketch::new(root);
    sketch.toy("small", word("s"), &[]);
    sketch.toy("large", Toy { size: Size::Large, ..word("l") }, &[From::Stage("small")]);
    sketch.toy("tree", Toy { size: Size::Tree, ..word("t") }, &[From::Stage("large")]);
    sketch.toy("last", word("e"), &[From::Stage("tree"), From::Stage("small")]);
    sketch
}

fn project_at(root: &Path) -> Project {
    Project::at(root)
}

/// Not a test but an engine in a process of its own, which dies where `PIPE_FAULT` says.
#[test]
fn engine() {
    let Some(root) = std::env::var_os("PIPE_TEST_ROOT") else { return };
    let mut project = project_at(Path::new(&root));
    if let Some(cache) = std::env::var_os("PIPE_TEST_CACHE") {
        project.cache = cache.into();
    }
    if std::env::var_os("PIPE_TEST_PROCESSES").is_some() {
        project.run_with(&sketch(&project.root), &Asked::default(), &facts(), &processes(), &Stop::new()).unwrap();
    } else {
        project.run(&sketch(&project.root));
    }
}

/// Runs an engine that dies at `place`. Whether it did.
fn die(project: &Project, place: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["run::tests::crash::engine", "--exact", "--quiet"]);
    command.env("PIPE_TEST_ROOT", &project.root).env("PIPE_FAULT", place);
    let output = command.output().unwrap();
    output.status.signal() == Some(9)
}

fn answers(project: &Project) -> Vec<String> {
    ["small", "large", "tree", "last"].map(|stage| project.result(stage)).to_vec()
}

#[test]
fn an_engine_killed_anywhere_is_made_good_by_the_next() {
    let healthy = Project::new();
    healthy.run(&sketch(&healthy.root));
    let expected = answers(&healthy);
    for place in ENGINE {
        let project = Project::new();
        let mut deaths = 0;
        // Each engine gets a stage further at most places, so a few in a row die at different stages.
        while deaths < 5 && die(&project, place) {
            deaths += 1;
            let damaged = project.store().verify(&mut |_, _| {}).unwrap().damaged;
            assert_eq!(damaged, [], "after dying at {place}");
        }
        assert!(deaths > 0, "nobody comes to {place}");
        let seen = project.run(&sketch(&project.root));
        assert_eq!(seen.finished.exit, 0, "after dying at {place}: {seen:?}");
        assert_eq!(answers(&project), expected, "after dying at {place}");
        assert_eq!(project.run(&sketch(&project.root)).started(), [""; 0], "after dying at {place}");
        // What is left of reservations is no obstacle; gc finds it.
        assert!(project.run(&sketch(&project.root)).warnings().is_empty(), "after dying at {place}");
    }
}

#[test]
fn a_stage_killed_anywhere_before_its_outcome_failed_and_after_it_is_good() {
    for place in STAGE {
        let project = Project::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["run::tests::crash::engine", "--exact", "--quiet"]);
        command.env("PIPE_TEST_ROOT", &project.root).env("PIPE_FAULT", place).env("PIPE_TEST_PROCESSES", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = project.cached("records").len();
        let expected = if *place == "exec.concluded" { 4 } else { 0 };
        assert_eq!(records, expected, "{place}");
        let seen = project.run(&sketch(&project.root));
        assert_eq!((seen.finished.exit, seen.started().len()), (0, 4 - expected), "{place}");
    }
}

/// Two engines at once on one cache, each killed at a place that the round's number gives; then each to its end.
fn two_engines(rounds: usize) {
    let healthy = Project::new();
    healthy.run(&sketch(&healthy.root));
    let expected = answers(&healthy);
    let places: Vec<&str> = ENGINE.iter().chain(STAGE).copied().collect();
    let mut deaths = 0;
    for round in 0..rounds {
        let (mine, mut theirs) = (Project::new(), Project::new());
        theirs.cache = mine.cache.clone();
        for turn in 0..2 {
            let start = |project: &Project, place: &str| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["run::tests::crash::engine", "--exact", "--quiet"]);
                command.env("PIPE_TEST_ROOT", &project.root).env("PIPE_TEST_CACHE", &mine.cache);
                command.env("PIPE_FAULT", place).env("PIPE_TEST_PROCESSES", "1");
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
            };
            let at = round * 2 + turn;
            let engines = [
                start(&mine, places[at % places.len()]),
                start(&theirs, places[(at / places.len() + at * 5 + 3) % places.len()]),
            ];
            // Each by its own thread: one that is dead and not waited for still looks alive to the other.
            deaths += std::thread::scope(|scope| {
                let ends = engines.map(|mut engine| scope.spawn(move || engine.wait().unwrap().signal() == Some(9)));
                ends.map(|end| usize::from(end.join().unwrap())).iter().sum::<usize>()
            });
            let damaged = mine.store().verify(&mut |_, _| {}).unwrap().damaged;
            assert_eq!(damaged, [], "round {round}");
        }
        for project in [&mine, &theirs] {
            let seen = project.run(&sketch(&project.root));
            assert_eq!(seen.finished.exit, 0, "round {round}: {seen:?}");
            assert_eq!(answers(project), expected, "round {round}");
        }
    }
    assert!(deaths > rounds, "{deaths} deaths in {rounds} rounds");
}

#[test]
fn two_engines_on_one_cache_killed_anywhere_end_with_what_a_serial_run_says() {
    two_engines(8);
}

#[test]
#[ignore = "a thousand rounds: cargo test --release -p engine --lib a_thousand_rounds -- --ignored"]
fn a_thousand_rounds_of_two_engines_killed_anywhere() {
    two_engines(1000);
}

/// Cuts the power: of all files in the cache that were not flushed, the bytes are lost. Their names and times stay, as on
/// a file system that writes in order and had not come to them.
fn cut_the_power(project: &Project, flushed: &Path) {
    use std::os::unix::fs::MetadataExt;
    let told = std::fs::read_to_string(flushed).unwrap_or_default();
    let flushed: std::collections::BTreeSet<u64> = told.lines().map(|line| line.parse().unwrap()).collect();
    for path in project.cached("blobs").into_iter().chain(project.cached("records")) {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_file() && !flushed.contains(&metadata.ino()) {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "").unwrap();
        }
    }
}

#[test]
fn a_power_cut_anywhere_leaves_no_lie_and_is_made_good_by_the_next_run() {
    let healthy = Project::new();
    healthy.run(&sketch(&healthy.root));
    let expected = answers(&healthy);
    // One of them is no place: the power is cut when all is done.
    for place in ENGINE.iter().chain(["nowhere"].iter()) {
        let project = Project::new();
        let flushed = project.root.join("flushed");
        for _ in 0..3 {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["run::tests::crash::engine", "--exact", "--quiet"]);
            command.env("PIPE_TEST_ROOT", &project.root).env("PIPE_FAULT", place);
            command.env("PIPE_FAULT_FLUSHED", &flushed).output().unwrap();
            cut_the_power(&project, &flushed);
        }
        // The project itself remembers what became of each stage; a teammate has nothing but the cache.
        let mut teammate = Project::new();
        teammate.cache.clone_from(&project.cache);
        for project in [&teammate, &project] {
            let seen = project.run(&sketch(&project.root));
            assert_eq!(seen.finished.exit, 0, "after a cut at {place}: {seen:?}");
            assert_eq!(answers(project), expected, "after a cut at {place}");
            assert_eq!(project.store().verify(&mut |_, _| {}).unwrap().damaged, [], "after a cut at {place}");
            assert_eq!(project.run(&sketch(&project.root)).started(), [""; 0], "after a cut at {place}");
        }
    }
}
