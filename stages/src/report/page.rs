//! The page: sections in the order in which a person asks. Everything it needs is in it; nothing it loads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::exec::Source;

use super::svg::Figure;
use super::text::{capital, escape, grouped, prose};
use super::{headline, provenance, style};
use crate::compare::align::{Clock, LeftOut};
use crate::compare::attribution::{duration, percent};
use crate::compare::metric::{Metric, Stat};
use crate::compare::side::Side;
use crate::compare::summary::{error_text, rate_text};
use crate::compare::verdict::{Check, Figure as Row, Grade, Outcome, Verdict};

/// All that a page is made of.
pub(super) struct Material<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) predicted: &'a Side,
    pub(super) measured: &'a [Side],
    pub(super) inputs: &'a BTreeMap<String, Vec<Source>>,
    pub(super) figures: &'a [Figure],
}

/// The whole HTML text.
pub(super) fn page(of: &Material<'_>) -> String {
    let verdict = of.verdict;
    let title = format!("{}: {} against {}", verdict.grade.name(), verdict.predicted.label, labels(verdict));
    let mut out = top(&title);
    header(of, &mut out);
    section(&mut out, "figures", "Figures", |out| table(verdict, out));
    section(&mut out, "errors", "Errors", |out| {
        figure(
            of.figures,
            "errors",
            "Bands: within the pass and the warn threshold. A mark at the edge lies beyond it.",
            Room::Text,
            out,
        );
        distances(verdict, out);
    });
    section(&mut out, "distributions", "Distributions", |out| {
        legend(verdict, out);
        out.push_str("<div class=\"grid\">");
        for metric in Metric::MAIN {
            figure(of.figures, &format!("cdf-{}", metric.name()), &capital(metric.about()), Room::Cell, out);
        }
        out.push_str("</div>");
    });
    section(&mut out, "why", "Where the error comes from", |out| why(of, out));
    section(&mut out, "time", "Over time", |out| {
        legend(verdict, out);
        figure(of.figures, "timeline-tokens", "Tokens computed a second, in equal columns of time.", Room::Page, out);
        figure(of.figures, "timeline-held", "The largest value within each column of time.", Room::Page, out);
    });
    section(&mut out, "requests", "Request by request", |out| requests(of, out));
    section(&mut out, "sides", "What the two sides are", |out| sides(verdict, out));
    section(&mut out, "provenance", "Provenance", |out| {
        out.push_str(&provenance::provenance(of.inputs, std::iter::once(of.predicted).chain(of.measured)));
    });
    section(&mut out, "words", "Words", |out| definitions(verdict.clock, out));
    out.push_str(END);
    out
}

/// How every page begins: nothing is loaded, nothing runs.
pub(super) fn top(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{}</title><style>{}</style></head>\n<body><main>\n",
        escape(title),
        style::page()
    )
}

/// How every page ends.
pub(super) const END: &str = "</main></body></html>\n";

/// The links to the sections, by id and name.
pub(super) fn navigation(sections: &[(&str, &str)], out: &mut String) {
    out.push_str("<nav aria-label=\"Sections\">");
    for (id, name) in sections {
        let _ = write!(out, "<a href=\"#{id}\">{name}</a>");
    }
    out.push_str("</nav></header>\n");
}

