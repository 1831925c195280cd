//! The events themselves, a JSON object a line, as the run's journal has them: `at_ns`, the time since the run's start,
//! and `what`, the event.

use std::io::Write;
use std::time::Duration;

use crate::event::{Event, Observer};

/// Prints events to `out`.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// Lines go to `out`.
    pub fn new(out: W) -> Json<W> {
        Json { out }
    }
}

impl<W: Write> Observer for Json<W> {
    fn on(&mut self, at: Duration, event: &Event) {
        let line = serde_json::json!({ "at_ns": at.as_nanos() as u64, "what": event });
        // A reader that has gone away must not end the run.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}
