#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::event::Usage;
use crate::kind::Sort;

fn key(n: u8) -> Key {
    Key(Digest([n; 32]))
}

fn record(n: u8) -> Record {
    let inline = Inline::of(b"small");
    let artifact = |inline: Option<Inline>| Artifact {
        digest: Digest::of(b"small"),
        bytes: 5,
        shape: Shape::File,
        meaning: None,
        inline,
    };
    Record {
        format: record::FORMAT,
        key: key(n),
        kind: "toy".to_owned(),
        sort: Sort::Measured,
        outputs: BTreeMap::from([("out".to_owned(), artifact(Some(inline)))]),
        usage: Usage { wall_ns: 1, user_ns: 2, system_ns: 3, peak_memory_bytes: 4 },
        made: Made {
            run: "run".to_owned(),
            host: "host".to_owned(),
            pipeline: "pipeline".to_owned(),
            stage: "stage".to_owned(),
            at: "2026-11-25T00:00:00Z".to_owned(),
            trusted: None,
        },
        circumstances: BTreeMap::from([("clock_mhz".to_owned(), 1410.into())]),
        gate: Some("too slow".to_owned()),
        log_tail: vec!["a line".to_owned()],
        text: "format\t1\nkind\ttoy\n".to_owned(),
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("cache")).unwrap();
    (root, store)
}

/// What a record is made of when somebody else wrote it.
fn signed(json: &str) -> Vec<u8> {
    format!("{json}\n{}\n", Digest::of(json.as_bytes())).into_bytes()
}

fn trouble(change: impl FnOnce(&mut Record)) -> String {
    let mut bad = record(1);
    change(&mut bad);
    Record::parse(&bad.print(), key(1)).unwrap_err()
}

#[test]
fn a_record_of_yesterday_is_read_today() {
    let yesterday = include_str!("tests/record-1.json");
    let read = Record::parse(&signed(yesterday.trim_end()), key(1)).unwrap();
    assert_eq!(read, record(1));
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    assert_eq!(Record::parse(&record(1).print(), key(1)), Ok(record(1)));
}

#[test]
fn nothing_in_a_record_is_believed_unseen() {
    assert!(trouble(|r| r.format = 2).contains("has the format 2"));
    assert!(trouble(|r| r.key = key(2)).contains("it is the record of"));
    for port in ["../../etc/passwd", "..", ".", "", "a/b", "/", "nul\0"] {
        let renamed = |r: &mut Record| {
            let artifact = r.outputs.remove("out").unwrap();
            r.outputs.insert(port.to_owned(), artifact);
        };
        assert!(trouble(renamed).contains("cannot be the name of an output"), "{port}");
    }
    let artifact = |change: fn(&mut Artifact)| trouble(move |r| change(r.outputs.get_mut("out").unwrap()));
    assert!(artifact(|a| a.bytes = u64::MAX).contains("claims 18446744073709551615 bytes"));
    assert!(artifact(|a| a.bytes = 4).contains("is not what its digest says"));
    assert!(artifact(|a| a.inline = Some(Inline::of(b"other"))).contains("is not what its digest says"));
    assert!(artifact(|a| a.inline = Some(Inline::Hex("zz".to_owned()))).contains("is not what its digest says"));
    assert!(artifact(|a| a.shape = Shape::Tree).contains("is not what its digest says"));
}

#[test]
fn every_byte_of_a_record_is_covered_by_its_digest() {
    let whole = record(1).print();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert!(Record::parse(&bytes, key(1)).is_err(), "byte {at}");
        assert!(Record::parse(&whole[..at], key(1)).is_err(), "cut at {at}");
    }
}

#[test]
fn small_outputs_of_any_bytes_go_into_the_record_and_back() {
    for bytes in [&b""[..], b"text \"with\" quotes\n", b"\xff\x00\x01", &[0u8; 4095]] {
        assert_eq!(Inline::of(bytes).bytes(), bytes);
    }
}

#[test]
fn the_first_record_stands() {
    let (_root, store) = store();
    assert_eq!(store.adopt(record(1)).unwrap(), record(1));
    let other = Record { gate: None, ..record(1) };
    assert_eq!(store.adopt(other).unwrap(), record(1));
}

