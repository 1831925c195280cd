//! The events themselves, a JSON object a line: the event's own fields and `at_ns`, the time since the run's start.

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
        let mut line = serde_json::to_value(event).expect("an event has string keys and finite numbers only");
        if let Some(fields) = line.as_object_mut() {
            fields.insert("at_ns".to_owned(), (at.as_nanos() as u64).into());
        }
        // A reader that has gone away must not end the run.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}
