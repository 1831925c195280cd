#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use super::*;
use crate::event::Observer;
use crate::report::stories::{Story, eventful};
use crate::run::journal::Journal;

/// A project with one run for each story.
fn project(stories: &[(&str, Vec<(u64, Event)>)]) -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for (id, story) in stories {
        let mut journal = Journal::create(project.path(), id).unwrap();
        for (ms, event) in story {
            journal.on(Duration::from_millis(*ms), event);
        }
    }
    project
}

#[test]
fn runs_are_listed_latest_first_with_their_ends() {
    let unfinished = Story::start("demo", &["a"]).events;
    let project = project(&[("20261124T090000-aa11", eventful()), ("20261125T090000-bb22", unfinished)]);
    insta::assert_snapshot!(list(&outlines(project.path(), 9), Paint::Bare), @"
    20261125T090000-bb22  demo  has no end: it goes on, or was killed
    20261124T090000-aa11  demo  15.5 s, 1 hit, 2 done, 1 failed
    ");
    assert_eq!(outlines(project.path(), 1).len(), 1);
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let project = project(&[("20261124T09-aa", eventful()), ("20261125T09-bb", eventful())]);
    assert_eq!(find(project.path(), "last").unwrap(), "20261125T09-bb");
    assert_eq!(find(project.path(), "20261124").unwrap(), "20261124T09-aa");
    assert_eq!(find(project.path(), "2026112").unwrap_err(), "2 runs begin with `2026112`");
    assert!(find(project.path(), "1999").unwrap_err().contains("`pipe runs`"));
    let empty = tempfile::tempdir().unwrap();
    assert!(find(empty.path(), "last").is_err());
}

#[test]
fn a_torn_journal_is_listed_as_unfinished() {
    let project = project(&[("20261124T09-aa", eventful())]);
    let file = journal::runs(project.path()).join("20261124T09-aa/events.jsonl");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 20]).unwrap();
    let listed = list(&outlines(project.path(), 9), Paint::Bare);
    assert!(listed.contains("has no end"), "{listed}");
}

/// `a` and `b` with the given keys; `b` takes `ms`.
fn run_of(keys: [&str; 2], ms: u64) -> BTreeMap<String, End> {
    let mut story = Story::start("demo", &["a", "b"]);
    for (stage, key) in ["a", "b"].into_iter().zip(keys) {
        story.put(Event::StageKeyed { stage: stage.into(), key: key.into() });
        story.run(stage, "first run", 0);
        story.done(stage, ms);
    }
    let lines: Vec<Line> = story.events.into_iter().map(|(_, what)| Line { at_ns: 0, what }).collect();
    ends(&lines)
}

#[test]
fn two_runs_differ_where_keys_do() {
    let reason = |_: &str, old: &str, new: &str| Some(format!("config rate: {old} → {new}"));
    let said = diff(&run_of(["1", "2"], 4), &run_of(["1", "3"], 9), &reason, Paint::Bare);
    assert_eq!(said, "b  4 ms → 9 ms · config rate: 2 → 3\n1 stage the same in both\n");
}

#[test]
fn a_stage_of_one_run_only_is_told() {
    let mut new = run_of(["1", "2"], 4);
    let old = run_of(["1", "2"], 4);
    new.remove("b");
    assert!(diff(&old, &new, &|_, _, _| None, Paint::Bare).starts_with("b  only in the first: 4 ms\n"));
}
