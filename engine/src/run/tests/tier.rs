//! Two tiers: what is asked for where, what is fetched and what is not, and that no tier costs a run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::event::State;
use crate::kind::Sort;
use crate::store::settings::{Check, Push};
use crate::store::tier::{Blob, Directory, Listed, Moved, Name, Tier, TierError, sweep};
use crate::store::{Found, Settings};
use crate::testing::{From, Project, Size, Sketch, Toy, word};

/// A project whose cache has a second tier, in `shared` beside all else of it.
fn project(shared: &Project) -> Project {
    shared.store();
    let project = Project::with(shared_settings);
    std::os::unix::fs::symlink(&shared.cache, project.root.join("shared")).unwrap();
    project
}

fn shared_settings(root: &Path) -> Settings {
    Settings { tier: Some(Arc::new(Directory::open(&root.join("shared")).unwrap())), ..Settings::default() }
}

fn large(said: &str) -> Toy {
    Toy { size: Size::Large, ..word(said) }
}

/// Small, then large, then a tree, then what tells of it.
fn chain(project: &Project, last: &str) -> Sketch {
    let mut sketch = project.sketch();
    sketch.toy("small", word("s"), &[]);
    sketch.toy("large", large("l"), &[From::Stage("small")]);
    sketch.toy("tree", Toy { size: Size::Tree, ..word("t") }, &[From::Stage("large")]);
    sketch.toy("last", word(last), &[From::Stage("tree")]);
    for stage in &mut sketch.pipeline.stages {
        // What is shown is read.
        stage.contract.outputs[0].shown = false;
    }
    sketch
}

#[test]
fn what_one_computed_is_a_hit_for_another_and_no_blob_comes_that_nobody_reads() {
    let shared = Project::new();
    let (mine, theirs) = (project(&shared), project(&shared));
    assert_eq!(mine.run(&chain(&mine, "e")).all(State::Done).len(), 4);
    let seen = theirs.run(&chain(&theirs, "e"));
    assert_eq!((seen.started(), seen.warnings()), (vec![], vec![]));
    assert_eq!(theirs.result("last"), mine.result("last"));
    assert_eq!(theirs.cached("blobs").len(), 0, "records answer, and nobody read a blob");
    assert_eq!(theirs.cached("records").len(), 4);
    assert_eq!(theirs.run(&chain(&theirs, "e")).started(), [""; 0]);
    // Now somebody reads the tree, and the tree alone.
    let seen = theirs.run(&chain(&theirs, "f"));
    assert_eq!(seen.started(), ["last"], "{seen:?}");
    assert!(theirs.result("last").starts_with("f0(t0(l0(s0())"));
    assert_eq!(theirs.cached("blobs").len(), 3, "the files of one tree");
    assert_eq!(theirs.store().verify(&mut |_, _| {}).unwrap().damaged, []);
}

#[test]
fn outputs_that_no_stage_takes_are_fetched_for_people() {
    let shared = Project::new();
    let (mine, theirs) = (project(&shared), project(&shared));
    let sketch = |project: &Project| {
        let mut sketch = project.sketch();
        sketch.toy("a", large("a"), &[]);
        sketch
    };
    mine.run(&sketch(&mine));
    theirs.run(&sketch(&theirs));
    assert_eq!(theirs.result("a"), mine.result("a"));
}

