//! A mean request's life on both sides, as bars of consecutive parts.

use super::svg::{Figure, Frame, Scale};
use super::text::{Unit, plain};
use crate::compare::attribution::duration;
use crate::compare::metric::Metric;
use crate::compare::verdict::{Part, Verdict};

/// One side's length of a part, ns.
type Of = fn(&Part) -> f64;

fn class(metric: Metric) -> &'static str {
    match metric {
        Metric::Queue => "queue",
        Metric::Decode => "decode",
        _ => "prefill",
    }
}

/// The chart; `None` where no part is known.
pub(super) fn parts(verdict: &Verdict) -> Option<Figure> {
    let parts = &verdict.attribution.parts;
    let total = |of: Of| parts.iter().map(of).sum::<f64>();
    let sides: [(&str, Of); 2] = [("predicted", |p| p.predicted_ns), ("measured", |p| p.measured_ns)];
    let most = total(sides[0].1).max(total(sides[1].1));
    if most <= 0.0 {
        return None;
    }
    let list: Vec<String> = parts
        .iter()
        .map(|p| {
            format!(
                "{}: {} predicted, {} measured",
                p.metric.title(),
                duration(p.predicted_ns),
                duration(p.measured_ns)
            )
        })
        .collect();
    let mut figure = Figure::new("parts", "Parts of the mean end-to-end time", &list.join("; "), 480.0, 130.0);
    let unit = Unit::of(most);
    let frame = Frame {
        left: 78.0,
        top: 26.0,
        width: 392.0,
        height: 84.0,
        x: Scale::linear(0.0, most * 1.02),
        y: Scale::linear(0.0, 1.0),
    };
    frame.x_axis(&mut figure, 5, |ns| format!("{} {}", plain(ns / unit.ns), unit.name));
    for (row, (name, of)) in sides.into_iter().enumerate() {
        let y = frame.top + 6.0 + 40.0 * row as f64;
        figure.text("ink end", frame.left - 8.0, y + 20.0, name);
        let mut from = 0.0;
        for part in parts {
            let (left, _) = frame.point(from, 0.0);
            from += of(part);
            let (right, _) = frame.point(from, 0.0);
            let said = format!("{} {name}: {}", part.metric.title(), duration(of(part)));
            figure.rect(class(part.metric), (left, y), (right - left, 32.0), &said);
            if right - left > 50.0 {
                figure.text("on middle", f64::midpoint(left, right), y + 20.0, &duration(of(part)));
            }
        }
    }
    for (at, part) in parts.iter().enumerate() {
        let x = frame.left + 70.0 * at as f64;
        figure.rect(class(part.metric), (x, 6.0), (10.0, 10.0), "");
        figure.text("soft start", x + 14.0, 15.0, part.metric.title());
    }
    Some(figure)
}
