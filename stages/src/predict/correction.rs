//! What whole iterations take against the sum of their operations: a ratio, looked up by what sort of iteration it is.
//!
//! Three sorts: decodes alone (by sequences and context), chunks alone (by tokens and context), both (by sequences and
//! tokens). A sort that was not measured takes the ratio of another.

use crate::infer::serve::{Batch, Slice};
use crate::tables::ops::Row;

use super::Shape;
use super::surface::Surface;

/// The ratio.
#[derive(Debug, Clone)]
pub(super) struct Correction {
    decodes: Option<Surface>,
    chunks: Option<Surface>,
    mixed: Option<Surface>,
}

impl Correction {
    /// Always 1.
    pub(super) fn none() -> Correction {
        Correction { decodes: None, chunks: None, mixed: None }
    }

    /// From measured iterations; `sum` adds up the operations of a batch, ns.
    pub(super) fn new<'a>(steps: impl IntoIterator<Item = &'a Row>, sum: impl Fn(&Batch) -> f64) -> Correction {
        let (mut decodes, mut chunks, mut mixed) = (Vec::new(), Vec::new(), Vec::new());
        for row in steps {
            let ratio = row.median_ns / sum(&iteration(row));
            let (tokens, sequences, context) =
                (f64::from(row.tokens), f64::from(row.sequences), f64::from(row.context));
            if row.tokens == row.sequences {
                decodes.push((sequences, context, ratio));
            } else if row.sequences == 1 {
                chunks.push((tokens, context, ratio));
            } else {
                mixed.push((sequences, tokens, ratio));
            }
        }
        let surface = |points: Vec<(f64, f64, f64)>| {
            let points = mean_of_twins(points);
            (!points.is_empty()).then(|| Surface::held(points))
        };
        Correction { decodes: surface(decodes), chunks: surface(chunks), mixed: surface(mixed) }
    }

    /// Whether nothing was measured.
    pub(super) fn is_none(&self) -> bool {
        self.decodes.is_none() && self.chunks.is_none() && self.mixed.is_none()
    }

    /// The ratio for an iteration.
    pub(super) fn ratio(&self, shape: &Shape) -> f64 {
        let decodes = || {
            let surface = self.decodes.as_ref()?;
            Some(surface.at(f64::from(shape.sequences), shape.mean_decode_context()))
        };
        let chunks = || {
            let surface = self.chunks.as_ref()?;
            Some(surface.at(f64::from(shape.tokens), shape.mean_prefill_context()))
        };
        let mixed = || {
            let surface = self.mixed.as_ref()?;
            Some(surface.at(f64::from(shape.sequences), f64::from(shape.tokens)))
        };
        let ratio = if shape.decodes == shape.sequences {
            decodes().or_else(mixed).or_else(chunks)
        } else if shape.decodes == 0 {
            chunks().or_else(mixed).or_else(decodes)
        } else {
            mixed().or_else(chunks).or_else(decodes)
        };
        ratio.unwrap_or(1.0)
    }
}

/// The iteration that a `step` row stands for: all decodes where there are as many tokens as sequences; else one chunk
/// that takes the tokens the decodes leave. Each has `context` tokens in the cache and yields.
pub(super) fn iteration(row: &Row) -> Batch {
    let slice = |seq: u32, tokens: u32| Slice { seq, context: row.context, tokens, yields: true };
    let decodes = if row.tokens == row.sequences { row.sequences } else { row.sequences - 1 };
    let mut slices: Vec<Slice> = (0..decodes).map(|seq| slice(seq, 1)).collect();
    if row.tokens > decodes {
        slices.push(slice(decodes, row.tokens - decodes));
    }
    Batch { slices }
}

/// One point a place.
fn mean_of_twins(mut points: Vec<(f64, f64, f64)>) -> Vec<(f64, f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let twins = |a: &(f64, f64, f64), b: &(f64, f64, f64)| a.0 == b.0 && a.1 == b.1;
    let mean = |p: &[(f64, f64, f64)]| (p[0].0, p[0].1, p.iter().map(|q| q.2).sum::<f64>() / p.len() as f64);
    points.chunk_by(twins).map(mean).collect()
}
