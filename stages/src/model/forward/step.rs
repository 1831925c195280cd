//! One step's input, laid flat: slices, token ids, block tables. Filled again for every step without allocating.

use super::{ModelError, Slice};
use crate::model::card::Card;
use crate::model::pool::KvPool;

/// The slices of one step with the ids of their tokens and the blocks of their sequences.
#[derive(Debug, Clone, Default)]
pub struct Step {
    entries: Vec<Entry>,
    ids: Vec<u32>,
    blocks: Vec<u32>,
    yields: usize,
    singles: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    slice: Slice,
    first_row: usize,
    first_block: usize,
    blocks: usize,
}

impl Step {
    /// Nothing to do.
    pub fn new() -> Step {
        Step::default()
    }

    /// Forgets all slices, keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ids.clear();
        self.blocks.clear();
        self.yields = 0;
        self.singles = 0;
    }

    /// Adds a slice: the ids of its tokens, the blocks of its sequence for context and tokens.
    ///
    /// # Panics
    /// When there are not as many ids as the slice has tokens, or none.
    pub fn push(&mut self, slice: Slice, ids: &[u32], blocks: &[u32]) {
        assert!(slice.tokens > 0 && ids.len() == slice.tokens as usize, "an id for each token of the slice");
        self.entries.push(Entry {
            slice,
            first_row: self.ids.len(),
            first_block: self.blocks.len(),
            blocks: blocks.len(),
        });
        self.ids.extend_from_slice(ids);
        self.blocks.extend_from_slice(blocks);
        self.yields += usize::from(slice.yields);
        self.singles += usize::from(slice.tokens == 1);
    }

    /// Tokens of all slices.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Slices that yield a token.
    pub fn yields(&self) -> usize {
        self.yields
    }

    /// Slices of one token.
    pub fn singles(&self) -> usize {
        self.singles
    }

    /// Ids of all tokens, `[rows]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Each slice with its first row and the blocks of its sequence.
    pub fn slices(&self) -> impl Iterator<Item = (Slice, usize, &[u32])> {
        self.entries.iter().map(|e| (e.slice, e.first_row, &self.blocks[e.first_block..][..e.blocks]))
    }

    /// The position of each row in its sequence.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().flat_map(|e| (0..e.slice.tokens).map(|i| (e.slice.context + i) as usize))
    }

    /// Whether everything that the slices name is there.
    pub(super) fn check(&self, card: &Card, known: usize, pool: &KvPool) -> Result<(), ModelError> {
        for (slice, first, table) in self.slices() {
            let seq = slice.seq;
            let positions = slice.context as usize + slice.tokens as usize;
            if positions > known {
                return Err(ModelError::Position { seq, positions, known });
            }
            let block_tokens = pool.block_tokens;
            if table.len() * block_tokens < positions {
                return Err(ModelError::Blocks { seq, blocks: table.len(), block_tokens, positions });
            }
            if let Some(block) = table.iter().copied().find(|b| *b as usize >= pool.blocks) {
                return Err(ModelError::NoBlock { seq, block, blocks: pool.blocks });
            }
            let ids = &self.ids[first..first + slice.tokens as usize];
            if let Some(id) = ids.iter().copied().find(|id| *id >= card.vocab) {
                return Err(ModelError::Token { seq, id, vocab: card.vocab });
            }
        }
        Ok(())
    }
}
