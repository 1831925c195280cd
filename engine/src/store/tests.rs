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
    Record::parse(&bad.print(None), key(1)).unwrap_err()
}

#[test]
fn a_record_of_yesterday_is_read_today() {
    let yesterday = include_str!("tests/record-1.json");
    let read = Record::parse(&signed(yesterday.trim_end()), key(1)).unwrap();
    assert_eq!(read, record(1));
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    assert_eq!(Record::parse(&record(1).print(None), key(1)), Ok(record(1)));
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
    let whole = record(1).print(None);
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
fn a_paused_holder_that_wakes_disturbs_nobody_and_its_double_work_is_harmless() {
    let (_root, store) = store();
    let path = store.directory().join("reserved").join(key(1).to_string());
    let ask = |run: &str| store.lookup(key(1), &Who::here(run, "stage"), Purpose::Answer).unwrap().0;
    let Lookup::Miss(paused) = ask("paused") else { panic!("nobody has it") };
    // It was stopped for longer than anybody waits.
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - reserve::SILENCE * 2).unwrap();
    let Lookup::Miss(other) = ask("other") else { panic!("the silent one is taken for dead") };
    let theirs = std::fs::read(&path).unwrap();
    // It wakes: its heart beats on, it ends its work, and the other does as well.
    store.heart.beat();
    assert_eq!(std::fs::read(&path).unwrap(), theirs, "the reservation is the other's");
    let finished = |gate: &str| {
        let Record { kind, sort, usage, made, circumstances, log_tail, text, .. } = record(1);
        let (outputs, gate) = (Vec::new(), Some(gate.to_owned()));
        Finished { kind, sort, outputs, usage, made, circumstances, gate, log_tail, text }
    };
    let first = store.commit(paused, finished("first"), Purpose::Answer).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), theirs);
    let second = store.commit(other, finished("second"), Purpose::Answer).unwrap();
    assert_eq!((first.gate.as_deref(), second.gate.as_deref()), (Some("first"), Some("first")));
    assert!(!store.is_reserved(key(1)));
}

#[test]
fn a_beating_heart_keeps_a_reservation_from_looking_silent() {
    let (_root, store) = store();
    let path = store.directory().join("reserved").join(key(1).to_string());
    let (held, _) = store.lookup(key(1), &Who::here("mine", "stage"), Purpose::Answer).unwrap();
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - reserve::SILENCE * 2).unwrap();
    store.heart.beat();
    let (asked, _) = store.lookup(key(1), &Who::here("theirs", "stage"), Purpose::Answer).unwrap();
    assert!(matches!(asked, Lookup::Busy(_)));
    drop(held);
}

#[test]
fn a_number_given_to_another_process_and_one_of_another_space_are_not_taken_for_the_holder() {
    let me = Who::here("", "");
    assert!(!me.is_known_dead());
    assert!(Who { began: me.began + 1, ..me.clone() }.is_known_dead(), "the number is somebody else's now");
    let gone = Who { pid: u32::MAX / 2, ..me.clone() };
    assert!(gone.is_known_dead());
    assert!(!Who { space: "pid:[1]".to_owned(), ..gone }.is_known_dead(), "a container has numbers of its own");
}

