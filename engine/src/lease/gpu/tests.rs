#![expect(clippy::unwrap_used, reason = "a test")]

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::*;
use crate::lease::{Ask, Capacity, Pool};

fn board(directory: &Path, run: &str) -> Board {
    Board::open(directory, Who::here(run, "stage")).unwrap()
}

fn cards(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn take(board: &Board, ticket: &Ticket, names: &[&str], count: usize) -> Vec<Held> {
    match board.take(ticket, &cards(names), count).unwrap() {
        Taken::All(held) => held,
        Taken::Wait(_) => Vec::new(),
    }
}

#[test]
fn a_card_has_one_holder_and_is_free_when_it_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (board(directory.path(), "a"), board(directory.path(), "b"));
    let ticket = a.ticket(&cards(&["GPU-1"])).unwrap();
    let mut held = take(&a, &ticket, &["GPU-1"], 1);
    drop(ticket);
    let ticket = b.ticket(&cards(&["GPU-1"])).unwrap();
    let Taken::Wait(why) = b.take(&ticket, &cards(&["GPU-1"]), 1).unwrap() else { panic!("it is held") };
    assert_eq!(why, "1 GPU, held by stage of a");
    assert_eq!(b.holder("GPU-1").unwrap().who.run, "a");
    a.put_back(held.remove(0));
    assert_eq!(b.holder("GPU-1"), None);
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
    let old = a.lock("GPU-1").unwrap().unwrap();
    std::fs::remove_file(directory.path().join("GPU-1.lock")).unwrap();
    let new = a.lock("GPU-1").unwrap().unwrap();
    assert_ne!(old.metadata().unwrap().ino(), new.metadata().unwrap().ino());
    assert!(a.lock("GPU-1").unwrap().is_none(), "what is at the path is what counts");
}

#[test]
fn the_lock_lives_as_long_as_a_process_that_inherited_it() {
    let directory = tempfile::tempdir().unwrap();
    let a = board(directory.path(), "a");
    let lock = a.lock("GPU-1").unwrap().unwrap();
    rustix::io::fcntl_setfd(lock.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(lock);
    assert!(a.lock("GPU-1").unwrap().is_none(), "the child has it");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(a.lock("GPU-1").unwrap().is_some());
}

#[test]
fn a_pool_serialises_stages_onto_a_card_and_lets_others_pass() {
    let directory = tempfile::tempdir().unwrap();
    let mut pool = Pool::new(Capacity { cpus: 8, memory_mib: 0 }, Some(board(directory.path(), "a")));
    let ask = |gpus| Ask { cpus: 1, memory_mib: 0, quiet: false, gpus, cards: cards(&["GPU-1"]) };
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
