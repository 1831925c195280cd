//! What this project remembers from run to run, in one append-only log, `.pipe/memory`: digests of files by their
//! stamps, what became of each stage last, and digests by meaning.
//!
//! All of it is advice that saves work, except one thing: a digest recalled by its stamp is believed. So a stamp is
//! kept only when the file can no longer change without its stamp showing it (see [`Stamp::racy_at`]).
//!
//! The log is frames: length, sort, check, payload. A torn tail ends the reading; what stands before it counts, and
//! the next write makes the log anew. Nothing is ever rewritten a stage at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Remember, Stamp};
use crate::fault;
use crate::key::Key;
use crate::store::Artifact;

mod frame;

#[cfg(test)]
mod tests;

/// What became of a stage when it was last good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Its key.
    pub key: Key,
    /// The store that has its record.
    pub store: PathBuf,
    /// Its outputs by port, in order; small ones without their bytes.
    pub outputs: Vec<(String, Artifact)>,
    /// How long it took when it ran, ns.
    pub wall_ns: u64,
    /// The run and host that made the record.
    pub from: String,
    /// What does not pass, if its gate failed.
    pub gate: Option<String>,
}

/// What a project remembers.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    stats: Mutex<Stats>,
    stages: HashMap<String, Last>,
    texts: HashMap<String, Text>,
    /// Frames that are not in the log yet.
    pending: Vec<u8>,
    /// Bytes of the log, and of those the ones that no later frame has made void.
    log_bytes: u64,
    torn: bool,
    /// The clock of the project's file system less ours, ns.
    skew_ns: OnceLock<i64>,
}

#[derive(Debug, Default)]
struct Stats {
    files: HashMap<PathBuf, (Stamp, Digest)>,
    meanings: HashMap<(Digest, String), Digest>,
    pending: Vec<u8>,
}

/// Where the text of a stage's last key is: in the log, or not written yet.
#[derive(Debug, Clone)]
enum Text {
    Log { at: u64, bytes: usize },
    Here(String),
}

/// A log shorter than this is never made anew only because parts of it are void.
const SMALL_BYTES: u64 = 1 << 20;

impl Memory {
    /// Reads the memory of the project at `root`. One that cannot be read is empty: nothing is lost but time.
    pub fn open(root: &Path) -> Memory {
        Memory::at(root.join(".pipe/memory"))
    }

    /// Reads the log at `path`.
    fn at(path: PathBuf) -> Memory {
        let mut memory = Memory {
            path,
            stats: Mutex::default(),
            stages: HashMap::new(),
            texts: HashMap::new(),
            pending: Vec::new(),
            log_bytes: 0,
            torn: false,
            skew_ns: OnceLock::new(),
        };
        let mut log = Vec::new();
        match File::open(&memory.path).and_then(|mut f| f.read_to_end(&mut log)) {
            Ok(_) => memory.read(&log),
            Err(e) => memory.torn = e.kind() != std::io::ErrorKind::NotFound,
        }
        memory
    }

    fn read(&mut self, log: &[u8]) {
        self.log_bytes = log.len() as u64;
        let stats = self.stats.get_mut().expect("nobody else has it yet");
        let mut frames = frame::Frames::new(log);
        for (at, frame) in &mut frames {
            let understood = match frame.sort {
                frame::FILE => frame::parse_file(frame.payload).map(|(path, stamp, digest)| {
                    stats.files.insert(path, (stamp, digest));
                }),
                frame::MEANING => frame::parse_meaning(frame.payload).map(|(of, name, digest)| {
                    stats.meanings.insert((of, name), digest);
                }),
                frame::STAGE => serde_json::from_slice::<(String, Last)>(frame.payload).ok().map(|(name, last)| {
                    self.stages.insert(name, last);
                }),
                frame::TEXT => frame::parse_text(frame.payload).map(|(name, offset)| {
                    let bytes = frame.payload.len() - offset;
                    self.texts.insert(name.to_owned(), Text::Log { at: (at + offset) as u64, bytes });
                }),
                // A later version's; this one does without.
                _ => Some(()),
            };
            if understood.is_none() {
                self.torn = true;
                return;
            }
        }
        self.torn = !frames.is_at_end();
    }

    /// What became of `stage` of `pipeline` when it was last good.
    pub fn last(&self, pipeline: &str, stage: &str) -> Option<&Last> {
        self.stages.get(&name(pipeline, stage))
    }

    /// The text of the key that `stage` of `pipeline` had when it was last good.
    pub fn text(&self, pipeline: &str, stage: &str) -> Option<String> {
        match self.texts.get(&name(pipeline, stage))? {
            Text::Here(text) => Some(text.clone()),
            Text::Log { at, bytes } => {
                let mut buffer = vec![0; *bytes];
                File::open(&self.path).and_then(|f| f.read_exact_at(&mut buffer, *at)).ok()?;
                String::from_utf8(buffer).ok()
            }
        }
    }

    /// Remembers what became of `stage` of `pipeline`, and its key's text.
    pub fn remember(&mut self, pipeline: &str, stage: &str, last: Last, text: &str) {
        let name = name(pipeline, stage);
        let last = Last { outputs: last.outputs.into_iter().map(|(p, a)| (p, without_bytes(a))).collect(), ..last };
        frame::push(&mut self.pending, frame::TEXT, &[name.as_bytes(), b"\0", text.as_bytes()]);
        self.texts.insert(name.clone(), Text::Here(text.to_owned()));
        let row = (name, last);
        frame::push(&mut self.pending, frame::STAGE, &[&serde_json::to_vec(&row).expect("its keys are strings")]);
        self.stages.insert(row.0, row.1);
        if self.pending.len() > 256 << 10 {
            // Whoever is killed later does not lose all.
            let _ = self.flush();
        }
    }

