//! Which observers a run gets: bars on a terminal, lines elsewhere, JSON when asked for, and a trace's file.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, stderr, stdout};
use std::path::Path;

use indicatif::ProgressDrawTarget;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::event::Observer;
use crate::report::fancy::{Clocks, Fancy};
use crate::report::json::Json;
use crate::report::paint::Paint;
use crate::report::plain::Plain;
use crate::report::summary::{Detail, Summary};
use crate::report::trace::Trace;

/// How much is said while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Bars or lines, then results and counts.
    Words,
    /// Results and failures.
    Results,
    /// Events as JSON lines, nothing else.
    Json,
}

/// The observers of a run that goes on now, and the terminal as they want it.
pub(super) struct Live {
    pub(super) observers: Vec<Box<dyn Observer>>,
    _terminal: Option<WithoutCaret>,
}

/// A terminal that does not print `^C` when somebody types it: that would move the cursor under the bars. Ends with
/// its owner; a terminal left so by a process that was killed does no harm.
struct WithoutCaret(Termios);

impl WithoutCaret {
    fn new() -> Option<WithoutCaret> {
        let before = tcgetattr(stderr()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(stderr(), OptionalActions::Now, &quiet).ok()?;
        Some(WithoutCaret(before))
    }
}

impl Drop for WithoutCaret {
    fn drop(&mut self) {
        let _ = tcsetattr(stderr(), OptionalActions::Now, &self.0);
    }
}

/// The observers of a run that goes on now.
///
/// # Errors
/// When the trace's file cannot be made.
pub(super) fn live(telling: Telling, trace: Option<&Path>) -> std::io::Result<Live> {
    let mut observers: Vec<Box<dyn Observer>> = Vec::new();
    if let Some(path) = trace {
        observers.push(Box::new(Trace::new(BufWriter::new(File::create(path)?))));
    }
    match telling {
        Telling::Json => observers.push(Box::new(Json::new(stdout()))),
        Telling::Words => {
            observers.push(progress());
            observers.push(summary(Detail::Full));
        }
        Telling::Results => observers.push(summary(Detail::Results)),
    }
    let bars = telling == Telling::Words && draws();
    Ok(Live { observers, _terminal: bars.then(WithoutCaret::new).flatten() })
}

/// The observers through which a recorded run is told again.
pub(super) fn replay() -> Vec<Box<dyn Observer>> {
    vec![Box::new(Plain::new(stderr(), Paint::of(&stderr()))), summary(Detail::Full)]
}

/// Whether stderr is a terminal that can move its cursor.
fn draws() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|v| v != "dumb")
}

fn progress() -> Box<dyn Observer> {
    let paint = Paint::of(&stderr());
    if draws() {
        let rows = rustix::termios::tcgetwinsize(stderr()).map_or(24, |size| size.ws_row);
        Box::new(Fancy::new(ProgressDrawTarget::stderr(), rows, paint, Clocks::Moving))
    } else {
        Box::new(Plain::new(stderr(), paint))
    }
}

fn summary(detail: Detail) -> Box<dyn Observer> {
    let summary = Summary::new(stdout(), Paint::of(&stdout()), stderr(), Paint::of(&stderr()), detail);
    match std::env::current_dir() {
        Ok(here) => Box::new(summary.seen_from(here)),
        Err(_) => Box::new(summary),
    }
}
