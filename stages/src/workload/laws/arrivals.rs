//! When requests arrive: gaps drawn from a law. The first request arrives at 0.

use engine::kind::Complaint;
use serde::{Deserialize, Serialize};

use crate::infer::time::Nanos;
use crate::random::Stream;

use super::quantiles::{Quantiles, Scale};

/// Draws the seconds between two requests.
type Gap = Box<dyn Fn(&mut Stream) -> f64>;

/// A law of arrivals. The rate is the workload's `rate_per_s`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrivals {
    /// Which.
    pub law: ArrivalLaw,
    /// `fixed-interval`: seconds between requests (or give a rate).
    #[serde(default)]
    pub interval_s: Option<f64>,
    /// `gamma`: coefficient of variation of the gaps; 1 = Poisson, above = bursts.
    #[serde(default)]
    pub cv: Option<f64>,
    /// `gamma`: the shape, 1 / cv², as load generators call it; below 1 = bursts.
    #[serde(default)]
    pub burstiness: Option<f64>,
    /// `quantiles`: `[percent, seconds]` pairs of the gaps; they may stand by when another law is chosen.
    #[serde(default)]
    pub quantiles: Option<Vec<[f64; 2]>>,
    /// `quantiles`: how gaps are interpolated.
    #[serde(default = "log")]
    pub scale: Scale,
}

fn log() -> Scale {
    Scale::Log
}

/// Names of laws of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalLaw {
    /// All at 0.
    AtOnce,
    /// Equal gaps.
    FixedInterval,
    /// Exponential gaps.
    Poisson,
    /// Gamma gaps.
    Gamma,
    /// Gaps from quantiles; their mean is scaled to the rate where one is given.
    Quantiles,
}

impl Arrivals {
    /// Checks the law against its parameters and the workload's rate.
    ///
    /// # Errors
    /// The field at fault, relative to this table.
    pub fn check(&self, rate_per_s: Option<f64>) -> Result<(), Complaint> {
        self.check_parameters()?;
        if self.quantiles.is_some() {
            self.gaps()?;
        }
        match self.law {
            ArrivalLaw::AtOnce if rate_per_s.is_some() => {
                Err(Complaint::new("law", "all requests arrive at once, and `rate_per_s` is set")
                    .help("leave out `rate_per_s`, or choose `poisson`, `gamma` or `fixed-interval`"))
            }
            ArrivalLaw::AtOnce => Ok(()),
            ArrivalLaw::FixedInterval => match (self.interval_s, rate_per_s) {
                (Some(gap), None) if gap.is_finite() && gap >= 0.0 => Ok(()),
                (Some(gap), None) => Err(Complaint::new("interval_s", format!("a gap of {gap} s"))),
                (Some(_), Some(_)) => {
                    Err(Complaint::new("interval_s", "both `interval_s` and `rate_per_s` set the gap").help("keep one"))
                }
                (None, Some(_)) => Ok(()),
                (None, None) => Err(Complaint::new("interval_s", "nothing says how long the gaps are")
                    .help("set `interval_s`, or the workload's `rate_per_s`")),
            },
            ArrivalLaw::Poisson | ArrivalLaw::Gamma if rate_per_s.is_none() => {
                Err(Complaint::new("law", "the law needs a rate").help("set the workload's `rate_per_s`"))
            }
            ArrivalLaw::Poisson => Ok(()),
            ArrivalLaw::Gamma => self.shape().map(|_| ()),
            ArrivalLaw::Quantiles => self.gaps().and_then(|gaps| {
                if gaps.mean() > 0.0 {
                    Ok(())
                } else {
                    Err(Complaint::new("quantiles", "all gaps are 0").help("choose law `at-once`"))
                }
            }),
        }
    }

    fn check_parameters(&self) -> Result<(), Complaint> {
        let given = [
            ("interval_s", self.interval_s.is_some(), ArrivalLaw::FixedInterval),
            ("cv", self.cv.is_some(), ArrivalLaw::Gamma),
            ("burstiness", self.burstiness.is_some(), ArrivalLaw::Gamma),
        ];
        for (name, given, law) in given {
            if given && law != self.law {
                return Err(Complaint::new(name, "the chosen law has no such parameter").help("leave it out"));
            }
        }
        Ok(())
    }

    fn shape(&self) -> Result<f64, Complaint> {
        let (name, value, shape) = match (self.burstiness, self.cv) {
            (Some(shape), None) => ("burstiness", shape, shape),
            (None, Some(cv)) => ("cv", cv, 1.0 / (cv * cv)),
            (None, None) => {
                return Err(Complaint::new("cv", "the law `gamma` needs `cv` or `burstiness`"));
            }
            (Some(_), Some(_)) => {
                return Err(Complaint::new("cv", "both `cv` and `burstiness` set the shape").help("keep one"));
            }
        };
        if value > 0.0 && shape > 0.0 && shape.is_finite() {
            Ok(shape)
        } else {
            Err(Complaint::new(name, format!("{value} gives no shape")).help("give a positive number"))
        }
    }

    fn gaps(&self) -> Result<Quantiles, Complaint> {
        Quantiles::new(self.quantiles.as_deref().unwrap_or(&[]), self.scale)
    }

    /// Seconds between two requests, drawn again and again.
    fn sampler(&self, rate_per_s: Option<f64>) -> Result<Gap, Complaint> {
        self.check(rate_per_s)?;
        let mean = rate_per_s.map(|rate| 1.0 / rate);
        let unrated = || Complaint::new("law", "the law needs a rate");
        Ok(match self.law {
            ArrivalLaw::AtOnce => Box::new(|_| 0.0),
            ArrivalLaw::FixedInterval => {
                let gap = self.interval_s.or(mean).ok_or_else(unrated)?;
                Box::new(move |_| gap)
            }
            ArrivalLaw::Poisson => {
                let mean = mean.ok_or_else(unrated)?;
                Box::new(move |stream| mean * stream.exponential())
            }
            ArrivalLaw::Gamma => {
                let (mean, shape) = (mean.ok_or_else(unrated)?, self.shape()?);
                Box::new(move |stream| mean / shape * stream.gamma(shape))
            }
            ArrivalLaw::Quantiles => {
                let gaps = self.gaps()?;
                let factor = mean.map_or(1.0, |mean| mean / gaps.mean());
                Box::new(move |stream| factor * gaps.at(stream.uniform()))
            }
        })
    }
}

/// Arrivals of `count` requests. Every gap is rounded to a nanosecond, then summed.
///
/// # Errors
/// As [`Arrivals::check`].
pub fn draw_arrivals(
    law: &Arrivals,
    rate_per_s: Option<f64>,
    count: usize,
    stream: &mut Stream,
) -> Result<Vec<Nanos>, Complaint> {
    let gap = law.sampler(rate_per_s)?;
    let mut now = Nanos(0);
    let mut arrivals = Vec::with_capacity(count);
    for row in 0..count {
        if row > 0 {
            now = Nanos(now.0.saturating_add(Nanos::from_secs_f64(gap(stream)).0));
        }
        arrivals.push(now);
    }
    Ok(arrivals)
}
