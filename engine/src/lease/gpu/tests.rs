#![expect(clippy::unwrap_used, reason = "a test")]

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::*;
use crate::lease::{Ask, Capacity, Pool};

const CARD_MIB: u64 = 80_000;

fn board(directory: &Path, run: &str) -> Board {
    Board::open(directory, Who::here(run, "stage")).unwrap()
}

fn cards(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn want(names: &[&str], count: usize) -> Want {
    Want { cards: cards(names), count, how: How::Alone }
}

fn take(board: &Board, ticket: &Ticket, names: &[&str], count: usize) -> Vec<Held> {
    take_as(board, ticket, &want(names, count))
}

/// One card beside others, with a budget of so many MiB.
fn take_shared(board: &Board, names: &[&str], budget_mib: u64) -> Vec<Held> {
    let ticket = board.ticket(&cards(names)).unwrap();
    take_as(board, &ticket, &Want { how: How::Shared { budget_mib, card_mib: CARD_MIB }, ..want(names, 1) })
}

fn take_as(board: &Board, ticket: &Ticket, want: &Want) -> Vec<Held> {
    match board.take(ticket, want).unwrap() {
        Taken::All(held) => held,
        Taken::Wait(_) => Vec::new(),
    }
}

/// The lock of GPU-1, taken alone.
fn locked(board: &Board) -> std::io::Result<Option<File>> {
    board.lock("GPU-1", File::try_lock)
}

#[test]
fn a_card_has_one_holder_and_is_free_when_it_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a"), board(directory.path(), "b"));
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    let mut held = take(&a, &ticket, &["GPU-1"], 1);
    drop(ticket);
    let ticket = b.ticket(&cards(&["GPU-1"])).unwrap();
    let Taken::Wait(why) = b.take(&ticket, &want(&["GPU-1"], 1)).unwrap() else { panic!("it is held") };
    assert_eq!(why, "1 GPU, held by stage of a");
    assert!(matches!(b.holders("GPU-1"), Holders::Alone(Some(by)) if by.who.run == "a"));
    a.put_back(held.remove(0));
    assert_eq!(b.holders("GPU-1"), Holders::Free);
    assert_eq!(take(&b, &ticket, &["GPU-1"], 1).len(), 1);
}

#[test]
fn cards_are_taken_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a"), board(directory.path(), "b"));
    let one = a.ticket(&cards(&["GPU-1"])).unwrap();
    let held = take(&a, &one, &["GPU-1"], 1);
    drop(one);
    let two = b.ticket(&cards(&["GPU-1", "GPU-2"])).unwrap();
    assert!(take(&b, &two, &["GPU-1", "GPU-2"], 2).is_empty());
    drop(two);
    // The one that was free was not kept.
    let three = a.ticket(&cards(&["GPU-2"])).unwrap();
    assert_eq!(take(&a, &three, &["GPU-2"], 1).len(), 1);
    drop(held);
}

#[test]
fn who_drew_an_earlier_ticket_for_the_same_cards_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a"), board(directory.path(), "b"));
    let first = a.ticket(&cards(&["GPU-1"])).unwrap();
    let second = b.ticket(&cards(&["GPU-1", "GPU-2"])).unwrap();
    let other = b.ticket(&cards(&["GPU-3"])).unwrap();
    assert!(take(&b, &second, &["GPU-1", "GPU-2"], 1).is_empty(), "GPU-1 is wanted by somebody before");
    assert_eq!(take(&b, &other, &["GPU-3"], 1).len(), 1, "nobody else wants GPU-3");
    assert_eq!(b.tickets().unwrap().len(), 3);
    drop(first);
    assert_eq!(take(&b, &second, &["GPU-1", "GPU-2"], 1).len(), 1);
}

#[test]
fn the_ticket_of_the_dead_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    drop(a.ticket(&cards(&["GPU-1"])).unwrap());
    // A process that is killed leaves its file, without a lock.
    let words = serde_json::to_vec(&a.entry(&cards(&["GPU-1"]))).unwrap();
    std::fs::write(directory.path().join(format!("ticket-{:020}", 1)), words).unwrap();
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    assert_eq!(take(&a, &ticket, &["GPU-1"], 1).len(), 1);
    assert_eq!(a.tickets().unwrap().len(), 1);
}

#[test]
fn a_deleted_lock_file_does_not_make_two_holders_unseen() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    // Locked by somebody, then deleted and made again: the path is another file now, and free.
    let old = locked(&a).unwrap().unwrap();
    std::fs::remove_file(directory.path().join("GPU-1.lock")).unwrap();
    let new = locked(&a).unwrap().unwrap();
    assert_ne!(old.metadata().unwrap().ino(), new.metadata().unwrap().ino());
    assert!(locked(&a).unwrap().is_none(), "what is at the path is what counts");
}

#[test]
fn the_lock_lives_as_long_as_a_process_that_inherited_it() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    let lock = locked(&a).unwrap().unwrap();
    rustix::io::fcntl_setfd(lock.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(lock);
    assert!(locked(&a).unwrap().is_none(), "the child has it");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(locked(&a).unwrap().is_some());
}

#[test]
fn a_pool_serialises_stages_onto_a_card_and_lets_others_pass() {
    let directory = tempfile::tempdir().unwrap();
    let mut pool = Pool::new(Capacity { cpus: 8, memory_mib: 0 }, Some(board(directory.path(), "a")));
    let ask = |gpus| Ask { cpus: 1, memory_mib: 0, quiet: false, gpus, cards: cards(&["GPU-1"]), how: How::Alone };
    pool.ask(1, 9, ask(1));
    pool.ask(2, 8, ask(1));
    pool.ask(3, 0, ask(0));
    let (first, lease) = pool.grant().unwrap();
    assert_eq!((first, pool.grant().unwrap().0), (1, 3));
    assert!(pool.grant().is_none());
    assert!(pool.waits_for_cards());
    pool.give_back(lease);
    assert_eq!(pool.grant().unwrap().0, 2);
    assert!(!pool.waits_for_cards());
}

