//! What this project remembers from run to run, in one append-only log, `.pipe/memory`: digests of files by their
//! stamps, what became of each stage last, digests by meaning, and the text of each stage's last key.
//!
//! All of it is advice that saves work, except one thing: a digest recalled by its stamp is believed. So a stamp is
//! kept only when the file can no longer change without its stamp showing it (see [`Stamp::racy_at`]).
//!
//! Rows are kept as they lie in the log and found by a hash of their names; one is unpacked when somebody asks for it,
//! and texts stay in the file. A torn tail ends the reading; what stands before it counts, and the next write makes the
//! log anew. Nothing is ever rewritten a stage at a time.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::digest::{Digest, Remember, Stamp};
use crate::fault;
use crate::key::Key;
use crate::store::Artifact;

mod log;
mod row;

#[cfg(test)]
mod tests;

/// What became of a stage when it was last good.
#[derive(Debug, Clone, PartialEq)]
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
    /// Files below it are remembered by their paths from here, so that a project may be moved.
    root: PathBuf,
    path: PathBuf,
    /// Rows, end to end; from `written` on they are not in the log yet.
    rows: Vec<u8>,
    written: usize,
    /// Texts that the rows from `written` on name.
    texts: Vec<u8>,
    /// Where the row of a file, a meaning, a stage begins, by the hash of its name.
    files: HashMap<u64, u32>,
    meanings: HashMap<u64, u32>,
    stages: HashMap<u64, Known>,
    fresh: Mutex<Fresh>,
    has_fresh: AtomicBool,
    /// Bytes of the log, and of those the ones that a later row has made void.
    log_bytes: u64,
    void_bytes: u64,
    torn: bool,
    /// The clock of the project's file system less ours, ns.
    skew_ns: OnceLock<i64>,
}

/// A stage's row.
#[derive(Debug, Clone, Copy)]
struct Known {
    row: u32,
    /// Where the block of texts that it names begins in the log; `None` while it is not written.
    texts: Option<u64>,
}

/// What several threads have added since the last write.
#[derive(Debug, Default)]
struct Fresh {
    files: HashMap<PathBuf, (Stamp, Digest)>,
    meanings: HashMap<(Digest, String), Digest>,
}

/// A log shorter than this is never made anew only because parts of it are void.
const SMALL_BYTES: u64 = 1 << 20;
/// What is new is written when it is as large: whoever is killed later does not lose all.
const PENDING_BYTES: usize = 256 << 10;

impl Memory {
    /// Reads the memory of the project at `root`. One that cannot be read is empty: nothing is lost but time.
    pub fn open(root: &Path) -> Memory {
        let mut memory = Memory {
            root: root.to_owned(),
            path: root.join(".pipe/memory"),
            rows: Vec::new(),
            written: 0,
            texts: Vec::new(),
            files: HashMap::new(),
            meanings: HashMap::new(),
            stages: HashMap::new(),
            fresh: Mutex::default(),
            has_fresh: AtomicBool::new(false),
            log_bytes: 0,
            void_bytes: 0,
            torn: false,
            skew_ns: OnceLock::new(),
        };
        memory.read();
        memory
    }

    /// Reads the log anew; what was not written is forgotten.
    fn read(&mut self) {
        let read = match File::open(&self.path).and_then(|file| log::read(&file)) {
            Ok(read) => read,
            Err(e) => log::Read { torn: e.kind() != ErrorKind::NotFound, ..log::Read::default() },
        };
        (self.log_bytes, self.torn) = (read.bytes, read.torn);
        (self.rows, self.texts, self.void_bytes) = (read.rows, Vec::new(), 0);
        self.files.clear();
        self.meanings.clear();
        self.stages.clear();
        // Most rows are of files, of some hundred bytes; too little room costs less than far too much.
        self.files.reserve(self.rows.len() / 250);
        self.stages.reserve(self.rows.len() / 500);
        let mut at = 0;
        for (end, texts) in read.blocks {
            while at < end {
                match self.index(at, Some(texts)) {
                    Some(next) => at = next,
                    None => {
                        self.torn = true;
                        self.rows.truncate(at);
                        self.written = at;
                        return;
                    }
                }
            }
        }
        self.written = self.rows.len();
    }

