//! Runs that are over, as their journals tell them: which there are, what became of each stage, how two differ.
//! It reads journals and nothing else; what a key was made of, the caller looks up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::event::{Event, State};
use crate::report::paint::Paint;
use crate::report::{counted, duration};
use crate::run::journal::{self, Line};

#[cfg(test)]
mod tests;

/// The first and the last event of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outline {
    pub(super) id: String,
    pub(super) first: Option<Line>,
    pub(super) last: Option<Line>,
}

/// What became of a stage in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) key: String,
    pub(super) state: Option<State>,
    /// How long it took, in this run or when it was computed; 0 = not known.
    pub(super) took_ns: u64,
    pub(super) message: String,
}

/// The id that a person means: `last`, a whole id, or the beginning of only one.
///
/// # Errors
/// When none or several are meant.
pub(super) fn find(root: &Path, word: &str) -> Result<String, String> {
    let ids = journal::list(root);
    if word == "last" {
        return ids.last().cloned().ok_or_else(|| "this project has no runs yet".to_owned());
    }
    let meant: Vec<&String> = ids.iter().filter(|id| id.starts_with(word)).collect();
    match meant.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(format!("no run's id begins with `{word}`; `pipe runs` lists them")),
        [.., last] if *last == word => Ok(word.to_owned()),
        several => Err(format!("{} begin with `{word}`", counted(several.len() as u64, "run"))),
    }
}

/// The outlines of the latest `most` runs, the latest first. Reads the two ends of each journal.
pub(super) fn outlines(root: &Path, most: usize) -> Vec<Outline> {
    let ids = journal::list(root);
    ids.into_iter().rev().take(most).map(|id| outline(root, id)).collect()
}

/// The outline of one run; what cannot be read is absent.
pub(super) fn outline(root: &Path, id: String) -> Outline {
    let ends = || -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let mut reader = BufReader::new(File::open(journal::runs(root).join(&id).join("events.jsonl"))?);
        let mut first = Vec::new();
        reader.read_until(b'\n', &mut first)?;
        let mut file = reader.into_inner();
        let length = file.seek(SeekFrom::End(0))?;
        // The last event is a few hundred bytes.
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok((first, tail))
    };
    let Ok((first, tail)) = ends() else { return Outline { id, first: None, last: None } };
    let last = tail.split(|&b| b == b'\n').rfind(|line| !line.is_empty());
    Outline {
        id,
        first: serde_json::from_slice(&first).ok(),
        last: last.and_then(|line| serde_json::from_slice(line).ok()),
    }
}

/// A line for each run.
pub(super) fn list(outlines: &[Outline], paint: Paint) -> String {
    let mut out = String::new();
    for outline in outlines {
        let Some(Line { what: Event::RunStarted { pipeline, .. }, .. }) = &outline.first else {
            let _ = writeln!(out, "{}  its journal cannot be read", outline.id);
            continue;
        };
        let end = match &outline.last {
            Some(Line { at_ns, what: Event::RunFinished { hits, done, failed, stopped, gates, .. } }) => {
                let mut words = vec![counted(u64::from(*hits), "hit"), format!("{done} done")];
                if *failed > 0 {
                    words.push(paint.bad(&format!("{failed} failed")));
                }
                if *gates > 0 {
                    words.push(paint.bad(&format!("{} failed", counted(u64::from(*gates), "gate"))));
                }
                if *stopped {
                    words.push(paint.warn("stopped"));
                }
                format!("{}, {}", duration(*at_ns), words.join(", "))
            }
            _ => paint.warn("has no end: it goes on, or was killed"),
        };
        let _ = writeln!(out, "{}  {}  {end}", outline.id, paint.bold(pipeline));
    }
    out
}

/// What became of each stage, by name.
pub(super) fn ends(lines: &[Line]) -> BTreeMap<String, End> {
    let mut out: BTreeMap<String, End> = BTreeMap::new();
    for Line { what, .. } in lines {
        match what {
            Event::StageKeyed { stage, key } => out.entry(stage.clone()).or_default().key.clone_from(key),
            Event::StageMoved { stage, state } => out.entry(stage.clone()).or_default().state = Some(*state),
            Event::StageHit { stage, saved_ns, .. } => out.entry(stage.clone()).or_default().took_ns = *saved_ns,
            Event::StageDone { stage, usage, .. } => out.entry(stage.clone()).or_default().took_ns = usage.wall_ns,
            Event::StageFailed { stage, message, .. } => {
                out.entry(stage.clone()).or_default().message.clone_from(message);
            }
            _ => {}
        }
    }
    out
}

/// How two runs differ, a line for each stage that is not the same in both; `reason` says how two keys differ.
pub(super) fn diff(
    old: &BTreeMap<String, End>,
    new: &BTreeMap<String, End>,
    reason: &dyn Fn(&str, &str, &str) -> Option<String>,
    paint: Paint,
) -> String {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(44);
    let (mut out, mut same) = (String::new(), 0);
    for name in names {
        let told = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old.key == new.key && good(old) == good(new) => {
                same += 1;
                continue;
            }
            (Some(old), Some(new)) => {
                let why = reason(name, &old.key, &new.key).map(|r| format!(" · {r}")).unwrap_or_default();
                format!("{} → {}{}", told(old), told(new), paint.dim(&why))
            }
            (None, Some(new)) => format!("only in the second: {}", told(new)),
            (Some(old), None) => format!("only in the first: {}", told(old)),
            (None, None) => continue,
        };
        let _ = writeln!(out, "{name:width$}  {told}");
    }
    let _ = writeln!(out, "{} the same in both", counted(same, "stage"));
    out
}

fn good(end: &End) -> bool {
    matches!(end.state, Some(State::Hit | State::Done))
}

fn told(end: &End) -> String {
    match end.state {
        Some(State::Hit | State::Done) => duration(end.took_ns),
        Some(State::Failed) => format!("failed ({})", end.message.lines().next().unwrap_or_default()),
        Some(State::Skipped) => "skipped".to_owned(),
        Some(State::Waiting | State::Ready | State::Queued | State::Running) | None => "not finished".to_owned(),
    }
}
