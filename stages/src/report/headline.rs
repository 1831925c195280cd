//! The page's first sentence: how fast, how far off, why.

use crate::compare::attribution::duration;
use crate::compare::metric::{Metric, Stat};
use crate::compare::side::Side;
use crate::compare::summary::{error_text, rate_text};
use crate::compare::verdict::Verdict;

/// How fast the measured side is: plain text, with names in backticks.
pub(super) fn speed(verdict: &Verdict, measured: &Side) -> String {
    let model = &measured.meta.model.name;
    let what = if model.is_empty() { "The model".to_owned() } else { format!("`{model}`") };
    let place = measured.meta.hardware.as_ref().map(|h| format!(" on {}", h.name)).unwrap_or_default();
    let rate = verdict
        .throughput
        .first()
        .map_or_else(String::new, |rate| format!(" at {} output tokens a second", rate_text(rate.measured_per_s)));
    let figure = |metric| verdict.metric(metric)?.figure(Stat::P50).map(|f| duration(f.measured_ns));
    let first = figure(Metric::Ttft).map(|ns| format!(" a median of {ns} to the first token")).unwrap_or_default();
    let next = figure(Metric::Tbt)
        .or_else(|| figure(Metric::Tpot))
        .map(|ns| format!(", {ns} between tokens"))
        .unwrap_or_default();
    format!("{what}{place} served {} requests{rate}:{first}{next}.", verdict.compared)
}

/// How far off the prediction is.
pub(super) fn distance(verdict: &Verdict) -> String {
    let list: Vec<String> = Metric::MAIN
        .into_iter()
        .filter_map(|metric| {
            let error = verdict.metric(metric)?.figure(Stat::P50)?.error;
            Some(format!("{} {}", metric.title(), error_text(error)))
        })
        .collect();
    format!("The prediction's medians are off by {}.", list.join(", "))
}
