#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::error::Look;
use crate::graph::{Feed, Stage};

mod command_line;
mod diagnostics;
mod expansion;
mod large;
mod layers;
mod toys;

/// A project in a temporary directory; its pipeline is `p.toml`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(pipeline: &str) -> Folder {
        Folder(tempfile::tempdir().unwrap()).file("pipe.toml", "").file("p.toml", pipeline)
    }

    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Folder {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn try_load(&self, words: &[&str]) -> Result<Loaded, Diagnostics> {
        let overrides = words.iter().map(|word| (*word).to_owned()).collect();
        let machine = Machine { cpus: 8, memory_mib: 4096 };
        load(&toys::PROGRAM, &Load { file: self.0.path().join("p.toml"), overrides, machine })
    }

    #[track_caller]
    fn load(&self, words: &[&str]) -> Loaded {
        self.try_load(words).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Look::Unicode, 100)))
    }

    /// What a person sees of the mistakes.
    #[track_caller]
    fn mistakes(&self, words: &[&str]) -> String {
        let mistakes = self.try_load(words).expect_err("there are mistakes in it");
        assert!(!mistakes.is_empty());
        mistakes.render(Look::Unicode, 100)
    }

    fn codes(&self, words: &[&str]) -> Vec<&'static str> {
        let mistakes = self.try_load(words).expect_err("there are mistakes in it");
        mistakes.mistakes().iter().map(|mistake| mistake.code).collect()
    }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.pipeline.stages.iter().map(|stage| stage.name.as_str()).collect()
}

fn stage<'a>(loaded: &'a Loaded, name: &str) -> &'a Stage {
    loaded.pipeline.stages.iter().find(|stage| stage.name == name).unwrap()
}

/// What feeds a stage, in words: `port: producer.output, file`.
fn fed(loaded: &Loaded, name: &str) -> Vec<String> {
    let stage = stage(loaded, name);
    let feed = |feed: &Feed| match feed {
        Feed::File { label, .. } => label.clone(),
        Feed::Output { stage, port } => {
            let producer = &loaded.pipeline.stages[stage.index()];
            format!("{}.{}", producer.name, producer.contract.outputs[*port].name)
        }
    };
    let wire = |wire: &crate::graph::Wire| {
        let from: Vec<String> = wire.from.iter().map(feed).collect();
        format!("{}: {}", stage.contract.inputs[wire.port].name, from.join(", "))
    };
    stage.inputs.iter().map(wire).collect()
}