fn labels(verdict: &Verdict) -> String {
    verdict.measured.iter().map(|m| m.label.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn section(out: &mut String, id: &str, title: &str, body: impl FnOnce(&mut String)) {
    let _ = write!(out, "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>");
    body(out);
    out.push_str("</section>\n");
}

fn badge(grade: Grade) -> String {
    let sign = match grade {
        Grade::Pass => "✓",
        Grade::Warn => "!",
        Grade::Fail => "✗",
    };
    format!("<span class=\"{name}\">{sign} <span class=\"w\">{name}</span></span>", name = grade.name())
}

fn header(of: &Material<'_>, out: &mut String) {
    let verdict = of.verdict;
    let speed = of.measured.first().map_or_else(String::new, |measured| headline::speed(verdict, measured));
    let _ = write!(
        out,
        "<header><span class=\"badge {}\">{}</span><h1>{}</h1><p class=\"lead\">{}{}</p>",
        verdict.grade.name(),
        badge(verdict.grade),
        prose(&speed),
        prose(&headline::distance(verdict)),
        verdict.attribution.words.first().map_or_else(String::new, |why| format!(" {}.", capital(&prose(why))))
    );
    for check in verdict.checks.iter().filter(|c| c.outcome == Outcome::Differs) {
        let _ = write!(out, "<p class=\"note\"><strong>{}</strong>: {}.</p>", escape(&check.name), prose(&check.said));
    }
    for line in verdict.gate.iter().filter(|line| !line.held) {
        let found = line.found.map_or_else(|| "nothing".to_owned(), |f| format!("{f:.4}"));
        let _ = write!(
            out,
            "<p class=\"note\"><strong>gate</strong>: <code>{}</code> is {}, found {found}.</p>",
            escape(&line.name),
            line.limit
        );
    }
    for note in &verdict.notes {
        let _ = write!(out, "<p class=\"note\">{}.</p>", capital(&prose(note)));
    }
    navigation(
        &[
            ("figures", "figures"),
            ("errors", "errors"),
            ("distributions", "distributions"),
            ("why", "why"),
            ("time", "over time"),
            ("requests", "requests"),
            ("sides", "sides"),
            ("provenance", "provenance"),
            ("words", "words"),
        ],
        out,
    );
}

fn table(verdict: &Verdict, out: &mut String) {
    let repeated = verdict.measured.len() > 1;
    let range = if repeated { "<th class=\"n\">range of repeats</th>" } else { "" };
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th></th><th></th><th class=\"n predicted\">predicted</th>\
         <th class=\"n measured\">measured</th>{range}<th class=\"n\">error</th><th></th></tr></thead><tbody>"
    );
    for errors in &verdict.metrics {
        let stats: &[Stat] = if Metric::MAIN.contains(&errors.metric) {
            &[Stat::Mean, Stat::P50, Stat::P90, Stat::P95, Stat::P99]
        } else {
            &[Stat::Mean, Stat::P50, Stat::P99]
        };
        let rows: Vec<&Row> = stats.iter().filter_map(|stat| errors.figure(*stat)).collect();
        for (at, row) in rows.iter().enumerate() {
            let head = if at == 0 {
                format!(
                    "<th scope=\"rowgroup\" rowspan=\"{}\" title=\"{}\">{}<br><span class=\"soft small\">n = {}</span></th>",
                    rows.len(),
                    escape(errors.metric.about()),
                    errors.metric.title(),
                    grouped(errors.n_measured)
                )
            } else {
                String::new()
            };
            let class = if at == 0 { " class=\"first\"" } else { "" };
            let range = if repeated {
                format!(
                    "<td class=\"n soft\">{} to {}</td>",
                    duration(row.measured_low_ns),
                    duration(row.measured_high_ns)
                )
            } else {
                String::new()
            };
            let _ = write!(
                out,
                "<tr{class}>{head}<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>{range}<td class=\"n\">{}</td><td>{}</td></tr>",
                row.stat.name(),
                duration(row.predicted_ns),
                duration(row.measured_ns),
                error_text(row.error),
                graded(row, errors.metric)
            );
        }
    }
    for rate in &verdict.throughput {
        let range = if repeated { "<td></td>" } else { "" };
        let _ = write!(
            out,
            "<tr class=\"first\"><th scope=\"row\" colspan=\"2\">{} a second</th><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td>{range}<td class=\"n\">{}</td><td>{}</td></tr>",
            escape(&rate.name.replace('_', " ")),
            rate_text(rate.predicted_per_s),
            rate_text(rate.measured_per_s),
            error_text(rate.error),
            badge(rate.grade)
        );
    }
    out.push_str("</tbody></table></div>");
    let thresholds = verdict.thresholds;
    let _ = write!(
        out,
        "<p class=\"soft small\">Error = (predicted − measured) / measured. Pass up to {}, warn up to {}, fail beyond. \
         A percentile beyond which fewer than one value is expected is shown and not graded.</p>",
        percent(thresholds.pass),
        percent(thresholds.warn)
    );
}

fn graded(row: &Row, metric: Metric) -> String {
    match row.grade {
        Some(grade) => badge(grade),
        None if metric.graded() => "<span class=\"soft\">too few</span>".to_owned(),
        None => String::new(),
    }
}

/// How much room a figure takes.
pub(super) enum Room {
    /// A cell of the grid.
    Cell,
    /// As wide as text.
    Text,
    /// As wide as the page; on a narrow one it scrolls.
    Page,
}

/// A figure by its name, where there is one.
pub(super) fn figure(figures: &[Figure], name: &str, caption: &str, room: Room, out: &mut String) {
    let Some(figure) = figures.iter().find(|f| f.name == name) else { return };
    let svg = figure.inline();
    let (class, svg) = match room {
        Room::Cell => ("cell", svg),
        Room::Text => ("middle", svg),
        Room::Page => ("wide", format!("<div class=\"scroll\" tabindex=\"0\">{svg}</div>")),
    };
    let _ = write!(out, "<figure class=\"{class}\">{svg}<figcaption>{}</figcaption></figure>", escape(caption));
}

/// The two lines by dash and colour, in words.
fn legend(verdict: &Verdict, out: &mut String) {
    let measured = if verdict.measured.len() > 1 { "measured (each repeat)" } else { "measured" };
    let _ = write!(
        out,
        "<div class=\"legend\"><span><svg class=\"fig\" viewBox=\"0 0 32 12\" aria-hidden=\"true\">\
         <line class=\"lp\" x1=\"0\" y1=\"6\" x2=\"32\" y2=\"6\"/></svg>predicted (dashed)</span><span>\
         <svg class=\"fig\" viewBox=\"0 0 32 12\" aria-hidden=\"true\"><line class=\"lm\" x1=\"0\" y1=\"6\" x2=\"32\" y2=\"6\"/></svg>\
         {measured}</span></div>"
    );
}

fn distances(verdict: &Verdict, out: &mut String) {
    out.push_str(
        "<h3>Distances between the distributions</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th></th>\
         <th class=\"n\">Kolmogorov-Smirnov</th><th class=\"n\">Wasserstein-1</th><th class=\"n\">of the measured mean</th></tr></thead><tbody>",
    );
    for errors in &verdict.metrics {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{:.3}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            errors.metric.title(),
            errors.ks,
            duration(errors.wasserstein_ns),
            errors.wasserstein_share.map_or_else(String::new, percent)
        );
    }
    out.push_str("</tbody></table></div>");
}

