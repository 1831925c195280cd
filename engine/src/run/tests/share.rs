//! One cache, several engines; and caches that are damaged, full, or not ours to write.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::event::{Event, Observer, State};
use crate::run::Stop;
use crate::store::{Lookup, Purpose, Store, Who};
use crate::testing::{Asked, From, InProcess, Project, Size, Sketch, Toy, facts, word};

fn chain(project: &Project) -> Sketch {
    let mut sketch = project.sketch();
    sketch.toy("small", word("s"), &[]);
    sketch.toy("large", Toy { size: Size::Large, ..word("l") }, &[From::Stage("small")]);
    sketch.toy("tree", Toy { size: Size::Tree, ..word("t") }, &[From::Stage("large")]);
    sketch.toy("last", word("e"), &[From::Stage("tree")]);
    sketch
}

#[test]
fn a_teammates_results_are_taken_and_put_where_people_look() {
    let (mine, mut theirs) = (Project::new(), Project::new());
    mine.run(&chain(&mine));
    theirs.cache = mine.cache.clone();
    let seen = theirs.run(&chain(&theirs));
    assert_eq!(seen.started(), [""; 0]);
    assert_eq!(theirs.result("last"), mine.result("last"));
}

#[test]
fn two_engines_at_once_do_everything_once_and_say_the_same() {
    for _ in 0..20 {
        let (mine, mut theirs) = (Project::new(), Project::new());
        theirs.cache = mine.cache.clone();
        mine.store();
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(|| mine.run(&chain(&mine)));
            let b = scope.spawn(|| theirs.run(&chain(&theirs)));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!((a.finished.exit, b.finished.exit), (0, 0), "{a:?}\n{b:?}");
        assert_eq!(a.all(State::Done).len() + b.all(State::Done).len(), 4, "{a:?}\n{b:?}");
        assert_eq!(mine.result("last"), theirs.result("last"));
        assert_eq!(mine.store().verify(&mut |_, _| {}).unwrap().damaged, []);
    }
}

#[test]
fn what_somebody_else_computes_is_waited_for_and_taken() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", word("w"), &[]);
    let key = project.run(&sketch).key("a");
    // Now another engine holds the key and has no record yet.
    let path = project.cached("records").remove(0);
    let record = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir_all(project.root.join(".pipe")).unwrap();
    std::fs::remove_dir_all(project.root.join("results")).unwrap();
    let store = project.store();
    // Its process is this one: known to live.
    let (other, _) = store.lookup(key, &Who::here("other", "a"), Purpose::Answer).unwrap();
    assert!(matches!(other, Lookup::Miss(_)));
    /// Publishes the other's record once our run says that it waits.
    struct Teammate {
        path: std::path::PathBuf,
        record: Vec<u8>,
        events: Vec<Event>,
    }
    impl Observer for Teammate {
        fn on(&mut self, _: Duration, event: &Event) {
            if matches!(event, Event::StageBlocked { on, .. } if on.contains("run other")) {
                std::fs::write(&self.path, &self.record).unwrap();
            }
            self.events.push(event.clone());
        }
    }
    let mut teammate = Teammate { path, record, events: Vec::new() };
    let (asked, stop) = (Asked::default(), Stop::new());
    let finished = project.observed(&sketch, &asked, &facts(), &InProcess, &stop, &mut teammate).unwrap();
    assert_eq!((finished.hits, finished.done), (1, 0));
    drop(other);
}

#[test]
fn a_reservation_of_the_dead_is_taken_over() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", word("w"), &[]);
    let key = project.run(&sketch).key("a");
    std::fs::remove_dir_all(project.cache.join("records")).unwrap();
    std::fs::remove_dir_all(project.root.join("results")).unwrap();
    // A process that has ended, on this machine.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dead = Who { pid: child.id(), ..Who::here("dead", "a") };
    let words = serde_json::to_vec(&dead).unwrap();
    std::fs::write(project.cache.join("reserved").join(key.to_string()), words).unwrap();
    assert_eq!(project.run(&sketch).all(State::Done), ["a"]);
}

/// Damages what `path` holds, read-only as it is.
fn damage(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_record_is_a_miss_with_a_warning_and_is_moved_aside() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes[40] ^= 1,
        |bytes| *bytes = b"{\"format\":1}\n".to_vec(),
    ];
    for change in changes {
        let project = Project::new();
        let mut sketch = project.sketch();
        sketch.toy("a", word("w"), &[]);
        project.run(&sketch);
        std::fs::remove_dir_all(project.root.join("results")).unwrap();
        damage(&project.cached("records")[0], change);
        let seen = project.run(&sketch);
        assert_eq!(seen.all(State::Done), ["a"]);
        assert!(seen.warnings()[0].contains("is damaged"), "{:?}", seen.warnings());
        assert_eq!(project.cached("trash").len(), 1);
        assert_eq!(project.run(&sketch).started(), [""; 0]);
    }
}

