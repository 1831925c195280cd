//! `pipe plan` in words: what a run would do to each stage, how long that took before, and which chain of stages
//! decides how long the whole takes.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::graph::{Feed, Pipeline};
use crate::report::board::FEW;
use crate::report::paint::Paint;
use crate::report::{count, counted, duration};
use crate::run::plan::{Answer, Plan, Planned};

#[cfg(test)]
mod tests;

/// The plan, a line a stage (in a large pipeline: without the hits), and what it comes to.
pub(super) fn tell(pipeline: &Pipeline, plan: &Plan, cpus: u16, paint: Paint) -> String {
    let name = plan.stages.iter().map(|p| p.stage.chars().count()).max().unwrap_or(0).min(44);
    let kind = plan.stages.iter().map(|p| p.kind.chars().count()).max().unwrap_or(0).min(16);
    let few = plan.stages.len() <= FEW;
    let mut out = String::new();
    for planned in plan.stages.iter().filter(|p| few || !matches!(p.answer, Answer::Hit { .. })) {
        let (word, rest) = line(planned, paint);
        let text = format!("{word}  {:name$}  {:kind$}  {rest}", planned.stage, planned.kind);
        let _ = writeln!(out, "{}", text.trim_end());
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", sum(pipeline, plan, cpus, paint));
    out
}

fn line(planned: &Planned, paint: Paint) -> (String, String) {
    let about = match planned.expected_ns {
        0 => String::new(),
        ns => paint.dim(&format!(" · about {}", duration(ns))),
    };
    match &planned.answer {
        Answer::Hit { from, .. } => (paint.known("hit    "), paint.dim(&format!("from {from}"))),
        Answer::Run { reason, .. } => (paint.good("run    "), format!("{reason}{about}")),
        Answer::Depends { on } => (paint.warn("depends"), format!("on {}{about}", some(on))),
        Answer::Blocked { because } => (paint.bad("blocked"), because.clone()),
    }
}

/// Up to three names, and how many more there are.
fn some(names: &[String]) -> String {
    let mut out = names.iter().take(3).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        let _ = write!(out, " and {} more", count((names.len() - 3) as u64));
    }
    out
}

fn sum(pipeline: &Pipeline, plan: &Plan, cpus: u16, paint: Paint) -> String {
    let tally = |wanted: fn(&Answer) -> bool| plan.stages.iter().filter(|p| wanted(&p.answer)).count() as u64;
    let hits = tally(|a| matches!(a, Answer::Hit { .. }));
    let runs = tally(|a| matches!(a, Answer::Run { .. }));
    let depends = tally(|a| matches!(a, Answer::Depends { .. }));
    let blocked = tally(|a| matches!(a, Answer::Blocked { .. }));
    let mut words = vec![counted(hits, "hit"), format!("{} to run", count(runs))];
    if depends > 0 {
        let verb = if depends == 1 { "depends" } else { "depend" };
        words.push(format!("{} that {verb} on those", count(depends)));
    }
    if blocked > 0 {
        words.push(paint.bad(&format!("{} blocked", count(blocked))));
    }
    let mut out = words.join(", ");
    let (chain, longest_ns) = longest_chain(pipeline, plan);
    if longest_ns == 0 {
        return out;
    }
    let active = || plan.stages.iter().filter(|p| works(&p.answer));
    let work_ns: u64 = active().map(|p| p.expected_ns).sum();
    let unknown = active().filter(|p| p.expected_ns == 0).count() as u64;
    let least_ns = longest_ns.max(work_ns / u64::from(cpus.max(1)));
    let more = if unknown > 0 { format!(", and {} never timed", counted(unknown, "stage")) } else { String::new() };
    let _ = write!(out, "\nat most about {}{more}; longest chain {}: ", duration(least_ns), duration(longest_ns));
    let shown: Vec<&str> = chain.iter().copied().take(8).collect();
    out.push_str(&paint.bold(&shown.join(" → ")));
    if chain.len() > shown.len() {
        let _ = write!(out, " and {} more", count((chain.len() - shown.len()) as u64));
    }
    out
}

fn works(answer: &Answer) -> bool {
    matches!(answer, Answer::Run { .. } | Answer::Depends { .. })
}

/// The chain of stages that are to run whose remembered times add up to most, and that sum. Stages never timed count
/// as nothing.
fn longest_chain<'a>(pipeline: &'a Pipeline, plan: &Plan) -> (Vec<&'a str>, u64) {
    let cost: HashMap<&str, u64> =
        plan.stages.iter().filter(|p| works(&p.answer)).map(|p| (p.stage.as_str(), p.expected_ns)).collect();
    let mut until = vec![0u64; pipeline.stages.len()];
    let mut before: Vec<Option<usize>> = vec![None; pipeline.stages.len()];
    // Every stage stands behind what it takes.
    for (i, stage) in pipeline.stages.iter().enumerate() {
        let Some(own) = cost.get(stage.name.as_str()) else { continue };
        for feed in stage.inputs.iter().flat_map(|wire| &wire.from) {
            if let Feed::Output { stage: producer, .. } = feed
                && until[producer.index()] > before[i].map_or(0, |b| until[b])
            {
                before[i] = Some(producer.index());
            }
        }
        until[i] = own + before[i].map_or(0, |b| until[b]);
    }
    let Some(end) = (0..until.len()).max_by_key(|&i| (until[i], std::cmp::Reverse(i))) else { return (Vec::new(), 0) };
    let mut chain = Vec::new();
    let mut at = Some(end);
    while let Some(i) = at {
        chain.push(pipeline.stages[i].name.as_str());
        at = before[i];
    }
    chain.reverse();
    (chain, until[end])
}

/// The plan as one JSON object.
pub(super) fn json(plan: &Plan) -> serde_json::Value {
    let stages: Vec<serde_json::Value> = plan
        .stages
        .iter()
        .map(|p| {
            let answer = match &p.answer {
                Answer::Hit { key, from } => json!({ "answer": "hit", "key": key, "from": from }),
                Answer::Run { key, reason, .. } => json!({ "answer": "run", "key": key, "reason": reason }),
                Answer::Depends { on } => json!({ "answer": "depends", "on": on }),
                Answer::Blocked { because } => json!({ "answer": "blocked", "because": because }),
            };
            json!({ "stage": p.stage, "kind": p.kind, "expected_ns": p.expected_ns, "plan": answer })
        })
        .collect();
    json!({ "stages": stages })
}
