#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::testing::{Behaviour, TOY, Toy};

/// An attempt at a toy that behaves so.
fn attempt(root: &Path, behave: Behaviour) -> Attempt {
    let manifest = Manifest {
        format: attempt::FORMAT,
        kind: "toy".to_owned(),
        key: crate::key::Key(crate::digest::Digest([1; 32])),
        run: "run".to_owned(),
        pipeline: "pipeline".to_owned(),
        stage: "stage".to_owned(),
        config: serde_json::to_value(Toy { behave, ..Toy::default() }).unwrap(),
        inputs: BTreeMap::new(),
        outputs: vec!["out".to_owned()],
        cpus: 1,
        gpus: Vec::new(),
    };
    Attempt::make(root, "attempt", |_| Ok(manifest)).unwrap()
}

fn ended(behave: Behaviour) -> (Outcome, Attempt, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let attempt = attempt(root.path(), behave);
    let ended = perform(&[TOY], &attempt.manifest_path()).unwrap();
    let outcome = attempt.outcome().unwrap();
    assert_eq!(outcome.ended, ended);
    (outcome, attempt, root)
}

#[test]
fn a_stage_that_wrote_all_its_outputs_is_good() {
    let (outcome, attempt, _root) = ended(Behaviour::Good);
    assert_eq!(outcome.ended, Ended::Good);
    assert_eq!(std::fs::read_to_string(attempt.directory.join("out/out")).unwrap(), "0()");
    assert_eq!(outcome.circumstances["toy"], true);
    assert!(outcome.usage.peak_memory_bytes > 0);
    assert_eq!(outcome.gate, None);
}

#[test]
fn an_error_a_panic_and_a_missing_output_are_outcomes() {
    let (outcome, ..) = ended(Behaviour::Fail);
    let Ended::Failed(error) = outcome.ended else { panic!("it was told to fail") };
    assert_eq!((error.message.as_str(), error.help.as_deref()), ("it was told to fail", Some("do not tell it to")));
    assert_eq!(ended(Behaviour::Panic).0.ended, Ended::Panicked("told to".to_owned()));
    let Ended::Failed(error) = ended(Behaviour::Lazy).0.ended else { panic!("it wrote nothing") };
    assert_eq!(error.message, "it ended without writing `out/out`");
}

#[test]
fn a_failed_gate_is_a_good_end_with_words() {
    let (outcome, ..) = ended(Behaviour::Gate);
    assert_eq!((outcome.ended, outcome.gate.as_deref()), (Ended::Good, Some("told to")));
}

#[test]
fn an_unknown_kind_is_an_outcome_and_a_bad_manifest_is_none() {
    let root = tempfile::tempdir().unwrap();
    let attempt = attempt(root.path(), Behaviour::Good);
    let Ok(Ended::Failed(error)) = perform(&[], &attempt.manifest_path()) else { panic!("there is no such kind") };
    assert_eq!(error.message, "this program has no kind `toy`");
    std::fs::write(attempt.manifest_path(), "{").unwrap();
    assert!(perform(&[TOY], &attempt.manifest_path()).unwrap_err().message.contains("is no manifest"));
}

#[test]
fn what_a_stage_reports_is_in_its_events() {
    let (_, attempt, _root) = ended(Behaviour::Good);
    let events = std::fs::read_to_string(attempt.events_path()).unwrap();
    assert!(events.starts_with("{\"progress\":"), "{events}");
    assert!(events.contains("{\"metric\":"), "{events}");
}

#[test]
fn the_largest_resident_set_is_read_from_its_line() {
    assert_eq!(peak_memory_bytes("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), 2 << 20);
    assert_eq!(peak_memory_bytes("Name:\tx\n"), 0);
}
