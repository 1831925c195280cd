//! Where results are kept: a directory that may be shared, holding only immutable files named by content or by key,
//! and hints. A lookup that misses reserves; only the reservation can commit.
//!
//! ```text
//! CACHEDIR.TAG  format
//! blobs/ab/<digest>     outputs of 4 KiB and more, and trees; read-only
//! records/ab/<key>      what came of a key; small outputs are inside
//! reserved/<key>        who computes it now: advice with a heartbeat, never data
//! elsewhere/ab/<digest> a note that another tier has this blob
//! roots/ pins/          keys that gc keeps
//! attempts/             scratch; kept when failed
//! trash/                what gc swept and what was found damaged, until its grace ends
//! ```
//! It does not know pipelines or processes. The record is the commit point: a crash leaves litter, never a lie. No lock
//! is needed for correctness on any file system: files appear whole under their names, by link or rename from a
//! temporary file in the same directory, and what is under a name never changes.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::attempt::Finished;
use crate::digest::{Digest, DigestError, Shape};
use crate::fault;
use crate::key::Key;

mod blob;
mod bring;
mod durable;
pub mod gc;
mod heart;
mod modes;
mod open;
mod publish;
pub mod record;
mod reserve;
pub mod settings;
pub mod sign;
pub mod tier;
pub mod verify;

use heart::Heart;
use modes::Modes;
use settings::{Check, Push};
use sign::{PublicKey, SecretKey};
use tier::Remote;

pub(crate) use modes::make_like;
pub use record::{Artifact, Inline, Made, Meant, Record};
pub use reserve::{Reserved, Who};
pub use settings::Settings;

#[cfg(test)]
mod tests;

/// The layout's number, in the file `format`.
const FORMAT: &str = "pipe cache 1\n";
/// The first 43 bytes are the signature that <https://bford.info/cachedir/> asks for.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Results of `pipe`. Back-ups may leave it out: all of it can be computed again.\n";
/// Outputs smaller than this are kept inside the record: one file less for each.
pub const INLINE_BYTES: u64 = 4096;
/// A longer record is no record.
const MOST_RECORD_BYTES: u64 = 64 << 20;

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refuses.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another layout.
    #[error("the cache `{}` has the format {found:?}, and this program knows {FORMAT:?}", path.display())]
    Format {
        /// The cache.
        path: PathBuf,
        /// What its file `format` says.
        found: String,
    },
    /// An output cannot be kept.
    #[error("cannot keep the output `{port}`")]
    Output {
        /// Its port.
        port: String,
        /// Why not.
        source: DigestError,
    },
    /// An output cannot be digested by the meaning that was declared for it.
    #[error("the output `{port}` cannot be read as {meaning}: {message}")]
    Meaning {
        /// Its port.
        port: String,
        /// The meaning's name.
        meaning: &'static str,
        /// What its reader said.
        message: String,
    },
}

/// What to do where the cache's file system is full.
pub(crate) const MAKE_ROOM: &str = "free some space, with `pipe gc` for example, or name another cache with `--cache`";

impl StoreError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let StoreError::Io { source, path, .. } = self else { return None };
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(MAKE_ROOM.to_owned()),
            ErrorKind::ReadOnlyFilesystem => {
                Some("the cache is on a read-only file system: name another with `--cache`".to_owned())
            }
            ErrorKind::PermissionDenied => Some(format!(
                "`{}` must be writable for you; a shared cache wants a common group and mode 2775 on its directories",
                path.parent().unwrap_or(path).display()
            )),
            _ => None,
        }
    }
}

/// Turns an I/O error into ours.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

/// A directory of results.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    salt: String,
    modes: Modes,
    heart: Arc<Heart>,
    /// Other tiers, in the order in which they are asked.
    remotes: Vec<Remote>,
    push: Push,
    check: Check,
    trust: Vec<PublicKey>,
    key: Option<SecretKey>,
    /// What is to be told of how it was opened.
    notes: Vec<String>,
    /// Keys for which other tiers are not asked: what they had for them could not be had.
    disowned: Mutex<HashSet<Key>>,
    /// Makes the names of temporary files different within this process.
    next: AtomicU64,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.heart.stop();
    }
}

/// What the store answers to a key.
#[derive(Debug)]
pub enum Lookup {
    /// A record answers.
    Hit(Box<Record>),
    /// Nothing does, and the asker may compute it.
    Miss(Reserved),
    /// Somebody computes it: wait, and take theirs.
    Busy(Who),
}

/// What a record answers with, and what was wrong with it if nothing.
#[derive(Debug)]
pub enum Found {
    /// A good record whose blobs are there.
    Record(Box<Record>),
    /// There is none.
    Nothing,
    /// There was one and it is not to be used: why. What is damaged was moved aside where that was possible; what is
    /// only not trusted stays.
    Damaged(String),
}

/// What was found here, other tiers aside.
enum Here {
    Record(Box<Record>),
    Nothing,
    Damaged(String),
    Untrusted(String),
}