#[test]
fn a_blob_of_the_wrong_size_is_a_miss_with_a_warning_and_is_moved_aside() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { size: Size::Large, ..word("w") }, &[]);
    project.run(&sketch);
    let blob = project.cached("blobs").remove(0);
    damage(&blob, Vec::clear);
    let seen = project.run(&sketch);
    assert_eq!(seen.all(State::Done), ["a"]);
    assert!(seen.warnings()[0].contains("has 0 bytes instead of 10000"), "{:?}", seen.warnings());
    assert_eq!(std::fs::metadata(blob).unwrap().len(), 10_000);
}

#[test]
fn a_blob_of_other_bytes_is_found_by_verify_and_computed_again() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { size: Size::Large, ..word("w") }, &[]);
    project.run(&sketch);
    let blob = project.cached("blobs").remove(0);
    damage(&blob, |bytes| bytes[0] ^= 1);
    let verified = project.store().verify(&mut |_, _| {}).unwrap();
    assert_eq!(verified.damaged.len(), 1);
    assert_eq!(project.run(&sketch).all(State::Done), ["a"]);
    assert_eq!(project.store().verify(&mut |_, _| {}).unwrap().damaged, []);
}

#[test]
fn a_blob_that_is_gone_is_a_miss() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { size: Size::Tree, ..word("w") }, &[]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    project.run(&sketch);
    std::fs::remove_dir_all(project.cache.join("blobs")).unwrap();
    let seen = project.run(&sketch);
    assert_eq!(seen.all(State::Done), ["a"]);
    assert_eq!(seen.all(State::Hit), ["b"]);
}

#[test]
fn a_cache_deleted_under_good_results_fails_nobody() {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("small", word("s"), &[]);
    sketch.toy("large", Toy { size: Size::Large, ..word("l") }, &[From::Stage("small")]);
    sketch.on_port("last", word("e"), 1, &[From::Stage("small")]);
    project.run(&sketch);
    std::fs::remove_dir_all(&project.cache).unwrap();
    sketch.pipeline.stages[2].config["word"] = "f".into();
    let seen = project.run(&sketch);
    assert_eq!(seen.finished.exit, 0, "{seen:?}");
    assert_eq!(seen.started(), ["large", "last"], "what is small is still there");
    assert_eq!(project.result("last"), "f0(s0())");
}

#[test]
fn blobs_and_records_are_read_only() {
    let project = Project::new();
    project.run(&chain(&project));
    for path in project.cached("blobs").into_iter().chain(project.cached("records")) {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_symlink() || metadata.permissions().mode() & 0o222 == 0, "{}", path.display());
    }
}

#[test]
fn a_cache_of_another_format_is_refused() {
    let project = Project::new();
    project.write("cache/format", "pipe cache 9\n");
    let error = Store::open(&project.cache).unwrap_err();
    assert!(error.to_string().contains("has the format \"pipe cache 9\\n\""), "{error}");
}

#[test]
fn a_sweep_keeps_what_the_latest_runs_need_and_takes_the_rest_once_it_is_old() {
    let project = Project::new();
    project.write("f", "1");
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { size: Size::Large, ..word("w") }, &[From::File("f")]);
    project.run(&sketch);
    project.write("f", "2");
    project.run(&sketch);
    let store = project.store();
    let young = store.sweep(Duration::ZERO).unwrap();
    assert_eq!(young.items, [], "nothing is older than the least grace");
    let old = store.sweep_at(i64::MAX).unwrap();
    assert_eq!(old.items.iter().filter(|i| i.why == crate::store::gc::Why::Unneeded).count(), 1);
    assert_eq!(old.items.iter().filter(|i| i.why == crate::store::gc::Why::Unnamed).count(), 1);
    assert!(store.carry_out(&old).is_empty());
    assert_eq!(project.run(&sketch).started(), [""; 0]);
    assert_eq!(project.cached("trash").len(), 2);
    let expired = store.sweep_at(i64::MAX).unwrap();
    assert!(expired.items.iter().all(|i| i.why == crate::store::gc::Why::Expired));
    store.carry_out(&expired);
    assert_eq!(project.cached("trash").len(), 0);
    project.write("f", "1");
    assert_eq!(project.run(&sketch).started(), ["a"]);
}
