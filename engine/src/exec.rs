//! The child's side of `pipe stage exec`: [`Io`] is how a stage reads its inputs, writes its outputs and reports.
//!
//! A stage does not know keys, stores or who started it. Every path it may touch comes from here. [`main`] is the
//! whole of that process: read the manifest, do the work, see that every output is there, leave an outcome.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::attempt::{self, Attempt, Ended, Manifest, Outcome, Place};
use crate::event::Usage;
use crate::fault;
use crate::kind::{Kind, Program, StageError};

#[cfg(test)]
mod tests;

/// One source on an input port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// What a person calls it: `sim.run`, or the path as written in the pipeline file.
    pub label: String,
    /// Where it lies: a file or a tree, read-only.
    pub path: PathBuf,
    /// BLAKE3 of its content, 64 hexadecimal digits, for provenance.
    pub digest: String,
}

/// A stage's window on the world.
#[derive(Debug)]
pub struct Io {
    pub(crate) inputs: BTreeMap<String, Vec<Source>>,
    pub(crate) outputs: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) events: Option<File>,
    pub(crate) cpus: u16,
    pub(crate) gpus: Vec<String>,
    pub(crate) gate: Option<String>,
    pub(crate) facts: BTreeMap<String, serde_json::Value>,
}

impl Io {
    /// A window for tests and for running a kind without an engine: outputs under `directory`/out.
    pub fn detached(directory: impl Into<PathBuf>, inputs: BTreeMap<String, Vec<Source>>, outputs: &[&str]) -> Io {
        Io {
            inputs,
            outputs: outputs.iter().map(|s| (*s).to_owned()).collect(),
            directory: directory.into(),
            events: None,
            cpus: 1,
            gpus: Vec::new(),
            gate: None,
            facts: BTreeMap::new(),
        }
    }

    /// A window for the attempt in `directory`.
    fn of(manifest: &Manifest, directory: &Path) -> Io {
        let events = File::options().append(true).create(true).open(directory.join("events.jsonl")).ok();
        Io {
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            directory: directory.to_owned(),
            events,
            cpus: manifest.cpus,
            gpus: manifest.gpus.clone(),
            gate: None,
            facts: BTreeMap::new(),
        }
    }

    /// The one source on the input port `name`.
    ///
    /// # Errors
    /// When nothing is wired to it.
    pub fn input(&self, name: &str) -> Result<&Source, StageError> {
        self.optional(name).ok_or_else(|| StageError::new(format!("nothing is wired to the input `{name}`")))
    }

    /// The one source on the input port `name`, if something is wired to it.
    pub fn optional(&self, name: &str) -> Option<&Source> {
        self.inputs.get(name).and_then(|sources| sources.first())
    }

    /// All sources on the input port `name`, in the order of the pipeline file.
    pub fn many(&self, name: &str) -> &[Source] {
        self.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every input port that is wired, with its sources, by name.
    pub fn all_inputs(&self) -> &BTreeMap<String, Vec<Source>> {
        &self.inputs
    }

    /// Where the output port `name` is to be written: one file, or one directory that the stage makes.
    ///
    /// # Errors
    /// When the contract has no such output, or its parent directory cannot be made.
    pub fn output(&self, name: &str) -> Result<PathBuf, StageError> {
        if !self.outputs.iter().any(|o| o == name) {
            return Err(StageError::new(format!("the contract has no output `{name}`")));
        }
        let out = self.directory.join("out");
        std::fs::create_dir_all(&out)
            .map_err(|e| StageError::new(format!("cannot make `{}`", out.display())).because(&e))?;
        Ok(out.join(name))
    }

    /// A directory for what need not last; it goes with the attempt.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, StageError> {
        let scratch = self.directory.join("scratch");
        std::fs::create_dir_all(&scratch)
            .map_err(|e| StageError::new(format!("cannot make `{}`", scratch.display())).because(&e))?;
        Ok(scratch)
    }

    /// Cores that this stage holds.
    pub fn cpus(&self) -> u16 {
        self.cpus
    }

    /// UUIDs of the cards that this stage holds.
    pub fn gpus(&self) -> &[String] {
        &self.gpus
    }

    /// Says how far the work has come. Cheap, but not for a timed region.
    pub fn progress(&mut self, done: u64, total: u64, note: &str) {
        self.emit(&serde_json::json!({ "progress": { "done": done, "total": total, "note": note } }));
    }

