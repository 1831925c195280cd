//! What a comparison found, as it is written to `verdict` (JSON) and read by `report`. Times are nanoseconds, errors
//! are shares of the measured value with their sign: (predicted - measured) / measured.
//!
//! Invariant: printed and parsed again it is the same; nothing in it depends on when or where it was made.

use std::path::Path;

use engine::kind::StageError;
use serde::{Deserialize, Serialize};

use super::align::{Clock, LeftOut};
use super::metric::{Metric, Stat};

/// Raised when a field's meaning changes.
pub const FORMAT: u32 = 1;

/// How good a prediction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Within the lower threshold.
    Pass,
    /// Between the two.
    Warn,
    /// Beyond the upper one, or right for a wrong reason.
    Fail,
}

impl Grade {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Pass => "pass",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        }
    }
}

/// Shares up to which an error passes, and up to which it is only warned of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Passes up to here.
    pub pass: f64,
    /// Warned of up to here; fails beyond.
    pub warn: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { pass: 0.05, warn: 0.09 }
    }
}

impl Thresholds {
    /// The grade of an error; one that is not known (nothing was measured to divide by) fails.
    pub fn grade(&self, error: Option<f64>) -> Grade {
        match error.map(f64::abs) {
            Some(e) if e <= self.pass => Grade::Pass,
            Some(e) if e <= self.warn => Grade::Warn,
            _ => Grade::Fail,
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// [`FORMAT`].
    pub format: u32,
    /// The worst of all grades.
    pub grade: Grade,
    /// Where the grades change.
    pub thresholds: Thresholds,
    /// From when a request's clock runs.
    pub clock: Clock,
    /// The prediction.
    pub predicted: Facts,
    /// Each measurement.
    pub measured: Vec<Facts>,
    /// Requests that are compared.
    pub compared: u32,
    /// Requests that are not, and why.
    pub left_out: Vec<LeftOut>,
    /// Requests whose later tokens are left out, because one side stopped early.
    pub cut: Vec<u32>,
    /// Whether the two sides can be compared at all, question by question.
    pub checks: Vec<Check>,
    /// The scheduler's settings, side by side.
    pub knobs: Vec<Knob>,
    /// Latencies.
    pub metrics: Vec<MetricError>,
    /// Rates.
    pub throughput: Vec<Rate>,
    /// Request by request.
    pub pairs: Vec<PairError>,
    /// The requests with the largest errors of E2E.
    pub worst: Vec<Pair>,
    /// Where the error comes from.
    pub attribution: Attribution,
    /// Bounds that were asked for.
    pub gate: Vec<GateLine>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Verdict {
    /// The errors of one metric, where both sides have it.
    pub fn metric(&self, metric: Metric) -> Option<&MetricError> {
        self.metrics.iter().find(|m| m.metric == metric)
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// When it is no verdict of this format.
    pub fn read(path: &Path) -> Result<Verdict, StageError> {
        let bytes = std::fs::read(path)
            .map_err(|e| StageError::new(format!("cannot read the verdict at `{}`", path.display())).because(&e))?;
        let verdict: Verdict = serde_json::from_slice(&bytes).map_err(|e| {
            StageError::new(format!("cannot read `{}` as a verdict", path.display()))
                .because(&e)
                .help("wire the output `verdict` of a `compare` stage")
        })?;
        if verdict.format != FORMAT {
            return Err(StageError::new(format!(
                "`{}` is a verdict of format {}, wanted {FORMAT}",
                path.display(),
                verdict.format
            )));
        }
        Ok(verdict)
    }

    /// As pretty JSON with a newline at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("it has no map with keys other than text");
        text.push('\n');
        text
    }
}

/// One side in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What a person calls it.
    pub label: String,
    /// What wrote it.
    pub source: String,
    /// Requests in it.
    pub requests: u32,
    /// Of them, served to the end.
    pub ok: u32,
    /// Turned away.
    pub refused: u32,
    /// Failed.
    pub failed: u32,
    /// Times that sequences lost their blocks.
    pub preemptions: u64,
    /// Iterations; 0 where nobody saw them.
    pub batches: u32,
}

/// The answer to one question about comparability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What was asked: `requests`, `knobs`, `batches`…
    pub name: String,
    /// The answer.
    pub outcome: Outcome,
    /// In words.
    pub said: String,
    /// Whether sides that differ in this must not be compared unless somebody says so.
    pub required: bool,
}

/// Whether two things agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// They do.
    Same,
    /// They do not.
    Differs,
    /// One side does not say.
    Unknown,
}

impl Outcome {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Same => "match",
            Outcome::Differs => "mismatch",
            Outcome::Unknown => "unknown",
        }
    }
}

/// One setting on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// Its name.
    pub name: String,
    /// As JSON; `None` where the side does not say.
    pub predicted: Option<String>,
    /// As JSON; of several measurements the first that differs, else the first.
    pub measured: Option<String>,
    /// Whether they agree.
    pub outcome: Outcome,
}

