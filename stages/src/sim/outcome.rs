//! A simulation without files: what a search over many configurations calls.

use std::path::Path;

use engine::kind::StageError;
use serde::{Deserialize, Serialize};

use crate::infer::metrics::{Objectives, RequestMetrics, Summary, Throughput};
use crate::infer::record::Status;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::tally::{Iterations, Tally};
use crate::predict::Predictor;

use super::{Simulated, simulate};

/// The figures' file in a run's directory.
pub(super) const SUMMARY: &str = "summary.json";

/// A simulation in memory.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The loop's account and what a reader should know.
    pub simulated: Simulated,
    /// Every request's row, every gap, and the sums over iterations.
    pub tally: Tally,
}

impl Outcome {
    /// In figures.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.tally)
    }

    /// Requests a second that met every objective.
    pub fn goodput_per_s(&self, objectives: &Objectives) -> f64 {
        objectives.goodput_per_s(&self.tally.requests)
    }
}

/// Simulates `requests` (ids 0.. in order of arrival) under `knobs`, which have been checked, without writing a file.
/// Equal arguments give equal outcomes, on whatever thread.
///
/// # Errors
/// As [`simulate`].
pub fn outcome(requests: &[Request], knobs: &Knobs, predictor: &Predictor) -> Result<Outcome, StageError> {
    let mut tally = Tally::for_requests(requests.len());
    let simulated = simulate(requests, knobs, predictor.clone(), &mut tally)?;
    Ok(Outcome { simulated, tally })
}

/// A run's figures; times in ns, defined in `stages/DESIGN.md`. What nobody has (a gap, where every request has one
/// token) is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Requests that were served to their end.
    pub completed: u64,
    /// Requests that can never fit.
    pub refused: u64,
    /// Time to first token.
    pub ttft_ns: Option<Summary>,
    /// Gaps between tokens.
    pub tbt_ns: Option<Summary>,
    /// Time per output token after the first.
    pub tpot_ns: Option<Summary>,
    /// End to end.
    pub e2e_ns: Option<Summary>,
    /// From arrival to the first iteration.
    pub scheduling_delay_ns: Option<Summary>,
    /// Requests a second from the first arrival to the last completion.
    pub requests_per_s: f64,
    /// Output tokens a second over the same span.
    pub output_tokens_per_s: f64,
    /// Sums over iterations.
    pub iterations: Iterations,
}

impl Figures {
    /// Of a run that is over.
    pub fn of(tally: &Tally) -> Figures {
        let metrics: Vec<RequestMetrics> = tally.requests.iter().filter_map(RequestMetrics::of).collect();
        let summary = |field: fn(&RequestMetrics) -> Option<f64>| {
            let mut samples: Vec<f64> = metrics.iter().filter_map(field).collect();
            Summary::of(&mut samples)
        };
        let throughput = Throughput::of(&tally.requests);
        Figures {
            completed: metrics.len() as u64,
            refused: tally.requests.iter().filter(|r| r.status == Status::Refused).count() as u64,
            ttft_ns: summary(|m| Some(m.ttft)),
            tbt_ns: tally.gaps.summary(),
            tpot_ns: summary(|m| m.tpot),
            e2e_ns: summary(|m| Some(m.e2e)),
            scheduling_delay_ns: summary(|m| Some(m.scheduling_delay)),
            requests_per_s: throughput.requests_per_s,
            output_tokens_per_s: throughput.output_tokens_per_s,
            iterations: tally.iterations,
        }
    }

    /// Writes them as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StageError> {
        let text = serde_json::to_string_pretty(self).expect("figures are plain data");
        std::fs::write(path, text + "\n")
            .map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
    }
}
