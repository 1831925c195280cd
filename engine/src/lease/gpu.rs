//! Cards, shared by all engines of a host: a lock file for each, named by UUID, in a directory of that host.
//!
//! The lock (`flock` on a descriptor that the stage's process inherits) is the truth: the system frees it when the last
//! process that has it is gone, and an orphan that still computes keeps its card. A card is held *alone*, by an
//! exclusive lock, or *shared*, by a lock of the other sort and a file that says how much of the card's memory its
//! holder may use. Tickets give order and can be seen; the words beside a lock (who, since when) are for people.
//!
//! It does not know stages but by name, nor what a card can do. Invariants: nobody ever deletes a lock file (whoever
//! did would make two holders, which is why the inode is compared after locking); a lock is let go by closing it and
//! never by unlocking, as others may have the same descriptor; the budgets of those that share never exceed the card.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::store::Who;

mod ticket;
mod words;

#[cfg(test)]
mod tests;

pub use ticket::Ticket;
pub use words::{Entry, Holders, Worked};

/// The directory of a host in which its cards' locks lie.
#[derive(Debug, Clone)]
pub struct Board {
    directory: PathBuf,
    who: Who,
}

/// `[gpu]` of a project: what is done where cards cannot be had to oneself.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What to do where the directory of the locks cannot be used.
    pub without_lock: WithoutLock,
    /// How often a disturbed measurement is thrown away and taken again; after that it is kept, and marked.
    pub retries: u32,
    /// How long a measurement waits for another's process to leave its card before it runs all the same, s.
    pub wait_s: f64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { without_lock: WithoutLock::Error, retries: 1, wait_s: 60.0 }
    }
}

/// What to do where cards cannot be locked for all of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutLock {
    /// Nothing runs.
    Error,
    /// They are locked among the runs of this project only, with a warning.
    Warn,
}

/// What is asked of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Cards any of which would do, by UUID.
    pub cards: Vec<String>,
    /// How many of them.
    pub count: usize,
    /// In what way.
    pub how: How,
}

/// In what way a card is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum How {
    /// By one stage: whatever is measured, and whatever does not say how much memory it will use.
    #[default]
    Alone,
    /// Beside others, as long as their budgets fit together.
    Shared {
        /// Most memory that it will use of each card, MiB.
        budget_mib: u64,
        /// What each card has, MiB.
        card_mib: u64,
    },
}

/// A card that is held.
#[derive(Debug)]
pub struct Held {
    /// Its UUID.
    pub uuid: String,
    /// What keeps it: its lock, and for a shared one the file with the budget. The stage's process gets them too.
    pub locks: Vec<File>,
    /// The file with the budget, if it is shared.
    share: Option<PathBuf>,
}

/// Whether a lock file is still the one that was locked: one that somebody deleted guards nothing.
#[derive(Debug, Clone)]
pub struct Guard {
    path: PathBuf,
    place: Option<(u64, u64)>,
}

impl Guard {
    /// Whether it stands.
    pub fn stands(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|there| Some((there.dev(), there.ino())) == self.place)
    }
}

/// What came of asking for cards.
#[derive(Debug)]
pub enum Taken {
    /// All of them.
    All(Vec<Held>),
    /// None, for this reason.
    Wait(String),
}

/// How long a turn at the board is waited for. Whoever has it needs less than a millisecond, unless it was stopped.
const TURN: Duration = Duration::from_secs(1);

impl Board {
    /// Where all engines of this host look: `PIPE_GPU_BOARD`, else a directory that is gone after a start of the host.
    pub fn usual() -> PathBuf {
        if let Some(directory) = std::env::var_os("PIPE_GPU_BOARD") {
            return directory.into();
        }
        let lock = Path::new("/run/lock");
        if lock.is_dir() { lock.join("pipe-gpu") } else { std::env::temp_dir().join("pipe-gpu") }
    }

    /// The board in `directory`, for `who`; made if it is not there, and tried.
    ///
    /// # Errors
    /// When no lock can be had there.
    pub fn open(directory: &Path, who: Who) -> std::io::Result<Board> {
        if !directory.is_dir() {
            std::fs::create_dir_all(directory)?;
            // Anybody on this host may wait here, but not remove another's files.
            std::fs::set_permissions(directory, Permissions::from_mode(0o1777))?;
        }
        if is_of_a_network(directory) {
            let why = "it lies on a network file system, and cards are of one host";
            return Err(std::io::Error::new(ErrorKind::Unsupported, why));
        }
        let board = Board { directory: directory.to_owned(), who };
        match board.turn() {
            // Somebody has it: locks work.
            Err(e) if e.kind() != ErrorKind::TimedOut => Err(e),
            _ => Ok(board),
        }
    }

