//! How long prompts and outputs are.

use engine::kind::Complaint;
use serde::{Deserialize, Serialize};

use crate::random::Stream;

use super::quantiles::{Quantiles, Scale};

/// Values of a zipf law at most: its table of probabilities is kept in memory.
const ZIPF_VALUES: u32 = 1 << 22;

/// A law of lengths, in tokens. A drawn value is rounded and at least 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// Which.
    pub law: LengthLaw,
    /// `fixed`: the length.
    #[serde(default)]
    pub value: Option<u32>,
    /// `uniform`, `zipf`: least length; `normal`, `lognormal`: what lies below becomes this.
    #[serde(default)]
    pub min: Option<u32>,
    /// `uniform`, `zipf`: greatest length; `normal`, `lognormal`: what lies above becomes this.
    #[serde(default)]
    pub max: Option<u32>,
    /// `normal`: the mean.
    #[serde(default)]
    pub mean: Option<f64>,
    /// `normal`: the standard deviation.
    #[serde(default)]
    pub std: Option<f64>,
    /// `lognormal`: the median, exp(μ).
    #[serde(default)]
    pub median: Option<f64>,
    /// `lognormal`: the standard deviation of the logarithm.
    #[serde(default)]
    pub sigma: Option<f64>,
    /// `zipf`: the k-th smallest length has a probability in proportion to k to the power of minus this.
    #[serde(default)]
    pub exponent: Option<f64>,
    /// `quantiles`: `[percent, tokens]` pairs; they may stand by when another law is chosen.
    #[serde(default)]
    pub quantiles: Option<Vec<[f64; 2]>>,
    /// `quantiles`: how lengths are interpolated.
    #[serde(default)]
    pub scale: Scale,
}

/// Names of laws of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthLaw {
    /// Always the same.
    Fixed,
    /// Every integer from `min` to `max` alike.
    Uniform,
    /// Normal.
    Normal,
    /// The logarithm is normal.
    Lognormal,
    /// Short ones often, long ones seldom.
    Zipf,
    /// From quantiles.
    Quantiles,
}

/// A law made ready to draw from.
#[derive(Debug, Clone)]
pub struct Sampler {
    law: Ready,
}

#[derive(Debug, Clone)]
enum Ready {
    Fixed(u32),
    Uniform {
        min: u32,
        values: u32,
    },
    Normal {
        mean: f64,
        std: f64,
        min: f64,
        max: f64,
    },
    Lognormal {
        mu: f64,
        sigma: f64,
        min: f64,
        max: f64,
    },
    /// Sums of probabilities, the last 1.
    Zipf {
        min: u32,
        sums: Vec<f64>,
    },
    Quantiles(Quantiles),
}

impl Lengths {
    /// Checks the law against its parameters.
    ///
    /// # Errors
    /// The field at fault, relative to this table.
    pub fn check(&self) -> Result<(), Complaint> {
        self.check_parameters()?;
        if self.quantiles.is_some() {
            self.points()?;
        }
        match self.law {
            LengthLaw::Zipf => self.zipf().map(|_| ()),
            _ => self.sampler().map(|_| ()),
        }
    }

    /// Makes it ready to draw from.
    ///
    /// # Errors
    /// The field at fault, relative to this table.
    pub fn sampler(&self) -> Result<Sampler, Complaint> {
        let law = match self.law {
            LengthLaw::Fixed => Ready::Fixed(at_least_1("value", self.value)?),
            LengthLaw::Uniform => {
                let (min, max) = self.bounds()?;
                Ready::Uniform { min, values: max - min + 1 }
            }
            LengthLaw::Normal => {
                let (min, max) = self.clamps()?;
                Ready::Normal { mean: positive("mean", self.mean)?, std: not_negative("std", self.std)?, min, max }
            }
            LengthLaw::Lognormal => {
                let (min, max) = self.clamps()?;
                let median = positive("median", self.median)?;
                Ready::Lognormal { mu: libm::log(median), sigma: not_negative("sigma", self.sigma)?, min, max }
            }
            LengthLaw::Zipf => {
                let (min, values, exponent) = self.zipf()?;
                let mut sums: Vec<f64> = (1..=values)
                    .scan(0.0, |sum, rank| {
                        *sum += libm::pow(f64::from(rank), -exponent);
                        Some(*sum)
                    })
                    .collect();
                let total = sums.last().copied().unwrap_or(1.0);
                sums.iter_mut().for_each(|sum| *sum /= total);
                Ready::Zipf { min, sums }
            }
            LengthLaw::Quantiles => Ready::Quantiles(self.points()?),
        };
        Ok(Sampler { law })
    }

