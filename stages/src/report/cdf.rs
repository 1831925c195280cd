//! Distribution functions of one latency, on both sides or on one.

use super::svg::{Figure, Frame, Scale};
use super::text::{Unit, plain};
use crate::compare::attribution::duration;
use crate::compare::distance::{kolmogorov_smirnov, median, quantile, sorted};
use crate::compare::metric::{Metric, Stat};

/// Points of a curve at most.
const POINTS: usize = 240;

/// The samples of one metric, each sorted, ns.
#[derive(Debug)]
pub(super) struct Samples {
    /// Which.
    pub(super) metric: Metric,
    /// Predicted; `None` where nobody predicts.
    pub(super) predicted: Option<Vec<f64>>,
    /// Measured, one a repeat; empty where nobody measured.
    pub(super) measured: Vec<Vec<f64>>,
}

impl Samples {
    /// A statistic of each side that there is, predicted first: ns.
    fn stat(&self, stat: Stat) -> [Option<f64>; 2] {
        let measured: Vec<f64> = self.measured.iter().filter_map(|sample| stat.of(sample)).collect();
        [self.predicted.as_ref().and_then(|sample| stat.of(sample)), median(&measured)]
    }
}

/// The names of the two sides, in the order of [`Samples::stat`].
const SIDES: [&str; 2] = ["predicted", "measured"];

/// The chart; `None` where a side has no value.
pub(super) fn cdf(samples: &Samples) -> Option<Figure> {
    let all = || samples.measured.iter().chain(&samples.predicted);
    if all().next().is_none() || all().any(Vec::is_empty) {
        return None;
    }
    let title = samples.metric.title();
    let there: Vec<&str> = SIDES.into_iter().zip(samples.stat(Stat::P50)).filter_map(|(s, v)| v.map(|_| s)).collect();
    let mut figure = Figure::new(
        &format!("cdf-{}", samples.metric.name()),
        &format!("Distribution of {title}, {}", there.join(" and ")),
        &about(samples),
        400.0,
        250.0,
    );
    let most = all().filter_map(|s| s.last().copied()).fold(0.0, f64::max);
    // The axis ends a little beyond the last percentile that is compared: a single straggler must not press the rest
    // against the left edge.
    let upper = all().filter_map(|s| quantile(s, 0.995)).fold(0.0, f64::max).max(most * 0.05);
    let lower = all().filter_map(|s| quantile(s, 0.005)).fold(f64::INFINITY, f64::min);
    let scale = axis(lower, upper);
    let frame = Frame { left: 42.0, top: 28.0, width: 346.0, height: 184.0, x: scale, y: Scale::linear(0.0, 1.0) };
    let unit = Unit::of(if matches!(scale, Scale::Log { .. }) { (lower * upper).sqrt() } else { upper });
    frame.y_axis(&mut figure, 4, |share| format!("{:.0} %", share * 100.0));
    frame.x_axis(&mut figure, 5, |ns| plain(ns / unit.ns));
    figure.text("ink title", frame.left, 16.0, title);
    let log = if matches!(scale, Scale::Log { .. }) { ", logarithmic" } else { "" };
    figure.text("soft end", frame.right(), frame.bottom() + 30.0, &format!("{title}, {}{log}", unit.name));
    let class = if samples.measured.len() > 1 { "lr" } else { "lm" };
    for measured in &samples.measured {
        figure.path(class, &curve(measured, &frame));
    }
    if let Some(predicted) = &samples.predicted {
        figure.path("lp", &curve(predicted, &frame));
    }
    marks(&mut figure, &frame, samples);
    Some(figure)
}

/// Logarithmic over a wide range; else linear, from zero unless the values lie close together far from it.
fn axis(lower: f64, upper: f64) -> Scale {
    let range = upper - lower;
    if lower > 0.0 && upper / lower > 40.0 {
        Scale::log(lower, upper)
    } else if range < 0.5 * upper {
        let room = 0.08 * range.max(0.01 * upper);
        Scale::linear((lower - room).max(0.0), upper + room)
    } else {
        Scale::linear(0.0, upper * 1.04)
    }
}

fn about(samples: &Samples) -> String {
    let list = [Stat::P50, Stat::P90, Stat::P99].map(|stat| {
        let sides = SIDES.into_iter().zip(samples.stat(stat));
        let said: Vec<String> =
            sides.filter_map(|(side, ns)| ns.map(|ns| format!("{} {side}", duration(ns)))).collect();
        format!("{} {}", stat.name(), said.join(" and "))
    });
    let distance = samples.predicted.as_ref().and_then(|predicted| {
        kolmogorov_smirnov(predicted, &sorted(samples.measured.iter().flatten().copied().collect()))
    });
    let distance = distance.map_or_else(String::new, |d| format!(" Largest vertical distance {d:.3}."));
    format!("{}.{distance}", list.join(", "))
}

/// Percentiles on the curves, with their values as tooltips.
fn marks(figure: &mut Figure, frame: &Frame, samples: &Samples) {
    for (stat, share) in [(Stat::P50, 0.5), (Stat::P90, 0.9), (Stat::P99, 0.99)] {
        let tip = |side: &str, ns: f64| format!("{} {side}: {}", stat.name(), duration(ns));
        let [predicted, measured] = samples.stat(stat);
        if let Some(ns) = measured {
            figure.mark("fm", "circle", frame.point(ns, share), 3.2, &tip("measured", ns));
        }
        if let Some(ns) = predicted {
            figure.mark("fp", "square", frame.point(ns, share), 2.8, &tip("predicted", ns));
        }
    }
}

/// The empirical distribution function: exact steps of few values, quantiles at even distances of many.
fn curve(sample: &[f64], frame: &Frame) -> Vec<(f64, f64)> {
    let n = sample.len();
    if n * 2 <= POINTS {
        let steps = sample.iter().enumerate().flat_map(|(at, value)| {
            [frame.point(*value, at as f64 / n as f64), frame.point(*value, (at + 1) as f64 / n as f64)]
        });
        return steps.collect();
    }
    (0..=POINTS)
        .map(|at| at as f64 / POINTS as f64)
        .filter_map(|q| Some(frame.point(quantile(sample, q)?, q)))
        .collect()
}
