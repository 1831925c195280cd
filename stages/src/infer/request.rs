//! What arrives: a request, as a workload describes it.

use std::sync::Arc;

use super::time::Nanos;

/// One request of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// 0-based, in order of arrival; the row in the `requests` table.
    pub id: u32,
    /// When it arrives, from the run's start.
    pub arrival: Nanos,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens to produce, at least 1; the end-of-sequence token is ignored.
    pub output_tokens: u32,
    /// Ids of the prompt, `[prompt_tokens]`; empty where nobody computes with them (a simulation).
    pub prompt: Arc<[u32]>,
    /// Ids of the prompt's blocks for prefix sharing, from the front; empty = nothing is shared.
    pub prefix_blocks: Arc<[u64]>,
    /// Lower is served first; 0 unless the workload says otherwise.
    pub priority: i32,
}