fn why(of: &Material<'_>, out: &mut String) {
    let found = &of.verdict.attribution;
    out.push_str("<ul>");
    for word in &found.words {
        let _ = write!(out, "<li>{}.</li>", capital(&prose(word)));
    }
    out.push_str("</ul>");
    figure(of.figures, "parts", "A mean request's life, part by part.", Room::Text, out);
    if !found.split.is_empty() {
        out.push_str(
            "<h3>Timing and scheduling</h3><p class=\"soft small\">The measured batches were served again with predicted \
             times. What then differs from the measurement is the time of batches; what differs from the prediction is \
             their sequence. The two add up to the error of the mean.</p><div class=\"scroll\" tabindex=\"0\"><table><thead><tr>\
             <th></th><th class=\"n\">measured mean</th><th class=\"n\">timing</th><th class=\"n\">scheduling</th></tr></thead><tbody>",
        );
        for split in &found.split {
            let share = |ns: f64| {
                if split.measured_ns > 0.0 {
                    format!(" ({})", error_text(Some(ns / split.measured_ns)))
                } else {
                    String::new()
                }
            };
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}{}</td><td class=\"n\">{}{}</td></tr>",
                split.metric.title(),
                duration(split.measured_ns),
                duration(split.timing_ns),
                share(split.timing_ns),
                duration(split.scheduling_ns),
                share(split.scheduling_ns)
            );
        }
        out.push_str("</tbody></table></div>");
    }
    batches(of.verdict, out);
}

fn batches(verdict: &Verdict, out: &mut String) {
    let found = &verdict.attribution;
    if !found.batches.is_empty() {
        out.push_str(
            "<h3>The same batches, predicted and measured</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>batches of</th>\
             <th class=\"n\">number</th><th class=\"n\">device, predicted</th><th class=\"n\">device, measured</th>\
             <th class=\"n\">host, predicted</th><th class=\"n\">host, measured</th><th class=\"n\">error p50</th>\
             <th class=\"n\">|error| p90</th></tr></thead><tbody>",
        );
        for sort in &found.batches {
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escape(&sort.sort),
                grouped(u64::from(sort.batches)),
                duration(sort.device_predicted_ns),
                duration(sort.device_measured_ns),
                duration(sort.host_predicted_ns),
                duration(sort.host_measured_ns),
                error_text(Some(sort.error_p50)),
                percent(sort.error_abs_p90)
            );
        }
        out.push_str("</tbody></table></div>");
    }
    if !found.clocks.is_empty() {
        out.push_str(
            "<h3>Where the wall time went</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th></th>\
             <th class=\"n\">predicted</th><th class=\"n\">measured</th></tr></thead><tbody>",
        );
        for share in &found.clocks {
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escape(&share.name),
                duration(share.predicted_ns),
                duration(share.measured_ns)
            );
        }
        out.push_str("</tbody></table></div>");
    }
}

