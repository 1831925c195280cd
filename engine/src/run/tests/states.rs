//! What becomes of stages: failures, retries, gates, stops, targets, orphans.

use std::sync::Arc;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::event::{Event, Observer, State};
use crate::run::{OnFailure, RunError, Stop};
use crate::testing::{
    Asked, Behaviour, From, InProcess, Project, Size, Sketch, Toy, facts, facts_with, processes, word,
};

fn behaving(behave: Behaviour) -> Toy {
    Toy { behave, ..word("w") }
}

/// `a` fails, `b` hangs on it, `c` does not.
fn one_fails(project: &Project, behave: Behaviour) -> Sketch {
    let mut sketch = project.sketch();
    sketch.toy("a", behaving(behave), &[]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    sketch.toy("b2", word("b2"), &[From::Stage("b")]);
    sketch.toy("c", word("c"), &[]);
    sketch
}

#[test]
fn what_does_not_hang_on_a_failure_goes_on() {
    let project = Project::new();
    let seen = project.run(&one_fails(&project, Behaviour::Fail));
    assert_eq!(seen.all(State::Failed), ["a"]);
    assert_eq!(seen.all(State::Skipped), ["b", "b2"]);
    assert_eq!(seen.all(State::Done), ["c"]);
    assert_eq!(seen.finished.exit, 3);
    assert_eq!(seen.failure("a"), "it was told to fail");
}

#[test]
fn a_failure_leaves_its_attempt_and_is_tried_again_by_the_next_run() {
    let project = Project::new();
    let sketch = one_fails(&project, Behaviour::Fail);
    let seen = project.run(&sketch);
    let attempt = seen.events.iter().find_map(|e| match e {
        Event::StageFailed { attempt, .. } => Some(attempt.clone()),
        _ => None,
    });
    let attempt = Attempt { directory: attempt.unwrap().into() };
    assert_eq!(attempt.manifest().unwrap().stage, "a");
    assert!(attempt.outcome().is_some());
    assert_eq!(project.run(&sketch).started(), ["a"]);
}

#[test]
fn a_panic_is_a_failure_with_its_words() {
    let project = Project::new();
    let seen = project.run(&one_fails(&project, Behaviour::Panic));
    assert_eq!(seen.failure("a"), "it panicked: told to");
}

#[test]
fn a_stage_that_says_it_is_done_and_wrote_nothing_failed() {
    let project = Project::new();
    let seen = project.run(&one_fails(&project, Behaviour::Lazy));
    assert_eq!(seen.failure("a"), "it ended without writing `out/out`");
    assert_eq!(project.cached("records").len(), 1, "only `c` has a record");
}

#[test]
fn the_first_failure_stops_the_run_if_that_was_asked() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", behaving(Behaviour::Fail), &[]);
    sketch.toy("b", word("b"), &[]);
    let asked = Asked { on_failure: OnFailure::Stop, jobs: Some(1), ..Asked::default() };
    let seen = project.run_asked(&sketch, &asked);
    assert_eq!(seen.all(State::Failed), ["a"]);
    assert_eq!(seen.all(State::Skipped), ["b"]);
    assert_eq!(seen.finished.exit, 3);
}

#[test]
fn a_stage_is_tried_as_often_as_its_policy_says() {
    let project = Project::new();
    let mut sketch = project.sketch();
    let toy = Toy { fail_once: Some("mark".to_owned()), ..word("w") };
    sketch.toy("a", toy, &[]).policy.retries = 1;
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), ["a", "a"]);
    assert_eq!(seen.all(State::Done), ["a"]);
    assert_eq!(seen.finished.exit, 0);
}

#[test]
fn a_failed_gate_keeps_its_outputs_and_shows_also_on_a_hit() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", behaving(Behaviour::Gate), &[]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    for started in [vec!["a", "b"], vec![]] {
        let seen = project.run(&sketch);
        assert_eq!(seen.started(), started);
        assert_eq!((seen.finished.gates, seen.finished.exit), (1, 4));
        assert!(seen.events.iter().any(|e| matches!(e, Event::GateFailed { stage, .. } if stage == "a")));
    }
}