    /// The right to look at all tickets and budgets and to add one, for as long as the file lives.
    fn turn(&self) -> std::io::Result<File> {
        let counter = self.shared("counter")?;
        let began = std::time::Instant::now();
        loop {
            match counter.try_lock() {
                Ok(()) => return Ok(counter),
                Err(TryLockError::Error(e)) => return Err(e),
                Err(TryLockError::WouldBlock) if began.elapsed() > TURN => {
                    let why = "somebody has had its turn for a second; was that process stopped?";
                    return Err(std::io::Error::new(ErrorKind::TimedOut, why));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Takes what is wanted, all or none. Who drew an earlier ticket for any of the cards goes first.
    ///
    /// # Errors
    /// When the board cannot be read or written.
    pub fn take(&self, ticket: &Ticket, want: &Want) -> std::io::Result<Taken> {
        let turn = match self.turn() {
            Err(e) if e.kind() == ErrorKind::TimedOut => return Ok(Taken::Wait(format!("the GPU board: {e}"))),
            other => other?,
        };
        ticket.beat();
        for (number, entry) in self.tickets_in_turn(&turn)? {
            if number < ticket.number() && entry.cards.iter().any(|card| want.cards.contains(card)) {
                let who = entry.who;
                return Ok(Taken::Wait(format!("a GPU, after {} of {}", who.stage, who.run)));
            }
        }
        let mut held = Vec::new();
        // In one order for all, so that two who each need two never hold one each.
        let mut sorted: Vec<&String> = want.cards.iter().collect();
        sorted.sort();
        for uuid in sorted {
            if held.len() == want.count {
                break;
            }
            held.extend(self.one(uuid, want.how)?);
        }
        if held.len() < want.count {
            let refused = want.cards.iter().filter(|card| !held.iter().any(|h: &Held| &h.uuid == *card));
            let by = refused.filter_map(|card| self.holders(card).entries().into_iter().next()).next();
            let by = by.map_or_else(String::new, |e| format!(", held by {} of {}", e.who.stage, e.who.run));
            let word = if want.count == 1 { "GPU" } else { "GPUs" };
            held.into_iter().for_each(|one| self.put_back(one));
            return Ok(Taken::Wait(format!("{} {word}{by}", want.count)));
        }
        for one in &held {
            if let (None, Some(lock)) = (&one.share, one.locks.first()) {
                words::write(lock, &self.entry(std::slice::from_ref(&one.uuid)));
            }
        }
        Ok(Taken::All(held))
    }

    /// One card, if it can be had in this way.
    fn one(&self, uuid: &str, how: How) -> std::io::Result<Option<Held>> {
        let How::Shared { budget_mib, card_mib } = how else {
            let lock = self.lock(uuid, File::try_lock)?;
            return Ok(lock.map(|lock| Held { uuid: uuid.to_owned(), locks: vec![lock], share: None }));
        };
        let Some(lock) = self.lock(uuid, File::try_lock_shared)? else { return Ok(None) };
        let promised: u64 = self.shares(uuid)?.iter().map(|(_, entry)| entry.budget_mib).sum();
        if promised + budget_mib > card_mib {
            return Ok(None);
        }
        let entry = Entry { budget_mib, ..self.entry(&[uuid.to_owned()]) };
        let (path, file) = self.write_locked(&format!("{}.share", plain(uuid)), &entry)?;
        Ok(Some(Held { uuid: uuid.to_owned(), locks: vec![lock, file], share: Some(path) }))
    }

    /// The lock of a card, taken by `attempt`, if it is free.
    fn lock(&self, uuid: &str, attempt: fn(&File) -> Result<(), TryLockError>) -> std::io::Result<Option<File>> {
        let name = lock_name(uuid);
        for _ in 0..3 {
            let file = self.shared(&name)?;
            match attempt(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e),
            }
            let (ours, there) = (file.metadata()?, std::fs::symlink_metadata(self.directory.join(&name)));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// What shows later whether `held` still guards its card.
    pub fn guard(&self, held: &Held) -> Guard {
        let place = held.locks.first().and_then(|lock| lock.metadata().ok()).map(|m| (m.dev(), m.ino()));
        Guard { path: self.directory.join(lock_name(&held.uuid)), place }
    }

    /// Opens a file that every user of the host may open. Most systems refuse `O_CREAT` on another user's file in
    /// a sticky directory, so it is first opened without.
    fn shared(&self, name: &str) -> std::io::Result<File> {
        let path = self.directory.join(name);
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let open = || {
            let write = OpenOptions::new().read(true).write(true).custom_flags(nofollow).open(&path);
            match write {
                Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                    OpenOptions::new().read(true).custom_flags(nofollow).open(&path)
                }
                other => other,
            }
        };
        match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                match OpenOptions::new().write(true).create_new(true).custom_flags(nofollow).open(&path) {
                    Ok(file) => file.set_permissions(Permissions::from_mode(0o666))?,
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(e),
                }
                open()
            }
            other => other,
        }
    }

    /// Gives a card back.
    pub fn put_back(&self, held: Held) {
        if let Some(path) = &held.share {
            let _ = std::fs::remove_file(path);
        }
        drop(held);
    }
}

/// Whether a directory lies on a file system of several hosts, as far as its sort tells.
fn is_of_a_network(directory: &Path) -> bool {
    /// NFS, SMB 2, AFS, Lustre, Ceph.
    const NETWORKS: [u64; 5] = [0x6969, 0xfe53_4d42, 0x5346_414f, 0x0bd0_0bd0, 0x00c3_6400];
    rustix::fs::statfs(directory).is_ok_and(|s| u64::try_from(s.f_type).is_ok_and(|sort| NETWORKS.contains(&sort)))
}

fn lock_name(uuid: &str) -> String {
    format!("{}.lock", plain(uuid))
}

/// A UUID as a file name: it comes from a driver, which is no reason to let it name other directories.
fn plain(uuid: &str) -> String {
    uuid.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
