//! FasterTransformer's way: requests that start together stay together until the last of them is complete; sequences
//! that end earlier leave the batch, and the memory of all is given back at the end.

use std::collections::VecDeque;

use super::super::serve::Batch;
use super::Form;
use super::orca::take_waiting_whole;
use super::state::{Law, State};

#[derive(Debug, Clone, Default)]
struct Group {
    members: Vec<u32>,
    /// Those that are not complete, in batch order.
    live: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct StaticBatch {
    groups: Vec<Group>,
    /// Groups that are in no batch, in the order in which their batches ended.
    ready: VecDeque<usize>,
    /// The group of a sequence.
    group_of: Vec<usize>,
}

impl Form for StaticBatch {
    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        if let Some(group) = self.ready.pop_front() {
            for seq in &self.groups[group].live {
                let tokens = state.next_tokens(*seq);
                state.put(batch, *seq, tokens);
            }
            return;
        }
        take_waiting_whole(state, batch);
        if batch.slices.is_empty() {
            return;
        }
        let members: Vec<u32> = batch.slices.iter().map(|s| s.seq).collect();
        for seq in &members {
            let index = *seq as usize;
            if self.group_of.len() <= index {
                self.group_of.resize(index + 1, usize::MAX);
            }
            self.group_of[index] = self.groups.len();
        }
        self.groups.push(Group { live: members.clone(), members });
    }

    fn settle(&mut self, state: &mut State, batch: &Batch) {
        let Some(first) = batch.slices.first() else { return };
        let index = self.group_of[first.seq as usize];
        let group = &mut self.groups[index];
        let round = std::mem::take(&mut group.live);
        group.live.extend(round.iter().copied().filter(|seq| !state.is_complete(*seq)));
        if !group.live.is_empty() {
            self.ready.push_back(index);
            return;
        }
        let given_back = match state.limits.law {
            Law::Plain => std::mem::take(&mut group.members),
            Law::Vidur => round,
        };
        for seq in given_back {
            state.release(seq);
        }
    }
}
