//! The kind `sim`: serves a workload on a virtual machine whose iterations take the time that a profile predicts.
//!
//! The loop and the scheduler are those of a measurement; only the backend differs. It does not know the machine it
//! runs on or the hour: same inputs, same bytes.

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::infer::batch::Slice;
use crate::infer::blocks::Tabled;
use crate::infer::machine::Machine;
use crate::infer::record::{BatchRow, Recorder, RequestRow, Stretch, TokenRow};
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{ServeError, Served, serve};
use crate::infer::tally::Tally;
use crate::model::card::{self, Card};
use crate::predict::{OutOfRange, Outside, Predictor};
use crate::tables::OPS;
use crate::tables::meaning;
use crate::tables::ops;
use crate::tables::requests::read_requests;
use crate::tables::run::{BatchDetail, Detail, Hardware, Named, RunMeta, RunWriter, TokenDetail, TokenIds};

mod outcome;

pub use outcome::{Figures, Outcome, outcome};

/// Configuration of a simulation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The scheduler's knobs; the same fragment as in a measurement.
    pub scheduler: Knobs,
    /// What to do about an iteration that lies outside of the profile.
    pub outside: Outside,
    /// `full`: a row an output token; `none`: their gaps are told in `summary.json` alone.
    pub tokens: TokenDetail,
    /// `full`: a row an iteration; `summary`: their sums are told in `summary.json` alone.
    pub batches: BatchDetail,
}

/// The kind.
#[derive(Debug)]
pub struct Sim;

impl StageKind for Sim {
    type Config = Config;
    const NAME: &'static str = "sim";
    const ABOUT: &'static str = "serves a workload on a virtual machine timed by a profile";
    const CODE: Code = Code { version: 2, modules: crate::kinds::codes::SIM };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.scheduler.check().map_err(|(field, message)| Complaint::new(format!("scheduler.{field}"), message))?;
        Ok(Contract {
            inputs: vec![
                Port::new("requests", "requests", "table `requests`: what arrives and when").by_meaning(meaning::TABLE),
                Port::new("ops", "ops", "directory with table `ops`: times of the model's operations on the device"),
                Port::new("model", "model", "the model's card, for its longest sequence").by_meaning(card::MEANING),
            ],
            outputs: vec![Port::new(
                "run",
                "run",
                "directory: tables `requests`, `tokens`, `batches`, `meta.json`, and the figures in `summary.json`",
            )],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let requests_at = io.input("requests")?.path.clone();
        let requests = read_requests(&requests_at)?;
        let ops_at = io.input("ops")?.path.join(format!("{}.parquet", OPS.name));
        let rows: Vec<ops::Row> = crate::tables::read(&ops_at)?;
        let predictor = Predictor::new(&rows, config.outside).map_err(|e| {
            StageError::new(format!("the profile `{}` cannot be used", ops_at.display()))
                .because(&e)
                .help("measure it again; a profile is not mended by hand")
        })?;
        let directory = io.output("run")?;
        let detail = Detail { tokens: config.tokens, batches: config.batches };
        let writer = RunWriter::create(&directory, TokenIds::MadeUp)?.with_detail(detail);
        let mut both = Both { tally: Tally::for_requests(requests.len()), writer };
        let simulated = simulate(&requests, &config.scheduler.for_model(card.max_positions), predictor, &mut both)?;
        let Both { tally, writer } = both;
        let figures = Figures::of(&tally);
        io.metric("iterations", f64::from(simulated.served.batches), "");
        io.metric("simulated time", simulated.served.end.as_secs_f64(), "s");
        let mut meta = meta(config, &card, &simulated);
        meta.requests = Named { name: "requests".to_owned(), digest: digest(&requests_at)? };
        meta.ops = Some(Named { name: "ops".to_owned(), digest: digest(&ops_at)? });
        meta.hardware = profiled_on(&io.input("ops")?.path);
        for note in &meta.notes {
            io.warn(note);
        }
        writer.finish(&directory, &meta)?;
        figures.write(&directory.join(outcome::SUMMARY))
    }
}

/// The writer gets what the tally has seen.
struct Both {
    tally: Tally,
    writer: RunWriter,
}

impl Recorder for Both {
    fn batch(&mut self, row: BatchRow, slices: &[Slice]) {
        self.tally.batch(row, slices);
        self.writer.batch(row, slices);
    }

    fn token(&mut self, row: TokenRow) {
        self.tally.token(row);
        self.writer.token(row);
    }

    fn request(&mut self, row: RequestRow) {
        self.writer.request(row.clone());
        self.tally.request(row);
    }

    fn stretch(&mut self, stretch: Stretch<'_>) {
        let Stretch { rows, slices, produced, token_id } = stretch;
        self.tally.stretch(Stretch { rows, slices, produced, token_id });
        self.writer.stretch(Stretch { rows, slices, produced, token_id });
    }
}

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// The loop's own account.
    pub served: Served,
    /// What a reader should know: of the profile, and of what was extrapolated.
    pub notes: Vec<String>,
}

/// Serves `requests` on a virtual machine and says everything to `recorder`.
///
/// # Errors
/// When a request is out of its place, or an iteration lies outside of a profile that may not be extrapolated.
pub fn simulate(
    requests: &[Request],
    knobs: &Knobs,
    predictor: Predictor,
    recorder: &mut impl Recorder,
) -> Result<Simulated, StageError> {
    let mut machine = Machine::new(predictor);
    let served = serve(requests, knobs, Tabled::Counted, &mut machine, recorder).map_err(|e| unserved(&e))?;
    let predictor = machine.predictor();
    let mut notes = predictor.notes().to_vec();
    let beyond = predictor.beyond();
    if beyond.iterations > 0 {
        notes.push(format!("{} of {} iterations rest on extrapolation", beyond.iterations, served.batches));
        notes.extend(beyond.farthest.iter().map(ToString::to_string));
    }
    Ok(Simulated { served, notes })
}

fn unserved(error: &ServeError<OutOfRange>) -> StageError {
    let stage_error = StageError::new("the simulation ended before the workload").because(error);
    match error {
        ServeError::Backend { .. } => stage_error.help(
            "let `profile` cover it (its grid follows the scheduler's knobs), or set `outside = \"extrapolate\"`",
        ),
        ServeError::Stuck(_) => stage_error.help("a scheduler that cannot go on is a defect: please report it"),
        _ => stage_error,
    }
}

fn meta(config: &Config, card: &Card, simulated: &Simulated) -> RunMeta {
    let mut meta = RunMeta::new(Sim::NAME, "virtual");
    meta.knobs = serde_json::to_value(&config.scheduler).expect("knobs are plain data");
    meta.config = serde_json::to_value(config).expect("a configuration is plain data");
    meta.model = Named { name: card.name.clone(), digest: card.digest() };
    let served = &simulated.served;
    for (name, value) in [
        ("iterations", u64::from(served.batches)),
        ("output_tokens", served.tokens),
        ("completed_requests", u64::from(served.completed)),
        ("refused_requests", u64::from(served.refused)),
        ("preemptions", served.preemptions),
        ("span_ns", served.end.0),
    ] {
        meta.facts.insert(name.to_owned(), value.into());
    }
    meta.notes.clone_from(&simulated.notes);
    meta
}

/// The hardware that the profile was taken on, where its `meta.json` says.
fn profiled_on(directory: &std::path::Path) -> Option<Hardware> {
    RunMeta::read(&directory.join("meta.json")).ok()?.hardware
}

fn digest(path: &std::path::Path) -> Result<String, StageError> {
    meaning::hex(path).map_err(StageError::new)
}

#[cfg(test)]
mod tests;