#[test]
fn permissions_are_those_of_the_cache_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    for (cache, directory, content, program) in
        [(0o2775, 0o2775, 0o444, 0o555), (0o2770, 0o2770, 0o440, 0o550), (0o700, 0o700, 0o400, 0o500)]
    {
        let path = root.path().join(format!("{cache:o}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(cache)).unwrap();
        let store = Store::open(&path).unwrap();
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        store.adopt(record(1)).unwrap();
        let shard = store.record_path(key(1)).parent().unwrap().to_owned();
        assert_eq!((mode(&shard), mode(&store.record_path(key(1)))), (directory, content), "{cache:o}");
        // What a stage with a umask of 077 left.
        let made = store.attempts().join("made");
        std::fs::create_dir_all(made.join("deep")).unwrap();
        let (file, run) = (made.join("deep/file"), made.join("run"));
        std::fs::write(&file, vec![0; 5000]).unwrap();
        std::fs::write(&run, "").unwrap();
        for (path, mode) in [(&made, 0o700), (&made.join("deep"), 0o700), (&file, 0o600), (&run, 0o700)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = crate::attempt::Output { port: "out".into(), path: made, meaning: None };
        let blob = store.blob(store.keep(&output, 0).unwrap().digest);
        assert_eq!((mode(&blob), mode(&blob.join("deep"))), (directory, directory), "{cache:o}");
        assert_eq!((mode(&blob.join("deep/file")), mode(&blob.join("run"))), (content, program), "{cache:o}");
    }
}

#[test]
fn an_output_with_another_name_is_copied_and_the_other_is_left_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let (root, store) = store();
    let theirs = root.path().join("theirs");
    std::fs::write(&theirs, vec![7; 5000]).unwrap();
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o640)).unwrap();
    let made = store.attempts().join("made");
    std::fs::hard_link(&theirs, &made).unwrap();
    let output = crate::attempt::Output { port: "out".into(), path: made, meaning: None };
    let artifact = store.keep(&output, 0).unwrap();
    std::fs::write(&theirs, vec![8; 5000]).unwrap();
    assert_eq!(store.read(&artifact).unwrap(), vec![7; 5000]);
    assert_eq!(std::fs::metadata(&theirs).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_signed_record_is_believed_by_those_who_trust_its_key_and_by_no_other() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("cache");
    let key_of = |name: &str| {
        let path = root.path().join(name);
        SecretKey::read(&path).unwrap().unwrap_or_else(|| SecretKey::make(&path).unwrap())
    };
    let open = |key: Option<&str>, trust: &[&str]| {
        let trust = trust.iter().map(|name| key_of(name).public()).collect();
        Store::open_with(&cache, Settings { key: key.map(key_of), trust, ..Settings::default() }).unwrap()
    };
    let found = |store: &Store| matches!(store.find(key(1)).unwrap(), Found::Record(_));
    open(None, &[]).adopt(record(1)).unwrap();
    let careful = open(Some("anna"), &["anna"]);
    let Found::Damaged(why) = careful.find(key(1)).unwrap() else { panic!("nobody signed it") };
    assert!(why.ends_with("nobody signed it, and this project trusts signed records only"), "{why}");
    assert!(found(&open(None, &[])), "it stays for those who trust everybody");
    // What anna computes takes its place.
    let gate = Some("anna's".to_owned());
    careful.adopt(Record { gate: gate.clone(), ..record(1) }).unwrap();
    assert!(matches!(careful.find(key(1)).unwrap(), Found::Record(r) if r.gate == gate));
    assert!(found(&open(None, &[])));
    let Found::Damaged(why) = open(Some("ben"), &["ben"]).find(key(1)).unwrap() else { panic!("ben trusts himself") };
    assert!(why.contains("is not among those that this project trusts"), "{why}");
    assert!(found(&open(None, &["ben", "anna"])));
}

#[test]
fn a_signature_is_of_its_record_alone_and_a_key_is_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("settings/key");
    let secret = SecretKey::make(&path).unwrap();
    assert!(SecretKey::make(&path).unwrap_err().starts_with("there is a key"));
    assert_eq!(SecretKey::read(&path).unwrap().unwrap().public(), secret.public());
    let (one, two) = (record(1).print(Some(&secret)), record(2).print(Some(&secret)));
    assert_eq!(record::signer(&one).unwrap(), Some(secret.public()));
    assert_eq!(record::signer(&record(1).print(None)).unwrap(), None);
    let line = |bytes: &[u8]| bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    let swapped = [&one[..line(&one)], &two[line(&two)..]].concat();
    assert!(Record::parse(&swapped, key(1)).is_ok());
    assert!(record::signer(&swapped).unwrap_err().contains("is of something else"));
    for at in 0..one.len() {
        let mut bytes = one.clone();
        bytes[at] ^= 1;
        let believed = record::signer(&bytes).is_ok_and(|by| by == Some(secret.public()));
        assert!(!believed, "byte {at}");
    }
    assert_eq!(secret.public().to_string().parse::<PublicKey>().unwrap(), secret.public());
    assert!(format!("{}  anna", secret.public()).parse::<PublicKey>().is_ok());
    assert!(!format!("{secret:?}").contains(&std::fs::read_to_string(&path).unwrap()[20..40]));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(SecretKey::read(&path).unwrap_err().contains("can be read by others"));
}

#[test]
fn a_cache_reached_by_a_link_is_the_cache_it_leads_to() {
    let (root, store) = store();
    let link = root.path().join("link");
    std::os::unix::fs::symlink(store.directory(), &link).unwrap();
    assert_eq!(Store::open(&link).unwrap().directory(), store.directory());
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
