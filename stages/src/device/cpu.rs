//! The processor as a backend: our own forward pass on the wall clock.
//!
//! `submit` does the work in the caller's thread (and the threads of the rayon pool it stands in), `collect` hands out
//! what it gave. A step's time on the device begins when its input lies flat and ends when its tokens are chosen; what
//! comes before is the host's. In a step there is no logging and no system call but the clock's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::infer::serve::{Backend, Batch, Sequences, Slice, Timing};
use crate::infer::time::Nanos;
use crate::model::card::Card;
use crate::model::forward::{Model, ModelError, Scratch, Step};
use crate::model::pool::KvPool;
use crate::model::probe::{Operation, Probe, Unobserved};
use crate::model::sample;

pub mod memory;
pub mod pace;
pub mod rehearsal;

/// Waits up to this long are spent spinning. A thread that slept comes back late, to cold caches and perhaps to another
/// core: the twenty steps after it were seen to take a tenth longer and more. A measuring stage holds its cores anyway.
const SPIN: Duration = Duration::from_secs(1);

/// A model, its KV pool and a clock.
#[derive(Debug)]
pub struct Cpu {
    model: Model,
    pool: KvPool,
    step: Step,
    scratch: Scratch,
    /// The last token of each sequence that yielded one, by sequence.
    last: Vec<u32>,
    /// Ids and timing of steps that were done and not yet collected.
    done: VecDeque<(Vec<u32>, Timing)>,
    spare: Vec<Vec<u32>>,
    origin: Instant,
}

impl Cpu {
    /// A backend for sequences below `sequences` with a pool of `blocks` blocks; its clock begins now.
    pub fn new(model: Model, blocks: u32, block_tokens: u32, sequences: usize) -> Cpu {
        let pool = KvPool::new(model.card(), blocks as usize, block_tokens as usize);
        Cpu {
            model,
            pool,
            step: Step::new(),
            scratch: Scratch::default(),
            last: vec![0; sequences],
            done: VecDeque::with_capacity(2),
            spare: Vec::with_capacity(2),
            origin: Instant::now(),
        }
    }

    /// Sets the clock to 0.
    pub fn restart(&mut self) {
        self.origin = Instant::now();
    }

    /// The shape of the model.
    pub fn card(&self) -> &Card {
        self.model.card()
    }

    /// Computes the first `depth` layers only: for timings of operations that every layer repeats.
    pub fn set_depth(&mut self, depth: usize) {
        self.model.set_depth(depth);
    }

    /// The pool, to be filled before timings of steps that nobody served.
    pub fn pool_mut(&mut self) -> &mut KvPool {
        &mut self.pool
    }

    /// Does one step and listens to it: the very work of `submit`, with a probe. Nothing is left to collect.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn observe<P: Probe>(
        &mut self,
        batch: &Batch,
        sequences: &dyn Sequences,
        probe: &mut P,
    ) -> Result<Timing, ModelError> {
        let (ids, timing) = self.compute(batch, sequences, probe)?;
        self.spare.push(ids);
        Ok(timing)
    }

    fn prepare(&mut self, batch: &Batch, sequences: &dyn Sequences) {
        self.step.clear();
        for slice in &batch.slices {
            let ids = sequences.token_ids(slice.seq);
            let blocks = sequences.blocks(slice.seq);
            if ids.is_empty() {
                // The one token that the sequence yielded in the step before.
                self.step.push(*slice, &self.last[slice.seq as usize..][..1], blocks);
            } else {
                self.step.push(*slice, ids, blocks);
            }
        }
    }

    fn compute<P: Probe>(
        &mut self,
        batch: &Batch,
        sequences: &dyn Sequences,
        probe: &mut P,
    ) -> Result<(Vec<u32>, Timing), ModelError> {
        self.prepare(batch, sequences);
        let start = self.now();
        let mut ids = self.spare.pop().unwrap_or_default();
        ids.clear();
        let logits = self.model.forward(&self.step, &mut self.pool, &mut self.scratch, probe)?;
        if let Some(logits) = logits {
            let yielding = || batch.slices.iter().filter(|s| s.yields);
            sample::greedy(&logits, &mut ids).map_err(|row| {
                let seq = yielding().nth(row).map_or(0, |s: &Slice| s.seq);
                ModelError::NotFinite { seq }
            })?;
            for (slice, id) in yielding().zip(&ids) {
                self.last[slice.seq as usize] = *id;
            }
            probe.lap(Operation::Sample);
        }
        let end = self.now();
        Ok((ids, Timing { start, end, device: end.since(start) }))
    }
}

impl Backend for Cpu {
    type Error = ModelError;

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).expect("a run ends within 584 years"))
    }

    fn wait_until(&mut self, t: Nanos) {
        wait_until(self.origin, t);
    }

    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), ModelError> {
        let done = self.compute(batch, sequences, &mut Unobserved)?;
        self.done.push_back(done);
        Ok(())
    }

    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, ModelError> {
        let (ids, timing) = self.done.pop_front().expect("collect follows a submit");
        tokens.extend_from_slice(&ids);
        self.spare.push(ids);
        Ok(timing)
    }
}

/// Returns at `t` after `origin`: spins, but sleeps what is longer than a second.
pub fn wait_until(origin: Instant, t: Nanos) {
    let until = origin + Duration::from_nanos(t.0);
    if let Some(sleep) = until.checked_duration_since(Instant::now() + SPIN) {
        std::thread::sleep(sleep);
    }
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests;
