//! vLLM V1's way: one token budget, no difference between prefill and decode. Running sequences come first, in order
//! of admission, each with as many of its missing tokens as the budget allows; blocks are taken as tokens are
//! computed; who lacks a block preempts the latest; new sequences enter with what is left, unless somebody was
//! preempted.
//!
//! `State::running` holds all admitted sequences here, also those in flight.

use super::super::serve::Batch;
use super::Form;
use super::state::State;

#[derive(Debug, Clone)]
pub(super) struct Unified;

impl Form for Unified {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        let mut budget = state.limits.budget;
        let mut index = 0;
        let mut preempted = false;
        while index < state.running.len() && budget > 0 && !is_full(state, batch) {
            let seq = state.running[index];
            if state.is_in_flight(seq) {
                index += 1;
                continue;
            }
            let tokens = state.next_tokens(seq).min(budget);
            preempted |= make_room(state, seq, tokens, index);
            if state.running.get(index) != Some(&seq) {
                // It was the latest itself: nothing stands behind it that is not in flight.
                continue;
            }
            state.take_more(seq, tokens);
            state.put(batch, seq, tokens);
            budget -= tokens;
            index += 1;
        }
        if !preempted {
            take_waiting(state, batch, budget);
        }
    }

    fn settle(&mut self, state: &mut State, batch: &Batch) {
        let mut complete = 0;
        for slice in &batch.slices {
            if state.is_complete(slice.seq) {
                state.release(slice.seq);
                complete += 1;
            }
        }
        if complete > 0 {
            let mut running = std::mem::take(&mut state.running);
            running.retain(|seq| !state.is_complete(*seq));
            state.running = running;
        }
    }
}

fn is_full(state: &State, batch: &Batch) -> bool {
    batch.slices.len() >= state.limits.batch_sequences as usize
}

/// Preempts from the end of the running ones, at last `seq` itself (at `index`), until `seq` can compute `tokens`
/// more; says whether anybody was preempted.
fn make_room(state: &mut State, seq: u32, tokens: u32, index: usize) -> bool {
    let mut preempted = false;
    while !state.fits_more(seq, tokens) {
        let last = state.running.iter().rposition(|s| !state.is_in_flight(*s));
        let victim = last.filter(|place| *place > index).unwrap_or(index);
        let victim = state.running.remove(victim);
        state.restart(victim);
        preempted = true;
        if victim == seq {
            break;
        }
    }
    preempted
}

fn take_waiting(state: &mut State, batch: &mut Batch, mut budget: u32) {
    while let Some(&seq) = state.waiting.front() {
        if budget == 0 || state.holders == state.limits.max_sequences || is_full(state, batch) {
            return;
        }
        let tokens = state.first_chunk(seq, budget);
        let prefill = state.sequence(seq).prefill;
        let cached = prefill - state.first_chunk(seq, u32::MAX);
        if !state.fits_new(seq, cached + tokens) {
            return;
        }
        state.waiting.pop_front();
        state.take_new(seq, cached + tokens);
        state.put(batch, seq, tokens);
        state.running.push(seq);
        budget -= tokens;
    }
}
