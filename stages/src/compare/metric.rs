//! What is compared: metrics, the statistics of each, and how a sample of one is taken from served requests.
//! Definitions are those of the project's page of metrics; every one is made of a request's instants.

use serde::{Deserialize, Serialize};

use super::align::Instants;
use super::distance;

/// A latency of a request, or of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// First token - start of the clock (arrival, or sent).
    Ttft,
    /// Gap between consecutive tokens, one sample a gap, pooled over requests.
    Tbt,
    /// (Last token - first token) / (output tokens - 1), one sample a request with more than one token.
    Tpot,
    /// Last token - start of the clock.
    E2e,
    /// First scheduled - start of the clock.
    Queue,
    /// First token - first scheduled.
    Prefill,
    /// Last token - first token.
    Decode,
    /// End to end / output tokens.
    Normalised,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Metric; 8] = [
        Metric::Ttft,
        Metric::Tbt,
        Metric::Tpot,
        Metric::E2e,
        Metric::Queue,
        Metric::Prefill,
        Metric::Decode,
        Metric::Normalised,
    ];

    /// The four that a person asks for first.
    pub const MAIN: [Metric; 4] = [Metric::Ttft, Metric::Tbt, Metric::Tpot, Metric::E2e];

    /// The word in configurations and files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Ttft => "ttft",
            Metric::Tbt => "tbt",
            Metric::Tpot => "tpot",
            Metric::E2e => "e2e",
            Metric::Queue => "queue",
            Metric::Prefill => "prefill",
            Metric::Decode => "decode",
            Metric::Normalised => "normalised",
        }
    }

    /// The word in tables for people.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Ttft => "TTFT",
            Metric::Tbt => "TBT",
            Metric::Tpot => "TPOT",
            Metric::E2e => "E2E",
            Metric::Queue => "queue",
            Metric::Prefill => "prefill",
            Metric::Decode => "decode",
            Metric::Normalised => "E2E/token",
        }
    }

    /// One line for people.
    pub fn about(self) -> &'static str {
        match self {
            Metric::Ttft => "time to the first token, queueing included",
            Metric::Tbt => "time between consecutive tokens, every gap of every request",
            Metric::Tpot => "time per output token after the first, a value a request",
            Metric::E2e => "time to the last token",
            Metric::Queue => "time until a request is first scheduled",
            Metric::Prefill => "time from being scheduled to the first token",
            Metric::Decode => "time from the first to the last token",
            Metric::Normalised => "end-to-end time per output token",
        }
    }

    /// Whether errors of it count for the verdict. A queue that is nearly empty has no relative error worth a name,
    /// and what it does to a request shows in TTFT; E2E per token follows from E2E.
    pub fn graded(self) -> bool {
        !matches!(self, Metric::Queue | Metric::Normalised)
    }

    /// The value of one request, ns; none where an instant is missing, and for TBT, which has many.
    pub fn of(self, r: &Instants<'_>) -> Option<f64> {
        let span = |from: u64, to: u64| Some(to as f64 - from as f64);
        match self {
            Metric::Ttft => span(r.start, r.first),
            Metric::Tbt => None,
            Metric::Tpot if r.tokens < 2 => None,
            Metric::Tpot => Some((r.last as f64 - r.first as f64) / f64::from(r.tokens - 1)),
            Metric::E2e => span(r.start, r.last),
            Metric::Queue => span(r.start, r.scheduled?),
            Metric::Prefill => span(r.scheduled?, r.first),
            Metric::Decode => span(r.first, r.last),
            Metric::Normalised => Some((r.last as f64 - r.start as f64) / f64::from(r.tokens.max(1))),
        }
    }

    /// Every value of all requests, ns, sorted.
    pub fn sample(self, requests: &[Instants<'_>]) -> Vec<f64> {
        let values = match self {
            Metric::Tbt => requests
                .iter()
                .filter_map(|r| r.times)
                .flat_map(|times| times.windows(2).map(|pair| pair[1] as f64 - pair[0] as f64))
                .collect(),
            metric => requests.iter().filter_map(|r| metric.of(r)).collect(),
        };
        distance::sorted(values)
    }
}

/// A statistic of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stat {
    /// Arithmetic mean.
    Mean,
    /// Median.
    P50,
    /// Ninetieth percentile.
    P90,
    /// Ninety-fifth percentile.
    P95,
    /// Ninety-ninth percentile.
    P99,
}

impl Stat {
    /// All of them, in the order of tables.
    pub const ALL: [Stat; 5] = [Stat::Mean, Stat::P50, Stat::P90, Stat::P95, Stat::P99];

    /// The word in configurations, files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Stat::Mean => "mean",
            Stat::P50 => "p50",
            Stat::P90 => "p90",
            Stat::P95 => "p95",
            Stat::P99 => "p99",
        }
    }

    fn quantile(self) -> Option<f64> {
        match self {
            Stat::Mean => None,
            Stat::P50 => Some(0.5),
            Stat::P90 => Some(0.9),
            Stat::P95 => Some(0.95),
            Stat::P99 => Some(0.99),
        }
    }

    /// Of a sorted sample; `None` where it is empty.
    pub fn of(self, sample: &[f64]) -> Option<f64> {
        match self.quantile() {
            None => distance::mean(sample),
            Some(q) => distance::quantile(sample, q),
        }
    }

    /// Whether `n` values say enough to be graded: at least one of them must be expected beyond the percentile, else
    /// the figure is the largest value by another name.
    pub fn supported(self, n: usize) -> bool {
        // A hair of slack, since 1 - 0.9 is less than a tenth in binary.
        self.quantile().is_none_or(|q| n as f64 * (1.0 - q) >= 1.0 - 1e-9)
    }
}
