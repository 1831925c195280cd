//! An attribution in sentences, the most important first. No sentence says more than its figures do.

use std::cmp::Ordering;

use crate::compare::metric::{Metric, Stat};
use crate::compare::verdict::{Attribution, MetricError};

/// `2.3 %`, with as many digits as mean something.
pub(crate) fn percent(share: f64) -> String {
    let percent = share.abs() * 100.0;
    if percent >= 99.95 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// `2.3 % too high`, `0.4 % too low`, `right`.
pub(crate) fn signed(share: f64) -> String {
    if share.abs() < 0.0005 {
        return "right".to_owned();
    }
    format!("{} too {}", percent(share), if share < 0.0 { "low" } else { "high" })
}

/// A duration in the unit that suits it.
pub(crate) fn duration(ns: f64) -> String {
    let size = ns.abs();
    match size {
        s if s >= 1e10 => format!("{:.1} s", ns / 1e9),
        s if s >= 1e9 => format!("{:.2} s", ns / 1e9),
        s if s >= 1e8 => format!("{:.0} ms", ns / 1e6),
        s if s >= 1e7 => format!("{:.1} ms", ns / 1e6),
        s if s >= 1e6 => format!("{:.2} ms", ns / 1e6),
        s if s >= 1e3 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}

pub(super) fn words(found: &Attribution, metrics: &[MetricError]) -> Vec<String> {
    let mut out: Vec<String> = found.cancels.iter().cloned().collect();
    out.extend(part(found));
    out.extend(split(found));
    out.extend(batches(found));
    out.extend(host(found));
    out.extend(spread(metrics));
    out
}

/// Which part of a request's life carries most of the error of mean E2E.
fn part(found: &Attribution) -> Option<String> {
    let total: f64 = found.parts.iter().map(|p| p.predicted_ns - p.measured_ns).sum();
    let measured: f64 = found.parts.iter().map(|p| p.measured_ns).sum();
    let gap = |p: &crate::compare::verdict::Part| p.predicted_ns - p.measured_ns;
    let largest = found.parts.iter().max_by(|a, b| gap(a).abs().total_cmp(&gap(b).abs()))?;
    if measured <= 0.0 || gap(largest).abs() < 0.0005 * measured {
        return Some(format!("mean E2E is right in every part ({})", duration(measured)));
    }
    let list: Vec<String> =
        found.parts.iter().map(|p| format!("{} {}", p.metric.title(), signed_duration(gap(p)))).collect();
    Some(format!(
        "of mean E2E ({}) the prediction is off by {}, most of it in {}: {}",
        duration(measured),
        signed_duration(total),
        largest.metric.title(),
        list.join(", ")
    ))
}

fn signed_duration(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "+" };
    format!("{sign}{}", duration(ns.abs()))
}

/// Time of batches against their sequence.
fn split(found: &Attribution) -> Option<String> {
    let e2e = found.split.iter().find(|s| s.metric == Metric::E2e)?;
    let (timing, scheduling) = (e2e.timing_ns, e2e.scheduling_ns);
    let reason = match timing.abs().total_cmp(&scheduling.abs()) {
        Ordering::Less => "more of it is scheduling (another sequence of batches) than the time of a batch",
        _ => "more of it is the time of a batch than scheduling (another sequence of batches)",
    };
    Some(format!(
        "replayed with predicted times, the measured batches put mean E2E at {} ({}); the rest, {}, is scheduling: {reason}",
        duration(e2e.measured_ns + timing),
        signed_duration(timing),
        signed_duration(scheduling)
    ))
}

/// The sort of batch that carries most of the difference in device time.
fn batches(found: &Attribution) -> Option<String> {
    let gap = |b: &crate::compare::verdict::BatchSort| b.device_predicted_ns - b.device_measured_ns;
    let worst = found.batches.iter().max_by(|a, b| gap(a).abs().total_cmp(&gap(b).abs()))?;
    if worst.device_measured_ns <= 0.0 {
        return None;
    }
    let share = gap(worst) / worst.device_measured_ns;
    Some(format!(
        "{} batches ({} of them) are predicted {} in total; a single one is off by {} at the median, and by up to {} in nine of ten",
        worst.sort,
        worst.batches,
        signed(share),
        signed(worst.error_p50).replace("right", "nothing"),
        percent(worst.error_abs_p90)
    ))
}

/// The host's share where it is wrong by more than a little.
fn host(found: &Attribution) -> Option<String> {
    let host = found.clocks.iter().find(|c| c.name == "host")?;
    let busy: f64 = found.clocks.iter().filter(|c| c.name != "idle").map(|c| c.measured_ns).sum();
    if busy <= 0.0 || (host.predicted_ns - host.measured_ns).abs() < 0.01 * busy {
        return None;
    }
    Some(format!(
        "between batches the host takes {} predicted and {} measured ({} of the measured busy time)",
        duration(host.predicted_ns),
        duration(host.measured_ns),
        percent(host.measured_ns / busy)
    ))
}

/// Errors that are no larger than what the repeats differ by among themselves.
fn spread(metrics: &[MetricError]) -> Option<String> {
    let ttft = metrics.iter().find(|m| m.metric == Metric::Ttft)?.figure(Stat::P50)?;
    if ttft.measured_high_ns <= ttft.measured_low_ns {
        return None;
    }
    let inside = (ttft.measured_low_ns..=ttft.measured_high_ns).contains(&ttft.predicted_ns);
    let place = if inside { "lies within" } else { "lies outside" };
    Some(format!(
        "the repeats' median TTFT ranges from {} to {}; the prediction, {}, {place} that range",
        duration(ttft.measured_low_ns),
        duration(ttft.measured_high_ns),
        duration(ttft.predicted_ns)
    ))
}
