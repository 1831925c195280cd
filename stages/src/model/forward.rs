//! Our own forward pass: a batch of slices of many sequences at once, over a KV pool that somebody else deals out.
//!
//! All tokens of the batch are rows of one matrix for everything but attention; attention goes slice by slice through
//! block tables. f32 throughout (bf16 weights are widened once), products by candle. It does not know requests or
//! clocks; a [`Probe`] may listen.
//!
//! Invariants: a token's row depends on its own sequence alone; keys and values are written before they are attended
//! to; logits are computed for rows that yield and for no others.

use super::attention::{self, Span};
use super::card::Card;
use super::linear::{Linear, PANEL, Product};
use super::names::{self, Part};
use super::pointwise::{Rotary, add, rms_norm, rms_norm_in_place, silu_mul};
use super::pool::{KvPool, LayerPool};
use super::probe::{Operation, Probe};
use super::weights::{Source, WeightsError};
use crate::infer::serve::Slice;

mod step;

pub use step::Step;

/// Why a pass cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The weights are at fault.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A product failed.
    #[error("a matrix product failed")]
    Product(#[from] candle_core::Error),
    /// A token id that the embedding does not have.
    #[error("sequence {seq} holds the token id {id}, the embedding has {vocab} rows")]
    Token {
        /// Whose.
        seq: u32,
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab: u32,
    },
    /// A position that the model does not know.
    #[error("sequence {seq} reaches {positions} tokens, this model was set up for {known}")]
    Position {
        /// Whose.
        seq: u32,
        /// Its length after the step.
        positions: usize,
        /// The longest.
        known: usize,
    },
    /// A slice without room in the pool.
    #[error("sequence {seq} holds {blocks} KV blocks of {block_tokens} tokens and needs room for {positions}")]
    Blocks {
        /// Whose.
        seq: u32,
        /// What it holds.
        blocks: usize,
        /// Positions of a block.
        block_tokens: usize,
        /// Its length after the step.
        positions: usize,
    },
    /// A block that is not there.
    #[error("sequence {seq} holds the KV block {block}, the pool has {blocks}")]
    NoBlock {
        /// Whose.
        seq: u32,
        /// The block.
        block: u32,
        /// Blocks of the pool.
        blocks: usize,
    },
    /// The numbers went astray.
    #[error("the logits of sequence {seq} hold no finite maximum")]
    NotFinite {
        /// Whose.
        seq: u32,
    },
}

/// A model ready to compute.
#[derive(Debug)]
pub struct Model {
    card: Card,
    /// `[vocab, hidden]`; absent where the head's matrix serves.
    embedding: Option<Vec<f32>>,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,
    head: Linear,
    rotary: Rotary,
    threads: usize,
    /// Layers that a pass goes through.
    depth: usize,
}

#[derive(Debug)]
struct Layer {
    input_norm: Vec<f32>,
    qkv: Linear,
    /// Norms of query and key heads.
    qk_norms: Option<(Vec<f32>, Vec<f32>)>,
    o: Linear,
    post_norm: Vec<f32>,
    gate_up: Linear,
    down: Linear,
}

/// Buffers that a pass writes into and the next one reuses.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream, `[rows, hidden]`.
    x: Vec<f32>,
    /// Queries, `[rows, heads · head_dim]`.
    q: Vec<f32>,
    /// Keys, `[rows, kv_heads · head_dim]`.
    k: Vec<f32>,
    /// One token's values, `[kv_heads · head_dim]`.
    v: Vec<f32>,
    /// Scores of one token's group of heads.
    scores: Vec<f32>,
}

