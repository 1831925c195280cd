//! A function of one size, known at some sizes: linear between them, along the last slope beyond them.
//!
//! Invariant: it never falls. Where measurements fall with size, neighbours are pooled (isotonic regression by
//! pooling adjacent violators; Ayer et al., Ann. Math. Stat. 26, 1955).

/// The function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Through points of strictly rising sizes; at least one.
    pub(super) fn rising(mut points: Vec<(f64, f64)>) -> Curve {
        debug_assert!(points.is_sorted_by(|a, b| a.0 < b.0) && !points.is_empty());
        let mut values: Vec<f64> = points.iter().map(|p| p.1).collect();
        pool_violators(&mut values);
        points.iter_mut().zip(values).for_each(|(p, v)| p.1 = v);
        Curve { points }
    }

    /// The largest size it knows.
    pub(super) fn end(&self) -> f64 {
        self.points[self.points.len() - 1].0
    }

    /// Its value at size `x`; below the first size that of the first.
    pub(super) fn at(&self, x: f64) -> f64 {
        interpolate(&self.points, x)
    }

    /// The sum of functions, each counted so many times.
    pub(super) fn sum(parts: &[(f64, Curve)]) -> Curve {
        let mut sizes: Vec<f64> = parts.iter().flat_map(|(_, c)| c.points.iter().map(|p| p.0)).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        // What one part does not know, the sum does not know.
        let end = parts.iter().map(|(_, c)| c.end()).fold(f64::INFINITY, f64::min);
        sizes.retain(|x| *x <= end);
        let value = |x: f64| parts.iter().map(|(times, c)| times * c.at(x)).sum();
        Curve { points: sizes.into_iter().map(|x| (x, value(x))).collect() }
    }
}

/// Linear between `points` (sizes strictly rising), the first value before them, the last slope behind them.
pub(super) fn interpolate(points: &[(f64, f64)], x: f64) -> f64 {
    let behind = points.partition_point(|p| p.0 < x);
    if behind == 0 {
        return points[0].1;
    }
    let (a, b) = match points.get(behind) {
        Some(b) => (points[behind - 1], *b),
        None if points.len() == 1 => return points[0].1,
        None => (points[behind - 2], points[behind - 1]),
    };
    a.1 + (b.1 - a.1) * ((x - a.0) / (b.0 - a.0))
}

/// The closest values that never fall (least squares).
pub(crate) fn pool_violators(values: &mut [f64]) {
    if values.is_sorted() {
        return;
    }
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(values.len());
    for value in values.iter() {
        let mut pool = (*value, 1);
        while let Some((sum, count)) = pools.pop() {
            if sum * pool.1 as f64 <= pool.0 * count as f64 {
                pools.push((sum, count));
                break;
            }
            pool = (pool.0 + sum, pool.1 + count);
        }
        pools.push(pool);
    }
    let mut rest = values;
    for (sum, count) in pools {
        let (now, later) = rest.split_at_mut(count);
        now.fill(sum / count as f64);
        rest = later;
    }
}

#[cfg(test)]
mod tests;
