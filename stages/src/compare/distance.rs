//! Figures of one sample and distances between two. Knows no metric and no unit.
//!
//! Invariant: every function takes its samples sorted ascending and finite; [`sorted`] makes them so.

use crate::infer::metrics::percentile;

/// The sample in ascending order; values that are not finite are left out.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    values
}

/// The arithmetic mean; `None` of an empty sample.
pub fn mean(sample: &[f64]) -> Option<f64> {
    if sample.is_empty() { None } else { Some(sample.iter().sum::<f64>() / sample.len() as f64) }
}

/// The quantile `q` in 0..=1, as [`percentile`] defines it; `None` of an empty sample.
pub fn quantile(sample: &[f64], q: f64) -> Option<f64> {
    percentile(sample, q * 100.0)
}

/// The middle of a few values in any order; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values.to_vec()), 0.5)
}

/// Two-sample Kolmogorov-Smirnov statistic: the largest vertical distance between the two empirical distribution
/// functions, 0 (equal) to 1 (apart). `None` where one is empty.
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let mut largest = 0.0_f64;
    walk(a, b, |_, _, fa, fb| largest = largest.max((fa - fb).abs()));
    Some(largest)
}

/// First Wasserstein distance: the area between the two empirical distribution functions, which is the mean way that
/// mass must move, in the sample's unit. `None` where one is empty.
pub fn wasserstein(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let mut area = 0.0;
    walk(a, b, |from, to, fa, fb| area += (fa - fb).abs() * (to - from));
    Some(area)
}

/// Calls `each(from, to, F_a, F_b)` for every stretch between neighbouring values of both samples, on which both
/// distribution functions are constant (the last stretch is empty: both are 1 there).
fn walk(a: &[f64], b: &[f64], mut each: impl FnMut(f64, f64, f64, f64)) {
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let at = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) => *x,
            (None, Some(y)) => *y,
            (None, None) => unreachable!("the loop's condition"),
        };
        while a.get(i).is_some_and(|x| *x <= at) {
            i += 1;
        }
        while b.get(j).is_some_and(|y| *y <= at) {
            j += 1;
        }
        let next = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) => *x,
            (None, Some(y)) => *y,
            (None, None) => at,
        };
        each(at, next, i as f64 / a.len() as f64, j as f64 / b.len() as f64);
    }
}

#[cfg(test)]
mod tests;
