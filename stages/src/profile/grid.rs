//! The points that are timed: which batches, from the knobs alone. Pure.
//!
//! Invariant: whatever batch the scheduler can form lies between points: the least and the largest number of tokens,
//! sequences and context stand in the grid.

use super::Spacing;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{Batch, Slice};

/// How far a scheduler can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Most tokens of an iteration.
    pub(super) tokens: u32,
    /// Most sequences of an iteration.
    pub(super) sequences: u32,
    /// Longest sequence.
    pub(super) positions: u32,
    blocks: u32,
    block_tokens: u32,
}

impl Limits {
    /// Of `knobs` on a model that knows `positions` positions.
    pub(super) fn of(knobs: &Knobs, positions: usize) -> Limits {
        let cap = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let longest = knobs.max_sequence_tokens.unwrap_or(u32::MAX);
        let tokens = cap(knobs.pool_tokens().min(u64::from(knobs.max_batched_tokens)));
        Limits {
            tokens,
            sequences: knobs.max_sequences.min(knobs.kv_blocks).min(tokens),
            positions: cap(positions as u64).min(longest),
            blocks: knobs.kv_blocks,
            block_tokens: knobs.block_tokens,
        }
    }

    /// The longest that each of `sequences` sequences can be at the same time.
    fn room(&self, sequences: u32) -> u32 {
        let tokens = u64::from(self.blocks / sequences) * u64::from(self.block_tokens);
        self.positions.min(u32::try_from(tokens).unwrap_or(u32::MAX))
    }
}

/// What sort of batch a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// `tokens` tokens of one sequence.
    Chunk,
    /// One token of each of `sequences` sequences.
    Decodes,
    /// A chunk that takes the tokens which `sequences - 1` decodes leave; all with the same context.
    Mixed,
    /// More tokens than one sequence can hold: chunks of several, without context.
    Wide,
}

/// One batch to be timed. All its slices yield.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) sort: Sort,
    /// Of the whole batch.
    pub(super) tokens: u32,
    pub(super) sequences: u32,
    pub(super) context: u32,
    pub(super) batch: Batch,
}

/// All points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) points: Vec<Point>,
    /// Numbers of sequences at which the host is timed.
    pub(super) host: Vec<u32>,
}

impl Grid {
    pub(super) fn new(limits: &Limits, spacing: Spacing) -> Grid {
        let (sizes, contexts) = match spacing {
            Spacing::Coarse => (Steps { factor: 4, halfway: false }, 16),
            Spacing::Normal => (Steps { factor: 2, halfway: false }, 4),
            Spacing::Fine => (Steps { factor: 2, halfway: true }, 2),
        };
        let mut points = Vec::new();
        for tokens in sizes.up_to(limits.tokens) {
            match limits.room(1).checked_sub(tokens) {
                Some(room) if tokens > 1 => {
                    points.extend(spread(room, contexts).into_iter().map(|context| chunk(tokens, context)));
                }
                Some(_) => {}
                None => points.push(wide(tokens, limits.room(1))),
            }
        }
        let sequences = sizes.up_to(limits.sequences);
        for n in &sequences {
            let room = limits.room(*n) - 1;
            points.extend(spread(room, contexts).into_iter().map(|context| decodes(*n, context)));
        }
        points.extend(mixed_points(limits));
        Grid { points, host: sequences }
    }
}

/// Sizes 1, `factor`, `factor²`…, with one halfway where asked, and the last.
#[derive(Clone, Copy)]
struct Steps {
    factor: u32,
    halfway: bool,
}

impl Steps {
    fn up_to(self, last: u32) -> Vec<u32> {
        let mut sizes = Vec::new();
        let mut size = 1u32;
        while size < last {
            sizes.push(size);
            let halfway = size + size / 2;
            if self.halfway && halfway > size && halfway < last {
                sizes.push(halfway);
            }
            size = size.saturating_mul(self.factor);
        }
        sizes.push(last);
        sizes
    }
}

/// Contexts 0, 64, 64 · `factor`… and the largest.
fn spread(largest: u32, factor: u32) -> Vec<u32> {
    let mut contexts = vec![0];
    let mut context = 64u32;
    while context < largest {
        contexts.push(context);
        context = context.saturating_mul(factor);
    }
    if largest > 0 {
        contexts.push(largest);
    }
    contexts
}

fn slice(seq: u32, context: u32, tokens: u32) -> Slice {
    Slice { seq, context, tokens, yields: true }
}

fn chunk(tokens: u32, context: u32) -> Point {
    let batch = Batch { slices: vec![slice(0, context, tokens)] };
    Point { sort: Sort::Chunk, tokens, sequences: 1, context, batch }
}

fn decodes(sequences: u32, context: u32) -> Point {
    let batch = Batch { slices: (0..sequences).map(|seq| slice(seq, context, 1)).collect() };
    Point { sort: Sort::Decodes, tokens: sequences, sequences, context, batch }
}

fn mixed(sequences: u32, tokens: u32, context: u32) -> Point {
    let decodes = sequences - 1;
    let mut slices: Vec<Slice> = (0..decodes).map(|seq| slice(seq, context, 1)).collect();
    slices.push(slice(decodes, context, tokens - decodes));
    Point { sort: Sort::Mixed, tokens, sequences, context, batch: Batch { slices } }
}

fn wide(tokens: u32, room: u32) -> Point {
    let mut slices = Vec::new();
    let mut left = tokens;
    while left > 0 {
        let here = left.min(room);
        slices.push(slice(slices.len() as u32, 0, here));
        left -= here;
    }
    let sequences = slices.len() as u32;
    Point { sort: Sort::Wide, tokens, sequences, context: 0, batch: Batch { slices } }
}

/// Decodes beside a chunk: few, half and all but one of the sequences; a quarter and all of the tokens; a short
/// context and a longer one.
fn mixed_points(limits: &Limits) -> Vec<Point> {
    let mut points = Vec::new();
    let mut sizes = vec![2, limits.sequences / 2, limits.sequences];
    sizes.dedup();
    for sequences in sizes.into_iter().filter(|n| (2..=limits.sequences).contains(n)) {
        for tokens in [limits.tokens / 4, limits.tokens] {
            // At least two tokens for the chunk: one would be a decode.
            let Some(room) = limits.room(sequences).checked_sub((tokens + 1).saturating_sub(sequences)) else {
                continue;
            };
            if tokens < sequences + 1 {
                continue;
            }
            let mut contexts = vec![room.min(64), room.min(512)];
            contexts.dedup();
            points.extend(contexts.into_iter().map(|context| mixed(sequences, tokens, context)));
        }
    }
    points
}

#[cfg(test)]
mod tests;