#[test]
fn a_miss_reserves_and_a_second_asker_is_told_who_is_at_it() {
    let (_root, store) = store();
    let ask = |run: &str| store.lookup(key(1), &Who::here(run, "stage"), Purpose::Answer).unwrap().0;
    let first = ask("first");
    assert!(matches!(&first, Lookup::Miss(reserved) if reserved.key() == key(1)));
    assert!(matches!(ask("second"), Lookup::Busy(who) if who.run == "first"));
    assert!(store.is_reserved(key(1)));
    drop(first);
    assert!(!store.is_reserved(key(1)));
    assert!(matches!(ask("second"), Lookup::Miss(_)));
}

#[test]
fn a_reservation_taken_over_is_not_removed_by_its_first_holder() {
    let (_root, store) = store();
    let (first, _) = store.lookup(key(1), &Who::here("first", "stage"), Purpose::Answer).unwrap();
    let path = store.directory().join("reserved").join(key(1).to_string());
    let theirs = serde_json::to_vec(&Who::here("second", "stage")).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &theirs).unwrap();
    drop(first);
    assert_eq!(std::fs::read(&path).unwrap(), theirs);
}

#[test]
fn a_silent_holder_on_another_host_is_taken_for_dead_only_after_long() {
    let (_root, store) = store();
    let path = store.directory().join("reserved").join(key(1).to_string());
    let elsewhere = Who { host: "elsewhere".to_owned(), ..Who::here("theirs", "stage") };
    std::fs::write(&path, serde_json::to_vec(&elsewhere).unwrap()).unwrap();
    let ask = || store.lookup(key(1), &Who::here("mine", "stage"), Purpose::Answer).unwrap().0;
    let silent_for = |silence: std::time::Duration| {
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - silence).unwrap();
    };
    silent_for(reserve::SILENCE / 2);
    assert!(matches!(ask(), Lookup::Busy(_)));
    silent_for(reserve::SILENCE * 2);
    assert!(matches!(ask(), Lookup::Miss(_)));
}

#[test]
fn opening_twice_changes_nothing_and_the_tag_is_what_back_ups_look_for() {
    let (root, store) = store();
    let tag = std::fs::read_to_string(store.directory().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
    let again = Store::open(&root.path().join("cache")).unwrap();
    assert_eq!(again.directory(), store.directory());
}

#[test]
fn a_pin_keeps_what_no_run_needs() {
    let (_root, store) = store();
    store.adopt(record(1)).unwrap();
    let root = gc::Root { owner: "paper".into(), host: String::new(), pipeline: String::new(), keys: vec![key(1)] };
    let unneeded = || store.sweep_at(i64::MAX).unwrap().items.len();
    assert_eq!(unneeded(), 1);
    store.pin("paper", &root).unwrap();
    assert_eq!(unneeded(), 0);
    assert!(store.unpin("paper"));
    assert_eq!(unneeded(), 1);
}

#[test]
fn the_root_of_a_project_that_is_gone_counts_no_more_and_one_on_another_host_does() {
    let (root, store) = store();
    store.adopt(record(1)).unwrap();
    store.adopt(record(2)).unwrap();
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let gone = root.path().join("gone").display().to_string();
    let say = |host: &str, n: u8| {
        let root = gc::Root { owner: gone.clone(), host: host.to_owned(), pipeline: "p".into(), keys: vec![key(n)] };
        store.register(&root).unwrap();
    };
    say(&here, 1);
    say("elsewhere", 2);
    let items = store.sweep_at(i64::MAX).unwrap().items;
    assert_eq!(items.len(), 1);
    assert!(items[0].path.ends_with(key(1).to_string()));
}

#[test]
fn a_root_that_cannot_be_read_stops_a_sweep() {
    let (_root, store) = store();
    store.adopt(record(1)).unwrap();
    std::fs::write(store.directory().join("roots/bad"), "{").unwrap();
    let error = store.sweep_at(i64::MAX).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the root"), "{error}");
}

#[test]
fn errors_say_what_was_attempted_on_what_and_what_to_do() {
    let full = failed("write", Path::new("/cache/blobs/ab/x"))(std::io::Error::from(ErrorKind::StorageFull));
    assert_eq!(full.to_string(), "cannot write `/cache/blobs/ab/x`");
    assert!(full.help().unwrap().contains("pipe gc"));
    let denied = failed("write", Path::new("/cache/blobs/ab/x"))(std::io::Error::from(ErrorKind::PermissionDenied));
    assert!(denied.help().unwrap().contains("`/cache/blobs/ab` must be writable"));
}
