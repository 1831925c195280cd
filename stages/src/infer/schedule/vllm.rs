//! vLLM's first scheduler (Kwon et al., SOSP 2023): if any waiting request can be admitted, the iteration is a batch
//! of whole prefills; otherwise all that run decode. A batch of prefills is measured as if padded to its longest.

use super::super::serve::Batch;
use super::Form;
use super::state::State;

#[derive(Debug, Clone)]
pub(super) struct Vllm;

impl Form for Vllm {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        take_prefills(state, batch);
        if batch.slices.is_empty() {
            take_decodes(state, batch);
        }
    }
}

fn take_prefills(state: &mut State, batch: &mut Batch) {
    let mut longest = 0;
    while let Some(&seq) = state.waiting.front() {
        let tokens = state.sequence(seq).prefill;
        if !state.fits_new(seq, tokens) {
            return;
        }
        let padded = (batch.slices.len() as u64 + 1) * u64::from(tokens.max(longest));
        if padded > u64::from(state.limits.budget)
            || state.holders == state.limits.max_sequences
            || batch.slices.len() >= state.limits.batch_sequences as usize
        {
            return;
        }
        longest = longest.max(tokens);
        state.waiting.pop_front();
        state.take_new(seq, tokens);
        state.put(batch, seq, tokens);
    }
}

fn take_decodes(state: &mut State, batch: &mut Batch) {
    let mut queue = std::mem::take(&mut state.running);
    state.sort_by_arrival(&mut queue);
    let mut head = 0;
    while head < queue.len() && batch.slices.len() < state.limits.batch_sequences as usize {
        let seq = queue[head];
        head += 1;
        if state.make_room(seq, &mut queue, head) {
            state.take_more(seq, 1);
            state.put(batch, seq, 1);
        }
    }
    queue.drain(..head);
    state.running = queue;
}