impl Store {
    /// Its directory, absolute, without links.
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Enters every key: change it (`[cache] salt` of a project) to disown all records at once.
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// Where attempts are made.
    pub fn attempts(&self) -> PathBuf {
        self.root.join("attempts")
    }

    /// Where the blob `digest` lies, if it is there.
    pub fn blob(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(name)
    }

    pub(crate) fn record_path(&self, key: Key) -> PathBuf {
        let name = key.to_string();
        self.root.join("records").join(&name[..2]).join(name)
    }

    /// What a record says of `key`, here or else in another tier. Its blobs are seen to be here with the right size, or
    /// are known to lie in another tier: [`Store::bring`] gets them.
    ///
    /// # Errors
    /// When the store cannot be read at all (a record that cannot be used is no error).
    pub fn find(&self, key: Key) -> Result<Found, StoreError> {
        Ok(match self.here(key)? {
            Here::Record(record) => Found::Record(record),
            Here::Nothing => self.find_elsewhere(key, None),
            Here::Damaged(trouble) | Here::Untrusted(trouble) => self.find_elsewhere(key, Some(trouble)),
        })
    }

    fn here(&self, key: Key) -> Result<Here, StoreError> {
        let path = self.record_path(key);
        let bytes = match read_patiently(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Here::Nothing),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                return Ok(Here::Damaged(format!("the record `{}` cannot be read: {e}", path.display())));
            }
            Err(e) => return Err(failed("read the record", &path)(e)),
        };
        let trouble = match Record::parse(&bytes, key) {
            Ok(record) => match (self.untrusted(&bytes), self.blobs_trouble(&record)) {
                (Some(why), _) => {
                    return Ok(Here::Untrusted(format!("the record `{}` is not used: {why}", path.display())));
                }
                (None, None) => return Ok(Here::Record(Box::new(record))),
                (None, Some(trouble)) => trouble,
            },
            Err(trouble) => format!("the record `{}` is damaged: {trouble}", path.display()),
        };
        self.set_aside(&path);
        Ok(Here::Damaged(trouble))
    }

    /// Why this record, which is whole, is not to be believed; `None` = it is.
    fn untrusted(&self, bytes: &[u8]) -> Option<String> {
        if self.trust.is_empty() {
            return None;
        }
        match record::signer(bytes) {
            Ok(Some(key)) if self.trust.contains(&key) => None,
            Ok(Some(key)) => Some(format!("{key}, who signed it, is not among those that this project trusts")),
            Ok(None) => Some("nobody signed it, and this project trusts signed records only".to_owned()),
            Err(wrong) => Some(wrong),
        }
    }

    /// What is wrong with the blobs that `record` names: nothing, or the first trouble. A blob of a wrong size is
    /// moved aside.
    fn blobs_trouble(&self, record: &Record) -> Option<String> {
        record.outputs.iter().find_map(|(port, artifact)| {
            if artifact.inline.is_some() {
                return None;
            }
            let path = self.blob(artifact.digest);
            let elsewhere = || self.has_tier() && self.note_of(artifact.digest).exists();
            if !path.exists() && elsewhere() {
                return None;
            }
            let trouble = self.blob_trouble(&path, artifact.shape, artifact.bytes)?;
            Some(format!("the output `{port}` of record {} {trouble}", record.key.0.short()))
        })
    }

    /// A record for `key`, or the right to make one, or word of who is at it. `again` asks to compute it although
    /// there may be a record.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn lookup(&self, key: Key, who: &Who, purpose: Purpose) -> Result<(Lookup, Option<String>), StoreError> {
        let mut warning = None;
        if purpose == Purpose::Answer {
            match self.find(key)? {
                Found::Record(record) => return Ok((Lookup::Hit(record), None)),
                Found::Nothing => {}
                Found::Damaged(trouble) => warning = Some(trouble),
            }
        }
        let reserved = self.reserve(key, who)?;
        // Somebody may have answered and gone between the two.
        if purpose == Purpose::Answer
            && matches!(reserved, Lookup::Miss(_))
            && let Found::Record(record) = self.find(key)?
        {
            return Ok((Lookup::Hit(record), warning));
        }
        Ok((reserved, warning))
    }

    /// Keeps what an attempt made: its outputs become blobs, then the record is written, which is the moment at which
    /// the key is answered. If somebody else's record came first, theirs is returned and stands.
    ///
    /// # Errors
    /// When an output cannot be kept or the store cannot be written; the key then stays unanswered.
    pub fn commit(&self, reserved: Reserved, finished: Finished, purpose: Purpose) -> Result<Record, StoreError> {
        let mut outputs = BTreeMap::new();
        for output in &finished.outputs {
            let artifact = self.keep(output, finished.usage.wall_ns)?;
            outputs.insert(output.port.clone(), artifact);
            fault::point("commit.blob");
        }
        fault::point("commit.blobs");
        let record = Record {
            format: record::FORMAT,
            key: reserved.key(),
            kind: finished.kind,
            sort: finished.sort,
            outputs,
            usage: finished.usage,
            made: finished.made,
            circumstances: finished.circumstances,
            gate: finished.gate,
            log_tail: finished.log_tail,
            text: finished.text,
        };
        let kept = self.publish_record(record, purpose)?;
        fault::point("commit.record");
        drop(reserved);
        Ok(kept)
    }

    fn publish_record(&self, record: Record, purpose: Purpose) -> Result<Record, StoreError> {
        let path = self.record_path(record.key);
        if purpose == Purpose::Another && path.exists() {
            // The older measurement stays beside the newer, under a name that no key has.
            let older = path.with_extension(self.unique("older"));
            std::fs::rename(&path, &older).map_err(failed("move the older record aside as", &older))?;
        }
        let bytes = self.printed(&record);
        for _ in 0..3 {
            if self.publish_lasting(&path, &bytes, record.usage.wall_ns)? {
                return Ok(record);
            }
            match self.here(record.key)? {
                Here::Record(theirs) => return Ok(*theirs),
                // Ours is trusted: it takes the place, and the other stays beside it for those who trust that.
                Here::Untrusted(_) if self.untrusted(&bytes).is_none() => {
                    let older = path.with_extension(self.unique("older"));
                    std::fs::rename(&path, &older).map_err(failed("move a record aside as", &older))?;
                }
                // It was no good and has been moved aside, or somebody swept it: ours may go there now.
                Here::Damaged(_) | Here::Nothing => {}
                Here::Untrusted(_) => break,
            }
        }
        // What stands there cannot be moved (it is not ours, or not for us to judge): our result is true all the same.
        Ok(record)
    }

    /// A record as it is kept, signed if this user has a key.
    fn printed(&self, record: &Record) -> Vec<u8> {
        record.print(self.key.as_ref())
    }

    /// Keeps a record whose outputs are in the store already, under another key than it was made for.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn adopt(&self, record: Record) -> Result<Record, StoreError> {
        self.publish_record(record, Purpose::Answer)
    }

    /// All records that were made for `key`: the one that answers first, then earlier ones.
    pub fn all(&self, key: Key) -> Vec<Record> {
        let path = self.record_path(key);
        let mut paths = vec![path.clone()];
        let prefix = format!("{key}.");
        if let Some(entries) = path.parent().and_then(|p| std::fs::read_dir(p).ok()) {
            let older = entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
            paths.extend(older.map(|e| e.path()));
        }
        let mut records: Vec<Record> = paths
            .iter()
            .filter_map(|p| read_patiently(p).ok())
            .filter_map(|bytes| Record::parse(&bytes, key).ok())
            .collect();
        if records.len() > 1 {
            records[1..].sort_by(|a, b| b.made.at.cmp(&a.made.at));
        }
        records
    }

    /// The bytes of a file that was kept.
    ///
    /// # Errors
    /// When the blob is gone, or is not what its name says.
    pub fn read(&self, artifact: &Artifact) -> Result<Vec<u8>, StoreError> {
        if let Some(inline) = &artifact.inline {
            return Ok(inline.bytes());
        }
        let path = self.blob(artifact.digest);
        let bytes = read_patiently(&path).map_err(failed("read the blob", &path))?;
        if Digest::of(&bytes) != artifact.digest && artifact.shape == Shape::File {
            let wrong = std::io::Error::new(ErrorKind::InvalidData, "its bytes are not what its name says");
            return Err(failed("use the blob", &path)(wrong));
        }
        Ok(bytes)
    }

    /// Moves what is damaged out of the way, into the trash. Best effort: where it cannot be moved it stays, and is
    /// found damaged again.
    pub(crate) fn set_aside(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_owned();
        let mut aside = OsString::from(self.unique("damaged"));
        aside.push("-");
        aside.push(name);
        let _ = std::fs::rename(path, self.root.join("trash").join(aside));
    }

    /// A word that no other process or thread uses.
    pub(crate) fn unique(&self, word: &str) -> String {
        let host = rustix::system::uname();
        let node = Digest::of(host.nodename().to_bytes()).short();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{word}-{node}-{}-{now:x}-{n}", std::process::id())
    }
}

/// Why a key is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A record will do.
    Answer,
    /// It is to be computed even if there is one; the new record takes its place and the old one stays beside it.
    Another,
}

/// Reads a file of the store. A network file system may fail a read of a file that was just replaced; such errors are
/// tried again before they are believed.
pub(crate) fn read_patiently(path: &Path) -> std::io::Result<Vec<u8>> {
    const EREMOTEIO: i32 = 121;
    const EIO: i32 = 5;
    const ESTALE: i32 = 116;
    let mut tries = 0;
    loop {
        match std::fs::read(path) {
            Err(e) if tries < 3 && matches!(e.raw_os_error(), Some(EREMOTEIO | EIO | ESTALE)) => tries += 1,
            other => return other,
        }
    }
}
