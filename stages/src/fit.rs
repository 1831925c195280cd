//! What a table of timings says about sizes in between: noise smoothed, steps kept.
//!
//! Kernels' times go in steps: tiles of 64 or 128 rows, waves of blocks, another kernel from some size on. A step in one
//! size is the same, as a ratio, for neighbouring values of the other. So the logarithm of a time is, near a place, a
//! plane plus an effect of the first size plus one of the second (for one size: plus an effect of the tile it falls in),
//! fitted there by weights that fall with distance, effects held small by a ridge, outliers weighed down (Cleveland,
//! JASA 74, 1979, for the local fit; a mixed model for the effects). How far, how stiff and which tile is chosen by
//! leaving one out of the rows given, straight lines and isotonic ones stand beside them, and what errs least together is averaged.
//!
//! It does not know operations, files or units. Deterministic: no random numbers, no clock; threads change nothing.

mod broken;
mod lines;
mod local;

use rayon::prelude::*;

pub use broken::{Broken, broken_rows};
use lines::Lines;
use local::{Class, Form, Observation, Place, estimate};

/// A function of one size, fitted to timings.
#[derive(Debug, Clone)]
pub struct Sizes {
    members: Vec<Member>,
    error: f64,
    span: (f64, f64),
}

/// A function of two sizes, fitted to timings.
#[derive(Debug, Clone)]
pub struct Pairs {
    observations: Vec<Observation>,
    forms: Vec<Form>,
    error: f64,
    levels: [Vec<f64>; 2],
}

/// One way to go from timings to a function of one size; steps may lie at multiples of its tile.
#[derive(Debug, Clone)]
enum Member {
    Local { observations: Vec<Observation>, tile: f64, form: Form },
    Lines { lines: Lines, tile: f64 },
    Rising { lines: Lines, given: Lines },
}

/// How many are averaged, one of them perhaps several times.
const AVERAGED: usize = 5;
/// So many held-out points tell forms apart.
const HELD_OUT: usize = 240;

impl Sizes {
    /// Through `(size, time)`; sizes at least 0, times above 0; several timings of one size are welcome.
    /// At least one point.
    pub fn fit(points: &[(f64, f64)]) -> Sizes {
        let merged = merge(points.iter().map(|p| (p.0, 0.0, p.1)));
        let members = members(&merged);
        let held_out = held_out(&merged);
        let judged: Vec<Vec<f64>> =
            members.par_iter().map(|m| held_out.iter().map(|at| m.log_without(*at, merged[*at].x)).collect()).collect();
        let truth: Vec<(f64, f64)> = held_out.iter().map(|at| (merged[*at].log, merged[*at].weight)).collect();
        let (chosen, error) = ensemble(&judged, &truth);
        let members = chosen.into_iter().map(|i| members[i].clone()).collect();
        Sizes { members, error, span: (merged[0].x, merged[merged.len() - 1].x) }
    }

    /// The time at a size.
    pub fn at(&self, size: f64) -> f64 {
        let logs: f64 = self.members.iter().map(|m| m.log(size)).sum();
        (logs / self.members.len() as f64).exp()
    }

    /// The least and the largest size that was measured.
    pub fn span(&self) -> (f64, f64) {
        self.span
    }

    /// Mean absolute relative error at points held out of their own fit.
    pub fn held_out_error(&self) -> f64 {
        self.error
    }
}

fn members(merged: &[Merged]) -> Vec<Member> {
    let points = || merged.iter().map(|m| (m.x, m.log.exp())).collect::<Vec<_>>();
    let given = Lines::through(points());
    let mut members = vec![Member::Rising { lines: Lines::rising(points()), given: given.clone() }];
    for tile in [f64::INFINITY, 16.0, 32.0, 64.0, 128.0, 256.0] {
        members.push(Member::Lines { lines: given.clone(), tile });
        let observations: Vec<Observation> = merged
            .iter()
            .map(|m| Observation { place: place_of_size(m.x, tile), log: m.log, weight: m.weight })
            .collect();
        for reach in [0.1, 0.2, 0.4, 0.8] {
            for ridge in [0.02, 0.3] {
                if tile.is_finite() || ridge == 0.02 {
                    let form = Form { reach: [reach, 1.0], ridge };
                    members.push(Member::Local { observations: observations.clone(), tile, form });
                }
            }
        }
    }
    members
}

impl Member {
    fn log(&self, size: f64) -> f64 {
        match self {
            Member::Local { observations, tile, form } => {
                estimate(observations, place_of_size(size, *tile), *form, None)
            }
            Member::Lines { lines, tile } => lines.at(size, *tile).ln(),
            Member::Rising { lines, .. } => lines.at(size, f64::INFINITY).ln(),
        }
    }

    /// As if the point `at` had not been measured.
    fn log_without(&self, at: usize, size: f64) -> f64 {
        match self {
            Member::Local { observations, tile, form } => {
                estimate(observations, place_of_size(size, *tile), *form, Some(at))
            }
            Member::Lines { lines, tile } => match lines.without(at) {
                rest if rest.is_empty() => lines.at(size, *tile).ln(),
                rest => Lines::through(rest).at(size, *tile).ln(),
            },
            Member::Rising { given, .. } => match given.without(at) {
                rest if rest.is_empty() => given.at(size, f64::INFINITY).ln(),
                rest => Lines::rising(rest).at(size, f64::INFINITY).ln(),
            },
        }
    }
}

