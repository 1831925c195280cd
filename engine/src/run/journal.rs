//! A run's journal: its events as JSON lines in `.pipe/runs/<id>/events.jsonl`, readable back through the same
//! observers.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Observer};

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

/// Writes events down. What cannot be written is lost: a journal must not end a run.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
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
        Ok(Journal { file: BufWriter::with_capacity(64 << 10, file) })
    }

    /// Brings what was written so far to the file; called whenever the run is about to wait.
    pub(crate) fn flush(&mut self) {
        let _ = self.file.flush();
    }
}

impl Observer for Journal {
    fn on(&mut self, at: Duration, event: &Event) {
        let line = Line { at_ns: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), what: event.clone() };
        if serde_json::to_writer(&mut self.file, &line).is_ok() {
            let _ = self.file.write_all(b"\n");
        }
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
    let file = File::open(runs(root).join(id).join("events.jsonl"))?;
    let mut lines = Vec::new();
    let mut unread = 0;
    for line in BufReader::new(file).split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(line) => lines.push(line),
            Err(_) => unread += 1,
        }
    }
    Ok((lines, unread))
}
