#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

#[test]
fn a_journal_that_was_cut_short_reads_up_to_there() {
    let root = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(root.path(), "20261125T000000Z-ab12").unwrap();
    let warning = |n: u32| Event::Warning { stage: None, message: format!("{n}") };
    for n in 0..3 {
        journal.on(Duration::from_nanos(u64::from(n)), &warning(n));
    }
    journal.flush();
    let path = runs(root.path()).join("20261125T000000Z-ab12/events.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let (lines, unread) = read(root.path(), "20261125T000000Z-ab12").unwrap();
    assert_eq!(unread, 1);
    let expected: Vec<Line> = (0..2).map(|n| Line { at_ns: u64::from(n), what: warning(n) }).collect();
    assert_eq!(lines, expected);
}

#[test]
fn runs_are_listed_oldest_first_and_none_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(list(root.path()), [""; 0]);
    for id in ["20261125T000001Z-aaaa", "20261124T000000Z-bbbb"] {
        Journal::create(root.path(), id).unwrap();
    }
    assert_eq!(list(root.path()), ["20261124T000000Z-bbbb", "20261125T000001Z-aaaa"]);
    assert!(read(root.path(), "other").is_err());
}

#[test]
fn stages_that_are_known_are_written_shortly_and_read_back_as_they_were_told() {
    let root = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(root.path(), "run").unwrap();
    let name = |n: u32| format!("s{n}");
    let keyed = |n: u32| Event::StageKeyed { stage: name(n), key: format!("{n:064}") };
    let hit = |n: u32| Event::StageHit { stage: name(n), saved_ns: 5, from: "r on h".to_owned() };
    let moved = |n: u32, state: State| Event::StageMoved { stage: name(n), state };
    let told = vec![
        moved(1, State::Ready),
        keyed(1),
        hit(1),
        moved(1, State::Hit),
        moved(2, State::Ready),
        keyed(2),
        hit(2),
        Event::GateFailed { stage: name(2), message: "no".to_owned() },
        moved(2, State::Hit),
        keyed(3),
        keyed(4),
        hit(5),
        keyed(6),
    ];
    for event in &told {
        journal.on(Duration::from_nanos(7), event);
    }
    journal.flush();
    let (lines, unread) = read(root.path(), "run").unwrap();
    assert_eq!(unread, 0);
    assert_eq!(lines.into_iter().map(|line| line.what).collect::<Vec<_>>(), told);
    let written = std::fs::read_to_string(runs(root.path()).join("run/events.jsonl")).unwrap();
    assert_eq!(written.lines().count(), told.len() - 2);
}