#[test]
fn shown_texts_are_shown_also_on_a_hit() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", word("w"), &[]);
    for _ in 0..2 {
        let seen = project.run(&sketch);
        assert!(seen.events.iter().any(|e| matches!(e, Event::Shown { text, .. } if text == "w0()")));
    }
}

#[test]
fn a_target_brings_what_it_hangs_on_and_nothing_else() {
    let project = Project::new();
    let sketch = one_fails(&project, Behaviour::Good);
    let seen = project.run_asked(&sketch, &Asked { targets: &["b"], ..Asked::default() });
    assert_eq!(seen.started(), ["a", "b"]);
    assert_eq!(seen.all(State::Skipped), [""; 0]);
}

#[test]
fn a_target_that_does_not_exist_is_said() {
    let project = Project::new();
    let sketch = one_fails(&project, Behaviour::Good);
    let asked = Asked { targets: &["bb"], ..Asked::default() };
    let error = project.run_with(&sketch, &asked, &facts(), &InProcess, &Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no stage `bb` in the pipeline `sketch`");
}

#[test]
fn a_stage_asked_for_again_runs_and_its_older_record_stays_beside() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { measured: true, ..word("w") }, &[]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    let key = project.run(&sketch).key("a");
    let seen = project.run_asked(&sketch, &Asked { again: &["a"], ..Asked::default() });
    assert_eq!(seen.started(), ["a"]);
    assert_eq!(seen.reason("a"), "asked for again");
    let records = project.store().all(key);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].made.run, seen.finished.run);
    assert_eq!(project.run(&sketch).started(), [""; 0]);
}

#[test]
fn trusted_code_takes_the_older_record_and_says_so_in_it() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", word("w"), &[]);
    let old = project.run(&sketch).key("a");
    let edited = crate::kind::Code { modules: &[("toy", "bbbb")], ..crate::testing::TOY.code };
    sketch.pipeline.stages[0].kind.code = edited;
    let seen = project.run_asked(&sketch, &Asked { trust_code: &["a"], ..Asked::default() });
    assert_eq!(seen.started(), [""; 0]);
    let new = seen.key("a");
    assert_ne!(new, old);
    assert_eq!(project.store().all(new)[0].made.trusted, Some(old));
    // Trust in code is no trust in a changed setting.
    sketch.pipeline.stages[0].config["word"] = "x".into();
    let seen = project.run_asked(&sketch, &Asked { trust_code: &["a"], ..Asked::default() });
    assert_eq!(seen.started(), ["a"]);
}

#[test]
fn two_stages_that_do_the_same_run_once() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", word("w"), &[]);
    sketch.toy("b", word("w"), &[]);
    sketch.toy("c", word("c"), &[From::Stage("a"), From::Stage("b")]);
    let seen = project.run(&sketch);
    assert_eq!(seen.started(), ["a", "c"]);
    assert_eq!(seen.all(State::Hit), ["b"]);
    assert_eq!(project.result("b"), "w0()");
}

#[test]
fn a_card_that_is_declared_and_not_here_is_said_with_what_is() {
    let project = Project::new();
    let mut sketch = project.sketch();
    let stage = sketch.toy("a", Toy { gpus: 1, gpu_name: Some("A100".to_owned()), ..word("w") }, &[]);
    stage.contract.oracles.push(crate::kind::Oracle::Gpu);
    let run = |facts| project.run_with(&sketch, &Asked::default(), &facts, &InProcess, &Stop::new());
    let error = run(facts()).unwrap_err();
    assert!(matches!(&error, RunError::NoCard { stage, .. } if stage == "a"));
    assert_eq!(error.to_string(), "stage `a` declares 1 GPU named `A100`; found: no GPU");
    let card =
        crate::oracle::Card { uuid: "GPU-1".into(), name: "NVIDIA H200".into(), memory_mib: 143_771, bus: "1".into() };
    let error = run(facts_with(&[card])).unwrap_err();
    let said = "stage `a` declares 1 GPU named `A100`; found: 1 × NVIDIA H200, 143771 MiB";
    assert_eq!(error.to_string(), said);
}

