//! The highest rate that meets objectives: bracketed by factors of four, then narrowed by three rates at a time, which
//! are probed in parallel. It does not know what a probe is but that it is met or missed.

use engine::kind::StageError;
use rayon::prelude::*;

use super::probe::Probe;

/// Rates of a round of bracketing lie so far apart.
const FACTOR: f64 = 4.0;
/// Rounds of bracketing, up or down: a factor of 4^3 each.
const ROUNDS: u32 = 8;
/// Rates between the ends in a round of narrowing.
const BETWEEN: u32 = 3;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The highest rate met below the lowest missed; 0 where none was met.
    pub rate: f64,
    /// The lowest rate missed; none where none was.
    pub misses_at: Option<f64>,
    /// Which objective was missed there.
    pub limited_by: Option<String>,
    /// Every probe, in order of rate.
    pub probes: Vec<Probe>,
}

/// Searches from `start` until the rate met and the rate missed are within `tolerance` of each other. No rate below `lowest` is
/// asked for: there a request has the machine to itself, and instants would leave the clock.
///
/// # Errors
/// The first error of a probe, in order of rate.
pub fn highest(
    start: f64,
    lowest: f64,
    tolerance: f64,
    judge: impl Fn(f64) -> Result<Probe, StageError> + Sync,
) -> Result<Found, StageError> {
    let mut probes: Vec<Probe> = Vec::new();
    let all = |rates: Vec<f64>, probes: &mut Vec<Probe>| -> Result<(), StageError> {
        let new: Vec<Result<Probe, StageError>> = rates.par_iter().map(|r| judge(*r)).collect();
        for probe in new {
            probes.push(probe?);
        }
        probes.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        Ok(())
    };
    all(vec![start / FACTOR, start, start * FACTOR], &mut probes)?;
    for _ in 0..ROUNDS {
        let (met, missed) = ends(&probes);
        let from = match (met, missed) {
            (Some(_), Some(_)) => break,
            (None, _) if probes[0].rate_per_s <= lowest => break,
            (None, _) => (probes[0].rate_per_s / FACTOR.powi(3)).max(lowest),
            (Some(_), None) => probes[probes.len() - 1].rate_per_s * FACTOR,
        };
        all((0..3).map(|k| from * FACTOR.powi(k)).collect(), &mut probes)?;
    }
    while let (Some(met), Some(missed)) = ends(&probes) {
        let ratio = missed / met;
        if ratio <= 1.0 + tolerance {
            break;
        }
        let parts = f64::from(BETWEEN + 1);
        all((1..=BETWEEN).map(|k| met * ratio.powf(f64::from(k) / parts)).collect(), &mut probes)?;
    }
    let (met, missed) = ends(&probes);
    let at = missed.and_then(|rate| probes.iter().find(|p| p.rate_per_s == rate));
    Ok(Found {
        rate: met.unwrap_or(0.0),
        misses_at: missed,
        limited_by: at.and_then(|p| p.outcomes.iter().find(|o| !o.met).map(|o| o.name.clone())),
        probes,
    })
}

/// The highest rate met below the lowest missed, and that one.
fn ends(probes: &[Probe]) -> (Option<f64>, Option<f64>) {
    let missed = probes.iter().find(|p| !p.met()).map(|p| p.rate_per_s);
    let below = |p: &&Probe| missed.is_none_or(|m| p.rate_per_s < m);
    (probes.iter().rfind(below).map(|p| p.rate_per_s), missed)
}