#[test]
fn what_comes_from_a_tier_damaged_is_not_believed_but_computed_again() {
    let shared = Project::new();
    let (mine, theirs) = (project(&shared), project(&shared));
    mine.run(&chain(&mine, "e"));
    for path in shared.cached("blobs") {
        if !path.is_symlink() {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[0] ^= 1;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let seen = theirs.run(&chain(&theirs, "f"));
    assert_eq!(seen.finished.exit, 0, "{seen:?}");
    assert_eq!(seen.all(State::Done), ["large", "tree", "last"], "{seen:?}");
    assert!(seen.warnings().iter().all(|w| w.contains("gave for it is something else")), "{:?}", seen.warnings());
    assert!(theirs.result("last").starts_with("f0(t0(l0(s0())"));
    assert_eq!((seen.finished.hits, seen.finished.done), (1, 3));
}

#[test]
fn a_tier_that_lost_its_blobs_costs_their_computing_and_no_run() {
    let shared = Project::new();
    let (mine, theirs) = (project(&shared), project(&shared));
    mine.run(&chain(&mine, "e"));
    std::fs::remove_dir_all(shared.cache.join("blobs")).unwrap();
    let seen = theirs.run(&chain(&theirs, "f"));
    assert_eq!((seen.finished.exit, seen.all(State::Done)), (0, vec!["large", "tree", "last"]), "{seen:?}");
    // What was computed again was given to it.
    let third = project(&shared);
    assert_eq!(third.run(&chain(&third, "g")).started(), ["last"]);
}

#[test]
fn records_of_a_tier_are_looked_at_like_all_others() {
    let shared = Project::new();
    let (mine, theirs) = (project(&shared), project(&shared));
    mine.run(&chain(&mine, "e"));
    for path in shared.cached("records") {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "{\"format\":1}\n").unwrap();
    }
    let seen = theirs.run(&chain(&theirs, "e"));
    assert_eq!((seen.finished.exit, seen.all(State::Done).len()), (0, 4));
    assert!(seen.warnings()[0].contains("is not used: it is cut short"), "{:?}", seen.warnings());
}

/// Answers nothing, or hangs nobody: it is broken.
#[derive(Debug)]
struct Broken;

impl Tier for Broken {
    fn name(&self) -> String {
        "the broken one".to_owned()
    }
    fn get(&self, _: &Name, _: u64) -> Result<Option<Vec<u8>>, TierError> {
        Err("no route to host".to_owned())
    }
    fn put_if_absent(&self, _: &Name, _: &[u8]) -> Result<bool, TierError> {
        panic!("it is asked no more")
    }
    fn put(&self, _: &Name, _: &[u8]) -> Result<(), TierError> {
        panic!("it is asked no more")
    }
    fn fetch(&self, _: &Blob, _: &Path, _: Moved<'_>) -> Result<bool, TierError> {
        panic!("it is asked no more")
    }
    fn push(&self, _: &Blob, _: &Path, _: Moved<'_>) -> Result<(), TierError> {
        panic!("it is asked no more")
    }
    fn list(&self) -> Result<Vec<Listed>, TierError> {
        Err("no route to host".to_owned())
    }
    fn delete(&self, _: &Name) -> Result<(), TierError> {
        Err("no route to host".to_owned())
    }
}

#[test]
fn a_tier_that_cannot_be_reached_is_one_warning() {
    let settings = |_: &Path| Settings { tier: Some(Arc::new(Broken)), ..Settings::default() };
    let project = Project::with(settings);
    let seen = project.run(&chain(&project, "e"));
    assert_eq!((seen.finished.exit, seen.all(State::Done).len()), (0, 4));
    let expected =
        "cannot read a record from the shared tier the broken one: no route to host; this run goes on without it";
    assert_eq!(seen.warnings(), [expected]);
}

#[test]
fn a_tier_whose_disk_was_taken_away_is_broken_and_not_empty() {
    let shared = Project::new();
    let mine = project(&shared);
    let store = mine.store();
    std::fs::remove_dir_all(&shared.cache).unwrap();
    assert!(matches!(store.find("0".repeat(64).parse().unwrap()), Ok(Found::Nothing)));
    assert!(store.troubles()[0].contains("this run goes on without it"));
}

#[test]
fn only_what_the_policy_says_is_given() {
    for (push, measured, expected) in [(Push::None, true, 0), (Push::Measured, true, 1), (Push::Measured, false, 0)] {
        let shared = Project::new();
        let mine = project(&shared);
        let directory = Directory::open(&mine.root.join("shared")).unwrap();
        let store = crate::store::Store::open_with(
            &mine.cache,
            Settings { tier: Some(Arc::new(directory)), push, ..Settings::default() },
        );
        let sort = if measured { Sort::Measured } else { Sort::Computed };
        assert_eq!(store.unwrap().pushes(sort), expected == 1);
    }
}

#[test]
fn a_cache_that_can_only_be_read_gives_its_hits_and_keeps_nothing() {
    // Root may write everywhere: then a read-only mount would be needed, which is tried in `full.rs`' way elsewhere.
    if rustix::process::geteuid().is_root() {
        return crate::testing::as_another_user(
            "run::tests::tier::a_cache_that_can_only_be_read_gives_its_hits_and_keeps_nothing",
        );
    }
    let (mine, mut theirs) = (Project::new(), Project::new());
    mine.run(&chain(&mine, "e"));
    let before = files(&mine);
    set_modes(&mine.cache, 0o555);
    theirs.cache.clone_from(&mine.cache);
    theirs.settings = |root| Settings { local: Some(root.join(".pipe/cache")), ..Settings::default() };
    let hits = theirs.run(&chain(&theirs, "e"));
    let computed = theirs.run(&chain(&theirs, "f"));
    set_modes(&mine.cache, 0o755);
    assert_eq!(hits.started(), [""; 0], "{hits:?}");
    assert!(hits.warnings()[0].contains("can only be read"), "{hits:?}");
    assert_eq!((computed.finished.exit, computed.started()), (0, vec!["last"]), "{computed:?}");
    assert!(theirs.root.join(".pipe/cache/records").is_dir());
    assert_eq!(files(&mine), before);
    set_modes(&mine.cache, 0o555);
    assert_eq!(theirs.run(&chain(&theirs, "f")).started(), [""; 0]);
    set_modes(&mine.cache, 0o755);
}

fn files(project: &Project) -> Vec<std::path::PathBuf> {
    ["blobs", "records", "reserved", "roots", "attempts", "trash"].into_iter().flat_map(|d| project.cached(d)).collect()
}

/// Gives every directory of a cache this mode.
fn set_modes(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for entry in std::fs::read_dir(path).unwrap().flatten().filter(|e| e.file_type().unwrap().is_dir()) {
        set_modes(&entry.path(), mode);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn bytes_are_looked_at_before_their_first_use_where_the_project_says_so() {
    let checked = |_: &Path| Settings { check: Some(Check::FirstUse), ..Settings::default() };
    let project = Project::with(checked);
    let mut sketch = project.sketch();
    sketch.toy("a", large("a"), &[]);
    sketch.toy("b", word("b"), &[From::Stage("a")]);
    project.run(&sketch);
    let blob = project.cached("blobs").remove(0);
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();
    sketch.pipeline.stages[1].config["word"] = "c".into();
    let seen = project.run(&sketch);
    assert_eq!((seen.finished.exit, seen.all(State::Done)), (0, vec!["a", "b"]), "{seen:?}");
    assert!(seen.warnings()[0].contains("are not what its name says; it is computed again"), "{:?}", seen.warnings());
    assert!(project.result("b").starts_with("c0(a0())"));
    // What was seen to be good is not read again.
    sketch.pipeline.stages[1].config["word"] = "d".into();
    assert_eq!(project.run(&sketch).all(State::Done), ["b"]);
}

#[test]
fn a_sweep_of_a_tier_keeps_what_projects_need_and_what_is_young() {
    let shared = Project::new();
    let mine = project(&shared);
    mine.write("f", "1");
    let mut sketch = mine.sketch();
    sketch.toy("a", large("w"), &[From::File("f")]);
    mine.run(&sketch);
    mine.write("f", "2");
    mine.run(&sketch);
    let tier = Directory::open(&shared.cache).unwrap();
    assert_eq!(sweep::sweep(&tier, 0).unwrap().goes, [], "all of it is young");
    let swept = sweep::sweep(&tier, i64::MAX).unwrap();
    let sorts: Vec<bool> = swept.goes.iter().map(|item| matches!(item.name, Name::Record(_))).collect();
    assert_eq!(sorts, [true, false], "a record, then its blob: {swept:?}");
    sweep::carry_out(&tier, &swept).unwrap();
    assert_eq!(sweep::sweep(&tier, i64::MAX).unwrap().goes, []);
    let theirs = project(&shared);
    theirs.write("f", "2");
    let mut again = theirs.sketch();
    again.toy("a", large("w"), &[From::File("f")]);
    assert_eq!(theirs.run(&again).started(), [""; 0]);
}
