//! `pipe why`: what stands between a stage's last result and the one that is asked for now, each difference with the
//! place where the new value was written or the stage that gives the new input.

use std::fmt::Write as _;

use crate::explain::{self, Difference, Topic};
use crate::graph::{Feed, Pipeline, Stage};
use crate::report::duration;
use crate::report::paint::Paint;
use crate::run::plan::{Answer, Planned};

#[cfg(test)]
mod tests;

/// What a run would do to a stage, and why. `old` is the text of the key that it had when it was last good.
pub(super) fn tell(pipeline: &Pipeline, stage: &Stage, planned: &Planned, old: Option<&str>, paint: Paint) -> String {
    let name = paint.bold(&stage.name);
    match &planned.answer {
        Answer::Hit { key, from } => {
            let took = match planned.expected_ns {
                0 => String::new(),
                ns => format!("; it took {}", duration(ns)),
            };
            format!("{name} is known: record {} of {from}{took}\n", &key[..key.len().min(12)])
        }
        Answer::Run { reason, text, .. } => {
            match old.map(|old| differences(pipeline, stage, old, text, paint)).unwrap_or_default().as_str() {
                "" => format!("{name} would run: {reason}\n"),
                all => format!("{name} would run, because since it was last good\n{all}"),
            }
        }
        Answer::Depends { on } => {
            let on: Vec<String> = on.iter().map(|n| format!("`{n}`")).collect();
            format!("{name} depends on what {} will give\n", on.join(" and "))
        }
        Answer::Blocked { because } => format!("{name} cannot run: {because}\n"),
    }
}

/// The differences between the text of the key that a stage had when it last ran and the one it has now, most telling
/// first, a line or two each; empty where there is none.
pub(super) fn differences(pipeline: &Pipeline, stage: &Stage, old: &str, new: &str, paint: Paint) -> String {
    let mut out = String::new();
    for difference in explain::differences(old, new) {
        let _ = writeln!(out, "  {}", difference.say(&|port, index| source(pipeline, stage, port, index)));
        if let Some(place) = place(stage, &difference) {
            let _ = writeln!(out, "      {}", paint.dim(&place));
        }
    }
    out
}

/// What feeds an input port: `profile.ops`, or the file's name as written.
pub(super) fn source(pipeline: &Pipeline, stage: &Stage, port: &str, index: usize) -> Option<String> {
    let wire = stage.inputs.iter().find(|w| stage.contract.inputs[w.port].name == port)?;
    Some(label(pipeline, wire.from.get(index)?))
}

/// What a person calls a source.
pub(super) fn label(pipeline: &Pipeline, feed: &Feed) -> String {
    match feed {
        Feed::File { label, .. } => label.clone(),
        Feed::Output { stage, port } => {
            let producer = &pipeline.stages[stage.index()];
            format!("{}.{}", producer.name, producer.contract.outputs[*port].name)
        }
    }
}

/// Where the new value of a setting was written: the longest origin that covers it.
fn place(stage: &Stage, difference: &Difference) -> Option<String> {
    if difference.topic() != Topic::Config || difference.new.is_none() {
        return None;
    }
    let field = difference.name.strip_prefix("config.")?;
    Some(match origin(stage, field) {
        Some(place) => format!("from {place}"),
        None => "the kind's default".to_owned(),
    })
}

/// Where the value of `field`, or of the table or list that holds it, was written.
pub(super) fn origin(stage: &Stage, field: &str) -> Option<String> {
    let covers = |origin: &str| field.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let best = stage.origins.iter().filter(|o| covers(&o.field)).max_by_key(|o| o.field.len())?;
    Some(best.place)
}
