//! Requests for the money against latency: a mark a configuration, the front as a line.

use super::Config;
use super::front::Configuration;
use crate::report::svg::{Figure, Frame, Scale};

/// The chart; without marks where nothing has a capacity.
pub(super) fn figure(found: &[Configuration], config: &Config) -> Figure {
    let points: Vec<(&Configuration, f64)> =
        found.iter().filter(|c| c.rate_per_s > 0.0).filter_map(|c| Some((c, c.latency_ns? as f64 / 1e6))).collect();
    let priced = found.iter().any(|c| c.cost_per_hour > 0.0);
    let worth = if priced { "requests for a unit of money" } else { "requests a second" };
    let time = format!("p{} {} at 85 % of capacity, ms", config.percentile, config.metric.title());
    let front = found.iter().filter(|c| c.on_front).count();
    let about = format!("Of {} configurations {front} are beaten by none in both.", found.len());
    let mut figure = Figure::new("front", &format!("{worth} against {time}"), &about, 480.0, 340.0);
    let most = points.iter().map(|p| p.0.requests_per_cost).fold(0.0, f64::max);
    let ends = points.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), p| (low.min(p.1), high.max(p.1)));
    if points.is_empty() || ends.0 <= 0.0 {
        return figure;
    }
    let frame = Frame {
        left: 64.0,
        top: 28.0,
        width: 404.0,
        height: 270.0,
        x: Scale::log(ends.0, ends.1),
        y: Scale::linear(0.0, 1.08 * most),
    };
    frame.y_axis(&mut figure, 5, crate::report::svg::count);
    frame.x_axis(&mut figure, 5, |ms| format!("{ms}"));
    let at = |p: &(&Configuration, f64)| frame.point(p.1, p.0.requests_per_cost);
    let line: Vec<(f64, f64)> = points.iter().filter(|p| p.0.on_front).map(at).collect();
    figure.path("lp", &line);
    for p in &points {
        let tip = format!("{}: {:.3} requests/s, {:.1} ms", p.0.label, p.0.rate_per_s, p.1);
        let (class, shape, size) = if p.0.on_front { ("fp", "circle", 4.5) } else { ("fm", "cross", 3.5) };
        figure.mark(class, shape, at(p), size, &tip);
    }
    figure.text("ink title", frame.left, 16.0, worth);
    figure.text("soft end", frame.right(), frame.bottom() + 32.0, &format!("{time}, logarithmic"));
    figure
}
