#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::digest::Digest;

fn key() -> Key {
    Key(Digest([1; 32]))
}

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        kind: "toy".to_owned(),
        key: key(),
        run: "run".to_owned(),
        pipeline: "pipeline".to_owned(),
        stage: "stage".to_owned(),
        config: serde_json::json!({ "word": "w", "number": 0.1 }),
        inputs: BTreeMap::from([(
            "in".to_owned(),
            vec![Source { label: "data/a".to_owned(), path: "/data/a".into(), digest: "00".to_owned() }],
        )]),
        outputs: vec!["out".to_owned()],
        cpus: 2,
        gpus: vec!["GPU-1".to_owned()],
    }
}

fn made(root: &Path) -> Attempt {
    Attempt::make(root, "a", |_| Ok(manifest())).unwrap()
}

fn outcome(ended: Ended) -> Outcome {
    Outcome {
        format: FORMAT,
        ended,
        gate: Some("slow".to_owned()),
        circumstances: BTreeMap::from([("mhz".to_owned(), 1410.into())]),
        usage: Usage::default(),
    }
}

#[test]
fn manifest_and_outcome_read_back_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let attempt = made(root.path());
    assert_eq!(attempt.manifest().unwrap(), manifest());
    assert_eq!(attempt.outcome(), None);
    attempt.conclude(&outcome(Ended::Good)).unwrap();
    assert_eq!(attempt.outcome(), Some(outcome(Ended::Good)));
}

#[test]
fn a_manifest_of_yesterday_is_read_today() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("manifest.json");
    let key = "01".repeat(32);
    let text = format!(
        r#"{{"format":1,"kind":"toy","key":"{key}","run":"run","pipeline":"pipeline","stage":"stage",
        "config":{{"number":0.1,"word":"w"}},"inputs":{{"in":[{{"label":"data/a","path":"/data/a","digest":"00"}}]}},
        "outputs":["out"],"cpus":2,"gpus":["GPU-1"]}}"#
    );
    std::fs::write(&path, &text).unwrap();
    assert_eq!(read_manifest(&path).unwrap(), manifest());
    std::fs::write(&path, text.replace("\"format\":1", "\"format\":2")).unwrap();
    assert!(read_manifest(&path).unwrap_err().message.contains("has the format 2"));
}

#[test]
fn an_attempt_counts_as_finished_only_with_a_good_outcome_for_the_same_key() {
    let root = tempfile::tempdir().unwrap();
    let attempt = made(root.path());
    let left = |key| attempt.clone().left(key);
    assert!(matches!(left(key()), Left::Nothing), "no outcome");
    std::fs::write(attempt.directory.join("outcome.json"), "{\"format\":1,").unwrap();
    assert!(matches!(left(key()), Left::Nothing), "a torn outcome");
    attempt.conclude(&outcome(Ended::Panicked("x".to_owned()))).unwrap();
    assert!(matches!(left(key()), Left::Nothing), "a bad outcome");
    attempt.conclude(&outcome(Ended::Good)).unwrap();
    assert!(matches!(left(Key(Digest([2; 32]))), Left::Nothing), "another key");
    assert!(matches!(left(key()), Left::Finished(_, _)));
}

#[test]
fn an_attempt_runs_for_as_long_as_somebody_holds_its_log() {
    let root = tempfile::tempdir().unwrap();
    let attempt = made(root.path());
    attempt.conclude(&outcome(Ended::Good)).unwrap();
    let log = open_log(&attempt.directory).unwrap();
    let second = log.try_clone().unwrap();
    drop(log);
    assert!(matches!(attempt.clone().left(key()), Left::Running(_)));
    drop(second);
    assert!(matches!(attempt.left(key()), Left::Finished(_, _)));
}

#[test]
fn the_tail_of_a_log_is_its_last_lines_and_never_much() {
    let root = tempfile::tempdir().unwrap();
    let attempt = made(root.path());
    assert_eq!(attempt.log_tail(3), [""; 0]);
    std::fs::write(attempt.log_path(), "1\n2\n3\n4 \u{fffd}\n").unwrap();
    assert_eq!(attempt.log_tail(2), ["3", "4 \u{fffd}"]);
    std::fs::write(attempt.log_path(), vec![b'x'; 100_000]).unwrap();
    assert_eq!(attempt.log_tail(2)[0].len(), 4096);
    std::fs::write(attempt.log_path(), b"not \xff utf-8").unwrap();
    assert_eq!(attempt.log_tail(2), ["not \u{fffd} utf-8"]);
}

#[test]
fn outputs_that_are_missing_are_named() {
    let root = tempfile::tempdir().unwrap();
    let attempt = made(root.path());
    let place = |port: &str| Place { port: port.to_owned(), below: format!("{port}.txt"), meaning: None };
    std::fs::write(attempt.directory.join("out/a.txt"), "").unwrap();
    let error = attempt.outputs(&[place("a"), place("b"), place("c")]).unwrap_err();
    assert_eq!(error.message, "it ended without writing `out/b.txt`, `out/c.txt`");
    assert_eq!(attempt.outputs(&[place("a")]).unwrap().len(), 1);
}
