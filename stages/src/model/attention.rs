//! Attention of grouped queries over the paged pool, causal, f32.
//!
//! A slice of one token walks its blocks with plain loops (it reads each key and value once, memory decides); a
//! longer slice gathers keys and values of a head and lets candle multiply tiles of queries with them (arithmetic
//! decides). Queries come scaled by 1/√head_dim and rotated, keys and values of the slice are in the pool already.
//!
//! Head order is that of the models: query heads `g · kv .. g · (kv + 1)` share head `kv` of the pool.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::forward::Step;
use super::linear::floats;
use super::pointwise::{add_scaled_four, dot, dot_four, exp_scores};
use super::pool::{BlockShape, LayerPool};
use crate::infer::serve::Slice;

/// Query tokens of a tile: the scores of a tile stay in the second-level cache up to a few hundred keys.
const TILE_TOKENS: usize = 64;

/// A slice whose rows are attended to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// Blocks of its sequence.
    pub(super) table: &'a [u32],
    /// Positions in the cache before it.
    pub(super) context: usize,
}

/// One token: `q` and `out` are `[heads · head_dim]`; the keys are positions `0 ..= context`. `scores` is scratch.
fn decode(q: &[f32], layer: &LayerPool, span: Span<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    let BlockShape { kv_heads, block_tokens, head_dim } = layer.shape;
    let keys = span.context + 1;
    let group = q.len() / head_dim / kv_heads;
    scores.resize(group * keys, 0.0);
    for kv in 0..kv_heads {
        let q = &q[kv * group * head_dim..][..group * head_dim];
        let out = &mut out[kv * group * head_dim..][..group * head_dim];
        let runs = || {
            let blocks = &span.table[..keys.div_ceil(block_tokens)];
            blocks.iter().enumerate().map(move |(i, block)| {
                let first = i * block_tokens;
                (first, block_tokens.min(keys - first), layer.shape.run(*block, kv))
            })
        };
        for (first, here, at) in runs() {
            let k = &layer.k[at..][..here * head_dim];
            for (q, scores) in q.chunks_exact(head_dim).zip(scores.chunks_exact_mut(keys)) {
                score_run(q, k, &mut scores[first..first + here]);
            }
        }
        for (scores, out) in scores.chunks_exact_mut(keys).zip(out.chunks_exact_mut(head_dim)) {
            let scale = exp_scores(scores).recip();
            out.fill(0.0);
            for (first, here, at) in runs() {
                weigh_run(&scores[first..first + here], &layer.v[at..][..here * head_dim], out);
            }
            for x in out {
                *x *= scale;
            }
        }
    }
}

/// All slices of one token in a step: `q` and `out` are `[rows, width]`; other rows are left alone.
pub(super) fn decode_all(
    step: &Step,
    q: &[f32],
    width: usize,
    layer: &LayerPool,
    threads: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let singles = step.slices().filter(|(slice, ..)| slice.tokens == 1);
    let span = |slice: Slice, table| Span { table, context: slice.context as usize };
    if threads == 1 || step.singles() == 1 {
        for (slice, row, table) in singles {
            let at = row * width..(row + 1) * width;
            decode(&q[at.clone()], layer, span(slice, table), scores, &mut out[at]);
        }
        return;
    }
    let mut rows: Vec<Option<Span<'_>>> = vec![None; step.rows()];
    for (slice, row, table) in singles {
        rows[row] = Some(span(slice, table));
    }
    rows.par_iter().zip(q.par_chunks(width)).zip(out.par_chunks_mut(width)).for_each_init(
        Vec::new,
        |scores, ((span, q), out)| {
            if let Some(span) = span {
                decode(q, layer, *span, scores, out);
            }
        },
    );
}

/// Scores of one query against a run of keys `[n, head_dim]`, four at a time.
fn score_run(q: &[f32], k: &[f32], scores: &mut [f32]) {
    let d = q.len();
    let (fours, rest) = scores.as_chunks_mut::<4>();
    let (k_fours, k_rest) = k.split_at(fours.len() * 4 * d);
    for (scores, k) in fours.iter_mut().zip(k_fours.chunks_exact(4 * d)) {
        *scores = dot_four(q, k);
    }
    for (score, k) in rest.iter_mut().zip(k_rest.chunks_exact(d)) {
        *score = dot(q, k);
    }
}

