//! Bounds that an author sets: `<metric>_<stat>_error_max`, `<metric>_ks_max`, `<metric>_wasserstein_max` (a share of
//! the measured mean) and `throughput_error_max`.

use std::collections::BTreeMap;

use super::metric::{Metric, Stat};
use super::verdict::{GateLine, Verdict};

/// What a bound is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The size of a statistic's relative error.
    Error(Metric, Stat),
    /// A Kolmogorov-Smirnov distance.
    Distance(Metric),
    /// A Wasserstein distance, as a share of the measured mean.
    Transport(Metric),
    /// The size of the relative error of output tokens a second.
    Throughput,
}

impl Bound {
    /// From its name in a configuration.
    pub fn parse(name: &str) -> Option<Bound> {
        if name == "throughput_error_max" {
            return Some(Bound::Throughput);
        }
        let (metric, rest) = name.split_once('_')?;
        let metric = Metric::ALL.into_iter().find(|m| m.name() == metric)?;
        match rest {
            "ks_max" => Some(Bound::Distance(metric)),
            "wasserstein_max" => Some(Bound::Transport(metric)),
            _ => {
                let stat = rest.strip_suffix("_error_max")?;
                Stat::ALL.into_iter().find(|s| s.name() == stat).map(|stat| Bound::Error(metric, stat))
            }
        }
    }

    /// What was found for it.
    pub fn found(self, verdict: &Verdict) -> Option<f64> {
        match self {
            Bound::Error(metric, stat) => verdict.metric(metric)?.figure(stat)?.error.map(f64::abs),
            Bound::Distance(metric) => Some(verdict.metric(metric)?.ks),
            Bound::Transport(metric) => verdict.metric(metric)?.wasserstein_share,
            Bound::Throughput => verdict.throughput.first()?.error.map(f64::abs),
        }
    }
}

/// A remedy for a name that [`Bound::parse`] refuses.
pub fn names() -> String {
    let metrics: Vec<&str> = Metric::ALL.iter().map(|m| m.name()).collect();
    let stats: Vec<&str> = Stat::ALL.iter().map(|s| s.name()).collect();
    format!(
        "bounds are `throughput_error_max`, `METRIC_STAT_error_max`, `METRIC_ks_max` and `METRIC_wasserstein_max` with \
         METRIC one of {} and STAT one of {}",
        metrics.join(", "),
        stats.join(", ")
    )
}

/// Holds the configured bounds against what was found, in order of their names.
pub fn lines(gate: &BTreeMap<String, f64>, verdict: &Verdict) -> Vec<GateLine> {
    gate.iter()
        .map(|(name, limit)| {
            let found = Bound::parse(name).and_then(|bound| bound.found(verdict));
            let held = found.is_some_and(|found| found <= *limit);
            GateLine { name: name.clone(), limit: *limit, found, held }
        })
        .collect()
}

/// One line that names every bound that does not hold; `None` where all do.
pub fn failure(lines: &[GateLine]) -> Option<String> {
    let broken: Vec<String> = lines
        .iter()
        .filter(|line| !line.held)
        .map(|line| match line.found {
            Some(found) => format!("{} is {} (found {})", line.name, line.limit, rounded(found)),
            None => format!("{} is {} (nothing was found to hold against it)", line.name, line.limit),
        })
        .collect();
    if broken.is_empty() { None } else { Some(broken.join("; ")) }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