    /// Reports a figure while running (shown in the run's view, kept in the record).
    pub fn metric(&mut self, name: &str, value: f64, unit: &str) {
        self.emit(&serde_json::json!({ "metric": { "name": name, "value": value, "unit": unit } }));
    }

    /// Says something a person should read although the stage goes on.
    pub fn warn(&mut self, message: &str) {
        self.emit(&serde_json::json!({ "warning": message }));
    }

    /// Keeps a circumstance of this attempt in its record (clocks, temperature, versions); it never enters a key.
    pub fn circumstance(&mut self, name: &str, value: serde_json::Value) {
        self.facts.insert(name.to_owned(), value);
    }

    /// Says that the stage did its work and what it found does not pass: outputs are kept, what depends on it
    /// runs, and the run ends with the exit code of a failed gate, also when this result is a hit later.
    pub fn fail_gate(&mut self, message: impl Into<String>) {
        self.gate = Some(message.into());
    }

    fn emit(&mut self, event: &serde_json::Value) {
        if let Some(file) = &mut self.events {
            // Progress is a courtesy: a full disk must not turn it into a failure.
            let _ = file.write_all(format!("{event}\n").as_bytes());
        }
    }

    /// The attempt's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The child's process: does what the manifest says and leaves an outcome beside it. The exit code only repeats the
/// outcome for whoever runs a stage by hand.
pub fn main(program: &Program, manifest: &Path) -> ExitCode {
    match perform(program.kinds, manifest) {
        Ok(Ended::Good) => ExitCode::SUCCESS,
        Ok(Ended::Failed(error)) => complain(&error),
        // The panic has already been told on standard error.
        Ok(Ended::Panicked(_)) => ExitCode::from(3),
        Err(error) => complain(&error),
    }
}

/// Tells the log what went wrong.
fn complain(error: &StageError) -> ExitCode {
    // Standard error is the attempt's log here; if it cannot be written, the outcome still says it.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    if let Some(help) = &error.help {
        let _ = writeln!(std::io::stderr(), "help: {help}");
    }
    ExitCode::from(3)
}

/// Does what `manifest` says with one of `kinds`, and leaves an outcome beside it.
///
/// # Errors
/// When there can be no outcome: no manifest, or nowhere to write.
pub(crate) fn perform(kinds: &[Kind], manifest: &Path) -> Result<Ended, StageError> {
    let path = manifest
        .canonicalize()
        .map_err(|e| StageError::new(format!("cannot find `{}`", manifest.display())).because(&e))?;
    let manifest = attempt::read_manifest(&path)?;
    let directory = path.parent().expect("a file has a directory");
    let attempt = Attempt { directory: directory.to_owned() };
    fault::point("exec.begun");
    let mut io = Io::of(&manifest, directory);
    let ended = match kinds.iter().find(|kind| kind.name == manifest.kind) {
        None => Ended::Failed(StageError::new(format!("this program has no kind `{}`", manifest.kind))),
        Some(kind) => {
            let config = manifest.config.to_string();
            match catch_unwind(AssertUnwindSafe(|| (kind.run)(&config, &mut io))) {
                Ok(Ok(())) => complete(&attempt, &manifest),
                Ok(Err(error)) => Ended::Failed(error),
                Err(panic) => Ended::Panicked(words(panic.as_ref())),
            }
        }
    };
    fault::point("exec.outputs");
    let outcome = Outcome {
        format: attempt::FORMAT,
        ended: ended.clone(),
        gate: io.gate,
        circumstances: io.facts,
        usage: usage(),
    };
    attempt.conclude(&outcome).map_err(|e| StageError::new("cannot write the outcome").because(&e))?;
    fault::point("exec.concluded");
    Ok(ended)
}

/// Good, if every output is there.
fn complete(attempt: &Attempt, manifest: &Manifest) -> Ended {
    let place = |port: &String| Place { port: port.clone(), below: port.clone(), meaning: None };
    match attempt.outputs(&manifest.outputs.iter().map(place).collect::<Vec<_>>()) {
        Ok(_) => Ended::Good,
        Err(error) => Ended::Failed(error),
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked without words".to_owned())
}

/// What this process can tell of itself that its parent cannot: the largest resident set.
fn usage() -> Usage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Usage { peak_memory_bytes: peak_memory_bytes(&status), ..Usage::default() }
}

/// The largest resident set in the text of a `/proc/PID/status`; 0 where it is not said.
pub(crate) fn peak_memory_bytes(status: &str) -> u64 {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}
