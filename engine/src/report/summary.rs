//! What came of a run, told when it ends: shown texts and links to stdout (they are the result), failures and counts to
//! stderr. It keeps what it needs until [`Event::RunFinished`] and prints nothing before.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::paint::Paint;
use super::{count, counted, duration};
use crate::event::{Event, Observer};

/// So many links are listed; of more than these, the last ones.
const LINKS: usize = 6;
/// So many failures are told in full; further ones by name.
const FAILURES: usize = 10;

/// Whether counts and links are told, or only shown texts and what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    Full,
    /// `--quiet`: shown texts, failures and failed gates.
    Results,
}

/// Prints results to `out` and the rest to `err`.
#[derive(Debug)]
pub struct Summary<O, E> {
    out: O,
    err: E,
    out_paint: Paint,
    err_paint: Paint,
    detail: Detail,
    shown: Vec<(String, String)>,
    links: Vec<String>,
    linked: usize,
    failures: Vec<Event>,
    gates: Vec<(String, String)>,
    saved_ns: u64,
    here: Option<PathBuf>,
}

impl<O: Write, E: Write> Summary<O, E> {
    /// Results go to `out`, failures and counts to `err`.
    pub fn new(out: O, out_paint: Paint, err: E, err_paint: Paint, detail: Detail) -> Summary<O, E> {
        Summary {
            out,
            err,
            out_paint,
            err_paint,
            detail,
            shown: Vec::new(),
            links: Vec::new(),
            linked: 0,
            failures: Vec::new(),
            gates: Vec::new(),
            saved_ns: 0,
            here: None,
        }
    }

    /// The same, which tells paths below `here` from there.
    #[must_use]
    pub fn seen_from(mut self, here: PathBuf) -> Summary<O, E> {
        self.here = Some(here);
        self
    }

    fn short<'a>(&self, path: &'a str) -> &'a str {
        let inside = self.here.as_ref().and_then(|here| Path::new(path).strip_prefix(here).ok());
        inside.and_then(Path::to_str).unwrap_or(path)
    }

    fn results(&mut self) -> std::io::Result<()> {
        if self.detail == Detail::Full && !(self.shown.is_empty() && self.links.is_empty()) {
            // Between lines and results, where both stand on one screen.
            writeln!(self.err)?;
        }
        for (name, text) in &self.shown {
            if self.shown.len() > 1 {
                writeln!(self.out, "{}", self.out_paint.bold(name))?;
            }
            writeln!(self.out, "{}\n", text.trim_end())?;
        }
        if self.detail == Detail::Full && !self.links.is_empty() {
            if self.linked > self.links.len() {
                let more = self.linked - self.links.len();
                writeln!(self.out, "{} and before these:", counted(more as u64, "link"))?;
            }
            for path in &self.links {
                writeln!(self.out, "{path}")?;
            }
        }
        self.out.flush()
    }

    fn troubles(&mut self) -> std::io::Result<()> {
        for failure in self.failures.iter().take(FAILURES) {
            let Event::StageFailed { stage, message, help, attempt, tail } = failure else { continue };
            writeln!(self.err)?;
            writeln!(self.err, "{} {}: {message}", self.err_paint.bad("failed"), self.err_paint.bold(stage))?;
            if let Some(help) = help {
                writeln!(self.err, "  help: {help}")?;
            }
            for line in tail {
                writeln!(self.err, "  {} {line}", self.err_paint.dim("│"))?;
            }
            if !attempt.is_empty() {
                let words = format!("log: {}/log", self.short(attempt));
                writeln!(self.err, "  {}", self.err_paint.dim(&words))?;
            }
        }
        if self.failures.len() > FAILURES {
            let more = count((self.failures.len() - FAILURES) as u64);
            writeln!(self.err, "\nand {more} more failed")?;
        }
        for (stage, message) in &self.gates {
            writeln!(self.err, "{} {stage}: {message}", self.err_paint.bad("gate failed"))?;
        }
        Ok(())
    }

    fn counts(&mut self, at: Duration, event: &Event) -> std::io::Result<()> {
        let Event::RunFinished { hits, done, failed, skipped, gates, stopped, .. } = event else { return Ok(()) };
        let saved = if self.saved_ns > 0 { format!(" (saved {})", duration(self.saved_ns)) } else { String::new() };
        let mut words = vec![format!("{}{saved}", counted(u64::from(*hits), "hit"))];
        words.push(format!("{} done", count(u64::from(*done))));
        if *failed > 0 {
            words.push(self.err_paint.bad(&format!("{} failed", count(u64::from(*failed)))));
        }
        if *skipped > 0 {
            words.push(self.err_paint.warn(&format!("{} skipped", count(u64::from(*skipped)))));
        }
        if *gates > 0 {
            words.push(self.err_paint.bad(&format!("{} failed", counted(u64::from(*gates), "gate"))));
        }
        let stopped = if *stopped { self.err_paint.warn(", stopped") } else { String::new() };
        writeln!(self.err, "{} in {}{stopped}", words.join(", "), duration(at.as_nanos() as u64))
    }
}

impl<O: Write, E: Write> Observer for Summary<O, E> {
    fn on(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Shown { stage, port, text } => self.shown.push((format!("{stage}.{port}"), text.clone())),
            Event::Linked { path, .. } => {
                self.linked += 1;
                if self.links.len() == LINKS {
                    self.links.remove(0);
                }
                self.links.push(path.clone());
            }
            Event::StageFailed { .. } => self.failures.push(event.clone()),
            Event::GateFailed { stage, message } => self.gates.push((stage.clone(), message.clone())),
            Event::StageHit { saved_ns, .. } => self.saved_ns += saved_ns,
            Event::RunFinished { .. } => {
                // A reader that has gone away must not change the run's exit code.
                let _ = self.results();
                let _ = self.troubles();
                if self.detail == Detail::Full {
                    let _ = self.counts(at, event);
                }
                let _ = self.err.flush();
            }
            _ => {}
        }
    }
}
