#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::error::Look;
use crate::load::{Loaded, load};

/// The engine's own kind and nothing else.
static PROGRAM: Program =
    Program { kinds: &[], meanings: &[], verbs: &[], tiers: &[], version: "0", carries: |_| None };

/// A project of two hundred stages, each of which takes a file and the stage before.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("pipe.toml", "");
        folder.write("configs/words/few.toml", "env = { WORDS = \"few\" }\n");
        folder.write("data/in.txt", "x");
        let mut text = "name = \"many\"\n[choose]\nwords = \"few\"\n".to_owned();
        for n in 0..200 {
            let before = if n == 0 { String::new() } else { format!(", before = [\"s{}.out\"]", n - 1) };
            text += &format!("[stage.s{n}]\nkind = \"command\"\nuse = [\"words\"]\nretries = {}\n", n % 3);
            text += &format!("in = {{ text = \"data/in.txt\"{before} }}\n");
            text += &format!(
                "config = {{ argv = [\"sh\", \"-c\", \"x\", {n}], outputs.out.path = \"o\", outputs.out.meaning = \"json\", probes = [[\"a\", \"b\"]], sort = \"measured\", cpus = 1 }}\n"
            );
        }
        folder.write("p.toml", &text);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn request(&self, words: &[&str]) -> Load {
        let overrides = words.iter().map(|word| (*word).to_owned()).collect();
        Load { file: self.0.path().join("p.toml"), overrides, machine: Machine { cpus: 8, memory_mib: 4096 } }
    }

    fn load(&self) -> Loaded {
        load(&PROGRAM, &self.request(&[])).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Look::Unicode, 100)))
    }

    fn recall(&self) -> Option<Pipeline> {
        recall(&PROGRAM, &self.request(&[]), self.0.path())
    }

    fn kept(&self) -> PathBuf {
        place(self.0.path(), &self.request(&[]))
    }
}

/// All that a pipeline says, and the walk that enters each key.
fn said(pipeline: &Pipeline) -> String {
    let walks: Vec<_> = pipeline.stages.iter().map(|stage| stage.config.walk().into_owned()).collect();
    format!(
        "{:#?} {walks:?}",
        Pipeline {
            recalled: false,
            stages: Vec::new(),
            choices: pipeline.choices.clone(),
            name: pipeline.name.clone(),
            file: pipeline.file.clone(),
            root: pipeline.root.clone()
        }
    ) + &format!("{:#?}", pipeline.stages)
}

#[test]
fn what_is_recalled_is_what_was_loaded() {
    let folder = Folder::new();
    assert!(folder.recall().is_none());
    let loaded = folder.load();
    let recalled = folder.recall().unwrap();
    assert!(recalled.recalled);
    assert_eq!(said(&recalled), said(&loaded.pipeline));
}

#[test]
fn whatever_a_load_hangs_on_makes_it_load_again() {
    type Edit<'a> = (&'a str, &'a dyn Fn(&Folder));
    let edits: &[Edit<'_>] = &[
        ("the pipeline", &|f| {
            f.write("p.toml", &std::fs::read_to_string(f.0.path().join("p.toml")).unwrap().replace("\"x\"", "\"y\""))
        }),
        ("a comment in a fragment", &|f| f.write("configs/words/few.toml", "# few\nenv = { WORDS = \"few\" }\n")),
        ("the project's own file", &|f| f.write("pipe.toml", "[cache]\nsalt = \"s\"\n")),
        ("a second file of one choice", &|f| f.write("wordss/few/words.toml", "")),
        ("a file gone", &|f| std::fs::remove_file(f.0.path().join("configs/words/few.toml")).unwrap()),
    ];
    for (what, edit) in edits {
        let folder = Folder::new();
        folder.load();
        assert!(folder.recall().is_some());
        edit(&folder);
        assert!(folder.recall().is_none(), "{what}");
    }
    let folder = Folder::new();
    folder.load();
    let mut request = folder.request(&[]);
    request.machine.cpus = 4;
    assert!(recall(&PROGRAM, &request, folder.0.path()).is_none());
    assert!(recall(&PROGRAM, &folder.request(&["s1.retries=2"]), folder.0.path()).is_none());
}

#[test]
fn a_touched_text_is_not_a_changed_text() {
    let folder = Folder::new();
    folder.load();
    let text = std::fs::read(folder.0.path().join("p.toml")).unwrap();
    std::fs::write(folder.0.path().join("p.toml"), text).unwrap();
    assert!(folder.recall().is_some());
}

#[test]
fn a_form_that_is_torn_or_flipped_is_not_believed() {
    let folder = Folder::new();
    folder.load();
    let whole = std::fs::read(folder.kept()).unwrap();
    for at in (0..whole.len()).step_by(97) {
        std::fs::write(folder.kept(), &whole[..at]).unwrap();
        assert!(folder.recall().is_none(), "cut at {at}");
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(folder.kept(), bytes).unwrap();
        assert!(folder.recall().is_none(), "byte {at}");
    }
}

#[test]
fn a_forged_form_with_a_good_check_makes_no_panic() {
    let folder = Folder::new();
    folder.load();
    let whole = std::fs::read(folder.kept()).unwrap();
    let start = MAGIC.len() + 32;
    for at in start..whole.len().min(start + 4000) {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            if let Some(pipeline) = unpack(&PROGRAM, &folder.request(&[]), folder.0.path(), &Arc::new(bytes), start) {
                // Whatever it says, asking it makes no panic either.
                for stage in &pipeline.stages {
                    assert!(stage.producers().all(|producer| producer.index() < pipeline.stages.len()));
                    let _ = (stage.config.get("argv"), stage.origins.iter().count());
                }
            }
        }
    }
}

#[test]
fn a_load_with_a_remark_is_not_kept() {
    let folder = Folder::new();
    folder.write(
        "p.toml",
        &std::fs::read_to_string(folder.0.path().join("p.toml"))
            .unwrap()
            .replace("words = \"few\"\n", "words = \"few\"\nother = \"few\"\n"),
    );
    assert!(!folder.load().warnings.is_empty());
    assert!(folder.recall().is_none());
}

/// A small pipeline in its flat form, and what it takes to read it.
fn small() -> (Folder, Vec<u8>) {
    let folder = Folder::new();
    folder.load();
    let whole = std::fs::read(folder.kept()).unwrap();
    (folder, whole)
}

#[test]
fn contracts_and_stages_that_nobody_wrote_make_no_panic() {
    use proptest::strategy::{Strategy, ValueTree};
    let (folder, whole) = small();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let start = MAGIC.len() + 32;
    let payload = crate::fuzz::mangled(whole[start..].to_vec());
    for _ in 0..crate::fuzz::cases().cases / 4 {
        let payload = payload.new_tree(&mut runner).unwrap().current();
        let bytes = Arc::new([&whole[..start], &payload].concat());
        let _ = unpack(&PROGRAM, &folder.request(&[]), folder.0.path(), &bytes, start);
    }
}
