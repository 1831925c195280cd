//! `pipe kinds`: what kinds of stage there are, and what one takes, gives and can be set to.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::kind::{Fault, Kind, Needs, Port, Wired};
use crate::report::paint::Paint;

#[cfg(test)]
mod tests;

/// A line for each kind.
pub(super) fn list(kinds: &[&Kind], paint: Paint) -> String {
    let width = kinds.iter().map(|k| k.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for kind in kinds {
        let _ = writeln!(out, "{}  {}", paint.bold(&format!("{:width$}", kind.name)), kind.about);
    }
    out
}

/// All about one kind. `carries` tells what a port that holds a word carries.
///
/// # Errors
/// When the kind's own example does not resolve, which is a mistake of the program.
pub(super) fn tell(kind: &Kind, carries: fn(&str) -> Option<String>, paint: Paint) -> Result<String, String> {
    let wrong = |message: String| format!("the example of kind `{}` does not resolve: {message}", kind.name);
    let example: toml::Table = toml::from_str(kind.example).map_err(|e| wrong(e.to_string()))?;
    let resolved = (kind.resolve)(toml::Value::Table(example.clone()), &Wired::default()).map_err(|fault| {
        wrong(match fault {
            Fault::Shape { field, message } => format!("{field}: {message}"),
            Fault::Complaint(complaint) => format!("{}: {}", complaint.field, complaint.message),
        })
    })?;
    let contract = &resolved.contract;
    let mut out = format!("{}: {}\n", paint.bold(kind.name), kind.about);
    ports(&mut out, "takes", &contract.inputs, paint);
    ports(&mut out, "gives", &contract.outputs, paint);
    let _ = writeln!(out, "\n{}\n  {}", paint.bold("needs"), needs(&contract.needs));
    settings(&mut out, &resolved.config, &example, paint);
    also(&mut out, kind, &resolved.config, &example);
    let words: BTreeSet<&str> = contract.inputs.iter().chain(&contract.outputs).map(|p| p.holds.as_ref()).collect();
    for word in words {
        if let Some(text) = carries(word) {
            let _ = writeln!(out, "\n{}", paint.bold(&format!("`{word}` carries")));
            text.lines().for_each(|line| {
                let _ = writeln!(out, "  {line}");
            });
        }
    }
    Ok(out)
}

fn ports(out: &mut String, title: &str, ports: &[Port], paint: Paint) {
    if ports.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold(title));
    let name = ports.iter().map(|p| p.name.len()).max().unwrap_or(0);
    let holds = ports.iter().map(|p| p.holds.len()).max().unwrap_or(0);
    for port in ports {
        let mut marks: Vec<String> = Vec::new();
        for (marked, mark) in [(port.many, "many"), (port.optional, "optional"), (port.shown, "shown")] {
            if marked {
                marks.push(mark.to_owned());
            }
        }
        if !port.extension.is_empty() {
            marks.push(format!("`{}` in results", port.file_name()));
        }
        marks.extend(port.meaning.map(|m| format!("keyed as {}", m.name)));
        let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
        let _ = writeln!(
            out,
            "  {:name$}  {}  {}{}",
            port.name,
            paint.known(&format!("{:holds$}", port.holds)),
            port.about,
            paint.dim(&marks)
        );
    }
}

/// What must be held, in words.
pub(super) fn needs(needs: &Needs) -> String {
    let mut words = vec![crate::report::counted(u64::from(needs.cpus), "cpu")];
    if needs.memory_mib > 0 {
        words.push(crate::report::bytes(needs.memory_mib * 1024 * 1024));
    }
    if needs.gpus > 0 {
        let name = needs.gpu_name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default();
        words.push(format!("{}{name}", crate::report::counted(u64::from(needs.gpus), "card")));
    }
    if needs.gpu_memory_mib > 0 {
        words.push(format!("{} on each card", crate::report::bytes(needs.gpu_memory_mib * 1024 * 1024)));
    }
    if needs.gpu_budget_mib > 0 {
        words.push(format!("at most {} of each", crate::report::bytes(needs.gpu_budget_mib * 1024 * 1024)));
    }
    if needs.quiet {
        words.push("the machine to itself".to_owned());
    }
    words.join(", ")
}

fn settings(out: &mut String, config: &serde_json::Value, example: &toml::Table, paint: Paint) {
    let rows = flat(config);
    if rows.is_empty() {
        return;
    }
    let given: BTreeSet<String> =
        serde_json::to_value(example).map(|v| flat(&v).into_iter().map(|(f, _)| f).collect()).unwrap_or_default();
    let _ = writeln!(out, "\n{}", paint.bold("settings"));
    let width = rows.iter().map(|(field, _)| field.chars().count()).max().unwrap_or(0);
    for (field, value) in rows {
        let mark = if given.contains(&field) { paint.dim("  (an example; it has no default)") } else { String::new() };
        let _ = writeln!(out, "  {field:width$} = {value}{mark}");
    }
}

/// Settings that a kind reads and does not print, because they must not change a key (needs, for example).
fn also(out: &mut String, kind: &Kind, printed: &serde_json::Value, example: &toml::Table) {
    let names: Vec<String> = names(kind, example).into_iter().filter(|name| printed.get(name).is_none()).collect();
    if !names.is_empty() {
        let _ = writeln!(out, "  and, outside the key: {}", names.join(", "));
    }
}

/// The names of a kind's top-level settings, as its own parser lists them when it meets one that it does not know.
fn names(kind: &Kind, example: &toml::Table) -> Vec<String> {
    let mut wrong = example.clone();
    wrong.insert("?".to_owned(), toml::Value::Boolean(true));
    let Err(Fault::Shape { message, .. }) = (kind.resolve)(toml::Value::Table(wrong), &Wired::default()) else {
        return Vec::new();
    };
    let Some((_, known)) = message.split_once("expected") else { return Vec::new() };
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The leaves of a configuration by dotted path, values printed as TOML would write them. An empty table is a leaf.
pub(super) fn flat(config: &serde_json::Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(&path, value, out);
                }
            }
            serde_json::Value::Null => out.push((path.to_owned(), "not set".to_owned())),
            other => out.push((path.to_owned(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    walk("", config, &mut out);
    out
}
