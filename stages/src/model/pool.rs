//! The KV pool: keys and values of all sequences in fixed blocks of token positions. Who holds which block is decided
//! elsewhere; here a block is a number.
//!
//! Layout of a layer's keys and of its values: `[blocks, kv_heads, block_tokens, head_dim]`, so that one head's run
//! of positions is contiguous. Invariant: what was never written is NaN, so that reading a position nobody wrote
//! cannot go unseen.

use super::card::Card;

/// Keys and values of every layer, f32.
#[derive(Debug)]
pub struct KvPool {
    layers: Vec<LayerPool>,
    /// Blocks.
    pub blocks: usize,
    /// Token positions of a block.
    pub block_tokens: usize,
}

/// One layer's keys and values.
#[derive(Debug)]
pub(super) struct LayerPool {
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) shape: BlockShape,
}

/// Numbers of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub(super) kv_heads: usize,
    pub(super) block_tokens: usize,
    pub(super) head_dim: usize,
}

impl BlockShape {
    /// Where the run of head `head` in block `block` begins.
    pub(super) fn run(self, block: u32, head: usize) -> usize {
        (block as usize * self.kv_heads + head) * self.run_len()
    }

    /// Numbers of one head in one block.
    pub(super) fn run_len(self) -> usize {
        self.block_tokens * self.head_dim
    }
}

impl KvPool {
    /// Bytes that a pool takes: 2 · layers · positions · kv_heads · head_dim · 4.
    pub fn bytes(card: &Card, blocks: u64, block_tokens: u64) -> u64 {
        2 * 4 * u64::from(card.layers) * blocks * block_tokens * u64::from(card.kv_heads) * u64::from(card.head_dim)
    }

    /// A pool whose pages are all in memory already, so that serving meets no page fault.
    pub fn new(card: &Card, blocks: usize, block_tokens: usize) -> KvPool {
        let shape = BlockShape { kv_heads: card.kv_heads as usize, block_tokens, head_dim: card.head_dim as usize };
        let numbers = blocks * shape.kv_heads * shape.run_len();
        let layer = || LayerPool { k: vec![f32::NAN; numbers], v: vec![f32::NAN; numbers], shape };
        KvPool { layers: (0..card.layers).map(|_| layer()).collect(), blocks, block_tokens }
    }

    /// Gives every position numbers of an ordinary size, so that steps can be timed whose context nobody computed.
    pub fn fill(&mut self) {
        for layer in &mut self.layers {
            for (i, (k, v)) in layer.k.iter_mut().zip(&mut layer.v).enumerate() {
                // A short period of values between -1 and 1: attention over them is neither flat nor a single peak.
                *k = (i % 31) as f32 / 15.0 - 1.0;
                *v = (i % 29) as f32 / 14.0 - 1.0;
            }
        }
    }

    /// Makes every position unwritten again.
    pub fn forget(&mut self) {
        for layer in &mut self.layers {
            layer.k.fill(f32::NAN);
            layer.v.fill(f32::NAN);
        }
    }

    pub(super) fn layer(&self, layer: usize) -> &LayerPool {
        &self.layers[layer]
    }

    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut LayerPool {
        &mut self.layers[layer]
    }
}

impl LayerPool {
    /// Writes one token's keys and values, `[kv_heads, head_dim]` each, at `position` of the sequence with `table`.
    pub(super) fn write(&mut self, table: &[u32], position: usize, k: &[f32], v: &[f32]) {
        let BlockShape { block_tokens, head_dim, .. } = self.shape;
        let (block, slot) = (table[position / block_tokens], position % block_tokens);
        let heads = k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim));
        for (head, (k, v)) in heads.enumerate() {
            let at = self.shape.run(block, head) + slot * head_dim;
            self.k[at..][..head_dim].copy_from_slice(k);
            self.v[at..][..head_dim].copy_from_slice(v);
        }
    }

    /// One head's keys or values (`of`) of the first `positions` of a sequence, `[positions, head_dim]`, in one piece.
    pub(super) fn gather(&self, of: &[f32], table: &[u32], head: usize, positions: usize) -> Vec<f32> {
        let BlockShape { block_tokens, head_dim, .. } = self.shape;
        let mut out = Vec::with_capacity(positions * head_dim);
        for (i, block) in table[..positions.div_ceil(block_tokens)].iter().enumerate() {
            let here = block_tokens.min(positions - i * block_tokens);
            out.extend_from_slice(&of[self.shape.run(*block, head)..][..here * head_dim]);
        }
        out
    }
}

#[cfg(test)]
mod tests;
