//! Whether two runs may be compared at all: the same requests, the same knobs, the same model, and, where our engine
//! ran on both sides, the same sequence of batches.

use std::collections::BTreeMap;

use serde_json::Value;

use super::attribution::duration;
use super::side::Side;
use super::summary;
use super::verdict::{Check, Knob, Outcome};
use crate::model::card::Card;
use crate::tables::run::{BatchRow, RequestRow, pace};

/// Asks every question of the prediction and all measurements.
pub fn all(predicted: &Side, measured: &[Side], knobs: &[Knob]) -> Vec<Check> {
    vec![
        requests(predicted, measured),
        arrivals(predicted, measured),
        knobs_agree(knobs),
        model(predicted, measured),
        served(predicted, measured),
        batches(predicted, measured),
    ]
}

/// What keeps the sides from being compared: required checks that differ.
pub fn refusals(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|c| c.required && c.outcome == Outcome::Differs).collect()
}

fn check(name: &str, required: bool, outcome: Outcome, said: impl Into<String>) -> Check {
    Check { name: name.to_owned(), outcome, said: said.into(), required }
}

/// Same ids, same lengths; then the digests, which also cover token ids and arrivals.
fn requests(predicted: &Side, measured: &[Side]) -> Check {
    for side in measured {
        if let Some(said) = first_other_request(predicted, side) {
            return check("requests", true, Outcome::Differs, said);
        }
    }
    let n = predicted.requests.len();
    let digest = &predicted.meta.requests.digest;
    for side in measured {
        let other = &side.meta.requests.digest;
        if !digest.is_empty() && !other.is_empty() && digest != other {
            let said = format!(
                "{n} requests with the same ids and lengths, but their digests differ: {} and {} (`{}`)",
                short(digest),
                short(other),
                side.label
            );
            return check("requests", true, Outcome::Differs, said);
        }
    }
    let known = !digest.is_empty() && measured.iter().all(|s| !s.meta.requests.digest.is_empty());
    let said = if known {
        format!("{n} requests, digest {}", short(digest))
    } else {
        format!("{n} requests with the same ids and lengths (no digest to compare what they hold)")
    };
    check("requests", true, Outcome::Same, said)
}

fn first_other_request(predicted: &Side, side: &Side) -> Option<String> {
    let (a, b) = (&predicted.requests, &side.requests);
    let lengths = |r: &RequestRow| (r.prompt_tokens, r.output_tokens);
    if let Some(alone) = a.iter().find(|r| side.place(r.id).is_none()) {
        return Some(format!("request {} of `{}` is not in `{}`", alone.id, predicted.label, side.label));
    }
    if let Some(alone) = b.iter().find(|r| predicted.place(r.id).is_none()) {
        return Some(format!("request {} of `{}` is not in `{}`", alone.id, side.label, predicted.label));
    }
    let other = a.iter().zip(b).find(|(x, y)| lengths(x) != lengths(y))?;
    Some(format!(
        "request {} has {} prompt and {} output tokens in `{}`, {} and {} in `{}`",
        other.0.id,
        other.0.prompt_tokens,
        other.0.output_tokens,
        predicted.label,
        other.1.prompt_tokens,
        other.1.output_tokens,
        side.label
    ))
}

/// Scheduled arrivals, each relative to the side's first.
fn arrivals(predicted: &Side, measured: &[Side]) -> Check {
    let mut worst = (0_u64, 0_u32, "");
    for side in measured {
        let zero = |s: &Side| s.requests.iter().map(|r| r.arrival.0).min().unwrap_or(0);
        let (zero_a, zero_b) = (zero(predicted), zero(side));
        for a in &predicted.requests {
            let Some(place) = side.place(a.id) else { continue };
            let b = &side.requests[place];
            let gap = (a.arrival.0 - zero_a).abs_diff(b.arrival.0 - zero_b);
            if gap > worst.0 {
                worst = (gap, a.id, &side.label);
            }
        }
    }
    if worst.0 == 0 {
        return check("arrivals", false, Outcome::Same, "every request arrives at the same instant");
    }
    let said = format!(
        "arrivals differ by up to {:.3} ms (request {} of `{}`), counted from each side's first",
        worst.0 as f64 / 1e6,
        worst.1,
        worst.2
    );
    // A clock's rounding is not another schedule.
    let outcome = if worst.0 <= 1_000 { Outcome::Same } else { Outcome::Differs };
    check("arrivals", false, outcome, said)
}

