//! Who computes what just now. Advice with a heartbeat: it saves work and is never needed to be right. On a file
//! system where it lies, two compute the same thing and the first record stands.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::heart::Heart;
use super::{Lookup, Store, StoreError, failed};
use crate::fault;
use crate::key::Key;

/// A holder that has been silent for so long is taken for dead. Longer than a server is expected to freeze.
pub(crate) const SILENCE: Duration = Duration::from_secs(90);

/// Somebody who computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Their host.
    pub host: String,
    /// This start of their host, so that a process number means something.
    pub boot: String,
    /// Their engine's process.
    pub pid: u32,
    /// The space of process numbers in which that is its number: two containers of one host have two.
    #[serde(default)]
    pub space: String,
    /// When the process began, in ticks since the host's start, so that its number given to another is seen.
    #[serde(default)]
    pub began: u64,
    /// Their run.
    pub run: String,
    /// Their stage.
    pub stage: String,
}

impl Who {
    /// This process, for `stage` of `run`.
    pub fn here(run: &str, stage: &str) -> Who {
        let uname = rustix::system::uname();
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")).unwrap_or_default();
        Who {
            host: uname.nodename().to_string_lossy().into_owned(),
            boot: boot.to_owned(),
            pid: std::process::id(),
            space: space(),
            began: began(std::process::id()).unwrap_or(0),
            run: run.to_owned(),
            stage: stage.to_owned(),
        }
    }

    /// Whether it is a process of this very machine that has ended.
    pub fn is_known_dead(&self) -> bool {
        let here = Who::here("", "");
        let same =
            !self.boot.is_empty() && (&self.host, &self.boot, &self.space) == (&here.host, &here.boot, &here.space);
        match began(self.pid) {
            _ if !same => false,
            None => true,
            // The number is somebody else's now.
            Some(now) => self.began != 0 && now != self.began,
        }
    }
}

/// The space of process numbers of this process; empty where the system does not tell.
fn space() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// When the process `pid` began, in ticks since the host's start; `None` = there is no such process. One that has
/// ended and is not reaped yet is none.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(began)
}

/// The right to compute a key and to write its record; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    key: Key,
    path: PathBuf,
    words: Vec<u8>,
    heart: Arc<Heart>,
}

impl Reserved {
    /// The key it is for.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.heart.remove(&self.path);
        // Only ours: somebody may have taken us for dead.
        if std::fs::read(&self.path).is_ok_and(|words| words == self.words) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Store {
    /// Reserves `key`, or says who holds it.
    pub(super) fn reserve(&self, key: Key, who: &Who) -> Result<Lookup, StoreError> {
        let path = self.root.join("reserved").join(key.to_string());
        let words = serde_json::to_vec(who).expect("a reservation has string keys only");
        for _ in 0..4 {
            if self.publish_as(&path, &words, self.modes.hint(), 0)? {
                fault::point("reserved");
                self.heart.add(&path, &words);
                return Ok(Lookup::Miss(Reserved { key, path, words, heart: Arc::clone(&self.heart) }));
            }
            match self.holder(&path)? {
                Some(holder) => return Ok(Lookup::Busy(holder)),
                // Dead: moved away by name, so that of two who find it dead one removes it.
                None => {
                    let aside = self.root.join("trash").join(self.unique("reserved"));
                    match std::fs::rename(&path, &aside) {
                        Ok(()) => drop(std::fs::remove_file(&aside)),
                        Err(e) if e.kind() == ErrorKind::NotFound => {}
                        Err(_) => break,
                    }
                }
            }
        }
        // Advice that cannot be written or removed is no reason not to compute.
        Ok(Lookup::Miss(Reserved { key, path: PathBuf::new(), words, heart: Arc::clone(&self.heart) }))
    }

    /// Who lives and holds the reservation at `path`.
    fn holder(&self, path: &Path) -> Result<Option<Who>, StoreError> {
        let Ok(words) = super::read_patiently(path) else { return Ok(None) };
        let Ok(metadata) = std::fs::File::open(path).and_then(|f| f.metadata()) else { return Ok(None) };
        let silent = self.server_seconds()?.saturating_sub(metadata.mtime());
        let holder: Option<Who> = serde_json::from_slice(&words).ok();
        Ok(holder.filter(|who| silent < SILENCE.as_secs() as i64 && !who.is_known_dead()))
    }

    /// Whether somebody who lives holds a reservation for `key`. Listed first: asking for a name in vain makes a network
    /// client blind to it for half a minute. A holder that was killed leaves its reservation, and whoever waits for it
    /// would wait for ever if nobody asked whether it lives.
    pub fn is_reserved(&self, key: Key) -> bool {
        let (directory, name) = (self.root.join("reserved"), key.to_string());
        listed(&directory, &name) && self.holder(&directory.join(name)).map_or(true, |holder| holder.is_some())
    }

    /// Whether there is a record of `key`, seen by listing. The directory above is listed too where the record's own
    /// seems not to be there: a network client that asked for that in vain is blind to it as well.
    pub fn has_record(&self, key: Key) -> bool {
        let path = self.record_path(key);
        let Some(shard) = path.parent() else { return false };
        if !shard.is_dir() && !listed(&self.root.join("records"), &key.to_string()[..2]) {
            return false;
        }
        listed(shard, &key.to_string())
    }

    /// Now, by the clock of the store's own file system, seconds since 1970.
    pub(super) fn server_seconds(&self) -> Result<i64, StoreError> {
        let path = self.root.join("reserved").join(self.unique(".clock"));
        let now = std::fs::File::create_new(&path).and_then(|f| f.metadata()).map_err(failed("write", &path));
        let _ = std::fs::remove_file(&path);
        Ok(now?.mtime())
    }
}

fn listed(directory: &Path, name: &str) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|e| e.file_name() == name))
}
