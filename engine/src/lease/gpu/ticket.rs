//! Places in the order of those who wait for cards: a file each, with a number, locked for as long as its owner lives
//! and touched whenever it asks again.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Board, Entry, words};

/// A waiter that has not asked for so long lets others pass: its process was stopped, or it lacks something else. Its
/// place counts again as soon as it asks.
const SILENCE: Duration = Duration::from_secs(30);

/// A place in the order of those who wait; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    path: PathBuf,
    /// Locked for as long as its owner lives.
    alive: File,
}

impl Ticket {
    /// The lower, the earlier.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Shows that its owner still wants what it asked for.
    pub(super) fn beat(&self) {
        self.asked_at(SystemTime::now());
    }

    /// Its owner asked last at this time.
    pub(super) fn asked_at(&self, time: SystemTime) {
        // If it cannot be said, others may pass; nobody gets a card that is held.
        let _ = self.alive.set_modified(time);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Board {
    /// The next ticket, for any of `cards`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ticket(&self, cards: &[String]) -> std::io::Result<Ticket> {
        let counter = self.turn()?;
        let mut text = String::new();
        (&counter).read_to_string(&mut text)?;
        let number = text.trim().parse::<u64>().unwrap_or(0) + 1;
        counter.write_all_at(format!("{number:020}\n").as_bytes(), 0)?;
        let path = self.directory.join(format!("ticket-{number:020}"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        // Nobody else can have it: the number is new and it is our turn.
        let _ = file.try_lock();
        words::write(&file, &self.entry(cards));
        Ok(Ticket { number, path, alive: file })
    }

    /// Who waits, in order.
    ///
    /// # Errors
    /// When the board cannot be listed.
    pub fn tickets(&self) -> std::io::Result<Vec<(u64, Entry)>> {
        let turn = self.turn()?;
        self.tickets_in_turn(&turn)
    }

    /// The same for somebody whose turn it is. Tickets of the dead are removed on the way; those of the silent are left
    /// out.
    pub(super) fn tickets_in_turn(&self, _turn: &File) -> std::io::Result<Vec<(u64, Entry)>> {
        let mut tickets = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|n| n.strip_prefix("ticket-")).and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let Ok(file) = File::open(entry.path()) else { continue };
            if file.try_lock().is_ok() {
                // Nobody holds it: its owner is gone.
                let _ = std::fs::remove_file(entry.path());
                continue;
            }
            let asked = file.metadata().and_then(|m| m.modified());
            let silent = asked.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > SILENCE));
            if !silent && let Some(entry) = words::read(&file) {
                tickets.push((number, entry));
            }
        }
        tickets.sort_by_key(|(number, _)| *number);
        Ok(tickets)
    }

    /// Writes a file of ours that stays locked for as long as anybody has it; others can see whether they do.
    pub(super) fn write_locked(&self, stem: &str, entry: &Entry) -> std::io::Result<(PathBuf, File)> {
        for number in 0..u32::MAX {
            let path = self.directory.join(format!("{stem}-{}-{number}", std::process::id()));
            match File::options().read(true).write(true).create_new(true).mode(0o644).open(&path) {
                Ok(file) => {
                    let _ = file.try_lock();
                    words::write(&file, entry);
                    return Ok((path, file));
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(std::io::Error::other("no name is free"))
    }
}