/// Adds a run of values `[n, head_dim]`, each times its weight, to `out`.
fn weigh_run(weights: &[f32], v: &[f32], out: &mut [f32]) {
    let d = out.len();
    let (fours, rest) = weights.as_chunks::<4>();
    let (v_fours, v_rest) = v.split_at(fours.len() * 4 * d);
    for (weights, v) in fours.iter().zip(v_fours.chunks_exact(4 * d)) {
        add_scaled_four(out, v, *weights);
    }
    for (weight, v) in rest.iter().zip(v_rest.chunks_exact(d)) {
        for (out, v) in out.iter_mut().zip(v) {
            *out += weight * v;
        }
    }
}

/// A run of tokens: `q` and `out` are `[tokens, heads · head_dim]`; token `i` sees positions `0 ..= context + i`.
///
/// # Errors
/// When candle refuses a product.
pub(super) fn prefill(
    q: &[f32],
    heads: usize,
    layer: &LayerPool,
    span: Span<'_>,
    threads: usize,
    out: &mut [f32],
) -> Result<()> {
    let BlockShape { kv_heads, head_dim, .. } = layer.shape;
    let width = heads * head_dim;
    let tokens = q.len() / width;
    let group = heads / kv_heads;
    let keys = span.context + tokens;
    let gathered = (0..kv_heads)
        .map(|kv| {
            let tensor = |of| Tensor::from_vec(layer.gather(of, span.table, kv, keys), (keys, head_dim), &Device::Cpu);
            Ok(Gathered { k: tensor(&layer.k)?, v: tensor(&layer.v)? })
        })
        .collect::<Result<Vec<_>>>()?;
    let tile_tokens = TILE_TOKENS.min(tokens.div_ceil(threads));
    let tile = |(i, (q, out)): (usize, (&[f32], &mut [f32]))| {
        let before = span.context + i * tile_tokens;
        for (kv, head) in gathered.iter().enumerate() {
            head.tile(q, out, width, kv * group * head_dim, group, before)?;
        }
        Ok(())
    };
    let size = tile_tokens * width;
    if threads == 1 {
        q.chunks(size).zip(out.chunks_mut(size)).enumerate().try_for_each(tile)
    } else {
        q.par_chunks(size).zip(out.par_chunks_mut(size)).enumerate().try_for_each(tile)
    }
}

/// One head's keys and values, `[keys, head_dim]`.
struct Gathered {
    k: Tensor,
    v: Tensor,
}

impl Gathered {
    /// A tile of queries, rows of `width`, whose heads of this group begin at column `first`; the first token of the
    /// tile sees `before` positions and itself.
    fn tile(&self, q: &[f32], out: &mut [f32], width: usize, first: usize, group: usize, before: usize) -> Result<()> {
        let head_dim = self.k.dim(1)?;
        let tokens = q.len() / width;
        let keys = before + tokens;
        let piece = group * head_dim;
        let mut queries = Vec::with_capacity(tokens * piece);
        for row in q.chunks_exact(width) {
            queries.extend_from_slice(&row[first..first + piece]);
        }
        let queries = Tensor::from_vec(queries, (tokens * group, head_dim), &Device::Cpu)?;
        let scores = queries.matmul(&self.k.narrow(0, 0, keys)?.t()?)?;
        let mut weights = floats(&scores.storage_and_layout().0).to_vec();
        for (i, row) in weights.chunks_exact_mut(keys).enumerate() {
            let (seen, unseen) = row.split_at_mut(before + i / group + 1);
            let scale = exp_scores(seen).recip();
            for x in seen {
                *x *= scale;
            }
            unseen.fill(0.0);
        }
        let weights = Tensor::from_vec(weights, (tokens * group, keys), &Device::Cpu)?;
        let mixed = weights.matmul(&self.v.narrow(0, 0, keys)?)?;
        let mixed = mixed.storage_and_layout().0;
        for (row, mixed) in out.chunks_exact_mut(width).zip(floats(&mixed).chunks_exact(piece)) {
            row[first..first + piece].copy_from_slice(mixed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