impl Pairs {
    /// Through `(x, y, time)`; sizes at least 0, times above 0. At least one point.
    pub fn fit(points: &[(f64, f64, f64)]) -> Pairs {
        let merged = merge(points.iter().copied());
        let level = |of: fn(&Merged) -> f64| {
            let mut levels: Vec<f64> = merged.iter().map(of).collect();
            levels.sort_by(f64::total_cmp);
            levels.dedup();
            levels
        };
        let levels = [level(|m| m.x), level(|m| m.y)];
        let observations: Vec<Observation> = merged
            .iter()
            .map(|m| Observation { place: place_of_pair(&levels, m.x, m.y), log: m.log, weight: m.weight })
            .collect();
        let mut forms = Vec::new();
        for x in [0.5, 1.0, 2.0] {
            for y in [0.5, 1.0, 2.0] {
                forms.push(Form { reach: [x, y], ridge: 0.02 });
                forms.push(Form { reach: [x, y], ridge: 0.3 });
            }
        }
        let held_out = held_out(&merged);
        let judge = |form: &Form| -> Vec<f64> {
            held_out.iter().map(|at| estimate(&observations, observations[*at].place, *form, Some(*at))).collect()
        };
        let judged: Vec<Vec<f64>> = forms.par_iter().map(judge).collect();
        let truth: Vec<(f64, f64)> = held_out.iter().map(|at| (merged[*at].log, merged[*at].weight)).collect();
        let (chosen, error) = ensemble(&judged, &truth);
        let forms = chosen.into_iter().map(|i| forms[i]).collect();
        Pairs { observations, forms, error, levels }
    }

    /// The time at a pair of sizes.
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let place = place_of_pair(&self.levels, x, y);
        let mut logs = 0.0;
        for (at, form) in self.forms.iter().enumerate() {
            if !self.forms[..at].contains(form) {
                let times = self.forms.iter().filter(|f| *f == form).count();
                logs += times as f64 * estimate(&self.observations, place, *form, None);
            }
        }
        (logs / self.forms.len() as f64).exp()
    }

    /// Mean absolute relative error at points held out of their own fit.
    pub fn held_out_error(&self) -> f64 {
        self.error
    }
}

/// Indices of the points that tell forms apart.
fn held_out(merged: &[Merged]) -> Vec<usize> {
    // An odd stride meets every residue of the regular grids that profilers use.
    let stride = merged.len().div_ceil(HELD_OUT).max(1) | 1;
    (0..merged.len()).step_by(stride).collect()
}

/// Members whose mean errs least on what was held out, chosen one after the other, with replacement (Caruana et al.,
/// ICML 2004): averaging takes the noise of the choice away. `judged` and `truth` are logarithms; `truth` has weights.
fn ensemble(judged: &[Vec<f64>], truth: &[(f64, f64)]) -> (Vec<usize>, f64) {
    let total: f64 = truth.iter().map(|t| t.1).sum();
    let mut sums = vec![0.0; truth.len()];
    let mut chosen = Vec::new();
    let mut least = f64::INFINITY;
    while chosen.len() < AVERAGED {
        let count = (chosen.len() + 1) as f64;
        let error = |member: &Vec<f64>| -> f64 {
            let each = member.iter().zip(&sums).zip(truth);
            each.map(|((log, sum), (t, w))| w * (((sum + log) / count - t).exp() - 1.0).abs()).sum::<f64>() / total
        };
        let errors: Vec<f64> = judged.iter().map(error).collect();
        let (next, now) = errors.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).expect("there are forms");
        sums.iter_mut().zip(&judged[next]).for_each(|(s, log)| *s += log);
        chosen.push(next);
        least = *now;
    }
    (chosen, least)
}

/// Timings of one place together.
#[derive(Debug, Clone, Copy)]
struct Merged {
    x: f64,
    y: f64,
    log: f64,
    weight: f64,
}

/// One point a place, at the median of its timings, in order of place.
fn merge(points: impl Iterator<Item = (f64, f64, f64)>) -> Vec<Merged> {
    let mut points: Vec<(f64, f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    points
        .chunk_by(|a, b| a.0 == b.0 && a.1 == b.1)
        .map(|twins| {
            let (low, high) = (twins[(twins.len() - 1) / 2].2, twins[twins.len() / 2].2);
            Merged { x: twins[0].0, y: twins[0].1, log: (0.5 * (low + high)).ln(), weight: twins.len() as f64 }
        })
        .collect()
}

fn place_of_size(size: f64, tile: f64) -> Place {
    let class = if tile.is_finite() { Class((size / tile).ceil() as u32) } else { Class::NONE };
    Place { at: [(size + 8.0).log2(), 0.0], class: [class, Class::NONE] }
}

/// Half octaves, so that a reach of 2 is a factor of 2; sizes well below a tile count as alike.
fn place_of_pair(levels: &[Vec<f64>; 2], x: f64, y: f64) -> Place {
    let near = |levels: &[f64]| if levels[levels.len() - 1] <= 512.0 { 2.0 } else { 128.0 };
    let class = |levels: &[f64], v: f64| {
        levels.binary_search_by(|l| l.total_cmp(&v)).map_or(Class::NONE, |level| Class(level as u32))
    };
    Place {
        at: [2.0 * (x + near(&levels[0])).log2(), 2.0 * (y + near(&levels[1])).log2()],
        class: [class(&levels[0], x), class(&levels[1], y)],
    }
}

#[cfg(test)]
mod tests;
