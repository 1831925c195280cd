//! From timings to the figures of a row: median, median absolute deviation, least, ninetieth percentile.

/// Timings of one thing, ns.
#[derive(Debug, Clone, Default)]
pub(super) struct Timings {
    ns: Vec<f64>,
}

/// What is said of timings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    pub(super) samples: u32,
    pub(super) median_ns: f64,
    pub(super) mad_ns: f64,
    pub(super) min_ns: f64,
    pub(super) p90_ns: f64,
}

/// From so many timings on, all alike to the last digit cannot be a measurement.
const SAMPLES_THAT_DIFFER: usize = 8;

impl Timings {
    pub(super) fn push(&mut self, ns: f64) {
        self.ns.push(ns);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ns.is_empty()
    }

    /// The figures.
    ///
    /// # Errors
    /// What is wrong with timings that cannot be true: none, not finite, zero, or all exactly alike although they take
    /// longer than the clock's steps.
    pub(super) fn figures(&self) -> Result<Figures, String> {
        let mut sorted = self.ns.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first().copied(), sorted.last().copied()) else {
            return Err("it was never timed".to_owned());
        };
        if let Some(odd) = sorted.iter().find(|ns| !ns.is_finite()) {
            return Err(format!("a timing is {odd}"));
        }
        let median_ns = percentile(&sorted, 0.5);
        if median_ns <= 0.0 {
            return Err("its median time is 0 ns: the clock is too coarse for it".to_owned());
        }
        if sorted.len() >= SAMPLES_THAT_DIFFER && least == most && least > 10_000.0 {
            return Err(format!("all {} timings are exactly {least} ns: that is not a measurement", sorted.len()));
        }
        let mut deviations: Vec<f64> = sorted.iter().map(|ns| (ns - median_ns).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        Ok(Figures {
            samples: u32::try_from(sorted.len()).expect("a profile has fewer than 2^32 timings of one thing"),
            median_ns,
            mad_ns: percentile(&deviations, 0.5),
            min_ns: least,
            p90_ns: percentile(&sorted, 0.9),
        })
    }
}

/// By linear interpolation between ranks; `sorted` holds at least one.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

#[cfg(test)]
mod tests;
