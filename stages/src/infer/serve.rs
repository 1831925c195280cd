//! The one serving loop and what it drives.
//!
//! Simulation and measurement differ in a [`Backend`] and in nothing else, so that a difference between their tables
//! comes only from the time of a batch or from what the host adds between batches.

use super::time::Nanos;

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

/// One iteration's work, in the order in which the scheduler put it together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// At least one.
    pub slices: Vec<Slice>,
}

/// What a backend may ask of the sequences in a batch.
pub trait Sequences {
    /// The sequence's KV blocks in order; enough for context + tokens of its slice.
    fn blocks(&self, seq: u32) -> &[u32];
    /// Ids that the prompt and, after a preemption, the tokens produced so far give for positions
    /// `context .. context + tokens`; for a decode whose id only the device knows yet (a pipelined backend), empty.
    fn token_ids(&self, seq: u32) -> &[u32];
}

/// Where a batch's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// When the device began, on the backend's clock.
    pub start: Nanos,
    /// When its tokens were there for the host.
    pub end: Nanos,
    /// Time the device itself says it worked, where it can tell; else `end - start`.
    pub device: Nanos,
}

/// A virtual or a real machine.
///
/// `submit` hands over one iteration, `collect` waits for the oldest one handed over. A loop that is not pipelined
/// calls them in turn; a pipelined one keeps two in flight, so that scheduling hides behind the device.
pub trait Backend {
    /// What can go wrong in it.
    type Error;
    /// The time since the run's start.
    fn now(&self) -> Nanos;
    /// Returns at `t`, or at once if that is past.
    fn wait_until(&mut self, t: Nanos);
    /// Begins one iteration.
    ///
    /// # Errors
    /// When the device refuses it.
    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), Self::Error>;
    /// Waits for the oldest iteration; appends to `tokens` one id for each slice that yields, in batch order.
    ///
    /// # Errors
    /// When the device failed.
    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, Self::Error>;
}