    /// Makes the row at `at` be found, and gives the place of the next one.
    fn index(&mut self, at: usize, texts: Option<u64>) -> Option<usize> {
        let (sort, content, next) = log::row(&self.rows, at)?;
        let here = u32::try_from(at).ok()?;
        let void = match sort {
            log::FILE => self.files.insert(hash(&[row::file(content)?.0]), here),
            log::MEANING => {
                let (of, name, _) = row::meaning(content)?;
                self.meanings.insert(hash(&[&of.0, name.as_bytes()]), here)
            }
            log::STAGE => {
                let known = Known { row: here, texts };
                self.stages.insert(hash(&[row::stage_name(content)?]), known).map(|known| known.row)
            }
            // A later version's; this one does without.
            _ => None,
        };
        if let Some((sort, content, end)) = void.and_then(|at| log::row(&self.rows, at as usize)) {
            let text = if sort == log::STAGE { row::stage_place(content).map_or(0, |p| p.bytes) } else { 0 };
            self.void_bytes += (end - void.unwrap_or(0) as usize) as u64 + u64::from(text);
        }
        Some(next)
    }

    fn stage(&self, pipeline: &str, stage: &str) -> Option<(Known, &[u8])> {
        let name = name(pipeline, stage);
        let known = *self.stages.get(&hash(&[&name]))?;
        let (_, content, _) = log::row(&self.rows, known.row as usize)?;
        (row::stage_name(content)? == name).then_some((known, content))
    }

    /// What became of `stage` of `pipeline` when it was last good.
    pub fn last(&self, pipeline: &str, stage: &str) -> Option<Last> {
        self.stage(pipeline, stage).and_then(|(_, content)| row::stage(content))
    }

    /// The text of the key that `stage` of `pipeline` had when it was last good.
    pub fn text(&self, pipeline: &str, stage: &str) -> Option<String> {
        let (known, content) = self.stage(pipeline, stage)?;
        self.text_at(known, row::stage_place(content)?)
    }

    fn text_at(&self, known: Known, place: row::Place) -> Option<String> {
        let (at, bytes) = (place.at as usize, place.bytes as usize);
        let text = match known.texts {
            None => self.texts.get(at..at.checked_add(bytes)?)?.to_vec(),
            Some(texts) => {
                let at = texts.checked_add(place.at.into())?;
                // Whatever a row says, no more room is made than the log could fill.
                if at.checked_add(place.bytes.into())? > self.log_bytes {
                    return None;
                }
                let mut text = vec![0; bytes];
                File::open(&self.path).and_then(|f| f.read_exact_at(&mut text, at)).ok()?;
                text
            }
        };
        (row::check(&text) == place.check).then_some(text).and_then(|text| String::from_utf8(text).ok())
    }

    /// Remembers what became of `stage` of `pipeline`, and its key's text.
    pub fn remember(&mut self, pipeline: &str, stage: &str, last: &Last, text: &str) {
        self.push_stage(&name(pipeline, stage), last, text);
        if self.texts.len() + self.rows.len() - self.written > PENDING_BYTES {
            let _ = self.flush();
        }
    }

    fn push_stage(&mut self, name: &[u8], last: &Last, text: &str) {
        let place = row::Place::of(self.texts.len(), text);
        self.texts.extend_from_slice(text.as_bytes());
        let at = log::push(&mut self.rows, log::STAGE, |packer| row::pack_stage(packer, name, last, place));
        self.index(at, None);
    }

    /// The digest by `meaning` of what has the digest `of`, if it was made before.
    pub fn meaning(&self, of: Digest, meaning: &str) -> Option<Digest> {
        if self.has_fresh.load(Ordering::Acquire)
            && let Some(digest) = self.locked().meanings.get(&(of, meaning.to_owned()))
        {
            return Some(*digest);
        }
        let at = *self.meanings.get(&hash(&[&of.0, meaning.as_bytes()]))?;
        let (_, content, _) = log::row(&self.rows, at as usize)?;
        row::meaning(content).filter(|(o, name, _)| (*o, *name) == (of, meaning)).map(|(_, _, digest)| digest)
    }

    /// Remembers a digest by meaning.
    pub fn keep_meaning(&self, of: Digest, meaning: &str, digest: Digest) {
        self.locked().meanings.insert((of, meaning.to_owned()), digest);
        self.has_fresh.store(true, Ordering::Release);
    }

    /// Brings what is new into the log.
    ///
    /// # Errors
    /// When it cannot be written; the run loses nothing but time by that.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.take_fresh();
        if self.written == self.rows.len() && !self.torn {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let is_mostly_void = self.log_bytes > SMALL_BYTES && self.void_bytes > self.log_bytes / 4 * 3;
        if self.torn || is_mostly_void {
            return self.write_anew();
        }
        let too_large =
            || std::io::Error::new(ErrorKind::FileTooLarge, "more was remembered at once than a block holds");
        let (bytes, start) = log::blocks(&self.texts, &self.rows[self.written..]).ok_or_else(too_large)?;
        let mut file = append(&self.path)?;
        fault::point("memory.append");
        file.write_all(&bytes)?;
        // Another engine may have appended just before: only the position after the write says where ours begins.
        self.log_bytes = file.stream_position()?;
        let texts = self.log_bytes - bytes.len() as u64 + start as u64;
        for known in self.stages.values_mut().filter(|known| known.texts.is_none()) {
            known.texts = Some(texts);
        }
        (self.written, self.texts) = (self.rows.len(), Vec::new());
        Ok(())
    }