#[test]
fn a_uuid_names_no_other_directory() {
    assert_eq!(lock_name("../../etc/GPU 1"), "______etc_GPU_1.lock");
}

#[test]
fn those_that_share_a_card_fit_together_and_one_that_wants_it_alone_waits() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, c) = (board(directory.path(), "a"), board(directory.path(), "b"), board(directory.path(), "c"));
    let mut first = take_shared(&a, &["GPU-1"], 50_000);
    let mut second = take_shared(&b, &["GPU-1"], 30_000);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(take_shared(&c, &["GPU-1"], 1).len(), 0, "the card is full");
    let Holders::Shared(holders) = c.holders("GPU-1") else { panic!("it is shared") };
    let mut budgets: Vec<(String, u64)> = holders.into_iter().map(|e| (e.who.run, e.budget_mib)).collect();
    budgets.sort();
    assert_eq!(budgets, [("a".to_owned(), 50_000), ("b".to_owned(), 30_000)]);
    let ticket = c.ticket(&cards(&["GPU-1"])).unwrap();
    assert!(take(&c, &ticket, &["GPU-1"], 1).is_empty());
    a.put_back(first.remove(0));
    assert_eq!(take_shared(&a, &["GPU-1"], 50_000).len(), 0, "somebody before wants it alone");
    b.put_back(second.remove(0));
    let alone = take(&c, &ticket, &["GPU-1"], 1);
    assert_eq!(alone.len(), 1);
    drop(ticket);
    assert_eq!(take_shared(&a, &["GPU-1"], 1).len(), 0);
    drop(alone);
    assert_eq!(take_shared(&a, &["GPU-1"], CARD_MIB).len(), 1);
}

#[test]
fn the_budget_of_the_dead_is_free_again() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    // A process that is killed leaves its file, and no lock.
    drop(take_shared(&a, &["GPU-1"], CARD_MIB));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().flatten().filter(is_share).count(), 1);
    assert_eq!(take_shared(&a, &["GPU-1"], CARD_MIB).len(), 1);
}

fn is_share(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().contains(".share-")
}

#[test]
fn what_the_last_holder_said_is_overwritten_by_the_next_and_not_believed_of_a_free_card() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a run with a long name"), board(directory.path(), "b"));
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    // It dies without a word.
    drop(take(&a, &ticket, &["GPU-1"], 1));
    drop(ticket);
    assert_eq!(b.holders("GPU-1"), Holders::Free);
    let ticket = b.ticket(&cards(&["GPU-1"])).unwrap();
    let held = take(&b, &ticket, &["GPU-1"], 1);
    assert!(matches!(a.holders("GPU-1"), Holders::Alone(Some(by)) if by.who.run == "b"));
    let since = b.since("GPU-1").unwrap();
    assert_eq!(a.since("GPU-1"), None, "a does not hold it");
    b.say_worked("GPU-1", &since, Worked { held_s: 2.0, share: 0.5 });
    a.say_worked("GPU-1", &since, Worked { held_s: 9.0, share: 0.9 });
    let Holders::Alone(Some(by)) = a.holders("GPU-1") else { panic!("it is held") };
    assert_eq!(by.worked, Some(Worked { held_s: 2.0, share: 0.5 }));
    drop(held);
}

#[test]
fn a_waiter_that_was_stopped_lets_others_pass_and_has_its_place_again_when_it_asks() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a"), board(directory.path(), "b"));
    let first = a.ticket(&cards(&["GPU-1"])).unwrap();
    let second = b.ticket(&cards(&["GPU-1"])).unwrap();
    assert!(take(&b, &second, &["GPU-1"], 1).is_empty());
    first.asked_at(std::time::SystemTime::now() - Duration::from_secs(60));
    let mut held = take(&b, &second, &["GPU-1"], 1);
    assert_eq!(held.len(), 1);
    assert!(take(&a, &first, &["GPU-1"], 1).is_empty());
    b.put_back(held.remove(0));
    assert!(take(&b, &second, &["GPU-1"], 1).is_empty(), "the first has asked again");
}

#[test]
fn a_guard_falls_when_its_lock_file_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    let held = take(&a, &ticket, &["GPU-1"], 1);
    let guard = a.guard(&held[0]);
    assert!(guard.stands());
    std::fs::remove_file(directory.path().join("GPU-1.lock")).unwrap();
    assert!(!guard.stands());
}

#[test]
fn a_board_that_cannot_be_used_is_an_error_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Board::open(&file.join("board"), Who::here("a", "stage")).is_err());
    // Its files cannot be opened as files.
    std::fs::create_dir(directory.path().join("counter")).unwrap();
    assert!(Board::open(directory.path(), Who::here("a", "stage")).is_err());
}

#[test]
fn a_turn_that_somebody_does_not_give_back_is_no_reason_to_hang() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    let stopped = a.turn().unwrap();
    let Taken::Wait(why) = a.take(&ticket, &want(&["GPU-1"], 1)).unwrap() else { panic!("it is not our turn") };
    assert!(why.contains("was that process stopped?"), "{why}");
    drop(stopped);
    assert_eq!(take(&a, &ticket, &["GPU-1"], 1).len(), 1);
}
