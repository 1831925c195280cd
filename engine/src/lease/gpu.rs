//! Cards, shared by all engines of a host: a lock file for each, named by UUID, in a directory of that host.
//!
//! The lock (`flock` on a descriptor that the stage's process inherits) is the truth: the system frees it when the last
//! process that has it is gone, and an orphan that still computes keeps its card. Tickets give order and can be seen;
//! the words beside a lock (who, since when) are for people. Nobody ever deletes a lock file: whoever did would make
//! two holders, which is why the inode is compared after locking.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::Who;

#[cfg(test)]
mod tests;

/// The directory of a host in which its cards' locks lie.
#[derive(Debug, Clone)]
pub struct Board {
    directory: PathBuf,
    who: Who,
}

/// A card that is held.
#[derive(Debug)]
pub struct Held {
    /// Its UUID.
    pub uuid: String,
    /// Its lock; the stage's process gets it too.
    pub lock: File,
}

/// A place in the order of those who wait; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    path: PathBuf,
    /// Locked for as long as its owner lives.
    _alive: File,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
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

/// Somebody at the board, as `pipe gpu` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub who: Who,
    /// Cards held, or cards any of which would do.
    pub cards: Vec<String>,
    /// Since when, RFC 3339, UTC.
    pub since: String,
}

impl Board {
    /// Where all engines of this host look: `PIPE_GPU_BOARD`, else a directory that is gone after a start of the host.
    pub fn usual() -> PathBuf {
        if let Some(directory) = std::env::var_os("PIPE_GPU_BOARD") {
            return directory.into();
        }
        let lock = Path::new("/run/lock");
        if lock.is_dir() { lock.join("pipe-gpu") } else { std::env::temp_dir().join("pipe-gpu") }
    }

    /// The board in `directory`, for `who`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &Path, who: Who) -> std::io::Result<Board> {
        if !directory.is_dir() {
            std::fs::create_dir_all(directory)?;
            // Anybody on this host may wait here, but not remove another's files.
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o1777))?;
        }
        Ok(Board { directory: directory.to_owned(), who })
    }

    /// The next ticket, for any of `cards`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ticket(&self, cards: &[String]) -> std::io::Result<Ticket> {
        let counter = self.counter()?;
        let mut text = String::new();
        (&counter).read_to_string(&mut text)?;
        let number = text.trim().parse::<u64>().unwrap_or(0) + 1;
        counter.write_all_at(format!("{number:020}\n").as_bytes(), 0)?;
        let path = self.directory.join(format!("ticket-{number:020}"));
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        // Nobody else can have it: the number is new and the counter locked.
        let _ = file.try_lock();
        serde_json::to_writer(&file, &self.entry(cards)).map_err(std::io::Error::from)?;
        file.flush()?;
        Ok(Ticket { number, path, _alive: file })
    }

    /// The file with the last ticket's number, locked; nobody draws or removes a ticket while another has it.
    fn counter(&self) -> std::io::Result<File> {
        let counter = self.shared("counter")?;
        counter.lock()?;
        Ok(counter)
    }

    fn entry(&self, cards: &[String]) -> Entry {
        Entry { who: self.who.clone(), cards: cards.to_vec(), since: jiff::Timestamp::now().to_string() }
    }

    /// Takes `count` of `cards`, all or none. Who drew an earlier ticket for any of them goes first.
    ///
    /// # Errors
    /// When the board cannot be read or written.
    pub fn take(&self, ticket: &Ticket, cards: &[String], count: usize) -> std::io::Result<Taken> {
        for (number, entry) in self.tickets()? {
            if number < ticket.number && entry.cards.iter().any(|card| cards.contains(card)) {
                let who = entry.who;
                return Ok(Taken::Wait(format!("a GPU, after {} of {}", who.stage, who.run)));
            }
        }
        let mut held = Vec::new();
        // In one order for all, so that two who each need two never hold one each.
        let mut sorted: Vec<&String> = cards.iter().collect();
        sorted.sort();
        for uuid in sorted {
            if held.len() == count {
                break;
            }
            if let Some(lock) = self.lock(uuid)? {
                held.push(Held { uuid: uuid.clone(), lock });
            }
        }
        if held.len() < count {
            let held: Vec<String> = held.into_iter().map(|h| h.uuid).collect();
            let holder = cards.iter().filter(|card| !held.contains(card)).find_map(|card| self.holder(card));
            let by = holder.map_or_else(String::new, |e| format!(", held by {} of {}", e.who.stage, e.who.run));
            return Ok(Taken::Wait(format!("{count} GPU{}{by}", if count == 1 { "" } else { "s" })));
        }
        for one in &held {
            self.say_who(&one.uuid);
        }
        Ok(Taken::All(held))
    }

    /// The lock of a card if it is free.
    fn lock(&self, uuid: &str) -> std::io::Result<Option<File>> {
        let name = lock_name(uuid);
        for _ in 0..3 {
            let file = self.shared(&name)?;
            match file.try_lock() {
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
                    Ok(file) => file.set_permissions(std::fs::Permissions::from_mode(0o666))?,
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(e),
                }
                open()
            }
            other => other,
        }
    }

    /// Writes beside a lock who holds it.
    fn say_who(&self, uuid: &str) {
        let path = self.words_path(uuid);
        let temporary = self.directory.join(format!(".{}-{}", plain(uuid), std::process::id()));
        let words = serde_json::to_vec(&self.entry(&[uuid.to_owned()])).expect("an entry has string keys only");
        // For people only; the lock is what counts.
        if std::fs::write(&temporary, words).and_then(|()| std::fs::rename(&temporary, path)).is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }

    fn words_path(&self, uuid: &str) -> PathBuf {
        self.directory.join(format!("{}.json", plain(uuid)))
    }

    /// Gives a card back: the descriptor is closed and never unlocked, as others may share it.
    pub fn put_back(&self, held: Held) {
        let _ = std::fs::remove_file(self.words_path(&held.uuid));
        drop(held);
    }

    /// Who holds the card `uuid`, as far as it was said.
    pub fn holder(&self, uuid: &str) -> Option<Entry> {
        if matches!(self.lock(uuid), Ok(Some(_))) {
            return None;
        }
        serde_json::from_slice(&std::fs::read(self.words_path(uuid)).ok()?).ok()
    }

    /// Who waits, in order. Tickets of the dead are removed on the way.
    ///
    /// # Errors
    /// When the board cannot be listed.
    pub fn tickets(&self) -> std::io::Result<Vec<(u64, Entry)>> {
        let _counter = self.counter()?;
        let mut tickets = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|n| n.strip_prefix("ticket-")).and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let Ok(mut file) = File::open(entry.path()) else { continue };
            if file.try_lock().is_ok() {
                // Nobody holds it: its owner is gone.
                let _ = std::fs::remove_file(entry.path());
                continue;
            }
            let mut words = Vec::new();
            if file.read_to_end(&mut words).is_ok()
                && let Ok(entry) = serde_json::from_slice(&words)
            {
                tickets.push((number, entry));
            }
        }
        tickets.sort_by_key(|(number, _)| *number);
        Ok(tickets)
    }
}

fn lock_name(uuid: &str) -> String {
    format!("{}.lock", plain(uuid))
}

/// A UUID as a file name: it comes from a driver, which is no reason to let it name other directories.
fn plain(uuid: &str) -> String {
    uuid.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
