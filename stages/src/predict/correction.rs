//! What whole iterations take against the sum of their operations: a ratio, looked up by what sort of iteration it is.
//!
//! Three sorts: decodes alone (by sequences and context), chunks alone (by tokens and context), both (by sequences and
//! tokens). A sort that was not measured takes the ratio of another.
//!
//! A single ratio carries the noise of its few timings. What of the spread within a sort that noise explains is taken
//! away: each ratio moves towards the sort's mean by the share of its variance that is noise (Efron and Morris, JASA 70,
//! 1975).

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
            let total = sum(&iteration(row));
            let ratio = row.median_ns / total;
            let error = MEDIAN_ERROR * row.mad_ns / f64::from(row.samples.max(1)).sqrt() / total;
            let (tokens, sequences, context) =
                (f64::from(row.tokens), f64::from(row.sequences), f64::from(row.context));
            let (sort, place) = if row.tokens == row.sequences {
                (&mut decodes, (sequences, context))
            } else if row.sequences == 1 {
                (&mut chunks, (tokens, context))
            } else {
                (&mut mixed, (sequences, tokens))
            };
            sort.push(Ratio { place, ratio, variance: error * error });
        }
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

/// Standard error of the median of n normal samples is 1.2533 σ / √n, and σ is 1.4826 times their median absolute
/// deviation.
const MEDIAN_ERROR: f64 = 1.2533 * 1.4826;

/// A measured ratio, where it was measured, and the variance of its noise.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ratio {
    place: (f64, f64),
    ratio: f64,
    variance: f64,
}

/// The surface through the ratios of one sort, if there are any.
fn surface(mut ratios: Vec<Ratio>) -> Option<Surface> {
    if ratios.is_empty() {
        return None;
    }
    shrink(&mut ratios);
    ratios.sort_by(|a, b| a.place.0.total_cmp(&b.place.0).then(a.place.1.total_cmp(&b.place.1)));
    let mean = |twins: &[Ratio]| {
        let (x, y) = twins[0].place;
        (x, y, twins.iter().map(|r| r.ratio).sum::<f64>() / twins.len() as f64)
    };
    Some(Surface::held(ratios.chunk_by(|a, b| a.place == b.place).map(mean).collect()))
}

/// Moves each ratio towards the mean of all by the share of its variance that is noise.
fn shrink(ratios: &mut [Ratio]) {
    let n = ratios.len() as f64;
    let mean = ratios.iter().map(|r| r.ratio).sum::<f64>() / n;
    let noise = ratios.iter().map(|r| r.variance).sum::<f64>() / n;
    let spread = ratios.iter().map(|r| (r.ratio - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    // What of the spread is not noise: how much ratios truly differ.
    let true_spread = (spread - noise).max(0.0);
    for r in ratios {
        let total = true_spread + r.variance;
        if total > 0.0 {
            r.ratio = mean + (r.ratio - mean) * (true_spread / total);
        }
    }
}

#[cfg(test)]
mod tests;
