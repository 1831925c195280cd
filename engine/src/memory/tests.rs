#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::digest::Shape;

/// Long past, so that no stamp with it is racy.
const STAMP: Stamp = Stamp { inode: 7, bytes: 3, mtime_ns: 1_000_000_001, ctime_ns: 2_000_000_001, mode: 0o644 };

fn last(n: u8) -> Last {
    let artifact = Artifact { digest: Digest([n; 32]), bytes: 3, shape: Shape::File, meaning: None, inline: None };
    Last {
        key: Key(Digest([n; 32])),
        store: "/cache".into(),
        outputs: vec![("out".to_owned(), artifact)],
        wall_ns: 5,
        from: "run on host".to_owned(),
        gate: None,
    }
}

fn filled(root: &Path) -> Memory {
    let mut memory = Memory::open(root);
    memory.keep(Path::new("/a/file"), &STAMP, Digest([1; 32]));
    memory.keep_meaning(Digest([1; 32]), "json/1", Digest([2; 32]));
    memory.remember("pipeline", "stage", &last(3), "kind\ttoy\n");
    memory.flush().unwrap();
    memory
}

fn assert_whole(memory: &Memory) {
    assert_eq!(memory.recall(Path::new("/a/file"), &STAMP), Some(Digest([1; 32])));
    assert_eq!(memory.meaning(Digest([1; 32]), "json/1"), Some(Digest([2; 32])));
    assert_eq!(memory.last("pipeline", "stage"), Some(last(3)));
    assert_eq!(memory.text("pipeline", "stage").as_deref(), Some("kind\ttoy\n"));
}

#[test]
fn what_was_remembered_is_there_in_the_next_run() {
    let root = tempfile::tempdir().unwrap();
    assert_whole(&filled(root.path()));
    assert_whole(&Memory::open(root.path()));
}

#[test]
fn a_stamp_that_differs_in_anything_recalls_nothing() {
    let root = tempfile::tempdir().unwrap();
    let memory = filled(root.path());
    let others = [
        Stamp { inode: 8, ..STAMP },
        Stamp { bytes: 4, ..STAMP },
        Stamp { mtime_ns: STAMP.mtime_ns + 1, ..STAMP },
        Stamp { ctime_ns: STAMP.ctime_ns + 1, ..STAMP },
        Stamp { mode: 0o755, ..STAMP },
    ];
    for other in others {
        assert_eq!(memory.recall(Path::new("/a/file"), &other), None, "{other:?}");
    }
}

#[test]
fn a_file_that_was_just_written_is_not_remembered() {
    let root = tempfile::tempdir().unwrap();
    let memory = Memory::open(root.path());
    let path = root.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let (stamp, digest) = crate::digest::file(&path).unwrap();
    // Its clock may still show the same time at a second write; this test takes less than the 20 ms of doubt, and
    // where it does not the file is simply older.
    let racy = stamp.racy_at(memory.now_ns());
    memory.keep(&path, &stamp, digest);
    let doubtful = Stamp { mtime_ns: memory.now_ns() + 1_000_000_000, ..stamp };
    memory.keep(Path::new("/future"), &doubtful, digest);
    assert_eq!(memory.recall(Path::new("/future"), &doubtful), None);
    assert!(memory.recall(&path, &stamp).is_none() || !racy);
}

#[test]
fn a_torn_tail_loses_no_more_than_itself() {
    let root = tempfile::tempdir().unwrap();
    filled(root.path());
    let path = root.path().join(".pipe/memory");
    let whole = std::fs::read(&path).unwrap();
    let mut memory = Memory::open(root.path());
    memory.remember("pipeline", "other", &last(4), "kind\tother\n");
    memory.flush().unwrap();
    let more = std::fs::read(&path).unwrap();
    for length in whole.len()..more.len() {
        std::fs::write(&path, &more[..length]).unwrap();
        let mut memory = Memory::open(root.path());
        assert_whole(&memory);
        assert_eq!(memory.last("pipeline", "other"), None, "{length} bytes");
        // The next write heals the log.
        memory.remember("pipeline", "third", &last(5), "");
        memory.flush().unwrap();
        let memory = Memory::open(root.path());
        assert_whole(&memory);
        assert!(memory.last("pipeline", "third").is_some(), "{length} bytes");
    }
}

#[test]
fn any_flipped_bit_ends_the_reading_and_is_never_believed() {
    let root = tempfile::tempdir().unwrap();
    filled(root.path());
    let path = root.path().join(".pipe/memory");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let memory = Memory::open(root.path());
        let recalled = memory.recall(Path::new("/a/file"), &STAMP);
        assert!(recalled.is_none() || recalled == Some(Digest([1; 32])), "byte {at}");
        assert!(memory.last("pipeline", "stage").is_none_or(|l| l == last(3)), "byte {at}");
    }
}