#[test]
fn a_need_greater_than_the_machine_is_said() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { cpus: 9, ..word("w") }, &[]);
    let error = project.run_with(&sketch, &Asked::default(), &facts(), &InProcess, &Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "stage `a` needs 9 cpus; this machine has 8");
}

#[test]
fn a_plan_says_hit_run_or_depends_and_starts_nothing() {
    use crate::run::plan::Answer;
    let project = Project::new();
    project.write("f", "1");
    let mut sketch = project.sketch();
    sketch.toy("a", word("a"), &[From::File("f")]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    sketch.toy("c", word("c"), &[]);
    let answers = || project.plan(&sketch).stages.into_iter().map(|p| p.answer).collect::<Vec<_>>();
    assert!(matches!(&answers()[..], [Answer::Run { reason, .. }, Answer::Depends { on }, Answer::Run { .. }]
        if reason == "first run" && on == &["a"]));
    assert_eq!(project.cached("records").len() + project.cached("attempts").len(), 0);
    project.run(&sketch);
    assert!(answers().iter().all(|a| matches!(a, Answer::Hit { .. })));
    project.write("f", "2");
    assert!(matches!(&answers()[..], [Answer::Run { reason, .. }, Answer::Depends { .. }, Answer::Hit { .. }]
        if reason.starts_with("input in")));
}

#[test]
fn an_input_that_changes_while_the_stage_runs_spoils_the_result() {
    let project = Project::new();
    project.write("f", "before");
    let mut sketch = project.sketch();
    sketch.toy("a", word("a"), &[From::File("f")]);
    /// Changes the input as soon as the stage has begun.
    struct Meddler<'a>(&'a Project);
    impl Observer for Meddler<'_> {
        fn on(&mut self, _: Duration, event: &Event) {
            if matches!(event, Event::StageKeyed { .. }) {
                self.0.write("f", "after, and longer");
            }
        }
    }
    let (asked, stop) = (Asked::default(), Stop::new());
    let finished = project.observed(&sketch, &asked, &facts(), &InProcess, &stop, &mut Meddler(&project)).unwrap();
    assert_eq!(finished.exit, 3);
    assert_eq!(project.cached("records").len(), 0);
}

/// Rings the bell as soon as a stage says that it hangs.
struct Ringer {
    stop: Arc<Stop>,
    times: u32,
    seen: Vec<Event>,
}

impl Observer for Ringer {
    fn on(&mut self, _: Duration, event: &Event) {
        if matches!(event, Event::StageProgress { note, .. } if note == "hanging") {
            (0..self.times).for_each(|_| self.stop.ask());
        }
        self.seen.push(event.clone());
    }
}

#[test]
fn asked_to_stop_it_ends_what_runs_and_starts_nothing_more() {
    for times in [1, 2] {
        let project = Project::new();
        let mut sketch = project.sketch();
        sketch.toy("a", behaving(Behaviour::Hang), &[]);
        sketch.toy("b", word("b"), &[From::Stage("a")]);
        let stop = Arc::new(Stop::new());
        let mut ringer = Ringer { stop: Arc::clone(&stop), times, seen: Vec::new() };
        let asked = Asked::default();
        let finished = project.observed(&sketch, &asked, &facts(), &processes(), &stop, &mut ringer).unwrap();
        assert!(finished.stopped);
        assert_eq!((finished.exit, finished.skipped, finished.failed), (130, 2, 0));
        assert!(ringer.seen.contains(&Event::Stopping { killing: times == 2 }));
        // The next run takes it up again.
        sketch.pipeline.stages[0].config["behave"] = "good".into();
        assert_eq!(project.run(&sketch).started(), ["a", "b"]);
    }
}

#[test]
fn a_stage_is_ended_when_its_time_is_up() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", behaving(Behaviour::Hang), &[]).policy.timeout_s = Some(0.05);
    let seen = project.run_with(&sketch, &Asked::default(), &facts(), &processes(), &Stop::new()).unwrap();
    assert!(seen.failure("a").contains("its time being up"), "{}", seen.failure("a"));
}

