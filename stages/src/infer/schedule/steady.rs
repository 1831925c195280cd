//! The short way through iterations that repeat: as long as every admitted sequence decodes and nobody arrives, completes
//! or lacks a block, the next batch is the last one with each context one longer.
//!
//! Invariant: what comes out is what the policy would have formed (a property test holds the two side by side).

use super::super::serve::{Batch, Slice};
use super::Policy;
use super::state::{Census, Law, State};

/// A batch of decodes that repeats.
#[derive(Debug)]
pub struct Repeats<'a> {
    /// The batch as it was last, in batch order.
    pub slices: &'a [Slice],
    /// How often it repeats at least, if nobody is admitted.
    pub most: u32,
    /// What it looked like; of the first repetition but for the blocks that this takes.
    pub census: Census,
    /// Blocks that the repetition number i (from 0) takes: `growth[i % growth.len()]`.
    pub growth: &'a [u32],
}

#[derive(Debug, Clone, Default)]
pub(super) struct Steady {
    /// The batch that repeats, as it was last; empty when nothing does.
    slices: Vec<Slice>,
    /// Repetitions that surely end without a completion.
    left: u32,
    /// Repetitions that surely need no new block.
    before_block: u32,
    /// The running queue while a repetition is in flight, which then holds nobody.
    parked: Vec<u32>,
    is_out: bool,
    /// Scratch of [`Repeats::growth`].
    growth: Vec<u32>,
    /// Somebody came since the last batch was formed, so that it does not show who would be admitted now.
    is_stale: bool,
}

impl Steady {
    /// Somebody came: what comes next is the policy's affair.
    pub(super) fn disarm(&mut self) {
        self.left = 0;
        self.is_stale = true;
    }

    /// The policy forms the next batch and sees everybody.
    pub(super) fn begin(&mut self) {
        self.left = 0;
        self.is_stale = false;
    }

    /// Whether the batch in flight is a repetition.
    pub(super) fn is_out(&self) -> bool {
        self.is_out
    }

    /// After a batch ended and was settled: sees whether it will repeat. `formed` is what the batch looked like.
    pub(super) fn arm(&mut self, state: &State, formed: &Census, batch: &Batch) {
        self.left = 0;
        let everybody = state.running.len() == batch.slices.len() && state.holders as usize == batch.slices.len();
        let repeats = matches!(state.limits.policy, Policy::Sarathi | Policy::VllmV1 | Policy::Vllm | Policy::Orca)
            && state.limits.batch_sequences == state.limits.max_sequences;
        if self.is_stale || !everybody || !repeats || formed.prefill_tokens > 0 || formed.preempted > 0 {
            return;
        }
        let in_order = |(slice, seq): (&Slice, &u32)| slice.seq == *seq;
        if !batch.slices.iter().zip(&state.running).all(in_order) {
            return;
        }
        let steps = |slice: &Slice| {
            let s = state.sequence(slice.seq);
            s.total.saturating_sub(s.computed + 2)
        };
        self.left = batch.slices.iter().map(steps).min().unwrap_or(0);
        if self.left > 0 {
            self.slices.clone_from(&batch.slices);
            self.before_block = 0;
        }
    }

    /// Forms the repetition in `batch`, if there is one.
    pub(super) fn next(&mut self, state: &mut State, batch: &mut Batch) -> Option<Census> {
        if self.left == 0 || (self.before_block == 0 && !self.take_blocks(state)) {
            return None;
        }
        self.left -= 1;
        self.before_block -= 1;
        self.is_out = true;
        for slice in &mut self.slices {
            slice.context += 1;
            state.begin_decode(slice.seq);
        }
        if state.limits.policy != Policy::VllmV1 {
            std::mem::swap(&mut self.parked, &mut state.running);
        }
        batch.slices.extend_from_slice(&self.slices);
        Some(state.census_of_decodes(self.slices.len() as u32))
    }

    /// Books the end of a repetition; nobody completes.
    pub(super) fn finish(&mut self, state: &mut State, batch: &Batch) {
        self.is_out = false;
        for slice in &batch.slices {
            state.end_decode(slice.seq);
        }
        state.running.append(&mut self.parked);
    }

    /// Looks ahead as far as blocks surely last. Only where blocks are counted and a running sequence waits for none
    /// that it does not need: which block a table gets depends on who asks first.
    pub(super) fn repeats(&mut self, state: &State) -> Option<Repeats<'_>> {
        let block_tokens = state.pool.block_tokens();
        let members = u32::try_from(self.slices.len()).ok().filter(|n| *n > 0)?;
        if self.left == 0 || self.is_out || state.pool.keeps_tables() || state.limits.law != Law::Plain {
            return None;
        }
        self.growth.clear();
        self.growth.resize(block_tokens as usize, 0);
        let mut ahead = u32::MAX;
        for slice in &self.slices {
            // A batch covered `context + 1` positions; repetition i needs i + 2 more than `context`.
            let room = state.pool.held(slice.seq) * block_tokens - (slice.context + 1);
            if room < block_tokens {
                self.growth[room as usize] += 1;
            } else {
                ahead = ahead.min(room);
            }
        }
        let lasting = (state.pool.free() / members).saturating_mul(block_tokens);
        let census = Census { decode_tokens: members, prefill_tokens: 0, preempted: 0, ..state.census() };
        Some(Repeats { slices: &self.slices, most: self.left.min(lasting).min(ahead), census, growth: &self.growth })
    }

    /// Books `count` repetitions at once.
    pub(super) fn repeat(&mut self, state: &mut State, count: u32) {
        debug_assert!(count <= self.left, "no repetition completes anybody");
        self.left -= count;
        self.before_block = 0;
        for slice in &mut self.slices {
            slice.context += count;
            state.skip_decodes(slice.seq, count);
        }
    }

    /// Gives every sequence the block it needs for its next token; says whether that goes without making room.
    fn take_blocks(&mut self, state: &mut State) -> bool {
        let needs = |s: &Slice| state.pool.lacking(s.seq, s.context + 2);
        let lacking: u32 = self.slices.iter().map(needs).sum();
        let fits = match lacking {
            // Vidur wants a free block even where none is taken.
            0 => self.slices.iter().all(|s| state.fits_more(s.seq, 1)),
            n => n < state.pool.free(),
        };
        if !fits {
            self.left = 0;
            return false;
        }
        for slice in &self.slices {
            state.take_more(slice.seq, 1);
        }
        let block_tokens = state.pool.block_tokens();
        let room = |s: &Slice| state.pool.held(s.seq) * block_tokens - (s.context + 1);
        self.before_block = self.slices.iter().map(room).min().unwrap_or(0);
        true
    }
}