    fn check_parameters(&self) -> Result<(), Complaint> {
        use LengthLaw::{Fixed, Lognormal, Normal, Uniform, Zipf};
        let bounded: &[LengthLaw] = &[Uniform, Normal, Lognormal, Zipf];
        let given: [(&str, bool, &[LengthLaw]); 8] = [
            ("value", self.value.is_some(), &[Fixed]),
            ("min", self.min.is_some(), bounded),
            ("max", self.max.is_some(), bounded),
            ("mean", self.mean.is_some(), &[Normal]),
            ("std", self.std.is_some(), &[Normal]),
            ("median", self.median.is_some(), &[Lognormal]),
            ("sigma", self.sigma.is_some(), &[Lognormal]),
            ("exponent", self.exponent.is_some(), &[Zipf]),
        ];
        for (name, given, laws) in given {
            if given && !laws.contains(&self.law) {
                return Err(Complaint::new(name, "the chosen law has no such parameter").help("leave it out"));
            }
        }
        Ok(())
    }

    fn points(&self) -> Result<Quantiles, Complaint> {
        Quantiles::new(self.quantiles.as_deref().unwrap_or(&[]), self.scale)
    }

    fn bounds(&self) -> Result<(u32, u32), Complaint> {
        let min = at_least_1("min", self.min)?;
        let max = at_least_1("max", self.max)?;
        if max < min {
            return Err(Complaint::new("max", format!("`max` {max} is less than `min` {min}")));
        }
        Ok((min, max))
    }

    fn clamps(&self) -> Result<(f64, f64), Complaint> {
        let (min, max) = (self.min.unwrap_or(1).max(1), self.max.unwrap_or(u32::MAX));
        if max < min {
            return Err(Complaint::new("max", format!("`max` {max} is less than `min` {min}")));
        }
        Ok((f64::from(min), f64::from(max)))
    }

    fn zipf(&self) -> Result<(u32, u32, f64), Complaint> {
        let (min, max) = self.bounds()?;
        if max - min >= ZIPF_VALUES {
            return Err(Complaint::new("max", format!("a zipf law over more than {ZIPF_VALUES} lengths")));
        }
        Ok((min, max - min + 1, not_negative("exponent", self.exponent)?))
    }
}

impl Sampler {
    /// The next length, at least 1.
    pub fn draw(&self, stream: &mut Stream) -> u32 {
        match &self.law {
            Ready::Fixed(value) => *value,
            Ready::Uniform { min, values } => min + stream.below(*values),
            Ready::Normal { mean, std, min, max } => whole((mean + std * stream.normal()).clamp(*min, *max)),
            Ready::Lognormal { mu, sigma, min, max } => {
                whole(libm::exp(mu + sigma * stream.normal()).clamp(*min, *max))
            }
            Ready::Zipf { min, sums } => {
                let u = stream.uniform();
                let rank = sums.partition_point(|sum| *sum <= u).min(sums.len() - 1);
                min + u32::try_from(rank).expect("there are fewer values than that")
            }
            Ready::Quantiles(points) => whole(points.at(stream.uniform())),
        }
    }
}

/// Rounded, and at least 1.
pub fn whole(value: f64) -> u32 {
    // `as` saturates.
    (value.round() as u32).max(1)
}

fn at_least_1(name: &str, value: Option<u32>) -> Result<u32, Complaint> {
    match value {
        Some(0) => Err(Complaint::new(name, "a length of 0").help("lengths are at least 1")),
        Some(value) => Ok(value),
        None => Err(missing(name)),
    }
}

fn positive(name: &str, value: Option<f64>) -> Result<f64, Complaint> {
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(value) => Err(Complaint::new(name, format!("{value} is not a positive number"))),
        None => Err(missing(name)),
    }
}

fn not_negative(name: &str, value: Option<f64>) -> Result<f64, Complaint> {
    match value {
        Some(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Some(value) => Err(Complaint::new(name, format!("{value} is negative or no number"))),
        None => Err(missing(name)),
    }
}

fn missing(name: &str) -> Complaint {
    Complaint::new(name, format!("the chosen law needs `{name}`"))
}
