//! `pipe show` in words: a pipeline, a stage of it with what its record says, and settings with the place where each was
//! written.

use std::fmt::Write as _;
use std::path::Path;

use super::kinds::{flat, needs};
use super::why::{label, origin};
use crate::graph::{Pipeline, Stage};
use crate::report::paint::Paint;
use crate::report::{bytes, counted, duration};
use crate::store::Record;

#[cfg(test)]
mod tests;

/// A pipeline: what was chosen, and a line for each stage.
pub(super) fn pipeline(pipeline: &Pipeline, paint: Paint) -> String {
    let stages = counted(pipeline.stages.len() as u64, "stage");
    let mut out = format!("{}  {stages}, {}\n", paint.bold(&pipeline.name), pipeline.file.display());
    for (group, choice) in &pipeline.choices {
        let _ = writeln!(out, "  {group} = {choice}");
    }
    out.push('\n');
    let widest =
        |width: &dyn Fn(&Stage) -> usize, most: usize| pipeline.stages.iter().map(width).max().unwrap_or(0).min(most);
    let name = widest(&|s| s.name.chars().count(), 44);
    let kind = widest(&|s| s.kind.name.chars().count(), 16);
    for stage in &pipeline.stages {
        let from: Vec<String> = stage.inputs.iter().flat_map(|w| &w.from).map(|feed| label(pipeline, feed)).collect();
        let from = if from.is_empty() { String::new() } else { format!("← {}", from.join(", ")) };
        let line = format!("{:name$}  {:kind$}  {}", stage.name, stage.kind.name, paint.dim(&from));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A stage: what it takes, gives and needs, and what its record says if it has one.
pub(super) fn stage(pipeline: &Pipeline, stage: &Stage, record: Option<&Record>, paint: Paint) -> String {
    let mut out = format!("{}  kind {} in {}\n", paint.bold(&stage.name), stage.kind.name, pipeline.name);
    for wire in &stage.inputs {
        for feed in &wire.from {
            let port = &stage.contract.inputs[wire.port];
            let _ = writeln!(out, "  takes  {} ← {}", port.name, label(pipeline, feed));
        }
    }
    for port in &stage.contract.outputs {
        let result = Path::new("results").join(&pipeline.name).join(&stage.name).join(port.file_name());
        let artifact = record.and_then(|r| r.outputs.get(port.name.as_ref()));
        let size = artifact
            .map(|a| format!("  {}, {}, at {}", bytes(a.bytes), &a.digest.to_string()[..12], result.display()))
            .unwrap_or_default();
        let _ = writeln!(out, "  gives  {} ({}){}", port.name, port.holds, paint.dim(&size));
    }
    let _ = writeln!(out, "  needs  {}", needs(&stage.contract.needs));
    match record {
        None => out.push_str("\nno result is known for it as it stands; `pipe plan` says what would run\n"),
        Some(record) => made(&mut out, record, paint),
    }
    out
}

fn made(out: &mut String, record: &Record, paint: Paint) {
    let made = &record.made;
    let _ = writeln!(out, "\n{} {}", paint.bold("record"), record.key);
    let _ =
        writeln!(out, "  made   {} by run {} on {} as {}/{}", made.at, made.run, made.host, made.pipeline, made.stage);
    if let Some(trusted) = &made.trusted {
        let _ = writeln!(out, "  trust  repeats {trusted}, whose code was trusted to mean the same");
    }
    let usage = &record.usage;
    let mut used = duration(usage.wall_ns);
    if usage.user_ns + usage.system_ns > 0 {
        let _ = write!(used, " ({} user, {} system)", duration(usage.user_ns), duration(usage.system_ns));
    }
    if usage.peak_memory_bytes > 0 {
        let _ = write!(used, ", {} at most", bytes(usage.peak_memory_bytes));
    }
    let _ = writeln!(out, "  used   {used}");
    if let Some(gate) = &record.gate {
        let _ = writeln!(out, "  gate   {} {gate}", paint.bad("failed:"));
    }
    for (name, value) in &record.circumstances {
        let _ = writeln!(out, "  {name} = {value}");
    }
}

/// The settings of a stage after defaults, each with the place where it was written.
pub(super) fn resolved(stage: &Stage, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.bold(&format!("[stage.{}]", stage.name)));
    let rows = flat(&stage.config);
    let text: Vec<(String, String)> = rows
        .iter()
        .map(|(field, value)| {
            (format!("{field} = {value}"), origin(stage, field).unwrap_or_else(|| "default".to_owned()))
        })
        .collect();
    let width = text.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(60);
    for (text, place) in text {
        let _ = writeln!(out, "{text:width$}  {}", paint.dim(&format!("# {place}")));
    }
    out
}
