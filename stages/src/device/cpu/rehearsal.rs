//! Sequences that nobody asked for, to run shapes with: for warming up and for profiles.

use crate::infer::schedule::Knobs;
use crate::infer::serve::{Batch, Sequences};

/// Sequences that share the pool evenly, whose every token has the id 0.
#[derive(Debug)]
pub struct Rehearsal {
    ids: Vec<u32>,
    blocks: Vec<u32>,
}

impl Rehearsal {
    /// For batches that `knobs` allow.
    pub fn new(knobs: &Knobs) -> Rehearsal {
        Rehearsal { ids: vec![0; knobs.max_batched_tokens as usize], blocks: (0..knobs.kv_blocks).collect() }
    }

    /// The sequences of `batch`, which are numbered from 0 without gaps.
    pub fn scene<'a>(&'a self, batch: &'a Batch) -> Scene<'a> {
        Scene { rehearsal: self, batch }
    }
}

/// The sequences of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    rehearsal: &'a Rehearsal,
    batch: &'a Batch,
}

impl Sequences for Scene<'_> {
    fn blocks(&self, seq: u32) -> &[u32] {
        let share = self.rehearsal.blocks.len() / self.batch.slices.len();
        &self.rehearsal.blocks[seq as usize * share..][..share]
    }

    fn token_ids(&self, seq: u32) -> &[u32] {
        &self.rehearsal.ids[..self.batch.slices[seq as usize].tokens as usize]
    }
}
