//! What is shown of a run that nothing is compared with: a simulation alone, or a measurement alone.
//!
//! It judges nothing and knows no verdict; where there are repeats a figure is the median over them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::exec::Source;

use super::cdf::{Samples, cdf};
use super::page::{self, Room};
use super::provenance::provenance;
use super::svg::Figure;
use super::text::{capital, escape, grouped, prose};
use super::timeline::{Role, timelines};
use crate::compare::align::{Aligned, Clock, Instants, LeftOut, Throughput, align, throughput};
use crate::compare::attribution::duration;
use crate::compare::distance::median;
use crate::compare::metric::{Metric, Stat};
use crate::compare::side::Side;
use crate::compare::summary::{SHOWN, rate_text};

/// How many of the slowest requests are named.
const SLOWEST: usize = 10;

/// A run alone, or several repeats of one.
pub(super) struct Alone<'a> {
    role: Role,
    sides: &'a [Side],
    /// What each side served, in order of ids.
    served: Vec<Vec<Instants<'a>>>,
    left_out: Vec<LeftOut>,
}

/// A figure over the repeats, ns.
struct Value {
    middle: f64,
    low: f64,
    high: f64,
}

impl<'a> Alone<'a> {
    /// Takes what every repeat served. `sides` holds at least one.
    pub(super) fn new(role: Role, sides: &'a [Side]) -> Alone<'a> {
        let (first, others) = sides.split_first().expect("a run is wired");
        let Aligned { predicted, measured, left_out, .. } = align(first, others, Clock::Arrival);
        let served = std::iter::once(predicted).chain(measured).collect();
        Alone { role, sides, served, left_out }
    }

    fn value(&self, metric: Metric, stat: Stat) -> Option<Value> {
        let values: Vec<f64> = self.served.iter().filter_map(|served| stat.of(&metric.sample(served))).collect();
        Some(Value {
            middle: median(&values)?,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    fn rate(&self, of: impl Fn(&Throughput) -> f64) -> Option<f64> {
        median(&self.served.iter().filter_map(|served| throughput(served)).map(|t| of(&t)).collect::<Vec<_>>())
    }

    fn requests(&self) -> usize {
        self.served[0].len()
    }

    /// The first sentence: plain text, with names in backticks.
    fn headline(&self) -> String {
        let meta = &self.sides[0].meta;
        let model = if meta.model.name.is_empty() { "The model".into() } else { format!("`{}`", meta.model.name) };
        let place = meta.hardware.as_ref().map(|h| format!(" on {}", h.name)).unwrap_or_default();
        let verb = match self.role {
            Role::Predicted => "would serve",
            Role::Measured => "served",
        };
        let rate = self
            .rate(|t| t.tokens_per_s)
            .map_or_else(String::new, |rate| format!(" at {} output tokens a second", rate_text(rate)));
        let middle = |metric| self.value(metric, Stat::P50).map(|v| duration(v.middle));
        let first =
            middle(Metric::Ttft).map_or_else(String::new, |ns| format!(": a median of {ns} to the first token"));
        let next = middle(Metric::Tbt)
            .or_else(|| middle(Metric::Tpot))
            .map_or_else(String::new, |ns| format!(", {ns} between tokens"));
        format!("{model}{place} {verb} {} requests{rate}{first}{next}", self.requests())
    }

    /// The table for a terminal, with a newline at its end.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{}\n\n", self.headline());
        let head = ["", "p50", "p90", "p99"].map(str::to_owned).to_vec();
        let mut rows = vec![head];
        for metric in Metric::MAIN {
            let values = SHOWN.map(|stat| self.value(metric, stat).map(|v| duration(v.middle)));
            if values.iter().all(Option::is_some) {
                rows.push(std::iter::once(metric.title().to_owned()).chain(values.into_iter().flatten()).collect());
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..4).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
            let _ = writeln!(out, "{:<width$}{}", row[0], cells.collect::<String>(), width = widths[0]);
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(out, "\n{} requests were not served", self.left_out.len());
        }
        out
    }

    /// Every figure that the run has the data for.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = Metric::MAIN
            .into_iter()
            .filter_map(|metric| {
                let mut samples: Vec<Vec<f64>> = self.served.iter().map(|served| metric.sample(served)).collect();
                cdf(&match self.role {
                    Role::Predicted => Samples { metric, predicted: samples.pop(), measured: Vec::new() },
                    Role::Measured => Samples { metric, predicted: None, measured: samples },
                })
            })
            .collect();
        figures.extend(timelines(&[(self.role, &self.sides[0])], Clock::Arrival));
        figures
    }

    /// The whole HTML text.
    pub(super) fn page(&self, inputs: &BTreeMap<String, Vec<Source>>, figures: &[Figure]) -> String {
        let headline = self.headline();
        let mut out = page::top(&headline.replace('`', ""));
        let _ = write!(
            out,
            "<header><span class=\"badge\">{}</span><h1>{}.</h1><p class=\"lead\">{}</p>",
            self.role.name(),
            prose(&headline),
            match self.role {
                Role::Predicted => "A simulation; nothing was measured to compare it with.",
                Role::Measured => "A measurement; nothing was predicted to compare it with.",
            }
        );
        for note in &self.sides[0].meta.notes {
            let _ = write!(out, "<p class=\"note\">{}.</p>", capital(&prose(note)));
        }
        let sections = [
            ("figures", "figures"),
            ("distributions", "distributions"),
            ("time", "over time"),
            ("requests", "requests"),
            ("provenance", "provenance"),
            ("words", "words"),
        ];
        page::navigation(&sections, &mut out);
        page::section(&mut out, "figures", "Figures", |out| self.table(out));
        page::section(&mut out, "distributions", "Distributions", |out| {
            out.push_str("<div class=\"grid\">");
            for metric in Metric::MAIN {
                let name = format!("cdf-{}", metric.name());
                page::figure(figures, &name, &capital(metric.about()), Room::Cell, out);
            }
            out.push_str("</div>");
        });
        page::section(&mut out, "time", "Over time", |out| {
            let tokens = "Tokens computed a second, in equal columns of time.";
            page::figure(figures, "timeline-tokens", tokens, Room::Page, out);
            page::figure(figures, "timeline-held", "The largest value within each column of time.", Room::Page, out);
        });
        page::section(&mut out, "requests", "Request by request", |out| self.slowest(out));
        page::section(&mut out, "provenance", "Provenance", |out| out.push_str(&provenance(inputs, self.sides)));
        page::section(&mut out, "words", "Words", |out| page::definitions(Clock::Arrival, out));
        out.push_str(page::END);
        out
    }

    fn table(&self, out: &mut String) {
        out.push_str("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th></th>");
        for stat in Stat::ALL {
            let _ = write!(out, "<th class=\"n\">{}</th>", stat.name());
        }
        out.push_str("</tr></thead><tbody>");
        for metric in Metric::ALL {
            let values: Vec<Value> = Stat::ALL.into_iter().filter_map(|stat| self.value(metric, stat)).collect();
            if values.is_empty() {
                continue;
            }
            let (about, title) = (escape(metric.about()), metric.title());
            let _ = write!(out, "<tr><th scope=\"row\" title=\"{about}\">{title}</th>");
            for value in values {
                let range = if self.sides.len() > 1 {
                    let (low, high) = (duration(value.low), duration(value.high));
                    format!("<br><span class=\"soft small\">{low} to {high}</span>")
                } else {
                    String::new()
                };
                let _ = write!(out, "<td class=\"n\">{}{range}</td>", duration(value.middle));
            }
            out.push_str("</tr>");
        }
        for (name, rate) in
            [("output tokens", self.rate(|t| t.tokens_per_s)), ("requests", self.rate(|t| t.requests_per_s))]
        {
            let Some(rate) = rate else { continue };
            let _ = write!(
                out,
                "<tr class=\"first\"><th scope=\"row\">{name} a second</th><td class=\"n\">{}</td><td colspan=\"4\"></td></tr>",
                rate_text(rate)
            );
        }
        out.push_str("</tbody></table></div>");
    }

    fn slowest(&self, out: &mut String) {
        out.push_str(
            "<h3>The ten that took longest</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr>\
             <th class=\"n\">request</th><th class=\"n\">at</th><th class=\"n\">prompt</th><th class=\"n\">output</th>\
             <th class=\"n\">queue</th><th class=\"n\">TTFT</th><th class=\"n\">TPOT</th><th class=\"n\">E2E</th></tr></thead><tbody>",
        );
        let mut slowest: Vec<&Instants<'_>> = self.served[0].iter().collect();
        slowest.sort_by_key(|r| (std::cmp::Reverse(r.last.saturating_sub(r.start)), r.id));
        for request in slowest.into_iter().take(SLOWEST) {
            let cell = |metric: Metric| metric.of(request).map_or_else(String::new, duration);
            let _ = write!(
                out,
                "<tr><td class=\"n\">{}</td><td class=\"n\">{:.3} s</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
                request.id,
                request.start as f64 / 1e9,
                grouped(u64::from(request.prompt_tokens)),
                grouped(u64::from(request.tokens))
            );
            for metric in [Metric::Queue, Metric::Ttft, Metric::Tpot, Metric::E2e] {
                let _ = write!(out, "<td class=\"n\">{}</td>", cell(metric));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        page::left_out(&self.left_out, "were not served", out);
    }
}