#[test]
fn what_a_stage_leaves_running_is_gone_before_its_outputs_are_kept() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { behave: Behaviour::Orphan, size: Size::Large, ..word("w") }, &[]);
    let seen = project.run_with(&sketch, &Asked::default(), &facts(), &processes(), &Stop::new()).unwrap();
    assert_eq!(seen.all(State::Done), ["a"]);
    let store = project.store();
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().damaged, []);
}

#[test]
fn an_attempt_that_finished_unseen_is_taken() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { size: Size::Tree, ..word("w") }, &[]);
    // An engine that dies while the stage runs leaves what this leaves: an attempt with its outcome, and no record.
    let key = project.run(&sketch).key("a");
    let engine = Project::new();
    let mut failing = engine.sketch();
    failing.toy("a", Toy { size: Size::Tree, behave: Behaviour::Fail, ..word("w") }, &[]);
    engine.run(&failing);
    let attempt = std::fs::read_dir(engine.cache.join("attempts")).unwrap().next().unwrap().unwrap().path();
    let manifest = std::fs::read_to_string(attempt.join("manifest.json")).unwrap();
    let old = crate::attempt::read_manifest(&attempt.join("manifest.json")).unwrap().key;
    let manifest = manifest.replace(&old.to_string(), &key.to_string()).replace("\"fail\"", "\"good\"");
    let orphan = project.cache.join("attempts").join(format!("a~{}~x", key.0.short()));
    std::fs::create_dir_all(orphan.join("out")).unwrap();
    std::fs::write(orphan.join("manifest.json"), manifest).unwrap();
    crate::exec::perform(&[crate::testing::TOY], &orphan.join("manifest.json")).unwrap();
    std::fs::remove_dir_all(project.cache.join("records")).unwrap();
    std::fs::remove_dir_all(project.root.join(".pipe")).unwrap();
    std::fs::remove_dir_all(project.root.join("results")).unwrap();
    let seen = project.run(&sketch);
    assert_eq!(seen.all(State::Done), ["a"]);
    assert!(seen.warnings()[0].contains("finished unseen"), "{:?}", seen.warnings());
    assert!(!orphan.exists());
    assert_eq!(project.result("a"), "w0()");
}

#[test]
fn the_longest_remaining_path_starts_first() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("short", word("s"), &[]);
    sketch.toy("long1", word("l1"), &[]);
    sketch.toy("long2", word("l2"), &[From::Stage("long1")]);
    let seen = project.run_asked(&sketch, &Asked { jobs: Some(1), ..Asked::default() });
    assert_eq!(seen.started()[0], "long1");
}

#[test]
fn a_quiet_stage_runs_alone() {
    let project = Project::new();
    let mut sketch = project.sketch();
    for at in 0..4 {
        sketch.toy(&format!("a{at}"), word(&format!("{at}")), &[]);
        sketch.toy(&format!("q{at}"), Toy { quiet: true, ..word(&format!("q{at}")) }, &[]);
    }
    let seen = project.run(&sketch);
    let mut running: Vec<&str> = Vec::new();
    for event in &seen.events {
        match event {
            Event::StageMoved { stage, state: State::Running } => {
                assert!(running.iter().all(|other| !other.starts_with('q')), "{running:?} and {stage}");
                assert!(!stage.starts_with('q') || running.is_empty(), "{running:?} and {stage}");
                running.push(stage);
            }
            Event::StageMoved { stage, state: State::Done } => running.retain(|other| other != stage),
            _ => {}
        }
    }
}

#[test]
fn a_journal_reads_back_as_it_was_seen() {
    let project = Project::new();
    let seen = project.run(&one_fails(&project, Behaviour::Fail));
    let ids = crate::run::journal::list(&project.root);
    assert_eq!(ids, [seen.finished.run.as_str()]);
    let (lines, unread) = crate::run::journal::read(&project.root, &ids[0]).unwrap();
    assert_eq!(unread, 0);
    assert_eq!(lines.into_iter().map(|line| line.what).collect::<Vec<_>>(), seen.events);
}
