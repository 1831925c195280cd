//! Lines for a log: one when a stage ends, and now and then a sign of life. No cursor movement, so that a pipe, a file
//! or a dumb terminal can take them.

use std::io::Write;
use std::time::Duration;

use super::board::Board;
use super::count;
use super::paint::Paint;
use crate::event::{Event, Observer};

/// A stage that says how far it is gets a line no more often than this; so do the counts of a large pipeline.
const EVERY: Duration = Duration::from_secs(10);

/// Prints lines to `out`.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    paint: Paint,
    board: Board,
    told: Duration,
}

impl<W: Write> Plain<W> {
    /// Lines go to `out`.
    pub fn new(out: W, paint: Paint) -> Plain<W> {
        Plain { out, paint, board: Board::new(), told: Duration::ZERO }
    }

    fn say(&mut self, at: Duration, line: &str) {
        self.told = at;
        // A reader that has gone away must not end the run.
        let _ = writeln!(self.out, "{line}");
    }

    /// A line although nothing has ended, if the last one is old enough.
    fn sign_of_life(&mut self, at: Duration, event: &Event) -> Option<String> {
        if let Event::StageBlocked { stage, on } = event {
            // Only where the whole run hangs on it; a stage that waits for others of this run is nothing to tell.
            return (self.board.running() == 0).then(|| format!("waiting  {stage}: {on}"));
        }
        if at.saturating_sub(self.told) < EVERY {
            return None;
        }
        match event {
            Event::StageProgress { stage, .. } => {
                let row = self.board.get(stage)?;
                Some(format!("running  {stage}: {}, {}", row.progress_words(), row.ran(at)?))
            }
            Event::StageMoved { .. } => Some(format!(
                "{} of {}: {}, {} running",
                count(self.board.ended()),
                count(self.board.total as u64),
                self.board.counts(),
                self.board.running()
            )),
            _ => None,
        }
    }
}

impl<W: Write> Observer for Plain<W> {
    fn on(&mut self, at: Duration, event: &Event) {
        self.board.on(at, event);
        if let Some(line) = self.board.line(at, event, self.paint) {
            self.say(at, &line);
        } else if let Some(line) = self.sign_of_life(at, event) {
            let line = self.paint.dim(&line);
            self.say(at, &line);
        }
    }
}
