//! What nobody needs any more: first told, then swept into the trash, then, when its grace has ended, deleted.
//!
//! Roots are the keys of the latest runs of every project that uses the store, and pins. A record that no root names
//! goes, and a blob that no kept record names; both only when older than the grace period, which closes the gap
//! between a blob that is written and the record that will name it.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Record, Store, StoreError, failed, read_patiently};
use crate::digest::Digest;
use crate::key::Key;

/// The shortest grace that is accepted.
pub const LEAST_GRACE: Duration = Duration::from_secs(3600);

/// Keys that somebody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Whose: a project's directory on its host, or words for a pin.
    pub owner: String,
    /// The host on which the owner's directory is.
    pub host: String,
    /// The pipeline's name; empty for a pin.
    pub pipeline: String,
    /// What is needed.
    pub keys: Vec<Key>,
}

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A record that no latest run and no pin names.
    Unneeded,
    /// A blob that no kept record names.
    Unnamed,
    /// Left by a process that died: a temporary file, a reservation, an attempt.
    Litter,
    /// In the trash, and its grace has ended: deleted for good.
    Expired,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub path: PathBuf,
    /// What deleting it frees (of a tree: all its files).
    pub bytes: u64,
    /// Why it goes.
    pub why: Why,
    /// For a record: how long computing it again would take, ns.
    pub recompute_ns: u64,
}

/// What a sweep would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Records first, so that no record ever names a blob that was taken before it.
    pub items: Vec<Item>,
    /// Records and blobs that stay.
    pub kept: usize,
    /// Bytes that stay.
    pub kept_bytes: u64,
}