    /// The digest by `meaning` of what has the digest `of`, if it was made before.
    pub fn meaning(&self, of: Digest, meaning: &str) -> Option<Digest> {
        self.locked().meanings.get(&(of, meaning.to_owned())).copied()
    }

    /// Remembers a digest by meaning.
    pub fn keep_meaning(&self, of: Digest, meaning: &str, digest: Digest) {
        let mut stats = self.locked();
        frame::push(&mut stats.pending, frame::MEANING, &[&of.0, &digest.0, meaning.as_bytes()]);
        stats.meanings.insert((of, meaning.to_owned()), digest);
    }

    /// Brings what is new into the log.
    ///
    /// # Errors
    /// When it cannot be written; the run loses nothing but time by that.
    pub fn flush(&mut self) -> std::io::Result<()> {
        let stats = self.stats.get_mut().expect("nothing panics while it holds this lock");
        self.pending.append(&mut stats.pending);
        if self.pending.is_empty() && !self.torn {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if self.torn || self.is_mostly_void() {
            return self.write_anew();
        }
        let mut file = File::options().append(true).create(true).open(&self.path)?;
        fault::point("memory.append");
        file.write_all(&self.pending)?;
        // Another engine may have appended just before: only the position after the write says where ours begins.
        self.log_bytes = file.stream_position()?;
        self.settle_texts(self.log_bytes - self.pending.len() as u64);
        self.pending = Vec::new();
        Ok(())
    }

    fn settle_texts(&mut self, at: u64) {
        for (offset, frame) in &mut frame::Frames::new(&self.pending) {
            if frame.sort != frame::TEXT {
                continue;
            }
            if let Some((name, inside)) = frame::parse_text(frame.payload) {
                let bytes = frame.payload.len() - inside;
                let place = Text::Log { at: at + (offset + inside) as u64, bytes };
                self.texts.insert(name.to_owned(), place);
            }
        }
    }

    /// Whether the log holds far more than what counts. An estimate: rows are of one size, more or less.
    fn is_mostly_void(&mut self) -> bool {
        let stats = self.stats.get_mut().expect("nothing panics while it holds this lock");
        let live = stats.files.len() * 200 + stats.meanings.len() * 100 + self.stages.len() * 2500;
        self.log_bytes > SMALL_BYTES && self.log_bytes > 4 * live as u64
    }

    /// Writes all that counts to a new log, which takes the old one's place.
    fn write_anew(&mut self) -> std::io::Result<()> {
        let mut log = Vec::new();
        let names: Vec<String> = self.stages.keys().cloned().collect();
        for name in names {
            let (pipeline, stage) = name.split_once('\0').unwrap_or((&name, ""));
            if let Some(text) = self.text(pipeline, stage) {
                frame::push(&mut log, frame::TEXT, &[name.as_bytes(), b"\0", text.as_bytes()]);
            }
            let row = (&name, &self.stages[&name]);
            frame::push(&mut log, frame::STAGE, &[&serde_json::to_vec(&row).expect("its keys are strings")]);
        }
        {
            let stats = self.stats.get_mut().expect("nothing panics while it holds this lock");
            for (path, (stamp, digest)) in &stats.files {
                frame::push_file(&mut log, path, stamp, *digest);
            }
            for ((of, meaning), digest) in &stats.meanings {
                frame::push(&mut log, frame::MEANING, &[&of.0, &digest.0, meaning.as_bytes()]);
            }
        }
        let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&temporary, &log)?;
        fault::point("memory.anew");
        std::fs::rename(&temporary, &self.path)?;
        self.torn = false;
        self.pending = log;
        self.log_bytes = self.pending.len() as u64;
        self.settle_texts(0);
        self.pending = Vec::new();
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.stats.lock().expect("nothing panics while it holds this lock")
    }

    /// Now, by the clock of the project's file system, ns since 1970.
    fn now_ns(&self) -> i64 {
        let ours = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
        };
        let skew = self.skew_ns.get_or_init(|| {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            let probe = directory.join(format!(".clock-{}", std::process::id()));
            let _ = std::fs::create_dir_all(directory);
            let theirs = File::create(&probe).and_then(|f| f.metadata());
            let _ = std::fs::remove_file(&probe);
            theirs.map_or(0, |m| m.mtime() * 1_000_000_000 + m.mtime_nsec() - ours())
        });
        ours().saturating_add(*skew)
    }
}

impl Remember for Memory {
    fn recall(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        let stats = self.locked();
        stats.files.get(path).filter(|(known, _)| known == stamp).map(|(_, digest)| *digest)
    }

    fn keep(&self, path: &Path, stamp: &Stamp, digest: Digest) {
        if stamp.racy_at(self.now_ns()) || path.as_os_str().as_bytes().contains(&0) {
            return;
        }
        let mut stats = self.locked();
        frame::push_file(&mut stats.pending, path, stamp, digest);
        stats.files.insert(path.to_owned(), (*stamp, digest));
    }
}

/// What a stage's row is called. Neither name holds a zero byte: both come from TOML keys shown to people.
fn name(pipeline: &str, stage: &str) -> String {
    format!("{}\0{}", pipeline.replace('\0', " "), stage.replace('\0', " "))
}

fn without_bytes(artifact: Artifact) -> Artifact {
    Artifact { inline: None, ..artifact }
}
