//! Iteration-level scheduling (Yu et al., OSDI 2022): running sequences first, then new ones while the batch has room,
//! prefills whole, and memory for the longest possible sequence set aside at admission. There is no token budget.

use super::super::serve::Batch;
use super::Form;
use super::state::State;

#[derive(Debug, Clone)]
pub(super) struct Orca;

impl Form for Orca {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        let most = state.limits.reserved_sequences as usize;
        let taken = state.running.len().min(most);
        for index in 0..taken {
            let seq = state.running[index];
            let tokens = state.next_tokens(seq);
            state.put(batch, seq, tokens);
        }
        state.running.drain(..taken);
        take_waiting_whole(state, batch);
    }
}

/// Admits while the batch has room and memory for a longest sequence is free.
pub(super) fn take_waiting_whole(state: &mut State, batch: &mut Batch) {
    while batch.slices.len() < state.limits.reserved_sequences as usize
        && state.pool.can_allocate(state.limits.reserved_blocks, 0)
    {
        let Some(seq) = state.waiting.pop_front() else { return };
        state.reserve(seq, state.limits.reserved_blocks);
        let tokens = state.next_tokens(seq);
        state.put(batch, seq, tokens);
    }
}