/// The scheduler's settings of both sides, by name.
pub fn knobs(predicted: &Side, measured: &[Side]) -> Vec<Knob> {
    let ours = flat(&predicted.meta.knobs);
    let theirs: Vec<BTreeMap<String, Value>> = measured.iter().map(|s| flat(&s.meta.knobs)).collect();
    let mut names: Vec<&String> = ours.keys().chain(theirs.iter().flat_map(BTreeMap::keys)).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let a = ours.get(name);
            let differing = theirs.iter().filter_map(|t| t.get(name)).find(|b| a.is_some_and(|a| !equal(a, b)));
            let b = differing.or_else(|| theirs.iter().find_map(|t| t.get(name)));
            let outcome = match (a, b) {
                (Some(_), Some(_)) if differing.is_some() => Outcome::Differs,
                (Some(_), Some(_)) => Outcome::Same,
                _ => Outcome::Unknown,
            };
            Knob { name: name.clone(), predicted: a.map(Value::to_string), measured: b.map(Value::to_string), outcome }
        })
        .collect()
}

fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    flatten("", value, &mut out);
    out
}

fn flatten(prefix: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(_) => flatten(&path, value, out),
            value => {
                out.insert(path, value.clone());
            }
        }
    }
}

/// By value: 16 and 16.0 are one setting.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn knobs_agree(knobs: &[Knob]) -> Check {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
    let differing: Vec<String> = knobs
        .iter()
        .filter(|k| k.outcome == Outcome::Differs)
        .map(|k| format!("`{}` is {} predicted and {} measured", k.name, text(&k.predicted), text(&k.measured)))
        .collect();
    if !differing.is_empty() {
        return check("knobs", true, Outcome::Differs, differing.join("; "));
    }
    let unknown = knobs.iter().filter(|k| k.outcome == Outcome::Unknown).count();
    let known = knobs.len() - unknown;
    match (known, unknown) {
        (0, _) => check("knobs", true, Outcome::Unknown, "no setting of the scheduler is known on both sides"),
        (_, 0) => check("knobs", true, Outcome::Same, format!("all {known} settings of the scheduler agree")),
        _ => check(
            "knobs",
            true,
            Outcome::Unknown,
            format!("{known} settings agree, {unknown} are known on one side only"),
        ),
    }
}

fn model(predicted: &Side, measured: &[Side]) -> Check {
    let ours = &predicted.meta.model;
    for side in measured {
        let theirs = &side.meta.model;
        if !ours.digest.is_empty() && !theirs.digest.is_empty() && ours.digest != theirs.digest {
            let said =
                format!("`{}` predicted, `{}` measured (`{}`): their cards differ", ours.name, theirs.name, side.label);
            return check("model", true, Outcome::Differs, said);
        }
    }
    let known = !ours.digest.is_empty() && measured.iter().all(|s| !s.meta.model.digest.is_empty());
    if known {
        return check("model", true, Outcome::Same, format!("`{}`, card {}", ours.name, short(&ours.digest)));
    }
    let named = measured.iter().all(|s| s.meta.model.name == ours.name) && !ours.name.is_empty();
    if named {
        return check("model", true, Outcome::Same, format!("`{}` on both sides (by name)", ours.name));
    }
    let names: Vec<&str> = std::iter::once(predicted)
        .chain(measured)
        .map(|s| s.meta.model.name.as_str())
        .filter(|n| !n.is_empty())
        .collect();
    let said =
        if names.is_empty() { "no side names its model".to_owned() } else { format!("named: {}", names.join(", ")) };
    check("model", true, Outcome::Unknown, said)
}

