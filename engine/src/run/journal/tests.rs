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
