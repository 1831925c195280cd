//! Where an error comes from: which part of a request's life, which sort of batch, the device or the host, the time of
//! batches or their sequence; and whether errors hide behind each other. In figures, then in sentences.

use super::align::{Aligned, align};
use super::checks::first_difference;
use super::distance::{mean, quantile, sorted};
use super::figures::error;
use super::metric::{Metric, Stat};
use super::replay::{Forecast, Replay};
use super::side::Side;
use super::verdict::{Attribution, BatchSort, ClockShare, MetricError, Part, Split, Thresholds};
use crate::tables::run::BatchRow;

mod words;

pub(crate) use words::{duration, percent};

/// All of it. `replay` is of the first measurement.
pub fn attribute(
    predicted: &Side,
    measured: &[Side],
    aligned: &Aligned<'_>,
    metrics: &[MetricError],
    thresholds: &Thresholds,
    replay: Option<&Replay>,
) -> Attribution {
    let seen = measured.iter().find(|side| side.has_batches());
    let forecasts = match (seen, replay) {
        (Some(side), Some(replay)) => Some((side, replay.forecasts.clone())),
        (Some(side), None) => same_batches(predicted, side).map(|forecasts| (side, forecasts)),
        (None, _) => None,
    };
    let mut out = Attribution {
        parts: parts(aligned),
        split: replay.map_or_else(Vec::new, |replay| split(predicted, measured, replay)),
        batches: forecasts.map_or_else(Vec::new, |(side, forecasts)| sorts(&side.batches, &forecasts)),
        clocks: seen.map_or_else(Vec::new, |side| clocks(predicted, side)),
        cancels: cancels(metrics, thresholds),
        words: Vec::new(),
    };
    out.words = words::words(&out, metrics);
    out
}

/// Mean E2E as consecutive parts over requests that have all of them on every side.
fn parts(aligned: &Aligned<'_>) -> Vec<Part> {
    let known = |r: &super::align::Instants<'_>| r.scheduled.is_some();
    let scheduled = aligned.predicted.iter().all(known) && aligned.measured.iter().flatten().all(known);
    let names: &[Metric] =
        if scheduled { &[Metric::Queue, Metric::Prefill, Metric::Decode] } else { &[Metric::Ttft, Metric::Decode] };
    names
        .iter()
        .filter_map(|metric| {
            let of = |side: &[super::align::Instants<'_>]| {
                mean(&side.iter().filter_map(|r| metric.of(r)).collect::<Vec<_>>())
            };
            let measured: Option<Vec<f64>> = aligned.measured.iter().map(|side| of(side)).collect();
            Some(Part { metric: *metric, predicted_ns: of(&aligned.predicted)?, measured_ns: mean(&measured?)? })
        })
        .collect()
}

/// Timing and scheduling of the means, against the measurement that was replayed.
fn split(predicted: &Side, measured: &[Side], replay: &Replay) -> Vec<Split> {
    let Some(at) = measured.iter().position(|side| side.label == replay.side.label && side.has_batches()) else {
        return Vec::new();
    };
    let two = [measured[at].clone(), replay.side.clone()];
    let aligned = align(predicted, &two, super::align::Clock::Arrival);
    [Metric::Ttft, Metric::Tbt, Metric::Tpot, Metric::E2e]
        .into_iter()
        .filter_map(|metric| {
            let ours = mean(&metric.sample(&aligned.predicted))?;
            let theirs = mean(&metric.sample(&aligned.measured[0]))?;
            let replayed = mean(&metric.sample(&aligned.measured[1]))?;
            Some(Split { metric, measured_ns: theirs, timing_ns: replayed - theirs, scheduling_ns: ours - replayed })
        })
        .collect()
}

/// Where both runs executed the same sequence, the predicted run itself says what was predicted of each batch.
fn same_batches(predicted: &Side, measured: &Side) -> Option<Vec<Forecast>> {
    if !predicted.has_batches() || first_difference(&predicted.batches, &measured.batches).is_some() {
        return None;
    }
    Some(predicted.batches.iter().map(own).collect())
}

