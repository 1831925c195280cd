//! One iteration's work: what the scheduler puts together, a backend computes and a recorder keeps. Knows neither the
//! scheduler nor the loop, so that tables of a run hang on this alone.
//!
//! Invariants: a sequence stands in a batch at most once; no slice is empty.

/// One sequence's share of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The sequence; equals the request's id.
    pub seq: u32,
    /// Tokens whose keys and values are in the cache before this iteration.
    pub context: u32,
    /// Tokens computed in this iteration: 1 for a decode, a chunk's length for a prefill.
    pub tokens: u32,
    /// Whether the last of them yields an output token (a decode, or the chunk that ends the known tokens).
    pub yields: bool,
}

impl Batch {
    /// Makes of a batch of decodes the one that follows it: every context is one longer.
    pub fn lengthen(&mut self) {
        for slice in &mut self.slices {
            slice.context += 1;
        }
    }
}

/// One iteration's work, in the order in which the scheduler put it together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// At least one.
    pub slices: Vec<Slice>,
}
