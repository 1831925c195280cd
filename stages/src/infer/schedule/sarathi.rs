//! Chunked prefill without stalls (Agrawal et al., OSDI 2024): decodes first, then prefills in progress with what is
//! left of the chunk, then admissions. Memory for a whole prompt is taken at admission.

use super::super::serve::Batch;
use super::Form;
use super::state::State;

#[derive(Debug, Clone, Default)]
pub(super) struct Sarathi {
    /// Sequences in the middle of their prefill, met while decodes were taken.
    aside: Vec<u32>,
    /// The running queue of this pass; kept for its memory.
    queue: Vec<u32>,
}

impl Form for Sarathi {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        std::mem::swap(&mut self.queue, &mut state.running);
        let (head, mut tokens) = self.take_decodes(state, batch);
        for index in 0..self.aside.len() {
            let seq = self.aside[index];
            let chunk = state.next_tokens(seq).min(state.limits.budget.saturating_sub(tokens));
            if chunk == 0 {
                state.running.push(seq);
            } else {
                state.put(batch, seq, chunk);
                tokens += chunk;
            }
        }
        self.aside.clear();
        state.running.extend_from_slice(&self.queue[head..]);
        self.queue.clear();
        let mut running = std::mem::take(&mut state.running);
        state.sort_by_arrival(&mut running);
        state.running = running;
        take_waiting(state, batch, tokens);
    }
}

impl Sarathi {
    /// Takes from the front of the queue until the batch is full; says how far it got and how many tokens it took.
    fn take_decodes(&mut self, state: &mut State, batch: &mut Batch) -> (usize, u32) {
        let (mut head, mut tokens) = (0, 0);
        while head < self.queue.len() && batch.slices.len() < state.limits.batch_sequences as usize {
            let seq = self.queue[head];
            head += 1;
            if !state.sequence(seq).is_prefilled() {
                self.aside.push(seq);
            } else if state.make_room(seq, &mut self.queue, head) {
                state.take_more(seq, 1);
                state.put(batch, seq, 1);
                tokens += 1;
            }
        }
        (head, tokens)
    }
}

fn take_waiting(state: &mut State, batch: &mut Batch, mut tokens: u32) {
    while let Some(&seq) = state.waiting.front() {
        let full =
            state.holders == state.limits.max_sequences || batch.slices.len() >= state.limits.batch_sequences as usize;
        let prefill = state.sequence(seq).prefill;
        if full || !state.fits_new(seq, prefill) {
            return;
        }
        let chunk = state.first_chunk(seq, state.limits.budget.saturating_sub(tokens));
        if chunk == 0 {
            return;
        }
        state.waiting.pop_front();
        state.take_new(seq, prefill);
        state.put(batch, seq, chunk);
        tokens += chunk;
    }
}