    /// What threads have added becomes rows.
    fn take_fresh(&mut self) {
        let fresh = std::mem::take(self.fresh.get_mut().expect("nothing panics while it holds this lock"));
        self.has_fresh.store(false, Ordering::Release);
        for (path, (stamp, digest)) in &fresh.files {
            let name = shown(&self.root, path);
            let at = log::push(&mut self.rows, log::FILE, |packer| row::pack_file(packer, name, stamp, digest));
            self.index(at, None);
        }
        for ((of, name), digest) in &fresh.meanings {
            let at = log::push(&mut self.rows, log::MEANING, |packer| row::pack_meaning(packer, of, name, digest));
            self.index(at, None);
        }
    }

    /// Writes all that counts to a new log, which takes the old one's place.
    fn write_anew(&mut self) -> std::io::Result<()> {
        let mut rows = Vec::new();
        let mut texts = Vec::new();
        for at in self.files.values().chain(self.meanings.values()) {
            let Some((_, _, end)) = log::row(&self.rows, *at as usize) else { continue };
            rows.extend_from_slice(&self.rows[*at as usize..end]);
        }
        for known in self.stages.values() {
            let Some((_, content, _)) = log::row(&self.rows, known.row as usize) else { continue };
            let (Some(name), Some(last)) = (row::stage_name(content), row::stage(content)) else { continue };
            let text = row::stage_place(content).and_then(|place| self.text_at(*known, place)).unwrap_or_default();
            let place = row::Place::of(texts.len(), &text);
            texts.extend_from_slice(text.as_bytes());
            log::push(&mut rows, log::STAGE, |packer| row::pack_stage(packer, name, &last, place));
        }
        let too_large = || std::io::Error::new(ErrorKind::FileTooLarge, "more is remembered than a block holds");
        let (bytes, _) = log::blocks(&texts, &rows).ok_or_else(too_large)?;
        let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&temporary, [log::MAGIC, &bytes[..]].concat())?;
        fault::point("memory.anew");
        std::fs::rename(&temporary, &self.path)?;
        self.read();
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Fresh> {
        self.fresh.lock().expect("nothing panics while it holds this lock")
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
        if self.has_fresh.load(Ordering::Acquire)
            && let Some((known, digest)) = self.locked().files.get(path)
        {
            return (known == stamp).then_some(*digest);
        }
        let name = shown(&self.root, path);
        let at = *self.files.get(&hash(&[name]))?;
        let (_, content, _) = log::row(&self.rows, at as usize)?;
        let (known, stamped, digest) = row::file(content)?;
        (known == name && stamped == stamp.to_bytes()).then_some(digest)
    }

    fn keep(&self, path: &Path, stamp: &Stamp, digest: Digest) {
        if stamp.racy_at(self.now_ns()) {
            return;
        }
        self.locked().files.insert(path.to_owned(), (*stamp, digest));
        self.has_fresh.store(true, Ordering::Release);
    }
}

/// What a file's row is called: its path, from the project's root if it lies below it.
fn shown<'a>(root: &Path, path: &'a Path) -> &'a [u8] {
    let bytes = path.as_os_str().as_bytes();
    let inside = bytes.strip_prefix(root.as_os_str().as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    inside.filter(|inside| !inside.is_empty() && inside[0] != b'/').unwrap_or(bytes)
}

/// What a stage's row is called. Neither name holds a zero byte: both come from TOML keys shown to people.
fn name(pipeline: &str, stage: &str) -> Vec<u8> {
    [pipeline.replace('\0', " ").as_bytes(), b"\0", stage.replace('\0', " ").as_bytes()].concat()
}

/// Two names of one hash make each other forgotten, which costs time and nothing else.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// Opens the log at its end; one that is not there begins with the line that says what it is.
fn append(path: &Path) -> std::io::Result<File> {
    let open = || File::options().append(true).open(path);
    match open() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            match File::create_new(path).and_then(|mut file| file.write_all(log::MAGIC)) {
                // Of two engines that begin a log one is first.
                Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
                _ => open(),
            }
        }
        other => other,
    }
}
