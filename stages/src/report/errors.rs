//! All errors at a glance: a row a metric, a mark a statistic, the thresholds as bands.

use super::svg::{Figure, Frame, Scale};
use crate::compare::attribution::duration;
use crate::compare::metric::Stat;
use crate::compare::summary::{error_text, rate_text};
use crate::compare::verdict::Verdict;

const ROW: f64 = 24.0;

struct Row {
    title: String,
    marks: Vec<(&'static str, f64, String)>,
}

/// The shape that stands for a statistic.
fn shape(stat: Stat) -> &'static str {
    match stat {
        Stat::Mean => "diamond",
        Stat::P50 => "circle",
        Stat::P90 | Stat::P95 => "square",
        Stat::P99 => "triangle",
    }
}

/// The chart.
pub(super) fn errors(verdict: &Verdict) -> Figure {
    let rows = rows(verdict);
    let warn = verdict.thresholds.warn * 100.0;
    let most = rows.iter().flat_map(|r| r.marks.iter().map(|m| m.1.abs())).fold(warn * 1.4, f64::max);
    // Beyond this a mark stands at the edge: one figure that is ten times wrong must not hide the rest.
    let reach = (most * 1.08).min((warn * 6.0).max(60.0));
    let height = 62.0 + ROW * rows.len() as f64;
    let mut figure =
        Figure::new("errors", "Errors of the prediction by metric and statistic", &about(&rows), 480.0, height);
    let frame = Frame {
        left: 78.0,
        top: 26.0,
        width: 392.0,
        height: ROW * rows.len() as f64,
        x: Scale::linear(-reach, reach),
        y: Scale::linear(0.0, 1.0),
    };
    for (class, share) in [("warn-band", verdict.thresholds.warn), ("ok-band", verdict.thresholds.pass)] {
        let (left, _) = frame.point(-share * 100.0, 0.0);
        let (right, _) = frame.point(share * 100.0, 0.0);
        figure.rect(class, (left, frame.top), (right - left, frame.height), "");
    }
    frame.x_axis(&mut figure, 6, |percent| {
        let percent = if percent == 0.0 { 0.0 } else { percent };
        if percent > 0.0 { format!("+{percent} %") } else { format!("{percent} %").replace('-', "−") }
    });
    let (zero, _) = frame.point(0.0, 0.0);
    figure.line("axis", (zero, frame.top), (zero, frame.bottom()));
    figure.text("soft start", frame.left, 16.0, "← predicted too low");
    figure.text("soft end", frame.right(), 16.0, "predicted too high →");
    legend(&mut figure, frame.bottom() + 30.0, frame.left);
    for (at, row) in rows.iter().enumerate() {
        let y = frame.top + ROW * (at as f64 + 0.5);
        figure.text("ink end", frame.left - 8.0, y + 4.0, &row.title);
        figure.line("grid", (frame.left, y), (frame.right(), y));
        for (shape, percent, tip) in &row.marks {
            figure.mark("fp", shape, (frame.point(*percent, 0.0).0, y), 4.0, tip);
        }
    }
    figure
}

fn legend(figure: &mut Figure, y: f64, left: f64) {
    for (at, (stat, word)) in
        [(Stat::Mean, "mean"), (Stat::P50, "p50"), (Stat::P90, "p90"), (Stat::P99, "p99")].into_iter().enumerate()
    {
        let x = left + 60.0 * at as f64;
        figure.mark("fp", shape(stat), (x + 4.0, y), 4.0, "");
        figure.text("soft start", x + 13.0, y + 4.0, word);
    }
}

fn rows(verdict: &Verdict) -> Vec<Row> {
    let mut rows: Vec<Row> = verdict
        .metrics
        .iter()
        .filter(|m| m.metric.graded())
        .map(|errors| {
            let stats = [Stat::Mean, Stat::P50, Stat::P90, Stat::P99].into_iter().filter_map(|s| errors.figure(s));
            let marks = stats.filter_map(|f| {
                let tip = format!(
                    "{} {}: {} predicted, {} measured, {}",
                    errors.metric.title(),
                    f.stat.name(),
                    duration(f.predicted_ns),
                    duration(f.measured_ns),
                    error_text(f.error)
                );
                Some((shape(f.stat), f.error? * 100.0, tip))
            });
            Row { title: errors.metric.title().to_owned(), marks: marks.collect() }
        })
        .collect();
    if let Some(rate) = verdict.throughput.first()
        && let Some(error) = rate.error
    {
        let tip = format!(
            "output tokens a second: {} predicted, {} measured, {}",
            rate_text(rate.predicted_per_s),
            rate_text(rate.measured_per_s),
            error_text(rate.error)
        );
        rows.push(Row { title: "tokens/s".to_owned(), marks: vec![("diamond", error * 100.0, tip)] });
    }
    rows
}

fn about(rows: &[Row]) -> String {
    rows.iter().flat_map(|r| r.marks.iter().map(|m| m.2.clone())).collect::<Vec<_>>().join("; ")
}