impl Model {
    /// Reads the weights of `card` from `source`, for sequences of at most `positions` tokens, to be computed by
    /// `threads` threads of the rayon pool it is called in.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn new(card: &Card, source: &dyn Source, positions: usize, threads: usize) -> Result<Model, ModelError> {
        let hidden = card.hidden as usize;
        let embedding = source.read(names::EMBEDDING, &[card.vocab as usize, hidden])?;
        let layers = (0..card.layers).map(|l| Layer::new(card, source, l, threads)).collect::<Result<Vec<_>, _>>()?;
        let final_norm = source.read(names::FINAL_NORM, &[hidden])?;
        let (embedding, head) = if card.tied_embeddings {
            (None, Linear::new(&[&embedding], hidden, threads)?)
        } else {
            let head = source.read(names::HEAD, &[card.vocab as usize, hidden])?;
            (Some(embedding), Linear::new(&[&head], hidden, threads)?)
        };
        let positions = positions.min(card.max_positions as usize);
        let rotary = Rotary::new(positions, card.head_dim as usize, card.rope_theta);
        let depth = layers.len();
        Ok(Model { card: card.clone(), embedding, layers, final_norm, head, rotary, threads, depth })
    }

    /// Lets a pass go through the first `depth` layers only. What comes out then means nothing; the time of an
    /// operation that every layer repeats is the same.
    pub fn set_depth(&mut self, depth: usize) {
        self.depth = depth.min(self.layers.len());
    }

    /// The shape.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The longest sequence.
    pub fn positions(&self) -> usize {
        self.rotary.positions()
    }

    /// Bytes that the weights take once widened to f32 and filled up to whole panels.
    pub fn bytes(card: &Card) -> u64 {
        let [hidden, ffn, vocab] = [card.hidden, card.ffn, card.vocab].map(u64::from);
        let [q, kv] = [card.heads, card.kv_heads].map(|n| u64::from(n) * u64::from(card.head_dim));
        let filled = |outputs: u64, inputs: u64| outputs.next_multiple_of(PANEL as u64) * inputs;
        let norms = 2 * hidden + if card.qk_norm { 2 * u64::from(card.head_dim) } else { 0 };
        let layer =
            norms + filled(q + 2 * kv, hidden) + filled(hidden, q) + filled(2 * ffn, hidden) + filled(hidden, ffn);
        let table = if card.tied_embeddings { 0 } else { vocab * hidden };
        4 * (u64::from(card.layers) * layer + hidden + filled(vocab, hidden) + table)
    }

    /// Computes one step: keys and values go into the pool; gives logits `[yielding slices, vocab]` in their order,
    /// `None` if no slice yields.
    ///
    /// # Errors
    /// When a slice names a token, position or block that is not there.
    pub fn forward<P: Probe>(
        &self,
        step: &Step,
        pool: &mut KvPool,
        scratch: &mut Scratch,
        probe: &mut P,
    ) -> Result<Option<Product>, ModelError> {
        step.check(&self.card, self.positions(), pool)?;
        probe.start();
        let rows = step.rows();
        self.embed(step, &mut scratch.x);
        probe.lap(Operation::Embed);
        for (index, layer) in self.layers[..self.depth].iter().enumerate() {
            let normed = self.norm(&scratch.x, &layer.input_norm);
            probe.lap(Operation::Norm);
            let qkv = layer.qkv.apply(normed)?;
            probe.lap(Operation::Qkv);
            self.qk_rope(layer, &qkv, step, scratch);
            probe.lap(Operation::QkRope);
            self.kv_write(&qkv, step, scratch, pool.layer_mut(index));
            probe.lap(Operation::KvWrite);
            let attended = self.attention(step, pool.layer(index), scratch, probe)?;
            let product = layer.o.apply(attended)?;
            probe.lap(Operation::O);
            add_product(&product, &mut scratch.x);
            probe.lap(Operation::Add);
            let normed = self.norm(&scratch.x, &layer.post_norm);
            probe.lap(Operation::Norm);
            let product = layer.gate_up.apply(normed)?;
            probe.lap(Operation::GateUp);
            let gated = self.silu_mul(&product, rows);
            probe.lap(Operation::SiluMul);
            let product = layer.down.apply(gated)?;
            probe.lap(Operation::Down);
            add_product(&product, &mut scratch.x);
            probe.lap(Operation::Add);
        }
        let logits = self.logits(step, &scratch.x)?;
        if logits.is_some() {
            probe.lap(Operation::Head);
        }
        Ok(logits)
    }

    fn embed(&self, step: &Step, x: &mut Vec<f32>) {
        let hidden = self.card.hidden as usize;
        x.resize(step.rows() * hidden, 0.0);
        for (id, row) in step.ids().iter().zip(x.chunks_exact_mut(hidden)) {
            match &self.embedding {
                Some(table) => row.copy_from_slice(&table[*id as usize * hidden..][..hidden]),
                None => self.head.row(*id as usize, row),
            }
        }
    }

    fn norm(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        for (x, to) in x.chunks_exact(weight.len()).zip(normed.chunks_exact_mut(weight.len())) {
            rms_norm(x, weight, self.card.norm_eps as f32, to);
        }
        normed
    }

    /// Query and key heads out of the product, normed where the model does, rotated; queries scaled by 1/√head_dim.
    fn qk_rope(&self, layer: &Layer, qkv: &Product, step: &Step, scratch: &mut Scratch) {
        let head_dim = self.card.head_dim as usize;
        let (q_width, kv_width) = self.widths();
        let scale = (head_dim as f32).sqrt().recip();
        let eps = self.card.norm_eps as f32;
        scratch.q.resize(step.rows() * q_width, 0.0);
        scratch.k.resize(step.rows() * kv_width, 0.0);
        let qkv = qkv.open();
        let rows = scratch.q.chunks_exact_mut(q_width).zip(scratch.k.chunks_exact_mut(kv_width));
        for ((row, position), (q, k)) in step.positions().enumerate().zip(rows) {
            qkv.copy(row, 0, q);
            qkv.copy(row, q_width, k);
            if let Some((q_norm, k_norm)) = &layer.qk_norms {
                q.chunks_exact_mut(head_dim).for_each(|head| rms_norm_in_place(head, q_norm, eps));
                k.chunks_exact_mut(head_dim).for_each(|head| rms_norm_in_place(head, k_norm, eps));
            }
            k.chunks_exact_mut(head_dim).for_each(|head| self.rotary.rotate(head, position));
            for head in q.chunks_exact_mut(head_dim) {
                self.rotary.rotate(head, position);
                head.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }

    fn kv_write(&self, qkv: &Product, step: &Step, scratch: &mut Scratch, pool: &mut LayerPool) {
        let (q_width, kv_width) = self.widths();
        let qkv = qkv.open();
        scratch.v.resize(kv_width, 0.0);
        for (slice, first, table) in step.slices() {
            for i in 0..slice.tokens as usize {
                qkv.copy(first + i, q_width + kv_width, &mut scratch.v);
                let k = &scratch.k[(first + i) * kv_width..][..kv_width];
                pool.write(table, slice.context as usize + i, k, &scratch.v);
            }
        }
    }

    /// Attention of every slice, `[rows, heads · head_dim]`: first the long ones, one call each, then all of one
    /// token as one call.
    fn attention<P: Probe>(
        &self,
        step: &Step,
        pool: &LayerPool,
        scratch: &mut Scratch,
        probe: &mut P,
    ) -> Result<Vec<f32>, ModelError> {
        let width = self.widths().0;
        let mut out = vec![0.0; scratch.q.len()];
        for (slice, first, table) in step.slices().filter(|(s, ..)| s.tokens > 1) {
            let rows = first * width..(first + slice.tokens as usize) * width;
            let span = Span { table, context: slice.context as usize };
            let (q, out) = (&scratch.q[rows.clone()], &mut out[rows]);
            attention::prefill(q, self.card.heads as usize, pool, span, self.threads, out)?;
            probe.lap(Operation::AttentionPrefill);
        }
        if step.singles() > 0 {
            attention::decode_all(step, &scratch.q, width, pool, self.threads, &mut scratch.scores, &mut out);
            probe.lap(Operation::AttentionDecode);
        }
        Ok(out)
    }

    fn silu_mul(&self, gate_up: &Product, rows: usize) -> Vec<f32> {
        let ffn = self.card.ffn as usize;
        let mut gated = vec![0.0; rows * ffn];
        let opened = gate_up.open();
        if ffn.is_multiple_of(PANEL) {
            let panels = ffn / PANEL;
            for panel in 0..panels {
                let (gate, up) = (opened.panel(panel), opened.panel(panels + panel));
                let pairs = gate.chunks_exact(PANEL).zip(up.chunks_exact(PANEL));
                for (to, (gate, up)) in gated.chunks_exact_mut(ffn).zip(pairs) {
                    silu_mul(gate, up, &mut to[panel * PANEL..][..PANEL]);
                }
            }
            return gated;
        }
        let mut both = vec![0.0; 2 * ffn];
        for (row, to) in gated.chunks_exact_mut(ffn).enumerate() {
            opened.copy(row, 0, &mut both);
            let (gate, up) = both.split_at(ffn);
            silu_mul(gate, up, to);
        }
        gated
    }

    fn logits(&self, step: &Step, x: &[f32]) -> Result<Option<Product>, ModelError> {
        let hidden = self.card.hidden as usize;
        let mut normed = vec![0.0; step.yields() * hidden];
        if normed.is_empty() {
            return Ok(None);
        }
        let last = step.slices().filter(|(s, ..)| s.yields).map(|(s, first, _)| first + s.tokens as usize - 1);
        for (row, to) in last.zip(normed.chunks_exact_mut(hidden)) {
            rms_norm(&x[row * hidden..][..hidden], &self.final_norm, self.card.norm_eps as f32, to);
        }
        Ok(Some(self.head.apply(normed)?))
    }

    /// Numbers of a token's queries and of its keys.
    fn widths(&self) -> (usize, usize) {
        let head_dim = self.card.head_dim as usize;
        (self.card.heads as usize * head_dim, self.card.kv_heads as usize * head_dim)
    }
}

/// Adds a product to the residual stream.
fn add_product(product: &Product, x: &mut [f32]) {
    let opened = product.open();
    let columns = opened.columns();
    for panel in 0..opened.panels() {
        let first = panel * PANEL;
        let width = PANEL.min(columns - first);
        for (x, piece) in x.chunks_exact_mut(columns).zip(opened.panel(panel).chunks_exact(PANEL)) {
            add(&mut x[first..first + width], &piece[..width]);
        }
    }
}

impl Layer {
    fn new(card: &Card, source: &dyn Source, layer: u32, threads: usize) -> Result<Layer, ModelError> {
        let read = |part: Part| source.read(&part.name(layer), &part.shape(card));
        let [hidden, ffn, head_dim] = [card.hidden, card.ffn, card.head_dim].map(|n| n as usize);
        let qk_norms = if card.qk_norm { Some((read(Part::QNorm)?, read(Part::KNorm)?)) } else { None };
        Ok(Layer {
            input_norm: read(Part::InputNorm)?,
            qkv: Linear::new(&[&read(Part::Q)?, &read(Part::K)?, &read(Part::V)?], hidden, threads)?,
            qk_norms,
            o: Linear::new(&[&read(Part::O)?], card.heads as usize * head_dim, threads)?,
            post_norm: read(Part::PostNorm)?,
            gate_up: Linear::new(&[&read(Part::Gate)?, &read(Part::Up)?], hidden, threads)?,
            down: Linear::new(&[&read(Part::Down)?], ffn, threads)?,
        })
    }
}

#[cfg(test)]
mod tests;
