//! Iterations of the same decodes in one go: as long as nobody arrives, completes or might lack a block, a virtual machine
//! is asked for all their times at once and the books are kept once.
//!
//! Invariant: records and state are those of one iteration at a time (a property test holds the two side by side). Time
//! is added up in integer nanoseconds, one iteration after the other, so that sums cannot differ.

use super::super::record::{BatchRow, Recorder, Stretch};
use super::super::time::Nanos;
use super::{Backend, Batch, Lap, ServeError, Serving, Slice, row};

/// Iterations of a stretch at most, so that its records stay small.
const MOST: u32 = 4096;
/// The id that stands for every token; nobody reads it.
const MADE_UP: u32 = 0;

/// Memory that is used again from stretch to stretch.
#[derive(Default)]
pub(super) struct Scratch {
    batch: Batch,
    slices: Vec<Slice>,
    laps: Vec<Lap>,
    rows: Vec<BatchRow>,
    produced: Vec<u32>,
}

impl<B: Backend, R: Recorder> Serving<'_, B, R> {
    /// Goes through a stretch if there is one; says whether it went on.
    pub(super) fn stretch(&mut self) -> Result<bool, ServeError<B::Error>> {
        let until = self.requests.get(self.arrived).map_or(Nanos(u64::MAX), |next| next.arrival);
        let scratch = &mut self.scratch;
        let Some(repeats) = self.scheduler.repeats().filter(|r| r.most > 0) else { return Ok(false) };
        scratch.batch.slices.clear();
        scratch.batch.slices.extend_from_slice(repeats.slices);
        scratch.laps.clear();
        let outcome = self.backend.repeat(&mut scratch.batch, repeats.most.min(MOST), until, &mut scratch.laps);
        let first = self.served.batches;
        let mut census = repeats.census;
        let mut since = self.served.end.max(self.idle_until);
        scratch.rows.clear();
        let mut growth = repeats.growth.iter().cycle();
        for (batch_id, lap) in (first..).zip(&scratch.laps) {
            census.kv_blocks_used += growth.next().copied().unwrap_or(0);
            scratch.rows.push(row(batch_id, lap.scheduled, lap.timing, since, &census));
            since = lap.timing.end;
        }
        scratch.slices.clear();
        scratch.slices.extend(repeats.slices.iter().map(|s| Slice { context: s.context + 1, ..*s }));
        let steps = scratch.rows.len() as u32;
        if steps > 0 {
            self.book(steps, since);
        }
        match outcome {
            Ok(()) => Ok(steps > 0),
            Err(error) => Err(ServeError::Backend { batch_id: self.served.batches, error }),
        }
    }

    /// Books and records the iterations in `scratch`, the last of which ended at `end`.
    fn book(&mut self, steps: u32, end: Nanos) {
        let scratch = &mut self.scratch;
        self.scheduler.repeat(steps);
        scratch.produced.clear();
        for slice in &scratch.slices {
            let progress = &mut self.progress[slice.seq as usize];
            scratch.produced.push(progress.produced);
            progress.produced += steps;
        }
        self.served.batches += steps;
        self.served.tokens += u64::from(steps) * scratch.slices.len() as u64;
        self.served.end = end;
        self.recorder.stretch(Stretch {
            rows: &scratch.rows,
            slices: &mut scratch.slices,
            produced: &scratch.produced,
            token_id: MADE_UP,
        });
    }
}
