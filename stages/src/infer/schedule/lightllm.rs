//! LightLLM's way: blocks are single tokens; a request is admitted when the most that all admitted ones will ever hold
//! at a time stays below the pool, so that nobody need be preempted; decodes go on for some iterations between two
//! tries to admit.
//!
//! The look-ahead: with each sequence's tokens held h and tokens still to come l, sorted by descending l, the most
//! held at a time is the maximum over i of lᵢ · i + h₁ + … + hᵢ, since when the i-th ends, i − 1 others still run.

use super::super::serve::Batch;
use super::Form;
use super::state::{Sequence, State};

#[derive(Debug, Clone, Default)]
pub(super) struct Lightllm {
    decodes_since_try: u32,
    pairs: Vec<(u64, u64)>,
}

impl Form for Lightllm {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        if state.running.is_empty() {
            self.take_prefills(state, batch);
            if !batch.slices.is_empty() {
                self.decodes_since_try = 0;
            }
            return;
        }
        if self.decodes_since_try >= state.limits.max_waiting_iterations {
            self.decodes_since_try = 0;
            self.take_prefills(state, batch);
            if !batch.slices.is_empty() {
                return;
            }
        }
        self.decodes_since_try += 1;
        take_decodes(state, batch);
    }
}

impl Lightllm {
    fn take_prefills(&mut self, state: &mut State, batch: &mut Batch) {
        self.pairs.clear();
        self.pairs.extend(state.running.iter().map(|seq| pair(state.sequence(*seq))));
        let mut tokens = 0u64;
        while let Some(&seq) = state.waiting.front() {
            let prefill = state.sequence(seq).prefill;
            let full = tokens + u64::from(prefill) > u64::from(state.limits.budget)
                || state.holders == state.limits.max_sequences
                || batch.slices.len() >= state.limits.batch_sequences as usize;
            if full || !self.looks_ahead(state, seq) {
                return;
            }
            state.waiting.pop_front();
            state.reserve(seq, prefill);
            state.put(batch, seq, prefill);
            tokens += u64::from(prefill);
        }
    }

    /// Whether the pool holds everybody to the end with `seq` among them.
    fn looks_ahead(&mut self, state: &State, seq: u32) -> bool {
        self.pairs.push(pair(state.sequence(seq)));
        self.pairs.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
        let (mut held, mut most) = (0, 0);
        for (place, (holds, left)) in (1u64..).zip(&self.pairs) {
            held += holds;
            most = most.max(left * place + held);
        }
        most < u64::from(state.limits.kv_blocks)
    }
}

/// Tokens held and tokens still to come.
fn pair(s: &Sequence) -> (u64, u64) {
    let decode = u64::from(s.total - s.prefill);
    if s.computed == 0 {
        return (u64::from(s.prefill) + 1, decode.saturating_sub(2));
    }
    let processed = u64::from(s.computed) + u64::from(s.is_prefilled());
    let decoded = processed.saturating_sub(u64::from(s.prefill));
    (processed, decode.saturating_sub(decoded).saturating_sub(1))
}

fn take_decodes(state: &mut State, batch: &mut Batch) {
    let mut queue = std::mem::take(&mut state.running);
    let mut head = 0;
    while head < queue.len() {
        let seq = queue[head];
        head += 1;
        if state.make_room(seq, &mut queue, head) {
            state.take_more(seq, 1);
            state.put(batch, seq, 1);
        }
    }
    queue.clear();
    state.running = queue;
}
