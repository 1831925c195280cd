//! A second place for results, shared with others: asked on a miss, given what is new.
//!
//! [`Tier`] is what such a place must do; it knows names and bytes, not what they mean. [`Remote`] is how a store uses
//! one: with patience that ends, and no trust. Invariants: a tier that is broken, slow or full costs a warning and never
//! a run; nothing that comes from it is believed before it was looked at; blobs are there before the record that names
//! them.

use std::fmt::Debug;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::digest::{Digest, Shape};
use crate::key::Key;

mod directory;
pub mod sweep;

pub use directory::Directory;
pub(super) use directory::{copy, remove as directory_remove};

/// What lies in a tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A record.
    Record(Key),
    /// A blob.
    Blob(Digest),
    /// The keys that one project needs; the word is a digest's.
    Root(String),
}

impl Name {
    /// As a path below the tier's own beginning: `records/ab/…`, as a cache lays them out.
    pub fn path(&self) -> String {
        let sharded = |folder: &str, name: String| format!("{folder}/{}/{name}", &name[..2]);
        match self {
            Name::Record(key) => sharded("records", key.to_string()),
            Name::Blob(digest) => sharded("blobs", digest.to_string()),
            Name::Root(word) => format!("roots/{word}"),
        }
    }

    /// What has this path; `None` for what is none of ours.
    pub fn parse(path: &str) -> Option<Name> {
        let parts: Vec<&str> = path.split('/').collect();
        let name = match parts.as_slice() {
            ["records", _, key] => Name::Record(key.parse().ok()?),
            ["blobs", _, digest] => Name::Blob(digest.parse().ok()?),
            ["roots", word] => Name::Root(word.parse::<Digest>().ok()?.to_string()),
            _ => return None,
        };
        (name.path() == path).then_some(name)
    }
}

/// A blob as its record tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Of the file, or of all files of the tree together.
    pub bytes: u64,
    /// One file or a tree.
    pub shape: Shape,
}

/// Something that lies in a tier, as a sweep sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// How much it takes there.
    pub bytes: u64,
    /// When it was put there, seconds since 1970, by the tier's clock.
    pub at: i64,
}

/// Why a tier cannot do what it was asked, in words that hold no credentials.
pub type TierError = String;

/// Told of bytes as they are moved.
pub type Moved<'a> = &'a (dyn Fn(u64) + Sync);

/// A second place for results. Every call may block; several may be made at once.
pub trait Tier: Send + Sync + Debug {
    /// What people call it, without credentials.
    fn name(&self) -> String;

    /// A record or a root: all its bytes, if it is there and has at most `most`.
    ///
    /// # Errors
    /// When it cannot be told.
    fn get(&self, name: &Name, most: u64) -> Result<Option<Vec<u8>>, TierError>;

    /// Puts a record there unless there is one. Whether it was ours that came first.
    ///
    /// # Errors
    /// When it cannot be put.
    fn put_if_absent(&self, name: &Name, bytes: &[u8]) -> Result<bool, TierError>;

    /// Puts a root there, whatever is there.
    ///
    /// # Errors
    /// When it cannot be put.
    fn put(&self, name: &Name, bytes: &[u8]) -> Result<(), TierError>;

    /// Brings a blob to the path `to`, at which nothing is. Whether it is there. What is brought need not be right: it
    /// is looked at by who asked. No more than the blob's bytes are brought.
    ///
    /// # Errors
    /// When it cannot be brought; what lies at `to` then is litter.
    fn fetch(&self, blob: &Blob, to: &Path, moved: Moved<'_>) -> Result<bool, TierError>;

    /// Puts the blob that lies at `from` there, if it is not there.
    ///
    /// # Errors
    /// When it cannot be put.
    fn push(&self, blob: &Blob, from: &Path, moved: Moved<'_>) -> Result<(), TierError>;

    /// All that lies there.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn list(&self) -> Result<Vec<Listed>, TierError>;

    /// Takes something away. It may be gone.
    ///
    /// # Errors
    /// When it cannot be taken away.
    fn delete(&self, name: &Name) -> Result<(), TierError>;
}

/// How long a small question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A tier as a store uses it.
#[derive(Debug)]
pub(super) struct Remote {
    tier: Arc<dyn Tier>,
    access: Access,
    /// What went wrong; from then on it is asked no more by this process.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    broken: bool,
    troubles: Vec<String>,
}

/// What a store does with a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It reads.
    Read,
    /// It reads, and gives what is new.
    Give,
}

impl Remote {
    pub(super) fn new(tier: Arc<dyn Tier>, access: Access) -> Remote {
        Remote { tier, access, state: Mutex::default() }
    }

    pub(super) fn is_given(&self) -> bool {
        self.access == Access::Give
    }

    pub(super) fn name(&self) -> String {
        self.tier.name()
    }

    pub(super) fn tier(&self) -> &Arc<dyn Tier> {
        &self.tier
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Whether it is asked no more.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Something went wrong: it is asked no more, and that is said once.
    pub(super) fn broke(&self, doing: &str, error: &str) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.broken, true) {
            let name = self.tier.name();
            state.troubles.push(format!("cannot {doing} the shared tier {name}: {error}; this run goes on without it"));
        }
    }

    /// Something that came from it is no good; it is asked on.
    pub(super) fn note(&self, trouble: String) {
        self.state().troubles.push(trouble);
    }

    /// What is to be told to people, once.
    pub(super) fn troubles(&self) -> Vec<String> {
        std::mem::take(&mut self.state().troubles)
    }

    /// Asks something small, from a thread of its own: a directory on a server that does not answer hangs for ever.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        question: impl FnOnce(&dyn Tier) -> Result<T, TierError> + Send + 'static,
    ) -> Option<T> {
        if self.is_broken() {
            return None;
        }
        let (to, from) = sync_channel(1);
        let tier = Arc::clone(&self.tier);
        let thread = std::thread::Builder::new().name("tier".to_owned());
        if let Err(e) = thread.spawn(move || drop(to.send(question(&*tier)))) {
            self.broke(doing, &e.to_string());
            return None;
        }
        let error = match from.recv_timeout(PATIENCE) {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(RecvTimeoutError::Timeout) => format!("it has not answered for {} s", PATIENCE.as_secs()),
            Err(RecvTimeoutError::Disconnected) => "it fell over".to_owned(),
        };
        self.broke(doing, &error);
        None
    }
}
