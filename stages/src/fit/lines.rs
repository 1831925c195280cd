//! Straight lines between what was measured: through every point, or through the closest values that never fall.

use crate::predict::pool_violators;

/// Points in order of size, at least one; sizes differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines {
    points: Vec<(f64, f64)>,
}

impl Lines {
    /// Through every point.
    pub(super) fn through(points: Vec<(f64, f64)>) -> Lines {
        Lines { points }
    }

    /// Through the closest values that never fall (isotonic regression).
    pub(super) fn rising(mut points: Vec<(f64, f64)>) -> Lines {
        let mut values: Vec<f64> = points.iter().map(|p| p.1).collect();
        pool_violators(&mut values);
        points.iter_mut().zip(values).for_each(|(p, v)| p.1 = v);
        Lines { points }
    }

    /// The same without one point; at least one must be left.
    pub(super) fn without(&self, index: usize) -> Vec<(f64, f64)> {
        let keep = self.points.iter().enumerate().filter(|(at, _)| *at != index);
        keep.map(|(_, p)| *p).collect()
    }

    /// Between the neighbours that stand on the same tile, where there are any; held beyond them. A tile that was not
    /// measured at all is bridged.
    pub(super) fn at(&self, size: f64, tile: f64) -> f64 {
        let on = |p: &(f64, f64)| !tile.is_finite() || (p.0 / tile).ceil() == (size / tile).ceil();
        let behind = self.points.partition_point(|p| p.0 < size);
        let (low, high) = (behind.checked_sub(1).map(|i| self.points[i]), self.points.get(behind).copied());
        let (near_low, near_high) = (low.filter(on), high.filter(on));
        match (near_low, near_high) {
            (Some(p), None) | (None, Some(p)) => p.1,
            _ => match (low, high) {
                (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (size - a.0) / (b.0 - a.0),
                (Some(p), None) | (None, Some(p)) => p.1,
                (None, None) => f64::NAN,
            },
        }
    }
}