fn own(batch: &BatchRow) -> Forecast {
    Forecast { device_ns: batch.end.since(batch.start).0 as f64, host_ns: batch.host.0 as f64 }
}

fn sort_of(batch: &BatchRow) -> &'static str {
    match (batch.prefill_tokens, batch.decode_tokens) {
        (0, _) => "decode",
        (_, 0) => "prefill",
        _ => "mixed",
    }
}

/// Totals and single errors by sort of batch.
fn sorts(batches: &[BatchRow], forecasts: &[Forecast]) -> Vec<BatchSort> {
    ["decode", "prefill", "mixed"]
        .into_iter()
        .filter_map(|sort| {
            let mut row = BatchSort {
                sort: sort.to_owned(),
                batches: 0,
                device_predicted_ns: 0.0,
                device_measured_ns: 0.0,
                host_predicted_ns: 0.0,
                host_measured_ns: 0.0,
                error_p50: 0.0,
                error_abs_p90: 0.0,
            };
            let mut errors = Vec::new();
            for (batch, forecast) in batches.iter().zip(forecasts).filter(|(batch, _)| sort_of(batch) == sort) {
                let real = own(batch);
                row.batches += 1;
                row.device_predicted_ns += forecast.device_ns;
                row.device_measured_ns += real.device_ns;
                row.host_predicted_ns += forecast.host_ns;
                row.host_measured_ns += real.host_ns;
                errors.extend(error(forecast.device_ns, real.device_ns));
            }
            row.error_p50 = quantile(&sorted(errors.clone()), 0.5)?;
            row.error_abs_p90 = quantile(&sorted(errors.into_iter().map(f64::abs).collect()), 0.9)?;
            Some(row)
        })
        .collect()
}

/// Device, host and idle time of both runs, up to the last batch.
fn clocks(predicted: &Side, measured: &Side) -> Vec<ClockShare> {
    if !predicted.has_batches() {
        return Vec::new();
    }
    let of = |side: &Side| {
        let sum = |part: fn(&Forecast) -> f64| side.batches.iter().map(|b| part(&own(b))).sum::<f64>();
        let (device, host) = (sum(|f| f.device_ns), sum(|f| f.host_ns));
        let end = side.batches.iter().map(|b| b.end.0).max().unwrap_or(0) as f64;
        [device, host, (end - device - host).max(0.0)]
    };
    let (ours, theirs) = (of(predicted), of(measured));
    ["device", "host", "idle"]
        .into_iter()
        .zip(ours.into_iter().zip(theirs))
        .map(|(name, (predicted_ns, measured_ns))| ClockShare { name: name.to_owned(), predicted_ns, measured_ns })
        .collect()
}

/// E2E right, its parts wrong in opposite directions: right for the wrong reason.
fn cancels(metrics: &[MetricError], thresholds: &Thresholds) -> Option<String> {
    let mean_error = |metric| {
        metrics.iter().find(|m: &&MetricError| m.metric == metric)?.figure(Stat::Mean).and_then(|figure| figure.error)
    };
    let total = mean_error(Metric::E2e)?;
    if total.abs() > thresholds.warn {
        return None;
    }
    for (first, second) in
        [(Metric::Ttft, Metric::Tpot), (Metric::Ttft, Metric::Decode), (Metric::Prefill, Metric::Decode)]
    {
        let (Some(a), Some(b)) = (mean_error(first), mean_error(second)) else { continue };
        if a.abs() > thresholds.warn && b.abs() > thresholds.warn && (a < 0.0) != (b < 0.0) {
            return Some(format!(
                "mean E2E is {} off only because errors cancel: {} is {}, {} is {}",
                words::percent(total.abs()),
                first.title(),
                words::signed(a),
                second.title(),
                words::signed(b)
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests;