impl Store {
    /// Says that the project at `owner` needs these keys for its `pipeline`; takes the place of what it said before.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn register(&self, root: &Root) -> Result<(), StoreError> {
        let name = Digest::of(format!("{}\0{}\0{}", root.host, root.owner, root.pipeline).as_bytes());
        let bytes = serde_json::to_vec(root).expect("a root has string keys only");
        self.register_elsewhere(&name.to_string(), root);
        self.replace(&self.root.join("roots").join(name.to_string()), &bytes)
    }

    /// Keeps these keys until the pin `name` is removed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn pin(&self, name: &str, root: &Root) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(root).expect("a root has string keys only");
        self.replace(&self.root.join("pins").join(Digest::of(name.as_bytes()).to_string()), &bytes)
    }

    /// Removes the pin `name`. Whether there was one.
    pub fn unpin(&self, name: &str) -> bool {
        std::fs::remove_file(self.root.join("pins").join(Digest::of(name.as_bytes()).to_string())).is_ok()
    }

    /// All roots and pins that still count: the root of a project on this host whose directory is gone does not.
    ///
    /// # Errors
    /// When one cannot be read: a sweep must not go on without it.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut roots = Vec::new();
        for path in files(&self.root.join("roots"))?.into_iter().chain(files(&self.root.join("pins"))?) {
            let bytes = read_patiently(&path).map_err(failed("read the root", &path))?;
            let root: Root = serde_json::from_slice(&bytes).map_err(|e| failed("read the root", &path)(e.into()))?;
            let pinned = root.pipeline.is_empty();
            if pinned || root.host != host || Path::new(&root.owner).is_dir() {
                roots.push(root);
            }
        }
        Ok(roots)
    }

    /// What a sweep would take now. Things younger than `grace` (at least [`LEAST_GRACE`]) stay.
    ///
    /// # Errors
    /// When the store or one of its roots cannot be read.
    pub fn sweep(&self, grace: Duration) -> Result<Sweep, StoreError> {
        self.sweep_at(self.server_seconds()? - grace.max(LEAST_GRACE).as_secs() as i64)
    }

    /// What a sweep would take of all that last changed before this second since 1970.
    pub(crate) fn sweep_at(&self, before: i64) -> Result<Sweep, StoreError> {
        let needed: HashSet<Key> = self.roots()?.into_iter().flat_map(|root| root.keys).collect();
        let mut sweep = Sweep::default();
        let mut named: HashSet<Digest> = HashSet::new();
        for path in shards(&self.root.join("records"))? {
            let age = Age::of(&path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let key: Option<Key> = name.get(..64).and_then(|k| k.parse().ok());
            let record = key.and_then(|k| Record::parse(&read_patiently(&path).ok()?, k).ok());
            let why = match (key, &record) {
                (Some(key), Some(_)) if needed.contains(&key) => None,
                (Some(_), Some(_)) => Some(Why::Unneeded),
                _ => Some(Why::Litter),
            };
            match why {
                Some(why) if age.changed < before => {
                    let recompute_ns = record.map_or(0, |r| r.usage.wall_ns);
                    sweep.items.push(Item { path, bytes: age.bytes, why, recompute_ns });
                }
                _ => {
                    sweep.kept += 1;
                    sweep.kept_bytes += age.bytes;
                    named.extend(record.iter().flat_map(|r| r.outputs.values().map(|a| a.digest)));
                }
            }
        }
        self.sweep_blobs(&named, before, &mut sweep)?;
        self.sweep_litter(before, &mut sweep)?;
        Ok(sweep)
    }

    fn sweep_blobs(&self, named: &HashSet<Digest>, before: i64, sweep: &mut Sweep) -> Result<(), StoreError> {
        for path in shards(&self.root.join("blobs"))? {
            let age = Age::of(&path);
            let digest: Option<Digest> = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
            let why = match digest {
                Some(digest) if named.contains(&digest) => None,
                Some(_) => Some(Why::Unnamed),
                None => Some(Why::Litter),
            };
            match why {
                Some(why) if age.changed < before => {
                    sweep.items.push(Item { path, bytes: age.bytes, why, recompute_ns: 0 });
                }
                _ => {
                    sweep.kept += 1;
                    sweep.kept_bytes += age.bytes;
                }
            }
        }
        Ok(())
    }

    fn sweep_litter(&self, before: i64, sweep: &mut Sweep) -> Result<(), StoreError> {
        // Notes on blobs of another tier: an old one is made again when it is missed.
        for path in shards(&self.root.join("elsewhere"))? {
            let age = Age::of(&path);
            if age.changed < before {
                sweep.items.push(Item { path, bytes: 0, why: Why::Litter, recompute_ns: 0 });
            }
        }
        for (directory, why) in [("reserved", Why::Litter), ("attempts", Why::Litter), ("trash", Why::Expired)] {
            for path in files(&self.root.join(directory))? {
                let age = Age::of(&path);
                let busy = directory == "attempts" && crate::attempt::is_running(&path);
                if age.changed < before && !busy {
                    sweep.items.push(Item { path, bytes: age.bytes, why, recompute_ns: 0 });
                }
            }
        }
        Ok(())
    }

    /// Carries a sweep out: what is expired is deleted, all else goes to the trash, where its grace begins. What
    /// cannot be moved stays and is returned with the reason.
    pub fn carry_out(&self, sweep: &Sweep) -> Vec<(PathBuf, std::io::Error)> {
        let mut stayed = Vec::new();
        for item in &sweep.items {
            let done = match item.why {
                Why::Expired if item.path.is_dir() => std::fs::remove_dir_all(&item.path),
                Why::Expired => std::fs::remove_file(&item.path),
                _ => {
                    let name = item.path.file_name().unwrap_or_default().to_string_lossy();
                    let trash = self.root.join("trash").join(format!("{}-{name}", self.unique("swept")));
                    std::fs::rename(&item.path, trash)
                }
            };
            match done {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => stayed.push((item.path.clone(), e)),
                _ => {}
            }
        }
        stayed
    }
}

pub(super) struct Age {
    /// Seconds since 1970 when it last changed or was moved.
    pub(super) changed: i64,
    pub(super) bytes: u64,
}

impl Age {
    pub(super) fn of(path: &Path) -> Age {
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return Age { changed: i64::MAX, bytes: 0 } };
        let mut age = Age { changed: metadata.mtime().max(metadata.ctime()), bytes: metadata.len() };
        if metadata.is_dir() {
            age.bytes = 0;
            for inside in std::fs::read_dir(path).into_iter().flatten().flatten() {
                age.bytes += Age::of(&inside.path()).bytes;
            }
        }
        age
    }
}

/// What lies in `directory`, sorted; nothing where there is no such directory.
pub(super) fn files(directory: &Path) -> Result<BTreeSet<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.map_err(failed("list", directory))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed("list", directory))?.path()))
        // Left by network clients while somebody still has a removed file open.
        .filter(|path| !matches!(path, Ok(p) if p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".nfs"))))
        .collect()
}

/// What lies in the two-digit directories below `directory`.
pub(super) fn shards(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut all = Vec::new();
    for shard in files(directory)? {
        all.extend(files(&shard)?);
    }
    Ok(all)
}
