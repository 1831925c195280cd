//! Kind `compare`: how far a predicted run is from measured ones, whether the two may be compared at all, and where the
//! difference comes from.
//!
//! The order is fixed: read both sides, ask whether they served the same requests with the same knobs, align them, take
//! the figures, attribute, hold the gate against what was found. It knows runs as tables and not how they were made;
//! the predictor is asked only to replay measured batches.
//!
//! Invariants: an error is (predicted - measured) / measured with its sign; of several measurements a figure is the
//! median and its range stands beside it; sides that differ in requests, knobs or model are refused unless the author
//! allows it, and then the verdict says so.

use std::collections::BTreeMap;

use engine::exec::{Io, Source};
use engine::kind::{Code, Complaint, Contract, Port, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

pub mod align;
pub mod attribution;
pub mod checks;
pub mod distance;
pub mod figures;
pub mod gate;
pub mod metric;
pub mod profile;
pub mod read;
pub mod replay;
pub mod side;
pub mod summary;
pub mod verdict;

#[cfg(test)]
pub(crate) mod tests;

use align::{Clock, align};
use side::Side;
use verdict::{Facts, Grade, Thresholds, Verdict};

use crate::model::card::{self, Card};
use crate::tables::run::Status;

/// The kind.
#[derive(Debug)]
pub struct Compare;

/// Its configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Shares up to which an error passes, and up to which it is only warned of.
    pub thresholds: Thresholds,
    /// Bounds that must hold, or the run ends with the exit code of a failed gate; see [`gate`].
    pub gate: BTreeMap<String, f64>,
    /// From when a request's clock runs: `arrival` or `sent`.
    pub clock: Clock,
    /// Compare sides that served other requests, with other knobs, or with another model.
    pub allow_mismatch: bool,
}

impl StageKind for Compare {
    type Config = Config;
    const NAME: &'static str = "compare";
    const ABOUT: &'static str = "how far a predicted run is from measured ones, and why";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::COMPARE };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        let Thresholds { pass, warn } = config.thresholds;
        for (field, value) in [("pass", pass), ("warn", warn)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Complaint::new(
                    format!("thresholds.{field}"),
                    format!("`{field}` is {value}: it is a share of the measured value and at least 0"),
                ));
            }
        }
        if warn < pass {
            return Err(Complaint::new("thresholds.warn", format!("`warn` is {warn}, below `pass`, which is {pass}")));
        }
        for (name, limit) in &config.gate {
            if gate::Bound::parse(name).is_none() {
                return Err(
                    Complaint::new(format!("gate.{name}"), format!("there is no bound `{name}`")).help(gate::names())
                );
            }
            if !(limit.is_finite() && *limit >= 0.0) {
                return Err(Complaint::new(
                    format!("gate.{name}"),
                    format!("`{name}` is {limit}: a bound is a share and at least 0"),
                )
                .help("0.05 is five per cent"));
            }
        }
        Ok(Contract {
            inputs: vec![
                Port::new("predicted", "run", "the prediction"),
                Port::new("measured", "run", "one measurement, or several repeats of it").many(),
                Port::new("ops", "ops", "the profile that predicted: the measured batches are replayed with its times")
                    .many()
                    .optional(),
                Port::new("model", "model", "the card that both sides should have served")
                    .by_meaning(card::MEANING)
                    .optional(),
            ],
            outputs: vec![
                Port::new("verdict", "verdict", "all that was found, as JSON").as_file("json"),
                Port::new("summary", "text", "the table a person asks for").as_file("txt").shown(),
            ],
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let predicted = side(io.input("predicted")?)?;
        let sources = io.many("measured").to_vec();
        let measured: Result<Vec<Vec<Side>>, StageError> =
            sources.iter().map(|source| read::read_repeats(&source.path, &source.label)).collect();
        let measured = measured?.concat();
        if measured.is_empty() {
            return Err(StageError::new("nothing is wired to the input `measured`"));
        }
        let profile = profile::Profile::read(io.many("ops"))?;
        let card = io.optional("model").map(|source| card::load(&source.path)).transpose()?;
        let verdict = compare(config, &predicted, &measured, profile, card.as_ref())?;
        write(io, "verdict", &verdict.to_json())?;
        write(io, "summary", &summary::text(&verdict))?;
        if let Some(failure) = gate::failure(&verdict.gate) {
            io.fail_gate(failure);
        }
        Ok(())
    }
}

fn side(source: &Source) -> Result<Side, StageError> {
    read::read(&source.path, &source.label)
}

