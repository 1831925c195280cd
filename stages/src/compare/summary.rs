//! A verdict as text for a terminal: the table that a person asks for, the verdict, and where the error comes from.

use std::fmt::Write as _;

use super::attribution::{duration, percent};
use super::metric::{Metric, Stat};
use super::verdict::{Figure, Outcome, Verdict};

/// The statistics of the table.
pub const SHOWN: [Stat; 3] = [Stat::P50, Stat::P90, Stat::P99];

/// The whole text, with a newline at its end.
pub fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", headline(verdict));
    out.push('\n');
    table(verdict, &mut out);
    out.push('\n');
    for check in verdict.checks.iter().filter(|c| c.outcome == Outcome::Differs) {
        let _ = writeln!(out, "{}: {}", check.name, check.said);
    }
    for word in &verdict.attribution.words {
        let _ = writeln!(out, "- {word}");
    }
    for note in &verdict.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for line in verdict.gate.iter().filter(|line| !line.held) {
        let found = line.found.map_or_else(|| "nothing".to_owned(), |f| format!("{f:.4}"));
        let _ = writeln!(out, "gate: {} is {}, found {found}", line.name, line.limit);
    }
    out
}

/// The verdict in one sentence.
pub fn headline(verdict: &Verdict) -> String {
    let worst = worst_figure(verdict).map_or_else(String::new, |(metric, figure)| {
        format!("; furthest off is {} {}, {}", metric.title(), figure.stat.name(), signed_or_unknown(figure.error))
    });
    let cancels = if verdict.attribution.cancels.is_some() { ", because errors cancel" } else { "" };
    format!(
        "{}{cancels}: {} requests, `{}` against `{}`{worst}",
        verdict.grade.name(),
        verdict.compared,
        verdict.predicted.label,
        verdict.measured.iter().map(|m| m.label.as_str()).collect::<Vec<_>>().join("`, `")
    )
}

/// The graded figure with the largest error; one whose error is not known counts as the largest.
pub fn worst_figure(verdict: &Verdict) -> Option<(Metric, &Figure)> {
    let graded = verdict.metrics.iter().flat_map(|m| m.figures.iter().map(move |f| (m.metric, f)));
    let size = |figure: &Figure| figure.error.map_or(f64::INFINITY, f64::abs);
    graded.filter(|(_, f)| f.grade.is_some()).max_by(|a, b| size(a.1).total_cmp(&size(b.1)))
}

/// `+2.3 %`; `−` where it is below.
pub fn error_text(error: Option<f64>) -> String {
    match error {
        None => "unknown".to_owned(),
        Some(e) if e.abs() < 0.0005 => "0.0 %".to_owned(),
        Some(e) => format!("{}{}", if e < 0.0 { "−" } else { "+" }, percent(e)),
    }
}

fn signed_or_unknown(error: Option<f64>) -> String {
    error.map_or_else(|| "by nobody knows how much".to_owned(), |e| error_text(Some(e)))
}

fn table(verdict: &Verdict, out: &mut String) {
    let repeated = verdict.measured.len() > 1;
    let header = if repeated { "measured (of repeats)" } else { "measured" };
    let mut rows =
        vec![[String::new(), String::new(), "predicted".into(), header.into(), "error".into(), String::new()]];
    for metric in Metric::MAIN {
        let Some(errors) = verdict.metric(metric) else { continue };
        for (at, stat) in SHOWN.into_iter().enumerate() {
            let Some(figure) = errors.figure(stat) else { continue };
            rows.push([
                if at == 0 { metric.title().to_owned() } else { String::new() },
                stat.name().to_owned(),
                duration(figure.predicted_ns),
                measured_text(figure, repeated),
                error_text(figure.error),
                figure.grade.map_or_else(|| "(too few)".to_owned(), |g| g.name().to_owned()),
            ]);
        }
    }
    if let Some(rate) = verdict.throughput.first() {
        rows.push([
            "output".into(),
            String::new(),
            format!("{} tok/s", rate_text(rate.predicted_per_s)),
            format!("{} tok/s", rate_text(rate.measured_per_s)),
            error_text(rate.error),
            rate.grade.name().to_owned(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &rows {
        let line = format!(
            "{:<a$}  {:<b$}  {:>c$}  {:>d$}  {:>e$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
            e = widths[4]
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn measured_text(figure: &Figure, repeated: bool) -> String {
    let middle = duration(figure.measured_ns);
    if repeated {
        format!("{middle} ({}..{})", duration(figure.measured_low_ns), duration(figure.measured_high_ns))
    } else {
        middle
    }
}

/// A rate with as many digits as mean something.
pub fn rate_text(per_s: f64) -> String {
    match per_s.abs() {
        r if r >= 1000.0 => format!("{per_s:.0}"),
        r if r >= 100.0 => format!("{per_s:.1}"),
        _ => format!("{per_s:.2}"),
    }
}

#[cfg(test)]
mod tests;
