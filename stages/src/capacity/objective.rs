//! What a service promises, and whether a run kept it.

use engine::kind::Complaint;
use serde::{Deserialize, Serialize};

use crate::infer::metrics::{RequestMetrics, percentile};

/// All must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    /// Bounds on percentiles.
    pub percentiles: Vec<Objective>,
    /// A share of requests each of which keeps its own bounds.
    pub goodput: Option<Goodput>,
}

/// A bound on a percentile of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Of what.
    pub metric: Metric,
    /// Above 0, at most 100.
    pub percentile: f64,
    /// Seconds.
    pub at_most_s: f64,
}

/// Requests that keep every bound given here, as a share of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goodput {
    /// Least share, above 0, at most 1.
    pub share: f64,
    /// Seconds to the first token.
    #[serde(default)]
    pub ttft_s: Option<f64>,
    /// Seconds by output token after the first.
    #[serde(default)]
    pub tpot_s: Option<f64>,
    /// Seconds from arrival to completion.
    #[serde(default)]
    pub e2e_s: Option<f64>,
}

/// A metric with a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// From arrival to the first batch it is in.
    SchedulingDelay,
    /// To the first token.
    Ttft,
    /// Between consecutive tokens of a request, pooled.
    Tbt,
    /// Mean of a request's gaps.
    Tpot,
    /// From arrival to the last token.
    E2e,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 5] = [Metric::SchedulingDelay, Metric::Ttft, Metric::Tbt, Metric::Tpot, Metric::E2e];

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Metric::SchedulingDelay => "scheduling delay",
            Metric::Ttft => "TTFT",
            Metric::Tbt => "TBT",
            Metric::Tpot => "TPOT",
            Metric::E2e => "E2E",
        }
    }
}

/// What became of an objective in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The objective in words.
    pub name: String,
    /// What the run had: seconds, or a share; none where a request did not end, which misses every objective.
    pub value: Option<f64>,
    /// Whether it holds.
    pub met: bool,
}

/// The samples of a run, sorted, ns; requests that did not end apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    pub(super) requests: Vec<RequestMetrics>,
    pub(super) by_metric: [Vec<f64>; 5],
    /// Refused or failed.
    pub(super) unserved: usize,
}

impl Samples {
    pub(super) fn of(&self, metric: Metric) -> &[f64] {
        &self.by_metric[metric as usize]
    }
}

const NS: f64 = 1e9;

impl Objectives {
    /// Checks what an author may get wrong.
    ///
    /// # Errors
    /// The field at fault.
    pub fn check(&self) -> Result<(), Complaint> {
        let positive = |s: f64| s.is_finite() && s > 0.0;
        if self.percentiles.is_empty() && self.goodput.is_none() {
            return Err(Complaint::new("objectives", "nothing must hold, so every rate would do")
                .help("give `percentiles` or `goodput`"));
        }
        for (at, o) in self.percentiles.iter().enumerate() {
            if !(o.percentile > 0.0 && o.percentile <= 100.0) {
                return Err(Complaint::new(format!("objectives.percentiles[{at}].percentile"), "above 0, at most 100"));
            }
            if !positive(o.at_most_s) {
                return Err(Complaint::new(format!("objectives.percentiles[{at}].at_most_s"), "a time above 0"));
            }
        }
        if let Some(g) = &self.goodput {
            if !(g.share > 0.0 && g.share <= 1.0) {
                return Err(Complaint::new("objectives.goodput.share", "above 0, at most 1"));
            }
            let bounds = [g.ttft_s, g.tpot_s, g.e2e_s];
            if bounds.iter().all(Option::is_none) || bounds.iter().flatten().any(|s| !positive(*s)) {
                return Err(Complaint::new(
                    "objectives.goodput",
                    "at least one of `ttft_s`, `tpot_s`, `e2e_s`, above 0",
                ));
            }
        }
        Ok(())
    }

    /// What became of each.
    pub(super) fn outcomes(&self, samples: &Samples) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self.percentiles.iter().map(|o| o.outcome(samples)).collect();
        outcomes.extend(self.goodput.as_ref().map(|g| g.outcome(samples)));
        outcomes
    }
}

impl Objective {
    fn outcome(&self, samples: &Samples) -> Outcome {
        let name = format!("p{} {} ≤ {} s", self.percentile, self.metric.title(), self.at_most_s);
        let known = samples.of(self.metric);
        if samples.unserved > 0 {
            return Outcome { name, value: None, met: false };
        }
        // Where no request has a gap, a bound on gaps holds.
        let value = percentile(known, self.percentile).map(|ns| ns / NS);
        Outcome { name, value, met: value.is_none_or(|v| v <= self.at_most_s) }
    }
}

impl Goodput {
    fn outcome(&self, samples: &Samples) -> Outcome {
        let within = |bound: Option<f64>, ns: Option<f64>| match (bound, ns) {
            (Some(bound), Some(ns)) => ns <= bound * NS,
            _ => true,
        };
        let good = |m: &&RequestMetrics| {
            within(self.ttft_s, Some(m.ttft)) && within(self.tpot_s, m.tpot) && within(self.e2e_s, Some(m.e2e))
        };
        let all = samples.requests.len() + samples.unserved;
        let share = samples.requests.iter().filter(good).count() as f64 / all as f64;
        let name = format!("{} % of requests keep their bounds", self.share * 100.0);
        Outcome { name, value: Some(share), met: share >= self.share }
    }
}