/// The errors of one latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricError {
    /// Which.
    pub metric: Metric,
    /// Values on the predicted side.
    pub n_predicted: u64,
    /// Values of one measurement (the least of several).
    pub n_measured: u64,
    /// By statistic.
    pub figures: Vec<Figure>,
    /// Kolmogorov-Smirnov distance to the pooled measurements.
    pub ks: f64,
    /// First Wasserstein distance to the pooled measurements.
    pub wasserstein_ns: f64,
    /// The same as a share of the measured mean.
    pub wasserstein_share: Option<f64>,
    /// The worst grade of its graded figures; `None` where the metric is shown and not graded.
    pub grade: Option<Grade>,
}

impl MetricError {
    /// The figure of one statistic.
    pub fn figure(&self, stat: Stat) -> Option<&Figure> {
        self.figures.iter().find(|f| f.stat == stat)
    }
}

/// One statistic on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Which.
    pub stat: Stat,
    /// Predicted.
    pub predicted_ns: f64,
    /// Measured: the median over the repeats.
    pub measured_ns: f64,
    /// Least over the repeats.
    pub measured_low_ns: f64,
    /// Greatest over the repeats.
    pub measured_high_ns: f64,
    /// Share of the measured, signed; `None` where nothing was measured to divide by.
    pub error: Option<f64>,
    /// `None` where it is not graded: too few values stand behind it, or the metric is only shown.
    pub grade: Option<Grade>,
}

/// One rate on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// `output_tokens` or `requests`.
    pub name: String,
    /// A second.
    pub predicted_per_s: f64,
    /// A second: the median over the repeats.
    pub measured_per_s: f64,
    /// Share of the measured, signed.
    pub error: Option<f64>,
    /// Its grade.
    pub grade: Grade,
}

/// How far single requests are off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairError {
    /// Of which metric.
    pub metric: Metric,
    /// Requests that have it on both sides.
    pub n: u32,
    /// Median of |error|.
    pub p50: f64,
    /// Ninetieth percentile of |error|.
    pub p90: f64,
}

/// One request on both sides; measured is the median over the repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Row of the workload.
    pub request: u32,
    /// When it arrived on the predicted side.
    pub start_ns: u64,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Output tokens that are compared.
    pub output_tokens: u32,
    /// TTFT, predicted.
    pub ttft_predicted_ns: f64,
    /// TTFT, measured.
    pub ttft_measured_ns: f64,
    /// E2E, predicted.
    pub e2e_predicted_ns: f64,
    /// E2E, measured.
    pub e2e_measured_ns: f64,
    /// Error of E2E, signed.
    pub error: f64,
}

/// Where the error comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// The mean E2E cut into parts that follow each other; their differences add up to the difference of mean E2E.
    pub parts: Vec<Part>,
    /// Mean latency cut into what the time of batches explains and what their sequence explains; empty without a replay
    /// or a batch-by-batch comparison.
    pub split: Vec<Split>,
    /// Batches by sort: the same batches, predicted and measured; empty where they cannot be told.
    pub batches: Vec<BatchSort>,
    /// Where the wall time went on both sides; empty where nobody saw the iterations.
    pub clocks: Vec<ClockShare>,
    /// How it can be that E2E is right while its parts are not.
    pub cancels: Option<String>,
    /// All of it in sentences, the most important first.
    pub words: Vec<String>,
}

/// A part of the mean E2E.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Queue, prefill, decode (or TTFT, decode, where no side knows when a request was scheduled).
    pub metric: Metric,
    /// Mean, predicted.
    pub predicted_ns: f64,
    /// Mean, measured.
    pub measured_ns: f64,
}

/// A metric's mean difference, in two terms that add up to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Which.
    pub metric: Metric,
    /// Mean, measured (of the replayed run).
    pub measured_ns: f64,
    /// The measured batches with predicted times, less the measured.
    pub timing_ns: f64,
    /// The prediction, less the measured batches with predicted times.
    pub scheduling_ns: f64,
}

/// Batches of one sort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSort {
    /// `decode`, `prefill` or `mixed`.
    pub sort: String,
    /// How many.
    pub batches: u32,
    /// Time of the device on all of them, predicted.
    pub device_predicted_ns: f64,
    /// Measured.
    pub device_measured_ns: f64,
    /// Time of the host before all of them, predicted.
    pub host_predicted_ns: f64,
    /// Measured.
    pub host_measured_ns: f64,
    /// Median of the signed error of a single batch's device time.
    pub error_p50: f64,
    /// Ninetieth percentile of its size.
    pub error_abs_p90: f64,
}

/// Where a run's wall time went, in one respect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockShare {
    /// `device`, `host` or `idle`.
    pub name: String,
    /// Total, predicted.
    pub predicted_ns: f64,
    /// Total, measured (of the first measurement that has batches).
    pub measured_ns: f64,
}

/// A bound that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateLine {
    /// As configured: `ttft_p50_error_max`.
    pub name: String,
    /// Not to be exceeded.
    pub limit: f64,
    /// What was found; `None` where it is not known.
    pub found: Option<f64>,
    /// Whether it holds; what is not known does not.
    pub held: bool,
}
