//! A project in a directory of its own, and the program run in it: what the tests of whole pipelines stand on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

/// The program under test.
pub(crate) const PIPE: &str = env!("CARGO_BIN_EXE_pipe");

/// A project with the quick start in small: few requests, a narrow scheduler, the shortest profile.
pub(crate) struct Project {
    directory: TempDir,
}

/// What the program left when it ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// One run of everything, made once for all tests of a file; they work on copies of it.
static SERVED: LazyLock<(Project, Outcome)> = LazyLock::new(|| {
    let project = Project::new();
    let outcome = project.run(&["--json"]);
    (project, outcome)
});

impl Project {
    /// A project where nothing has run.
    pub(crate) fn new() -> Project {
        let project = Project { directory: temporary() };
        std::fs::create_dir_all(project.at("models")).expect("a directory can be made");
        std::fs::create_dir_all(project.at("pipelines")).expect("a directory can be made");
        project.take("pipe.toml");
        project.take("configs");
        project.take("models/tiny-qwen3");
        project.take("pipelines/quickstart.toml");
        project.edit("pipelines/quickstart.toml", "requests = 64, rate_per_s = 5.0", "requests = 8, rate_per_s = 40.0");
        let limits = "max_total_tokens = 72, max_prompt_tokens = 64, max_output_tokens = 8";
        project.edit("pipelines/quickstart.toml", "max_total_tokens = 1024", limits);
        let text = project.text("pipelines/quickstart.toml").replace("repeat = 3\n", "");
        project.write("pipelines/quickstart.toml", text);
        let small = "config = { seconds = 0.1, grid = \"coarse\" }";
        project.edit("pipelines/quickstart.toml", "config = { seconds = 5.0 }", small);
        project.edit("configs/scheduler/cpu.toml", "max_batched_tokens = 64", "max_batched_tokens = 32");
        project.edit("configs/scheduler/cpu.toml", "max_sequences = 8", "max_sequences = 4");
        project.edit("configs/scheduler/cpu.toml", "kv_blocks = 512", "kv_blocks = 32");
        project.edit("configs/scheduler/cpu.toml", "max_sequence_tokens = 1024\n", "");
        project
    }

    /// Takes a file or folder of the house into the project, at the same place.
    pub(crate) fn take(&self, path: &str) {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &self.at(path));
    }

    /// A copy of the project where everything ran once.
    pub(crate) fn served() -> Project {
        Project::first_run().ends_with(0);
        let project = Project { directory: temporary() };
        for name in ["pipe.toml", "configs", "models", "pipelines", "cache", ".pipe", "results"] {
            copy(&SERVED.0.at(name), &project.at(name));
        }
        project
    }

    /// What that one run said.
    pub(crate) fn first_run() -> &'static Outcome {
        &SERVED.1
    }

    /// A path in it.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A file's text.
    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("it lies in the project")).expect("a directory can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }

    /// Replaces what stands exactly once in a file.
    pub(crate) fn edit(&self, path: &str, old: &str, new: &str) {
        let text = self.text(path);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {path}");
        self.write(path, text.replacen(old, new, 1));
    }

    /// `pipe run quickstart` with more words.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        self.pipe(&[&["run", "quickstart"], words].concat())
    }

    /// The program in the project.
    pub(crate) fn pipe(&self, words: &[&str]) -> Outcome {
        outcome(self.command(PIPE).args(words))
    }

    /// Any program in the project, without settings of whoever runs the tests.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("NO_COLOR", "1").env_remove("PIPE_CACHE");
        command
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Outcome {
    /// All that it wrote, in one line: a message may have been wrapped.
    pub(crate) fn said(&self) -> String {
        format!("{} {}", self.out, self.err).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32) -> &Outcome {
        assert_eq!(self.code, Some(code), "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    /// Fails the test unless all of it was said.
    #[track_caller]
    pub(crate) fn names(&self, words: &[&str]) -> &Outcome {
        for word in words {
            assert!(self.said().contains(word), "`{word}` is not in\n{}\n{}", self.out, self.err);
        }
        self
    }

    /// The stages with an event of this name, of a run with `--json`.
    pub(crate) fn stages(&self, event: &str) -> BTreeSet<String> {
        let events = self.out.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|e| panic!("{e} in a line of --json: {line}"))
        });
        let events = events.map(|line| line["what"].clone()).filter(|what| what["event"] == event);
        events.map(|what| what["stage"].as_str().expect("it is a text").to_owned()).collect()
    }
}

fn temporary() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made")
}

/// Copies a file or a tree with its links and times.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().expect("cp starts");
    assert!(done.success(), "cannot copy {}", from.display());
}
