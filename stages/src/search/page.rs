//! The page: the best configuration, the figure, every configuration. No script, nothing loaded.

use std::fmt::Write as _;

use super::Config;
use super::front::Configuration;
use crate::capacity::Capacity;
use crate::report::style;
use crate::report::svg::Figure;
use crate::report::text::escape;

/// The best in words.
pub(super) fn best(found: &[Configuration], config: &Config) -> String {
    let Some(best) = found.iter().find(|c| c.rate_per_s > 0.0) else {
        return "No configuration meets the objectives at any rate.\n".to_owned();
    };
    let mut out = format!(
        "Best: {} on {} × {}, {} with {} tokens an iteration and {} sequences\n  {:.3} requests/s at most",
        best.label, best.cards, best.machine, best.policy, best.max_batched_tokens, best.max_sequences, best.rate_per_s
    );
    if best.cost_per_hour > 0.0 {
        let _ = write!(out, ", {:.0} requests for a unit of money", best.requests_per_cost);
    }
    if let Some(ns) = best.latency_ns {
        let _ =
            write!(out, "; p{} {} {:.1} ms at 85 % of that", config.percentile, config.metric.title(), ns as f64 / 1e6);
    }
    let front = found.iter().filter(|c| c.on_front).count();
    let _ = writeln!(out, "\n  {front} of {} configurations are beaten by none in both cost and latency", found.len());
    out
}

/// The whole page.
pub(super) fn page(
    found: &[Configuration],
    capacities: &[(String, Capacity)],
    figure: &Figure,
    config: &Config,
) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"><title>Capacity by configuration</title>\n");
    let _ = writeln!(out, "<style>{}{STYLE}</style></head><body><main>", style::figures());
    let _ = writeln!(
        out,
        "<h1>Capacity by configuration</h1>\n<p class=\"best\">{}</p>",
        escape(best(found, config).trim())
    );
    if let Some((_, first)) = capacities.first() {
        let mut names: Vec<String> = Vec::new();
        for outcome in first.operating.iter().flat_map(|probe| &probe.outcomes) {
            names.push(escape(&outcome.name));
        }
        if !names.is_empty() {
            let _ = writeln!(out, "<p>Objectives: {}. Workload: {} requests.</p>", names.join("; "), first.requests);
        }
    }
    let _ = writeln!(out, "<figure>{}</figure>", figure.inline());
    out.push_str(
        "<table><thead><tr><th>configuration<th>machine<th>policy<th>tokens<th>sequences<th>requests/s\
         <th>cost/h<th>requests per cost<th>latency, ms<th>front</tr></thead><tbody>\n",
    );
    for c in found {
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{} × {}<td>{}<td>{}<td>{}<td>{:.3}<td>{}<td>{:.1}<td>{}<td>{}</tr>",
            escape(&c.label),
            c.cards,
            escape(&c.machine),
            c.policy,
            c.max_batched_tokens,
            c.max_sequences,
            c.rate_per_s,
            c.cost_per_hour,
            c.requests_per_cost,
            c.latency_ns.map_or_else(|| "—".to_owned(), |ns| format!("{:.1}", ns as f64 / 1e6)),
            if c.on_front { "●" } else { "" },
        );
    }
    out.push_str("</tbody></table></main></body></html>\n");
    out
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#fff;color:#1b2430}\
main{max-width:60rem;margin:2rem auto;padding:0 1rem}.best{white-space:pre-line;font-weight:600}\
figure{margin:1rem 0;max-width:44rem}figure svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;font-size:13px}\
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #e4e7ec;font-variant-numeric:tabular-nums}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6e9ef}th,td{border-color:#2b313b}}";
