//! One try at a stage is one directory, and that is the whole protocol:
//!
//! ```text
//! manifest.json   what is to be done; written before anything starts, never changed
//! in/             inputs: links, and small ones as files
//! out/            one file or tree a port
//! events.jsonl    progress and figures, appended by the stage
//! log             what it wrote to standard output and error; locked for as long as any process of it lives
//! outcome.json    last, by rename: the stage's word that `out/` is complete
//! ```
//! It does not know the store's names or who started it. Invariant: success is the outcome and all outputs, never an
//! exit code alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Usage;
use crate::exec::Source;
use crate::fault;
use crate::key::Key;
use crate::kind::{Meaning, Sort, StageError};
use crate::store::{Made, StoreError, failed, make_like};

#[cfg(test)]
mod tests;

/// The number of this protocol.
pub const FORMAT: u32 = 1;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The kind of stage.
    pub kind: String,
    /// Its key.
    pub key: Key,
    /// The run.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage's name.
    pub stage: String,
    /// The configuration after defaults.
    pub config: Value,
    /// Sources by input port.
    pub inputs: BTreeMap<String, Vec<Source>>,
    /// Output ports.
    pub outputs: Vec<String>,
    /// Cores it holds.
    pub cpus: u16,
    /// Cards it holds, by UUID.
    pub gpus: Vec<String>,
}

/// How a stage ended, in its own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// Good or not.
    pub ended: Ended,
    /// What does not pass, if a gate failed.
    pub gate: Option<String>,
    /// To be remembered in the record.
    pub circumstances: BTreeMap<String, Value>,
    /// What it used, as far as it can tell itself.
    pub usage: Usage,
}

/// Good or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// `out/` is complete.
    Good,
    /// It gave up.
    Failed(StageError),
    /// It fell over.
    Panicked(String),
}

/// Where an output is to appear.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its port.
    pub port: String,
    /// Path below `out/`.
    pub below: String,
    /// By what it is digested besides its bytes.
    pub meaning: Option<Meaning>,
}

/// An output of an attempt that ended well.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its port.
    pub port: String,
    /// Where it lies.
    pub path: PathBuf,
    /// By what it is digested besides its bytes.
    pub meaning: Option<Meaning>,
}

/// Everything about an attempt that ended well.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The kind of stage.
    pub kind: String,
    /// Computation or measurement.
    pub sort: Sort,
    /// One for each output port.
    pub outputs: Vec<Output>,
    /// What it used.
    pub usage: Usage,
    /// By whom, where, when.
    pub made: Made,
    /// To be remembered.
    pub circumstances: BTreeMap<String, Value>,
    /// What does not pass.
    pub gate: Option<String>,
    /// The log's last lines.
    pub log_tail: Vec<String>,
    /// The key's text.
    pub text: String,
}

/// An attempt's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where it lies, absolute.
    pub directory: PathBuf,
}

/// What became of an attempt that somebody else began.
#[derive(Debug)]
pub enum Left {
    /// It ended well and nobody has taken its outputs.
    Finished(Attempt, Box<Outcome>),
    /// A process of it still lives.
    Running(Attempt),
    /// It came to nothing.
    Nothing,
}

