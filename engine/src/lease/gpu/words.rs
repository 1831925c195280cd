//! What stands in the board's files for people to read: who holds a card or waits for one, for what, since when.
//!
//! The words on who holds a card alone stand in its lock file itself, the only file there that every user may write.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Board, lock_name, plain};
use crate::store::Who;

/// Longer words were not written by us.
const LONGEST: usize = 64 << 10;

/// Somebody at the board, as `pipe gpu` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub who: Who,
    /// The user's name, or number.
    #[serde(default)]
    pub user: String,
    /// Cards held, or cards any of which would do.
    pub cards: Vec<String>,
    /// Since when, RFC 3339, UTC.
    pub since: String,
    /// Of a card that is shared: most memory that this holder will use, MiB.
    #[serde(default)]
    pub budget_mib: u64,
    /// How the card was used so far; told by the holder now and then.
    #[serde(default)]
    pub worked: Option<Worked>,
}

/// How a card was used while it was held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Worked {
    /// Held for so long, s.
    pub held_s: f64,
    /// Share of that time in which the card worked, 0 to 1.
    pub share: f64,
}

/// Who holds a card.
#[derive(Debug, Clone, PartialEq)]
pub enum Holders {
    /// Nobody.
    Free,
    /// One stage; `None` where its words cannot be read.
    Alone(Option<Box<Entry>>),
    /// Several that share it.
    Shared(Vec<Entry>),
}

impl Holders {
    /// All that have said who they are.
    pub fn entries(self) -> Vec<Entry> {
        match self {
            Holders::Free | Holders::Alone(None) => Vec::new(),
            Holders::Alone(Some(entry)) => vec![*entry],
            Holders::Shared(entries) => entries,
        }
    }
}

impl Board {
    /// Ourselves, now.
    pub(super) fn entry(&self, cards: &[String]) -> Entry {
        Entry {
            who: self.who.clone(),
            user: user(),
            cards: cards.to_vec(),
            since: jiff::Timestamp::now().to_string(),
            budget_mib: 0,
            worked: None,
        }
    }

    /// Who holds the card `uuid`, as far as it was said.
    pub fn holders(&self, uuid: &str) -> Holders {
        let shares = self.shares(uuid).unwrap_or_default();
        if !shares.is_empty() {
            return Holders::Shared(shares.into_iter().map(|(_, entry)| entry).collect());
        }
        match self.lock(uuid, File::try_lock_shared) {
            Ok(Some(_)) => Holders::Free,
            _ => {
                let words = File::open(self.directory.join(lock_name(uuid))).ok().and_then(|file| read(&file));
                Holders::Alone(words.map(Box::new))
            }
        }
    }

    /// Those that share the card `uuid`. What the dead left is removed on the way.
    pub(super) fn shares(&self, uuid: &str) -> std::io::Result<Vec<(PathBuf, Entry)>> {
        let stem = format!("{}.share-", plain(uuid));
        let mut shares = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(&stem) {
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            if file.try_lock().is_ok() {
                let _ = std::fs::remove_file(entry.path());
            } else if let Some(words) = read(&file) {
                shares.push((entry.path(), words));
            }
        }
        Ok(shares)
    }

    /// The board of `stage` of the same run.
    #[must_use]
    pub fn of_stage(&self, stage: &str) -> Board {
        let who = Who { stage: stage.to_owned(), ..self.who.clone() };
        Board { directory: self.directory.clone(), who }
    }

    /// Says how a card that is held alone was used so far.
    pub fn say_worked(&self, uuid: &str, since: &str, worked: Worked) {
        let path = self.directory.join(lock_name(uuid));
        if let Ok(file) = File::options().read(true).write(true).open(path)
            && read(&file).is_some_and(|said| said.who == self.who && said.since == since)
        {
            let entry = Entry { since: since.to_owned(), worked: Some(worked), ..self.entry(&[uuid.to_owned()]) };
            write(&file, &entry);
        }
    }

    /// Since when the card `uuid` is held by us, as it was said.
    pub fn since(&self, uuid: &str) -> Option<String> {
        let file = File::open(self.directory.join(lock_name(uuid))).ok()?;
        read(&file).filter(|said| said.who == self.who).map(|said| said.since)
    }
}

/// Writes the words into a file, in the place of what was there. Whether somebody can read them makes no difference to
/// who holds what.
pub(super) fn write(file: &File, entry: &Entry) {
    let mut words = serde_json::to_vec(entry).expect("an entry has string keys only");
    words.push(b'\n');
    let _ = file.write_all_at(&words, 0).and_then(|()| file.set_len(words.len() as u64));
}

/// The words in a file, if they are whole.
pub(super) fn read(file: &File) -> Option<Entry> {
    let mut words = vec![0; LONGEST];
    let length = file.read_at(&mut words, 0).ok()?;
    // Only the first line: a shorter text may just be taking the place of a longer one.
    let line = words[..length].split(|b| *b == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// The name of the user whose process this is, else the number.
fn user() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|text| {
        let line = text.lines().find(|line| line.split(':').nth(2) == Some(&id))?;
        line.split(':').next().map(str::to_owned)
    });
    named.unwrap_or(id)
}