fn requests(of: &Material<'_>, out: &mut String) {
    out.push_str("<div class=\"grid\">");
    for metric in [Metric::Ttft, Metric::E2e] {
        figure(
            of.figures,
            &format!("requests-{}", metric.name()),
            "On the diagonal the prediction is right.",
            Room::Cell,
            out,
        );
    }
    out.push_str("</div>");
    for pair in &of.verdict.pairs {
        let _ = write!(
            out,
            "<p>{}: half of {} requests are off by at most {}, nine of ten by at most {}.</p>",
            pair.metric.title(),
            grouped(u64::from(pair.n)),
            percent(pair.p50),
            percent(pair.p90)
        );
    }
    out.push_str(
        "<h3>The ten whose end-to-end time is most wrong</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr>\
         <th class=\"n\">request</th><th class=\"n\">at</th><th class=\"n\">prompt</th><th class=\"n\">output</th>\
         <th class=\"n\">TTFT predicted</th><th class=\"n\">measured</th><th class=\"n\">E2E predicted</th>\
         <th class=\"n\">measured</th><th class=\"n\">error</th></tr></thead><tbody>",
    );
    for pair in &of.verdict.worst {
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{:.3} s</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            pair.request,
            pair.start_ns as f64 / 1e9,
            grouped(u64::from(pair.prompt_tokens)),
            grouped(u64::from(pair.output_tokens)),
            duration(pair.ttft_predicted_ns),
            duration(pair.ttft_measured_ns),
            duration(pair.e2e_predicted_ns),
            duration(pair.e2e_measured_ns),
            error_text(Some(pair.error))
        );
    }
    out.push_str("</tbody></table></div>");
    left_out(&of.verdict.left_out, "are not compared", out);
    if !of.verdict.cut.is_empty() {
        let _ = write!(
            out,
            "<p class=\"soft\">{} requests are compared only up to the token at which one side stopped.</p>",
            of.verdict.cut.len()
        );
    }
}

/// The requests that are left out of the figures, with why; `what` ends the sentence "N requests …".
pub(super) fn left_out(requests: &[LeftOut], what: &str, out: &mut String) {
    if !requests.is_empty() {
        let _ = write!(out, "<details><summary>{} requests {what}</summary><ul>", requests.len());
        for one in requests.iter().take(200) {
            let _ = write!(out, "<li>request {}: {}</li>", one.request, prose(&one.because));
        }
        out.push_str("</ul></details>");
    }
}

fn outcome(outcome: Outcome) -> String {
    let class = match outcome {
        Outcome::Same => "pass",
        Outcome::Differs => "fail",
        Outcome::Unknown => "soft",
    };
    format!("<span class=\"{class}\">{}</span>", outcome.name())
}

fn sides(verdict: &Verdict, out: &mut String) {
    out.push_str("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>question</th><th></th><th>answer</th></tr></thead><tbody>");
    for Check { name, outcome: found, said, .. } in &verdict.checks {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            escape(name),
            outcome(*found),
            prose(said)
        );
    }
    out.push_str("</tbody></table></div><h3>Runs</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>run</th><th>made by</th>\
                  <th class=\"n\">requests</th><th class=\"n\">served</th><th class=\"n\">refused</th><th class=\"n\">failed</th>\
                  <th class=\"n\">preemptions</th><th class=\"n\">batches</th></tr></thead><tbody>");
    for facts in std::iter::once(&verdict.predicted).chain(&verdict.measured) {
        let n = |value: u64| format!("<td class=\"n\">{}</td>", grouped(value));
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td>{}{}{}{}{}{}</tr>",
            escape(&facts.label),
            escape(&facts.source),
            n(u64::from(facts.requests)),
            n(u64::from(facts.ok)),
            n(u64::from(facts.refused)),
            n(u64::from(facts.failed)),
            n(facts.preemptions),
            n(u64::from(facts.batches))
        );
    }
    out.push_str("</tbody></table></div>");
    if verdict.knobs.is_empty() {
        return;
    }
    out.push_str("<h3>Knobs</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>knob</th><th>predicted</th><th>measured</th>\
                  <th></th></tr></thead><tbody>");
    for knob in &verdict.knobs {
        let text = |value: &Option<String>| match value {
            Some(value) => format!("<code>{}</code>", escape(value)),
            None => "<span class=\"soft\">not said</span>".to_owned(),
        };
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&knob.name),
            text(&knob.predicted),
            text(&knob.measured),
            outcome(knob.outcome)
        );
    }
    out.push_str("</tbody></table></div>");
}

/// What the words of a page mean.
pub(super) fn definitions(clock: Clock, out: &mut String) {
    let clock = match clock {
        Clock::Arrival => "its scheduled arrival",
        Clock::Sent => "when it was handed over, where that is known",
    };
    out.push_str("<ul>");
    for metric in Metric::ALL {
        let _ = write!(out, "<li><strong>{}</strong>: {}.</li>", metric.title(), metric.about());
    }
    let _ = write!(
        out,
        "</ul><p class=\"soft small\">A request's clock runs from {clock}. Percentiles interpolate linearly between order \
         statistics. Of several measurements a figure is the median over them.</p>"
    );
}
