//! Request by request: predicted against measured, on the diagonal where the prediction is right.

use super::svg::{Figure, Frame, Scale};
use super::text::{Unit, plain};
use crate::compare::align::Aligned;
use crate::compare::distance::median;
use crate::compare::metric::Metric;
use crate::compare::verdict::Verdict;

/// Points at most; of more requests every n-th is drawn.
const POINTS: usize = 1500;

/// The chart; `None` where fewer than two requests have the metric.
pub(super) fn scatter(metric: Metric, aligned: &Aligned<'_>, verdict: &Verdict) -> Option<Figure> {
    let points: Vec<(f64, f64)> = aligned
        .predicted
        .iter()
        .enumerate()
        .filter_map(|(at, request)| {
            let measured: Option<Vec<f64>> = aligned.measured.iter().map(|side| metric.of(&side[at])).collect();
            Some((median(&measured?)?, metric.of(request)?))
        })
        .filter(|(measured, predicted)| *measured > 0.0 && *predicted > 0.0)
        .collect();
    if points.len() < 2 {
        return None;
    }
    let ends =
        points.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), (m, p)| (low.min(*m).min(*p), high.max(*m).max(*p)));
    let scale = Scale::log(ends.0, ends.1);
    let unit = Unit::of((ends.0 * ends.1).sqrt());
    let title = metric.title();
    let errors = verdict.pairs.iter().find(|p| p.metric == metric);
    let about = errors.map_or_else(String::new, |p| {
        format!(
            "Of {} requests half are off by less than {:.1} %, nine of ten by less than {:.1} %.",
            p.n,
            p.p50 * 100.0,
            p.p90 * 100.0
        )
    });
    let name = format!("requests-{}", metric.name());
    let mut figure =
        Figure::new(&name, &format!("{title} of each request, predicted against measured"), &about, 400.0, 352.0);
    let frame = Frame { left: 48.0, top: 28.0, width: 340.0, height: 288.0, x: scale, y: scale };
    frame.y_axis(&mut figure, 5, |ns| plain(ns / unit.ns));
    frame.x_axis(&mut figure, 5, |ns| plain(ns / unit.ns));
    let (low, high) = match scale {
        Scale::Log { from, to } | Scale::Linear { from, to } => (from, to),
    };
    figure.line("rule", frame.point(low, low), frame.point(high, high));
    let every = points.len().div_ceil(POINTS);
    for (measured, predicted) in points.iter().step_by(every) {
        figure.mark("fp dot", "circle", frame.point(*measured, *predicted), 2.4, "");
    }
    figure.text("ink title", frame.left, 16.0, &format!("{title}, predicted, {}", unit.name));
    figure.text(
        "soft end",
        frame.right(),
        frame.bottom() + 30.0,
        &format!("{title}, measured, {}, both logarithmic", unit.name),
    );
    Some(figure)
}
