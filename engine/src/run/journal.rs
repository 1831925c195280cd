//! A run's journal: its events as JSON lines in `.pipe/runs/<id>/events.jsonl`, readable back through the same
//! observers.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Observer, State};

#[cfg(test)]
mod tests;

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Since the run's start, ns.
    pub at_ns: u64,
    /// What happened.
    pub what: Event,
}

/// A line as it is written. A stage that is known already is told in one line instead of three: most lines of most
/// journals are of such stages.
#[derive(Debug, Deserialize)]
struct Read {
    at_ns: u64,
    #[serde(default)]
    what: Option<Event>,
    #[serde(default)]
    hit: Option<Known>,
}

/// What [`Read`] reads.
#[derive(Debug, Serialize)]
struct Written<'a> {
    at_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hit: Option<&'a Known>,
}

/// A stage's key, that a record answers for it, and its move to [`State::Hit`], which follow each other.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    stage: String,
    key: String,
    saved_ns: u64,
    from: String,
}

impl Known {
    fn into_events(self) -> [Event; 3] {
        let Known { stage, key, saved_ns, from } = self;
        [
            Event::StageKeyed { stage: stage.clone(), key },
            Event::StageHit { stage: stage.clone(), saved_ns, from },
            Event::StageMoved { stage, state: State::Hit },
        ]
    }
}

/// Writes events down. What cannot be written is lost: a journal must not end a run.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
    /// What was told and is not written yet, since what follows may be told with it: since when, and how many of the
    /// three events it holds.
    held: Known,
    held_at_ns: u64,
    held_events: usize,
}

impl Journal {
    /// A new journal for the run `id` in the project at `root`.
    ///
    /// # Errors
    /// When its directory or file cannot be made.
    pub fn create(root: &Path, id: &str) -> std::io::Result<Journal> {
        let directory = runs(root).join(id);
        std::fs::create_dir_all(&directory)?;
        let file = File::create(directory.join("events.jsonl"))?;
        let file = BufWriter::with_capacity(64 << 10, file);
        Ok(Journal { file, held: Known::default(), held_at_ns: 0, held_events: 0 })
    }

    /// Brings what was written so far to the file; called whenever the run is about to wait.
    pub(crate) fn flush(&mut self) {
        self.let_go();
        let _ = self.file.flush();
    }

    /// Whether `event` goes on with what is held, or begins it.
    fn holds(&mut self, at_ns: u64, event: &Event) -> bool {
        match (self.held_events, event) {
            (0, Event::StageKeyed { stage, key }) => {
                self.held_at_ns = at_ns;
                self.held.stage.clone_from(stage);
                self.held.key.clone_from(key);
            }
            (1, Event::StageHit { stage, saved_ns, from }) if *stage == self.held.stage => {
                self.held.saved_ns = *saved_ns;
                self.held.from.clone_from(from);
            }
            (2, Event::StageMoved { stage, state: State::Hit }) if *stage == self.held.stage => {
                self.held_events = 0;
                let line = Written { at_ns: self.held_at_ns, what: None, hit: Some(&self.held) };
                write(&mut self.file, &line);
                return true;
            }
            _ => return false,
        }
        self.held_events += 1;
        true
    }

    /// Writes what is held as the events that it is.
    fn let_go(&mut self) {
        if self.held_events > 0 {
            for event in std::mem::take(&mut self.held).into_events().iter().take(self.held_events) {
                write(&mut self.file, &Written { at_ns: self.held_at_ns, what: Some(event), hit: None });
            }
            self.held_events = 0;
        }
    }
}

impl Observer for Journal {
    fn on(&mut self, at: Duration, event: &Event) {
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        if self.holds(at_ns, event) {
            return;
        }
        self.let_go();
        if !self.holds(at_ns, event) {
            write(&mut self.file, &Written { at_ns, what: Some(event), hit: None });
        }
    }
}

fn write(file: &mut impl Write, line: &Written<'_>) {
    if serde_json::to_writer(&mut *file, line).is_ok() {
        let _ = file.write_all(b"\n");
    }
}

/// Where the project at `root` keeps its runs.
pub fn runs(root: &Path) -> PathBuf {
    root.join(".pipe/runs")
}

/// The ids of all runs of the project at `root`, oldest first.
pub fn list(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(runs(root)) else { return Vec::new() };
    let mut ids: Vec<String> =
        entries.flatten().filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect();
    ids.sort();
    ids
}

/// The events of the run `id`. Lines that cannot be read (the last one of a run that was killed) are left out and
/// counted in the second value.
///
/// # Errors
/// When there is no such journal.
pub fn read(root: &Path, id: &str) -> std::io::Result<(Vec<Line>, usize)> {
    read_lines(File::open(runs(root).join(id).join("events.jsonl"))?)
}

/// The events in a journal's text, as [`read`] gives them.
pub(crate) fn read_lines(text: impl std::io::Read) -> std::io::Result<(Vec<Line>, usize)> {
    let mut lines = Vec::new();
    let mut unread = 0;
    for line in BufReader::new(text).split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(Read { at_ns, what: Some(what), hit: None }) => lines.push(Line { at_ns, what }),
            Ok(Read { at_ns, what: None, hit: Some(known) }) => {
                lines.extend(known.into_events().into_iter().map(|what| Line { at_ns, what }));
            }
            Ok(_) | Err(_) => unread += 1,
        }
    }
    Ok((lines, unread))
}
