//! The estimate at one place from what was measured near it.

/// Which step a size stands on: its tile, or its own level in a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class(pub(super) u32);

impl Class {
    /// No effect of its own.
    pub(super) const NONE: Class = Class(u32::MAX);
}

/// A place: transformed sizes, and the class of each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) at: [f64; 2],
    pub(super) class: [Class; 2],
}

/// A measured logarithm at a place; `weight` timings stand behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observation {
    pub(super) place: Place,
    pub(super) log: f64,
    pub(super) weight: f64,
}

/// How far it looks along each size, and how strongly effects are held at 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Form {
    pub(super) reach: [f64; 2],
    pub(super) ridge: f64,
}

/// Fewer neighbours than this and it looks farther.
const ENOUGH: usize = 6;
/// How much farther, and how often at most.
const FARTHER: f64 = 1.5;
const TRIES: usize = 16;
const ROUNDS: usize = 12;

struct Near {
    at: [f64; 2],
    log: f64,
    weight: f64,
    /// `weight` after outliers were weighed down.
    trusted: f64,
    slot: [usize; 2],
}

/// The logarithm at `place`. `observations` are in order of their first coordinate. `without` leaves one of them
/// out.
pub(super) fn estimate(observations: &[Observation], place: Place, form: Form, without: Option<usize>) -> f64 {
    let (mut near, found) = neighbours(observations, place, form, without);
    let mut classes = [Vec::new(), Vec::new()];
    for (axis, list) in classes.iter_mut().enumerate() {
        list.extend(found.iter().map(|i| observations[*i].place.class[axis]));
        list.sort_unstable();
        list.dedup();
        for (n, i) in near.iter_mut().zip(&found) {
            n.slot[axis] = list.partition_point(|c| *c < observations[*i].place.class[axis]);
        }
    }
    let mut effects = [vec![0.0; classes[0].len()], vec![0.0; classes[1].len()]];
    // The class that stands for none has no effect.
    let free = [0, 1].map(|axis: usize| classes[axis].partition_point(|c| *c < Class::NONE));
    let mut plane = [0.0; 3];
    let mut sums = Vec::new();
    for round in 0..ROUNDS {
        if round == ROUNDS / 3 || round == 2 * ROUNDS / 3 {
            weigh_down(&mut near, &plane, &effects);
        }
        plane = fit_plane(&near, &effects);
        for axis in 0..2 {
            sums.clear();
            sums.resize(effects[axis].len(), (0.0, form.ridge));
            for n in &near {
                let rest = n.log - level(&plane, n.at) - effects[1 - axis][n.slot[1 - axis]];
                let sum = &mut sums[n.slot[axis]];
                sum.0 += n.trusted * rest;
                sum.1 += n.trusted;
            }
            for (effect, sum) in effects[axis].iter_mut().zip(&sums).take(free[axis]) {
                *effect = sum.0 / sum.1;
            }
        }
    }
    let effect = |axis: usize| classes[axis].binary_search(&place.class[axis]).map_or(0.0, |slot| effects[axis][slot]);
    plane[0] + effect(0) + effect(1)
}

/// What lies within reach, with weights that fall with distance, and which observations these are.
fn neighbours(
    observations: &[Observation],
    place: Place,
    form: Form,
    without: Option<usize>,
) -> (Vec<Near>, Vec<usize>) {
    let (mut near, mut found) = (Vec::new(), Vec::new());
    let mut reach = form.reach;
    for _ in 0..TRIES {
        near.clear();
        found.clear();
        let from = observations.partition_point(|o| o.place.at[0] <= place.at[0] - reach[0]);
        let to = observations.partition_point(|o| o.place.at[0] < place.at[0] + reach[0]);
        for (index, o) in observations.iter().enumerate().take(to).skip(from) {
            let at = [0, 1].map(|axis: usize| (o.place.at[axis] - place.at[axis]) / reach[axis]);
            if at[1].abs() >= 1.0 || without == Some(index) {
                continue;
            }
            let weight = tricube(at[0]) * tricube(at[1]) * o.weight;
            if weight > 1e-4 {
                near.push(Near { at, log: o.log, weight, trusted: weight, slot: [0, 0] });
                found.push(index);
            }
        }
        if near.len() >= ENOUGH {
            break;
        }
        reach = reach.map(|r| r * FARTHER);
    }
    (near, found)
}

fn tricube(u: f64) -> f64 {
    let t = 1.0 - u.abs().powi(3);
    t * t * t
}

fn level(plane: &[f64; 3], at: [f64; 2]) -> f64 {
    plane[0] + plane[1] * at[0] + plane[2] * at[1]
}

/// Tukey's biweight at six median absolute residuals.
fn weigh_down(near: &mut [Near], plane: &[f64; 3], effects: &[Vec<f64>; 2]) {
    let residual = |n: &Near| (n.log - level(plane, n.at) - effects[0][n.slot[0]] - effects[1][n.slot[1]]).abs();
    let mut sizes: Vec<f64> = near.iter().map(residual).collect();
    if sizes.is_empty() {
        return;
    }
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f64::total_cmp);
    let scale = 6.0 * *median + 1e-6;
    for n in near.iter_mut() {
        let u = residual(n) / scale;
        let trust = if u < 1.0 { (1.0 - u * u).powi(2) } else { 0.0 };
        n.trusted = n.weight * trust.max(1e-3);
    }
}

/// Weighted least squares for the plane, effects given. Slopes have a hint of a ridge, so that neighbours in line do.
fn fit_plane(near: &[Near], effects: &[Vec<f64>; 2]) -> [f64; 3] {
    let mut m = [[0.0; 4]; 3];
    for n in near {
        let rest = n.log - effects[0][n.slot[0]] - effects[1][n.slot[1]];
        let row = [1.0, n.at[0], n.at[1]];
        for i in 0..3 {
            for j in 0..3 {
                m[i][j] += n.trusted * row[i] * row[j];
            }
            m[i][3] += n.trusted * rest * row[i];
        }
    }
    m[0][0] += 1e-6;
    m[1][1] += 1e-3;
    m[2][2] += 1e-3;
    for i in 0..3 {
        let pivot = m[i][i];
        m[i].iter_mut().for_each(|v| *v /= pivot);
        for j in 0..3 {
            if j != i {
                let factor = m[j][i];
                let pivoted = m[i];
                m[j].iter_mut().zip(pivoted).for_each(|(cell, above)| *cell -= factor * above);
            }
        }
    }
    [m[0][3], m[1][3], m[2][3]]
}
