//! A run as the comparison sees it, wherever it came from. Does not know file formats ([`super::read`] does).
//!
//! Invariants: requests stand in order of their ids, each id once; `tokens`, where it is there, has one list a
//! request, in the same order, with as many times as the request produced tokens.

use crate::tables::run::{BatchRow, RequestRow, RunMeta};

/// Where a run came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own tables.
    Tables,
    /// `request_metrics.csv`, `token_metrics.csv`, `run_meta.json` of gpu-simulate-test.
    Predecessor,
    /// `requests.jsonl` of LLMServingSim's vLLM recorder.
    VllmBench,
    /// The per-request CSV of LLMServingSim.
    LlmServingSim,
    /// `requests.csv` and `tokens.csv` of a client's recording.
    Recording,
}

impl Format {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Tables => "pipe tables",
            Format::Predecessor => "gpu-simulate-test run",
            Format::VllmBench => "LLMServingSim's vLLM recording",
            Format::LlmServingSim => "LLMServingSim output",
            Format::Recording => "client recording",
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Side {
    /// What a person calls it: `sim.run`.
    pub label: String,
    /// Where it came from.
    pub format: Format,
    /// In order of ids.
    pub requests: Vec<RequestRow>,
    /// Time of each output token, ns, a list a request; `None` where the format has no token times.
    pub tokens: Option<Vec<Vec<u64>>>,
    /// Iterations in order of execution; empty where nobody saw them.
    pub batches: Vec<BatchRow>,
    /// What ran where, as far as it is known.
    pub meta: RunMeta,
}

impl Side {
    /// The place of the request `id` in `requests`.
    pub fn place(&self, id: u32) -> Option<usize> {
        self.requests.binary_search_by_key(&id, |r| r.id).ok()
    }

    /// Whether our engine made it, so that its iterations can be compared with another run's.
    pub fn has_batches(&self) -> bool {
        !self.batches.is_empty()
    }
}
