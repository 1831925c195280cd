//! A law given by quantiles: inverse transform between points of the distribution function.

use engine::kind::Complaint;
use serde::{Deserialize, Serialize};

/// How values are interpolated between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// In the value.
    #[default]
    Linear,
    /// In its logarithm: for gaps, which span many powers of ten.
    Log,
}

/// Points of a distribution, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    /// `(probability, value)`, from 0 to 1.
    points: Vec<(f64, f64)>,
    scale: Scale,
}

impl Quantiles {
    /// From `[percent, value]` pairs.
    ///
    /// # Errors
    /// When they are no distribution: fewer than two, percents that do not rise from 0 to 100, values that fall, are
    /// negative or (on the log scale) 0.
    pub fn new(points: &[[f64; 2]], scale: Scale) -> Result<Quantiles, Complaint> {
        let complain = |message: String| {
            Err(Complaint::new("quantiles", message)
                .help("give `[percent, value]` pairs, percents rising from 0 to 100, values not falling"))
        };
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return complain("no points are given".to_owned());
        };
        if first[0] != 0.0 || last[0] != 100.0 || points.len() < 2 {
            return complain(format!("the points reach from {} % to {} %, wanted 0 to 100", first[0], last[0]));
        }
        for pair in points.windows(2) {
            let ([p0, v0], [p1, v1]) = (pair[0], pair[1]);
            // Written so that NaN is refused.
            if !(p1 > p0 && v1 >= v0) {
                return complain(format!("the point [{p1}, {v1}] does not rise from [{p0}, {v0}]"));
            }
        }
        if !(first[1].is_finite() && last[1].is_finite() && first[1] >= 0.0) {
            return complain("values must be finite and not negative".to_owned());
        }
        if scale == Scale::Log && first[1] <= 0.0 {
            return complain("on the log scale values must be positive".to_owned());
        }
        Ok(Quantiles { points: points.iter().map(|[p, v]| (p / 100.0, *v)).collect(), scale })
    }

    /// The value at probability `u` in `[0, 1]`.
    pub fn at(&self, u: f64) -> f64 {
        let end = self.points.partition_point(|(p, _)| *p <= u).clamp(1, self.points.len() - 1);
        let ((p0, v0), (p1, v1)) = (self.points[end - 1], self.points[end]);
        let t = (u - p0) / (p1 - p0);
        match self.scale {
            Scale::Linear => v0 + (v1 - v0) * t,
            Scale::Log => libm::exp(libm::log(v0) + (libm::log(v1) - libm::log(v0)) * t),
        }
    }

    /// The law's mean: the integral of the quantile function, in closed form piece by piece.
    pub fn mean(&self) -> f64 {
        self.points
            .windows(2)
            .map(|pair| {
                let ((p0, v0), (p1, v1)) = (pair[0], pair[1]);
                let middle = match self.scale {
                    Scale::Log if v1 > v0 => (v1 - v0) / (libm::log(v1) - libm::log(v0)),
                    _ => 0.5 * (v0 + v1),
                };
                (p1 - p0) * middle
            })
            .sum()
    }
}