impl Attempt {
    /// A new directory `name` under `attempts` with its manifest. `fill` puts the inputs in before that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(
        attempts: &Path,
        name: &str,
        fill: impl FnOnce(&Attempt) -> Result<Manifest, StoreError>,
    ) -> Result<Attempt, StoreError> {
        let attempt = Attempt { directory: attempts.join(name) };
        let out = attempt.directory.join("out");
        make_like(&out, attempts).map_err(failed("make", &out))?;
        let manifest = fill(&attempt)?;
        let path = attempt.manifest_path();
        let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest has string keys only");
        std::fs::write(&path, bytes).map_err(failed("write", &path))?;
        fault::point("attempt.manifest");
        Ok(attempt)
    }

    /// Where `manifest.json` lies.
    pub fn manifest_path(&self) -> PathBuf {
        self.directory.join("manifest.json")
    }

    /// Where `log` lies.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where `events.jsonl` lies.
    pub fn events_path(&self) -> PathBuf {
        self.directory.join("events.jsonl")
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// When it cannot be read, or is of another format.
    pub fn manifest(&self) -> Result<Manifest, StageError> {
        read_manifest(&self.manifest_path())
    }

    /// Writes the outcome: the last thing an attempt's process does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn conclude(&self, outcome: &Outcome) -> std::io::Result<()> {
        let temporary = self.directory.join(".outcome.json");
        std::fs::write(&temporary, serde_json::to_vec_pretty(outcome).expect("an outcome has string keys only"))?;
        fault::point("exec.outcome");
        std::fs::rename(&temporary, self.directory.join("outcome.json"))
    }

    /// The outcome, if there is one that can be read.
    pub fn outcome(&self) -> Option<Outcome> {
        let bytes = std::fs::read(self.directory.join("outcome.json")).ok()?;
        serde_json::from_slice::<Outcome>(&bytes).ok().filter(|outcome| outcome.format == FORMAT)
    }

    /// The outputs, of which each must be there.
    ///
    /// # Errors
    /// Those that are missing.
    pub fn outputs(&self, places: &[Place]) -> Result<Vec<Output>, StageError> {
        let out = self.directory.join("out");
        let outputs: Vec<Output> = places
            .iter()
            .map(|p| Output { port: p.port.clone(), path: out.join(&p.below), meaning: p.meaning })
            .collect();
        let missing: Vec<String> = outputs
            .iter()
            .zip(places)
            .filter(|(output, _)| output.path.symlink_metadata().is_err())
            .map(|(_, place)| format!("`out/{}`", place.below))
            .collect();
        if missing.is_empty() {
            return Ok(outputs);
        }
        Err(StageError::new(format!("it ended without writing {}", missing.join(", "))))
    }

    /// The last lines of the log, at most `lines` and 4 KiB.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        const MOST: u64 = 4096;
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            let length = file.metadata().map_or(0, |m| m.len());
            let _ = file.seek(SeekFrom::Start(length.saturating_sub(MOST)));
            let _ = file.take(MOST).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// What became of it, if it was begun for `key` by an engine that is gone.
    pub fn left(self, key: Key) -> Left {
        if self.manifest().is_ok_and(|m| m.key != key) {
            return Left::Nothing;
        }
        if is_running(&self.directory) {
            return Left::Running(self);
        }
        match self.outcome() {
            Some(outcome) if outcome.ended == Ended::Good => Left::Finished(self, Box::new(outcome)),
            _ => Left::Nothing,
        }
    }

    /// Removes it with everything in it. Best effort: what stays is litter that gc finds.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Reads a manifest.
///
/// # Errors
/// When it cannot be read, or is of another format.
pub fn read_manifest(path: &Path) -> Result<Manifest, StageError> {
    let bytes =
        std::fs::read(path).map_err(|e| StageError::new(format!("cannot read `{}`", path.display())).because(&e))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| StageError::new(format!("`{}` is no manifest", path.display())).because(&e))?;
    if manifest.format != FORMAT {
        let (found, path) = (manifest.format, path.display());
        return Err(StageError::new(format!("`{path}` has the format {found}, and this program knows {FORMAT}")));
    }
    Ok(manifest)
}

/// Opens the log of the attempt in `directory` and locks it: the lock is held by every process that has this
/// descriptor as its output, and goes with the last of them.
///
/// # Errors
/// When it cannot be made.
pub fn open_log(directory: &Path) -> std::io::Result<File> {
    let log = File::options().append(true).create(true).open(directory.join("log"))?;
    // A file system without locks loses adoption of what still runs, nothing else.
    let _ = log.try_lock();
    Ok(log)
}

/// Whether a process of the attempt in `directory` still lives.
pub fn is_running(directory: &Path) -> bool {
    // Writable, because a lock on a network file system asks for it.
    let Ok(log) = File::options().append(true).open(directory.join("log")) else { return false };
    matches!(log.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}
