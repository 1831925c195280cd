//! From measured operations to the time of an iteration.
//!
//! The device's time is the sum over operations of (time of a call × calls), each looked up in what the profile
//! measured, times a correction: the ratio of whole iterations as measured to the same sum. The host's time is what the
//! profile measured between iterations. What each operation means stands in `stages/DESIGN.md`.
//!
//! It does not know the model or the device: only the `ops` table. Time by look-up alone, without allocation.
//!
//! Invariants: never shorter for more work (more tokens, longer contexts) before the correction; outside of what was
//! measured it refuses, or extrapolates and counts that it did.

mod correction;
mod curve;
mod profile;
mod surface;

use serde::{Deserialize, Serialize};

use crate::infer::machine::{Predict, StepTime};
use crate::infer::serve::Batch;
use crate::infer::time::Nanos;
use crate::tables::ops::Row;

use correction::Correction;
use curve::Curve;
pub(crate) use curve::pool_violators;
use profile::Profile;
pub use profile::ProfileError;
use surface::Surface;

/// What to do about an iteration that lies outside of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// End the run: the profile does not know.
    #[default]
    Refuse,
    /// Go on along the last slope, and say so in the result.
    Extrapolate,
}

/// An iteration lies outside of the profile.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the profile knows `{op}` up to {known} {axis}, and an iteration has {asked}")]
pub struct OutOfRange {
    /// The operation.
    pub op: &'static str,
    /// Of what.
    pub axis: &'static str,
    /// What was measured.
    pub known: f64,
    /// What was asked.
    pub asked: f64,
}

/// How much of a run rests on extrapolation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beyond {
    /// Iterations outside of the profile.
    pub iterations: u64,
    /// The farthest outside for each operation and axis.
    pub farthest: Vec<OutOfRange>,
}

/// Where an iteration's predicted time goes, ns.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Breakdown {
    /// What works on all tokens: projections, norms, the feed-forward layer.
    pub token_wise: f64,
    /// Attention of the slices of more than one token.
    pub attention_prefill: f64,
    /// Attention of the slices of one token.
    pub attention_decode: f64,
    /// Output projection and choice of a token, for the slices that yield.
    pub head: f64,
    /// What whole iterations take beyond (or below) the sum of the above.
    pub correction: f64,
    /// Between iterations.
    pub host: f64,
}

impl Breakdown {
    /// What the device takes.
    pub fn device(&self) -> f64 {
        self.token_wise + self.attention_prefill + self.attention_decode + self.head + self.correction
    }
}

/// What an iteration is made of, as far as its time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Shape {
    tokens: u32,
    sequences: u32,
    yields: u32,
    decodes: u32,
    decode_context: u64,
    longest_decode: u32,
    prefill_context: u64,
}

impl Shape {
    fn of(batch: &Batch) -> Shape {
        let mut shape = Shape { sequences: batch.slices.len() as u32, ..Shape::default() };
        for slice in &batch.slices {
            shape.tokens += slice.tokens;
            shape.yields += u32::from(slice.yields);
            if slice.tokens == 1 {
                shape.decodes += 1;
                shape.decode_context += u64::from(slice.context);
                shape.longest_decode = shape.longest_decode.max(slice.context);
            } else {
                shape.prefill_context += u64::from(slice.context);
            }
        }
        shape
    }

    fn mean_decode_context(&self) -> f64 {
        self.decode_context as f64 / f64::from(self.decodes.max(1))
    }

    fn mean_prefill_context(&self) -> f64 {
        self.prefill_context as f64 / f64::from((self.sequences - self.decodes).max(1))
    }
}

/// Tells the time of iterations from a profile.
#[derive(Debug, Clone)]
pub struct Predictor {
    /// All token-wise operations of an iteration together, by tokens.
    token_wise: Curve,
    /// Head and sampling together, by slices that yield.
    head: Curve,
    /// By sequences.
    host: Curve,
    /// By tokens of the slice and its context.
    prefill: Surface,
    /// By sequences and their mean context.
    decode: Surface,
    correction: Correction,
    outside: Outside,
    beyond: Beyond,
    notes: Vec<String>,
}

