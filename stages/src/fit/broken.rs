//! Timings that cannot be true beside the others.
//!
//! A profiler that misses an operation's main kernel writes down a small helper's time: a value far below that of
//! smaller sizes. More work does not take a fraction of the time, so such rows are found by the largest times of
//! smaller sizes, which hold however many rows are broken.

/// A row that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Broken {
    /// Index into the points given.
    pub at: usize,
    /// What smaller sizes take, in the points' unit.
    pub at_least: f64,
}

/// A time below this share of what smaller sizes take is not believed. A change of kernels costs or gains less.
const SHARE: f64 = 0.2;
/// The largest times of smaller sizes of which the smallest counts, so that a few spikes do not condemn the rest.
const WITNESSES: usize = 5;

/// The rows of `(size, time)` that cannot be true, in order of size.
pub fn broken_rows(points: &[(f64, f64)]) -> Vec<Broken> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a].0.total_cmp(&points[*b].0).then(a.cmp(b)));
    let mut largest: Vec<f64> = Vec::with_capacity(WITNESSES + 1);
    let mut broken = Vec::new();
    for at in order {
        let time = points[at].1;
        if largest.len() == WITNESSES && time < SHARE * largest[WITNESSES - 1] {
            broken.push(Broken { at, at_least: largest[WITNESSES - 1] });
            continue;
        }
        let place = largest.partition_point(|l| *l >= time);
        largest.insert(place, time);
        largest.truncate(WITNESSES);
    }
    broken
}
