//! One rate tried: the workload with its gaps scaled, served, and held against the objectives.

use std::collections::BTreeMap;

use engine::kind::StageError;
use serde::{Deserialize, Serialize};

use crate::infer::blocks::Tabled;
use crate::infer::machine::{Machine, Predict};
use crate::infer::metrics::{RequestMetrics, percentile};
use crate::infer::record::{BatchRow, Recorder, RequestRow, TokenRow};
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{ServeError, Slice, serve};
use crate::infer::time::Nanos;
use crate::tables::{Cells, PROBES, Record, Slots, Table};

use super::objective::{Metric, Objectives, Outcome, Samples};

/// What came of a rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Requests a second.
    pub rate_per_s: f64,
    /// Objective by objective.
    pub outcomes: Vec<Outcome>,
    /// Seconds, by metric; a metric that no request has is left out.
    pub figures: BTreeMap<Metric, Figures>,
    /// Output tokens a second, from the first arrival to the last token.
    pub output_tokens_per_s: f64,
    /// Iterations.
    pub iterations: u32,
    /// Times a sequence lost its blocks.
    pub preemptions: u64,
}

/// Percentiles of a metric, s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// The median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Probe {
    /// Whether every objective holds.
    pub fn met(&self) -> bool {
        self.outcomes.iter().all(|o| o.met)
    }
}

/// The rate that the workload has by itself, requests a second.
///
/// # Errors
/// When all requests arrive at once: then no gap can be scaled.
pub fn own_rate(requests: &[Request]) -> Result<f64, StageError> {
    let last = requests.last().map_or(0, |r| r.arrival.0);
    if last == 0 {
        return Err(StageError::new("all requests of the workload arrive at once, so it has no rate to scale")
            .help("give it arrivals: `poisson`, `gamma`, a trace"));
    }
    Ok((requests.len() - 1) as f64 / Nanos(last).as_secs_f64())
}

/// The rate at which the last request comes after 2^60 ns (36 years), requests a second.
pub fn lowest_rate(requests: &[Request]) -> f64 {
    let end = Nanos(1 << 60).as_secs_f64();
    requests.len().saturating_sub(1) as f64 / end
}

/// Serves the requests `speed` times as fast as they arrive by themselves.
///
/// # Errors
/// When the run does not reach its end.
pub fn probe<P: Predict>(
    requests: &[Request],
    speed: f64,
    rate_per_s: f64,
    knobs: &Knobs,
    predictor: P,
    objectives: &Objectives,
) -> Result<Probe, ServeError<P::Error>> {
    let scaled: Vec<Request> = requests
        .iter()
        .map(|r| Request { arrival: Nanos((r.arrival.0 as f64 / speed).round() as u64), ..r.clone() })
        .collect();
    let mut seen = Seen { last: vec![None; scaled.len()], samples: Samples::default() };
    let served = serve(&scaled, knobs, Tabled::Counted, &mut Machine::new(predictor), &mut seen)?;
    let mut samples = seen.samples;
    samples.by_metric.iter_mut().for_each(|s| s.sort_unstable_by(f64::total_cmp));
    let figures = Metric::ALL.into_iter().filter_map(|metric| Some((metric, figures(samples.of(metric))?))).collect();
    Ok(Probe {
        rate_per_s,
        outcomes: objectives.outcomes(&samples),
        figures,
        output_tokens_per_s: served.tokens as f64 / served.end.as_secs_f64(),
        iterations: served.batches,
        preemptions: served.preemptions,
    })
}

fn figures(sorted: &[f64]) -> Option<Figures> {
    let at = |p| percentile(sorted, p).map(|ns| ns / 1e9);
    Some(Figures { p50: at(50.0)?, p90: at(90.0)?, p99: at(99.0)? })
}

/// Takes the samples out of a run as it goes.
struct Seen {
    last: Vec<Option<Nanos>>,
    samples: Samples,
}

impl Recorder for Seen {
    fn batch(&mut self, _: BatchRow, _: &[Slice]) {}

    fn token(&mut self, row: TokenRow) {
        if let Some(before) = self.last[row.request_id as usize].replace(row.time) {
            self.samples.by_metric[Metric::Tbt as usize].push(row.time.0 as f64 - before.0 as f64);
        }
    }

    fn request(&mut self, row: RequestRow) {
        let Some(metrics) = RequestMetrics::of(&row) else {
            self.samples.unserved += 1;
            return;
        };
        let by = &mut self.samples.by_metric;
        by[Metric::SchedulingDelay as usize].push(metrics.scheduling_delay);
        by[Metric::Ttft as usize].push(metrics.ttft);
        by[Metric::Tpot as usize].extend(metrics.tpot);
        by[Metric::E2e as usize].push(metrics.e2e);
        self.samples.requests.push(metrics);
    }
}

/// A row of [`PROBES`]. Times in ns; none where no request has the metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Requests a second.
    pub rate_per_s: f64,
    /// Whether every objective holds.
    pub met: bool,
    /// 99th percentiles, in the order of [`Metric::ALL`].
    pub p99_ns: [Option<u64>; 5],
    /// Output tokens a second.
    pub output_tokens_per_s: f64,
    /// Iterations.
    pub iterations: u32,
    /// Times a sequence lost its blocks.
    pub preemptions: u64,
}

impl From<&Probe> for Row {
    fn from(probe: &Probe) -> Row {
        let ns = |metric: Metric| probe.figures.get(&metric).map(|f| (f.p99 * 1e9).round() as u64);
        Row {
            rate_per_s: probe.rate_per_s,
            met: probe.met(),
            p99_ns: Metric::ALL.map(ns),
            output_tokens_per_s: probe.output_tokens_per_s,
            iterations: probe.iterations,
            preemptions: probe.preemptions,
        }
    }
}

impl Record for Row {
    const TABLE: Table = PROBES;

    fn put(&self, slots: &mut Slots) {
        slots.f64(self.rate_per_s);
        slots.u32(u32::from(self.met));
        self.p99_ns.iter().for_each(|p99| slots.maybe_u64(*p99));
        slots.f64(self.output_tokens_per_s);
        slots.u32(self.iterations);
        slots.u64(self.preemptions);
    }

    fn take(cells: &mut Cells<'_>) -> Row {
        Row {
            rate_per_s: cells.f64(),
            met: cells.u32() != 0,
            p99_ns: std::array::from_fn(|_| cells.maybe_u64()),
            output_tokens_per_s: cells.f64(),
            iterations: cells.u32(),
            preemptions: cells.u64(),
        }
    }
}