/// Whether the sides served and refused the same requests.
fn served(predicted: &Side, measured: &[Side]) -> Check {
    for side in measured {
        let other = predicted.requests.iter().find_map(|a| {
            let b = &side.requests[side.place(a.id)?];
            (a.status != b.status).then_some((a, b))
        });
        if let Some((a, b)) = other {
            let said = format!(
                "request {} is {} in `{}` and {} in `{}`",
                a.id,
                a.status.word(),
                predicted.label,
                b.status.word(),
                side.label
            );
            return check("served", false, Outcome::Differs, said);
        }
    }
    check("served", false, Outcome::Same, "every request ended the same way on all sides")
}

/// The first place at which two sequences of batches part, and how many batches they share from the front.
pub fn first_difference(a: &[BatchRow], b: &[BatchRow]) -> Option<usize> {
    let same = |x: &BatchRow, y: &BatchRow| x.seqs == y.seqs && x.contexts == y.contexts && x.tokens == y.tokens;
    match a.iter().zip(b).position(|(x, y)| !same(x, y)) {
        Some(at) => Some(at),
        None if a.len() == b.len() => None,
        None => Some(a.len().min(b.len())),
    }
}

fn batches(predicted: &Side, measured: &[Side]) -> Check {
    let Some(side) = measured.iter().find(|s| s.has_batches()).filter(|_| predicted.has_batches()) else {
        return check("batches", false, Outcome::Unknown, "no sequence of batches on both sides");
    };
    let (a, b) = (&predicted.batches, &side.batches);
    let Some(at) = first_difference(a, b) else {
        return check("batches", false, Outcome::Same, format!("the same {} batches in the same order", a.len()));
    };
    let said = format!(
        "{} predicted, {} measured; the first {at} are the same, batch {at} is {} predicted and {} measured",
        a.len(),
        b.len(),
        a.get(at).map_or_else(|| "missing".to_owned(), in_words),
        b.get(at).map_or_else(|| "missing".to_owned(), in_words)
    );
    check("batches", false, Outcome::Differs, said)
}

fn in_words(batch: &BatchRow) -> String {
    format!(
        "{} sequences ({} prompt and {} decode tokens, first request {})",
        batch.seqs.len(),
        batch.prefill_tokens,
        batch.decode_tokens,
        batch.seqs.first().map_or_else(|| "none".to_owned(), u32::to_string)
    )
}

/// A profile that was fitted on the very requests that it predicts proves less than one that was not.
pub fn held_out(profiled: &str, measured: &[Side]) -> Check {
    let fitted = !profiled.is_empty() && measured.iter().any(|s| s.meta.requests.digest == profiled);
    if fitted {
        let said =
            format!("the profile was fitted on these very requests ({}): this is no prediction", short(profiled));
        return check("held-out", false, Outcome::Differs, said);
    }
    check("held-out", false, Outcome::Same, "the profile does not name these requests: they are held out")
}

/// Whether the sides served the model of the card that is wired.
pub fn card(card: &Card, predicted: &Side, measured: &[Side]) -> Check {
    let digest = card.digest();
    let sides = || std::iter::once(predicted).chain(measured).filter(|s| !s.meta.model.digest.is_empty());
    match sides().find(|s| s.meta.model.digest != digest) {
        Some(side) => {
            let said = format!("the card is `{}`, `{}` served `{}`", card.name, side.label, side.meta.model.name);
            check("card", true, Outcome::Differs, said)
        }
        None if sides().next().is_none() => check("card", true, Outcome::Unknown, "no side names its card"),
        None => check("card", true, Outcome::Same, format!("`{}`, {}", card.name, short(&digest))),
    }
}

/// How fast the processor itself was in the measurements, against the profile; said, and nothing corrected by it.
pub fn pace(profiled_ns: f64, measured: &[Side]) -> Option<String> {
    let paces: Vec<f64> = measured.iter().map(|side| pace::of(&side.meta.facts)).collect::<Option<_>>()?;
    let measured_ns = paces.iter().sum::<f64>() / paces.len().max(1) as f64;
    let share = measured_ns / profiled_ns - 1.0;
    Some(format!(
        "a fixed loop in the processor's registers took {} around the profile and {} around the measurement ({}): \
         a difference is the machine's; no figure is corrected for it",
        duration(profiled_ns),
        duration(measured_ns),
        summary::error_text(Some(share))
    ))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