fn write(io: &Io, port: &str, text: &str) -> Result<(), StageError> {
    let path = io.output(port)?;
    std::fs::write(&path, text).map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

/// The whole comparison. With `profile` the measured batches are replayed; with `card` the sides are held against it.
///
/// # Errors
/// When the sides may not be compared, have nothing in common, or contradict themselves.
pub fn compare(
    config: &Config,
    predicted: &Side,
    measured: &[Side],
    mut profile: Option<profile::Profile>,
    card: Option<&Card>,
) -> Result<Verdict, StageError> {
    let knobs = checks::knobs(predicted, measured);
    let mut checks = checks::all(predicted, measured, &knobs);
    checks.extend(profile.as_ref().map(|profile| checks::held_out(profile.fitted_on(), measured)));
    checks.extend(card.map(|card| checks::card(card, predicted, measured)));
    let refusals = checks::refusals(&checks);
    if !refusals.is_empty() && !config.allow_mismatch {
        let said: Vec<String> = refusals.iter().map(|c| format!("{}: {}", c.name, c.said)).collect();
        return Err(StageError::new(format!("the sides cannot be compared: {}", said.join("; "))).help(
            "feed both from the same stages and fragments, or set `allow_mismatch = true` to compare them all the same",
        ));
    }
    let mut notes = notes(predicted, measured, config.clock);
    if !refusals.is_empty() {
        notes.insert(
            0,
            "the two sides are not comparable, and were compared because `allow_mismatch` is set".to_owned(),
        );
    }
    notes.extend(profile.as_ref().and_then(|profile| checks::pace(profile.pace()?, measured)));
    let aligned = align(predicted, measured, config.clock);
    if aligned.predicted.is_empty() {
        let why =
            aligned.left_out.first().map_or_else(String::new, |l| format!(": request {}: {}", l.request, l.because));
        return Err(StageError::new(format!("no request was served on every side{why}")));
    }
    let metrics = figures::metrics(&aligned, &config.thresholds);
    let throughput = figures::rates(&aligned, &config.thresholds);
    let replayed = match (&mut profile, measured.iter().find(|side| side.has_batches())) {
        (Some(profile), Some(side)) => {
            let replayed = replay::replay(side, &mut |slices| profile.forecast(slices))?;
            notes.extend(profile.notes());
            Some(replayed)
        }
        _ => None,
    };
    let attribution =
        attribution::attribute(predicted, measured, &aligned, &metrics, &config.thresholds, replayed.as_ref());
    let mut grade = figures::worst_grade(&metrics, &throughput).unwrap_or(Grade::Fail);
    if attribution.cancels.is_some() {
        grade = Grade::Fail;
    }
    let mut verdict = Verdict {
        format: verdict::FORMAT,
        grade,
        thresholds: config.thresholds,
        clock: config.clock,
        predicted: facts(predicted),
        measured: measured.iter().map(facts).collect(),
        compared: u32::try_from(aligned.predicted.len()).unwrap_or(u32::MAX),
        checks,
        knobs,
        metrics,
        throughput,
        pairs: figures::pairs(&aligned),
        worst: figures::worst(&aligned),
        attribution,
        gate: Vec::new(),
        notes,
        left_out: aligned.left_out,
        cut: aligned.cut,
    };
    verdict.gate = gate::lines(&config.gate, &verdict);
    Ok(verdict)
}

fn facts(side: &Side) -> Facts {
    let count =
        |status: Status| u32::try_from(side.requests.iter().filter(|r| r.status == status).count()).unwrap_or(u32::MAX);
    let source = match side.format {
        side::Format::Tables => format!("{} ({})", side.meta.kind, side.meta.backend),
        format => format!("{} ({})", format.name(), side.meta.backend),
    };
    Facts {
        label: side.label.clone(),
        source,
        requests: u32::try_from(side.requests.len()).unwrap_or(u32::MAX),
        ok: count(Status::Ok),
        refused: count(Status::Refused),
        failed: count(Status::Error),
        preemptions: side.requests.iter().map(|r| u64::from(r.preemptions)).sum(),
        batches: u32::try_from(side.batches.len()).unwrap_or(u32::MAX),
    }
}

/// What the runs say of themselves, and how late a client was.
fn notes(predicted: &Side, measured: &[Side], clock: Clock) -> Vec<String> {
    let mut notes = Vec::new();
    for side in std::iter::once(predicted).chain(measured) {
        notes.extend(side.meta.notes.iter().map(|note| format!("`{}`: {note}", side.label)));
        let lags = distance::sorted(
            side.requests.iter().filter_map(|r| r.sent.map(|sent| sent.since(r.arrival).0 as f64)).collect(),
        );
        if let Some(lag) = distance::quantile(&lags, 0.99).filter(|lag| clock == Clock::Arrival && *lag >= 1e6) {
            notes.push(format!(
                "`{}`: requests left late, by {} at p99; `clock = \"sent\"` counts from when they left",
                side.label,
                attribution::duration(lag)
            ));
        }
    }
    notes
}