#[test]
fn a_log_that_is_mostly_void_is_made_anew_and_keeps_what_counts() {
    let root = tempfile::tempdir().unwrap();
    let mut memory = filled(root.path());
    let text = "config.word\tx\n".repeat(200);
    for n in 0..2000 {
        memory.remember("pipeline", "busy", &last((n % 250) as u8), &text);
        if n % 100 == 0 {
            memory.flush().unwrap();
        }
    }
    memory.remember("pipeline", "busy", &last(9), "the last\n");
    memory.flush().unwrap();
    let length = std::fs::metadata(root.path().join(".pipe/memory")).unwrap().len();
    assert!(length < 2 * SMALL_BYTES, "{length} bytes");
    assert_whole(&memory);
    let memory = Memory::open(root.path());
    assert_whole(&memory);
    assert_eq!(memory.last("pipeline", "busy"), Some(last(9)));
    assert_eq!(memory.text("pipeline", "busy").as_deref(), Some("the last\n"));
}

#[test]
fn two_engines_that_append_in_turn_both_find_their_texts() {
    let root = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (filled(root.path()), Memory::open(root.path()));
    a.remember("pipeline", "a", &last(1), "of a\n");
    b.remember("pipeline", "b", &last(2), "of b, and longer\n");
    b.flush().unwrap();
    a.flush().unwrap();
    assert_eq!(a.text("pipeline", "a").as_deref(), Some("of a\n"));
    assert_eq!(b.text("pipeline", "b").as_deref(), Some("of b, and longer\n"));
    let both = Memory::open(root.path());
    assert_eq!(both.text("pipeline", "a").as_deref(), Some("of a\n"));
    assert_eq!(both.text("pipeline", "b").as_deref(), Some("of b, and longer\n"));
}

#[test]
fn paths_of_any_bytes_are_remembered() {
    use std::ffi::OsStr;
    let root = tempfile::tempdir().unwrap();
    let path = Path::new(OsStr::from_bytes(b"/not \xff utf-8\n"));
    let mut memory = Memory::open(root.path());
    memory.keep(path, &STAMP, Digest([1; 32]));
    memory.flush().unwrap();
    assert_eq!(Memory::open(root.path()).recall(path, &STAMP), Some(Digest([1; 32])));
}

#[test]
fn a_project_that_was_moved_remembers_its_files() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("old"), root.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let mut memory = Memory::open(&old);
    memory.keep(&old.join("data/file"), &STAMP, Digest([1; 32]));
    memory.flush().unwrap();
    std::fs::rename(&old, &new).unwrap();
    assert_eq!(Memory::open(&new).recall(&new.join("data/file"), &STAMP), Some(Digest([1; 32])));
    assert_eq!(Memory::open(&new).recall(&old.join("data/file"), &STAMP), None);
}

#[test]
fn a_log_of_another_version_is_not_read_and_gives_way() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(".pipe")).unwrap();
    for other in [&b"\x10\0\0\0\x02abcdefg"[..], b"pipe memory 3\nanything", b"p"] {
        std::fs::write(root.path().join(".pipe/memory"), other).unwrap();
        assert_whole(&filled(root.path()));
        assert_whole(&Memory::open(root.path()));
    }
}

/// A log as [`Memory`] writes it, and the rows in it.
fn rows() -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let memory = filled(root.path());
    memory.rows.clone()
}

proptest::proptest! {
    #![proptest_config(crate::fuzz::cases())]

    #[test]
    fn rows_that_nobody_wrote_make_no_panic(rows in crate::fuzz::mangled(rows())) {
        let mut at = 0;
        while let Some((_, content, next)) = log::row(&rows, at) {
            proptest::prop_assert!(next > at && next <= rows.len());
            let _ = (row::file(content), row::meaning(content), row::stage(content), row::stage_place(content));
            at = next;
        }
    }
}

#[test]
fn a_forged_log_with_good_checks_makes_no_panic_and_asks_for_no_room() {
    let root = tempfile::tempdir().unwrap();
    let whole = rows();
    for at in 0..whole.len() {
        let mut rows = whole.clone();
        rows[at] ^= 0xff;
        let (bytes, _) = log::blocks(b"kind\ttoy\n", &rows).unwrap();
        std::fs::create_dir_all(root.path().join(".pipe")).unwrap();
        std::fs::write(root.path().join(".pipe/memory"), [log::MAGIC, &bytes[..]].concat()).unwrap();
        let memory = Memory::open(root.path());
        let _ = (memory.last("pipeline", "stage"), memory.text("pipeline", "stage"));
        let _ = memory.recall(Path::new("/a/file"), &STAMP);
    }
}
