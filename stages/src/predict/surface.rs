//! A function of two sizes, known on lines of equal first size: linear along a line, and between two lines in
//! proportion to the work that lies between them.
//!
//! "Work" makes the interpolation exact where time is a constant plus a rate times work: for decodes n · context, for
//! a chunk of n tokens n · context + n²/2 (the causal triangle). Lines may end at different places, as pools do not
//! hold many long sequences.
//!
//! Invariant of [`Surface::rising`]: it never falls with either size.

use super::curve::{interpolate, pool_violators};

/// What lies between two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// The first size counts.
    Count,
    /// Pairs of a chunk's tokens with what they attend to.
    Pairs,
}

impl Work {
    fn of(self, x: f64, y: f64) -> f64 {
        match self {
            Work::Count => x,
            Work::Pairs => x * (y + 0.5 * (x + 1.0)),
        }
    }
}

/// What happens beyond the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Extend,
    Hold,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    x: f64,
    /// The largest second size that was measured.
    end: f64,
    points: Vec<(f64, f64)>,
    /// How it goes on beyond its points.
    slope: f64,
}

/// The function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Surface {
    lines: Vec<Line>,
    work: Work,
    edge: Edge,
}

impl Surface {
    /// Through `(x, y, value)`, at least one, no two at the same place; made to rise with both sizes.
    pub(super) fn rising(points: Vec<(f64, f64, f64)>, work: Work) -> Surface {
        let mut surface = Surface { lines: lines(points), work, edge: Edge::Extend };
        let mut knots: Vec<f64> = surface.lines.iter().flat_map(|l| l.points.iter().map(|p| p.0)).collect();
        knots.sort_by(f64::total_cmp);
        knots.dedup();
        let mut below: Option<(Vec<f64>, f64)> = None;
        for line in &mut surface.lines {
            let mut values: Vec<f64> = line.points.iter().map(|p| p.1).collect();
            pool_violators(&mut values);
            line.points.iter_mut().zip(values).for_each(|(p, v)| p.1 = v);
            let mut values: Vec<f64> = knots.iter().map(|y| interpolate(&line.points, *y)).collect();
            line.slope = slope(&line.points);
            if let Some((below, slope)) = &below {
                values.iter_mut().zip(below).for_each(|(v, b)| *v = v.max(*b));
                line.slope = line.slope.max(*slope);
            }
            line.points = knots.iter().copied().zip(values.iter().copied()).collect();
            below = Some((values, line.slope));
        }
        surface
    }

    /// Through `(x, y, value)`, at least one, as they are; held beyond them.
    pub(super) fn held(points: Vec<(f64, f64, f64)>) -> Surface {
        Surface { lines: lines(points), work: Work::Count, edge: Edge::Hold }
    }

    /// The largest first size it knows.
    pub(super) fn x_end(&self) -> f64 {
        self.lines[self.lines.len() - 1].x
    }

    /// The largest second size it knows near the first size `x`.
    pub(super) fn y_end(&self, x: f64) -> f64 {
        let (a, b) = self.around(x);
        self.lines[a].end.max(self.lines[b].end)
    }

    /// Its value.
    pub(super) fn at(&self, x: f64, y: f64) -> f64 {
        let (a, b) = self.around(x);
        let (line_a, line_b) = (&self.lines[a], &self.lines[b]);
        let at_a = self.along(line_a, y);
        if a == b || (x <= line_a.x && self.edge == Edge::Extend) {
            return at_a;
        }
        let from = self.work.of(line_a.x, y);
        let share = (self.work.of(x, y) - from) / (self.work.of(line_b.x, y) - from);
        let share = if self.edge == Edge::Hold { share.clamp(0.0, 1.0) } else { share };
        at_a + (self.along(line_b, y) - at_a) * share
    }

    /// The lines on both sides of `x`; the last two beyond them, the first twice before them.
    fn around(&self, x: f64) -> (usize, usize) {
        let behind = self.lines.partition_point(|l| l.x < x);
        match behind {
            0 => (0, 0),
            n if n == self.lines.len() => (n.saturating_sub(2), n - 1),
            n => (n - 1, n),
        }
    }

    fn along(&self, line: &Line, y: f64) -> f64 {
        let (last, value) = line.points[line.points.len() - 1];
        match self.edge {
            Edge::Extend if y > last => value + (y - last) * line.slope,
            Edge::Hold if y > last => value,
            _ => interpolate(&line.points, y),
        }
    }
}

/// Of the last piece.
fn slope(points: &[(f64, f64)]) -> f64 {
    match points {
        [.., a, b] => (b.1 - a.1) / (b.0 - a.0),
        _ => 0.0,
    }
}

fn lines(mut points: Vec<(f64, f64, f64)>) -> Vec<Line> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let on_one_line = |a: &(f64, f64, f64), b: &(f64, f64, f64)| a.0 == b.0;
    let line = |points: &[(f64, f64, f64)]| Line {
        x: points[0].0,
        end: points[points.len() - 1].1,
        points: points.iter().map(|p| (p.1, p.2)).collect(),
        slope: 0.0,
    };
    points.chunk_by(on_one_line).map(line).collect()
}

#[cfg(test)]
mod tests;
