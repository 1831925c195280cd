//! Where everything on the page comes from: digests of all inputs, machines, versions, configurations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::exec::Source;
use serde_json::Value;

use super::text::{escape, grouped};
use crate::compare::side::Side;

/// The section's body.
pub(super) fn provenance<'a>(
    inputs: &BTreeMap<String, Vec<Source>>,
    sides: impl IntoIterator<Item = &'a Side>,
) -> String {
    let mut out = String::from(
        "<h3>Inputs</h3><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>port</th><th>from</th>\
         <th>BLAKE3 of its content</th></tr></thead><tbody>",
    );
    for (port, sources) in inputs {
        for source in sources {
            let _ = write!(
                out,
                "<tr><td>{}</td><td><code>{}</code></td><td><code>{}</code></td></tr>",
                escape(port),
                escape(&source.label),
                escape(&source.digest)
            );
        }
    }
    out.push_str("</tbody></table></div>");
    for side in sides {
        run(side, &mut out);
    }
    out
}

fn run(side: &Side, out: &mut String) {
    let meta = &side.meta;
    let _ = write!(
        out,
        "<h3>Run <code>{}</code></h3><div class=\"scroll\" tabindex=\"0\"><table><tbody>",
        escape(&side.label)
    );
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
        }
    };
    row("made by", escape(&format!("{}, backend {}", meta.kind, meta.backend)));
    row("format", escape(side.format.name()));
    row("model", named(&meta.model.name, &meta.model.digest));
    row("requests", named(&meta.requests.name, &meta.requests.digest));
    if let Some(ops) = &meta.ops {
        row("profile", named(&ops.name, &ops.digest));
    }
    if let Some(hardware) = &meta.hardware {
        let mut said = vec![hardware.name.clone(), hardware.device.clone()];
        if hardware.threads > 0 {
            said.push(format!("{} threads", hardware.threads));
        }
        if hardware.memory_bytes > 0 {
            said.push(format!("{:.1} GiB", hardware.memory_bytes as f64 / f64::from(1 << 30)));
        }
        row("hardware", escape(&said.join(", ")));
        for (name, value) in &hardware.details {
            row(name, escape(value));
        }
    }
    for (name, version) in &meta.versions {
        row(&format!("version of {name}"), format!("<code>{}</code>", escape(version)));
    }
    for (name, fact) in &meta.facts {
        row(name, fact_text(fact));
    }
    out.push_str("</tbody></table></div>");
    if !meta.config.is_null() {
        let text = serde_json::to_string_pretty(&meta.config).expect("a JSON value prints");
        let _ = write!(
            out,
            "<details><summary>configuration of {}</summary><pre tabindex=\"0\">{}</pre></details>",
            escape(&side.label),
            escape(&text)
        );
    }
}

fn named(name: &str, digest: &str) -> String {
    match (name.is_empty(), digest.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("<code>{}</code>", escape(name)),
        _ => format!("<code>{}</code> <code class=\"soft\">{}</code>", escape(name), escape(digest)),
    }
}

fn fact_text(fact: &Value) -> String {
    match fact {
        Value::String(text) => format!("<code>{}</code>", escape(text)),
        Value::Array(words) if words.iter().all(Value::is_string) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            format!("<code>{}</code>", escape(&words.join(" ")))
        }
        value => value.as_u64().map_or_else(|| escape(&value.to_string()), grouped),
    }
}