impl Predictor {
    /// From the rows of an `ops` table.
    ///
    /// # Errors
    /// When an operation is missing or its rows cannot be true.
    pub fn new(rows: &[Row], outside: Outside) -> Result<Predictor, ProfileError> {
        let mut profile = Profile::new(rows)?;
        let mut predictor = Predictor {
            token_wise: profile.token_wise()?,
            head: profile.head()?,
            host: profile.host()?,
            prefill: profile.attention_prefill()?,
            decode: profile.attention_decode()?,
            correction: Correction::none(),
            outside,
            beyond: Beyond::default(),
            notes: Vec::new(),
        };
        predictor.correction = Correction::new(profile.steps()?, |batch| predictor.sum(batch).device());
        if predictor.correction.is_none() {
            profile.note("no whole iterations (`step`) were measured: the sum of operations stands uncorrected");
        }
        predictor.notes = profile.into_notes();
        Ok(predictor)
    }

    /// What a reader of its results should know of the profile.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What rested on extrapolation so far.
    pub fn beyond(&self) -> &Beyond {
        &self.beyond
    }

    /// Where the time of `batch` goes; extrapolates where it must.
    pub fn breakdown(&self, batch: &Batch) -> Breakdown {
        let shape = Shape::of(batch);
        let mut parts = self.parts(&shape, batch);
        parts.correction = parts.device() * (self.correction.ratio(&shape) - 1.0);
        parts
    }

    fn sum(&self, batch: &Batch) -> Breakdown {
        self.parts(&Shape::of(batch), batch)
    }

    fn parts(&self, shape: &Shape, batch: &Batch) -> Breakdown {
        let decode = match shape.decodes {
            0 => 0.0,
            // Many short ones cannot hide a long one: the batch takes at least what its longest takes alone.
            n => {
                let together = self.decode.at(f64::from(n), shape.mean_decode_context());
                together.max(self.decode.at(1.0, f64::from(shape.longest_decode)))
            }
        };
        let mut prefill = 0.0;
        if shape.decodes < shape.sequences {
            for slice in batch.slices.iter().filter(|s| s.tokens > 1) {
                prefill += self.prefill.at(f64::from(slice.tokens), f64::from(slice.context));
            }
        }
        let head = match shape.yields {
            0 => 0.0,
            n => self.head.at(f64::from(n)),
        };
        Breakdown {
            token_wise: self.token_wise.at(f64::from(shape.tokens)),
            attention_prefill: prefill,
            attention_decode: decode,
            head,
            correction: 0.0,
            host: self.host.at(f64::from(shape.sequences)),
        }
    }

    /// Where an iteration leaves the profile, if it does.
    fn out_of_range(&self, shape: &Shape, batch: &Batch) -> Option<OutOfRange> {
        let over = |op, axis, known: f64, asked: f64| (asked > known).then_some(OutOfRange { op, axis, known, asked });
        over("token-wise operations", "tokens", self.token_wise.end(), f64::from(shape.tokens))
            .or_else(|| over("head", "sequences", self.head.end(), f64::from(shape.yields)))
            .or_else(|| over("host", "sequences", self.host.end(), f64::from(shape.sequences)))
            .or_else(|| {
                let sequences = f64::from(shape.decodes);
                over("attention_decode", "sequences", self.decode.x_end(), sequences).or_else(|| {
                    let context = shape.mean_decode_context();
                    over("attention_decode", "tokens of context", self.decode.y_end(sequences), context)
                })
            })
            .or_else(|| {
                if shape.decodes == shape.sequences {
                    return None;
                }
                batch.slices.iter().filter(|s| s.tokens > 1).find_map(|s| {
                    let (tokens, context) = (f64::from(s.tokens), f64::from(s.context));
                    over("attention_prefill", "tokens of a chunk", self.prefill.x_end(), tokens)
                        .or_else(|| over("attention_prefill", "tokens of context", self.prefill.y_end(tokens), context))
                })
            })
    }

    fn note_beyond(&mut self, out: OutOfRange) {
        self.beyond.iterations += 1;
        match self.beyond.farthest.iter_mut().find(|f| f.op == out.op && f.axis == out.axis) {
            Some(farthest) if farthest.asked >= out.asked => {}
            Some(farthest) => *farthest = out,
            None => self.beyond.farthest.push(out),
        }
    }
}

impl Predict for Predictor {
    type Error = OutOfRange;

    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, OutOfRange> {
        let shape = Shape::of(batch);
        if let Some(out) = self.out_of_range(&shape, batch) {
            match self.outside {
                Outside::Refuse => return Err(out),
                Outside::Extrapolate => self.note_beyond(out),
            }
        }
        let parts = self.parts(&shape, batch);
        let device = parts.device() * self.correction.ratio(&shape);
        Ok(StepTime { host: Nanos(parts.host.round() as u64), device: Nanos(device.round() as u64) })
    }
}

#[cfg(test)]
mod tests;
