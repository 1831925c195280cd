//! The kind `bench`: serves a workload on a real device, on the wall clock, and writes down what came of it.
//!
//! The loop and the scheduler are those of `sim`; only the backend differs. Everything that takes long once (reading
//! weights, touching memory, warming up) happens before the clock starts. It does not know what its figures will be
//! compared with.

use std::path::Path;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::device::cpu::{Cpu, pace};
use crate::device::setup::{check_knobs, check_memory, machine, positions, threads, weights};
use crate::device::{DeviceSort, Hardware};
use crate::infer::blocks::Tabled;
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{Backend, serve};
use crate::kinds::codes;
use crate::model::card::{self, Card};
use crate::model::forward::Model;
use crate::model::reference::Reference;
use crate::tables::requests::read_requests;
use crate::tables::run::{Named, RunMeta, RunTables, TokenIds};
use crate::tables::{TABLE, meaning};

mod gpu;
mod plain;
mod text;
mod warm;

use plain::Plain;

/// What `bench` can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What computes.
    pub hardware: Hardware,
    /// The scheduler's knobs; the same fragment as the simulation's.
    pub scheduler: Knobs,
    /// Which engine serves.
    pub backend: Engine,
    /// Seed of the random weights where none are wired.
    pub weights_seed: u64,
    /// Least time of warming up before the clock starts, seconds.
    pub warmup_s: f64,
    /// How often the workload is served, one time after the other with everything warm. Of more than one, `run` holds
    /// a directory for each, numbered from 0, and a comparison takes them as repeats.
    pub repeats: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hardware: Hardware::default(),
            scheduler: Knobs::default(),
            backend: Engine::Paged,
            weights_seed: 0,
            warmup_s: 1.0,
            repeats: 1,
        }
    }
}

/// Most repeats in one stage.
const REPEATS_MAX: u32 = 100;

/// Which engine serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Ours: batches of many sequences over a paged pool.
    Paged,
    /// candle-transformers as it is, one request at a time: the plain reference.
    Candle,
}

/// The kind.
#[derive(Debug)]
pub struct Bench;

impl StageKind for Bench {
    type Config = Config;
    const NAME: &'static str = "bench";
    const ABOUT: &'static str = "serves a workload on a real device and measures it";
    const CODE: Code = Code { version: 1, modules: codes::BENCH };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.hardware.check()?;
        check_knobs(&config.scheduler, config.hardware.device)?;
        if config.backend == Engine::Candle {
            check_plain(config)?;
        }
        if !(config.warmup_s.is_finite() && (0.0..=600.0).contains(&config.warmup_s)) {
            return Err(Complaint::new("warmup_s", format!("{} is no time to warm up in", config.warmup_s))
                .help("give seconds between 0 and 600"));
        }
        if !(1..=REPEATS_MAX).contains(&config.repeats) {
            return Err(Complaint::new("repeats", format!("it cannot be served {} times", config.repeats))
                .help(format!("give 1 to {REPEATS_MAX}")));
        }
        Ok(Contract {
            inputs: vec![
                Port::new("requests", "requests", "what arrives").by_meaning(TABLE),
                Port::new("model", "model", "the card").by_meaning(card::MEANING),
                Port::new("weights", "weights", "safetensors or GGUF; seeded random ones if left out").optional(),
                Port::new("tokenizer", "tokenizer", "tokenizer.json, to print a sample as text").optional(),
            ],
            outputs: vec![
                Port::new("run", "run", "requests, tokens and batches of the run, and meta.json"),
                Port::new("sample", "text", "the output of one request, as text or ids").as_file("txt"),
            ],
            needs: config.hardware.needs(),
            oracles: config.hardware.oracles(),
            sort: Sort::Measured,
            tools: Vec::new(),
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let requests = read_requests(&io.input("requests")?.path).map_err(|e| {
            let error = StageError::new("cannot read the requests").because(&e);
            match e.help() {
                Some(help) => error.help(help),
                None => error,
            }
        })?;
        check_requests(&requests, &card, &config.scheduler)?;
        match config.hardware.device {
            DeviceSort::Cpu => {
                let threads = threads(config.hardware.threads)?;
                threads.install(|| on_cpu(config, io, &card, &requests))
            }
            DeviceSort::Cuda => gpu::on_card(config, io, &card, &requests),
        }
    }
}

fn check_plain(config: &Config) -> Result<(), Complaint> {
    if config.hardware.device != DeviceSort::Cpu {
        return Err(Complaint::new("backend", "`candle` runs on the CPU only").help("set `hardware=cpu`"));
    }
    if config.scheduler.max_sequences != 1 || config.scheduler.prefix_caching {
        return Err(Complaint::new(
            "scheduler.max_sequences",
            "`backend = \"candle\"` serves one request at a time and shares no prefixes",
        )
        .help("set `max_sequences = 1` and `prefix_caching = false`"));
    }
    Ok(())
}

/// What the workload must bring so that a model can compute with it. What the pool can never hold is not looked at
/// here: the scheduler refuses it, as it does in a simulation.
fn check_requests(requests: &[Request], card: &Card, knobs: &Knobs) -> Result<(), StageError> {
    const IDS: &str = "wire the same model to the workload's `model`, so that ids are drawn below its tokenizer's size";
    const LENGTH: &str = "set the workload's `max_total_tokens`, or take a model that knows more positions";
    for request in requests {
        let total = u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
        let (fault, help) = if request.prompt.is_empty() {
            ("it brings no token ids".to_owned(), IDS)
        } else if let Some(id) = request.prompt.iter().find(|id| **id >= card.vocab) {
            let known = card.vocab;
            (format!("its prompt holds the id {id}, the model `{}` knows ids below {known}", card.name), IDS)
        } else if total > u64::from(card.max_positions) && total <= knobs.pool_tokens() {
            let known = card.max_positions;
            (format!("it is {total} tokens long, the model `{}` knows {known} positions", card.name), LENGTH)
        } else {
            continue;
        };
        return Err(StageError::new(format!("request {} cannot be computed: {fault}", request.id)).help(help));
    }
    Ok(())
}

fn on_cpu(config: &Config, io: &mut Io, card: &Card, requests: &[Request]) -> Result<(), StageError> {
    let knobs = &config.scheduler;
    check_memory(&config.hardware, knobs, card)?;
    io.progress(0, 3, "reading weights");
    let source = weights(io, card, config.weights_seed)?;
    let failed = |e| StageError::new("cannot set up the model").because(&e);
    let about = source.about();
    let threads = usize::from(config.hardware.threads);
    let (runs, warmup_ns, before) = match config.backend {
        Engine::Paged => {
            let model = Model::new(card, source.as_ref(), positions(card, knobs), threads).map_err(failed)?;
            drop(source);
            let sequences = requests.len().max(knobs.max_sequences as usize);
            let mut cpu = Cpu::new(model, knobs.kv_blocks, knobs.block_tokens, sequences);
            io.progress(1, 3, "warming up");
            let warmup_ns = warm::up(&mut cpu, knobs, requests, config.warmup_s)?;
            io.progress(2, 3, "serving");
            let before = pace::sample();
            (served(config, requests, &mut cpu, Cpu::restart)?, warmup_ns, before)
        }
        Engine::Candle => {
            let reference = Reference::new(card, source.as_ref(), positions(card, knobs)).map_err(failed)?;
            drop(source);
            let mut plain = Plain::new(reference, requests.len());
            io.progress(1, 3, "warming up");
            let warmup_ns = plain.warm_up(requests, config.warmup_s)?;
            io.progress(2, 3, "serving");
            let before = pace::sample();
            (served(config, requests, &mut plain, Plain::restart)?, warmup_ns, before)
        }
    };
    let after = pace::sample();
    io.progress(3, 3, "writing");
    let mut meta = meta(config, io, card)?;
    crate::tables::run::pace::record(&mut meta.facts, before, after);
    meta.facts.insert("warmup_ns".to_owned(), warmup_ns.into());
    meta.facts.insert("weights".to_owned(), about.into());
    write(io, requests, runs, meta)
}

/// Serves as often as asked on the clock of `backend`, which `restart` sets to 0. Records are kept in memory that was set
/// aside before.
fn served<B>(
    config: &Config,
    requests: &[Request],
    backend: &mut B,
    restart: fn(&mut B),
) -> Result<Vec<Run>, StageError>
where
    B: Backend,
    B::Error: std::error::Error,
{
    let mut runs: Vec<Run> = (0..config.repeats).map(|_| Run::for_requests(requests)).collect();
    for run in &mut runs {
        restart(backend);
        serve(requests, &config.scheduler, Tabled::Kept, backend, run)
            .map_err(|e| StageError::new(format!("serving stopped: {e}")))?;
    }
    Ok(runs)
}

fn meta(config: &Config, io: &Io, card: &Card) -> Result<RunMeta, StageError> {
    let backend = match config.backend {
        Engine::Paged => "paged",
        Engine::Candle => "candle",
    };
    let json = |e: serde_json::Error| StageError::new("cannot print the configuration").because(&e);
    let mut meta = RunMeta::new(Bench::NAME, backend);
    meta.knobs = serde_json::to_value(&config.scheduler).map_err(json)?;
    meta.config = serde_json::to_value(config).map_err(json)?;
    meta.model = Named { name: card.name.clone(), digest: card.digest() };
    let requests = io.input("requests")?;
    let digest = meaning::hex(&requests.path).map_err(StageError::new)?;
    meta.requests = Named { name: requests.label.clone(), digest };
    meta.hardware = Some(machine(&config.hardware));
    meta.versions.insert("pipe".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Ok(meta)
}

fn write(io: &mut Io, requests: &[Request], runs: Vec<Run>, meta: RunMeta) -> Result<(), StageError> {
    let first = runs.first().expect("a workload is served at least once");
    let sample = match io.optional("tokenizer") {
        Some(source) => text::decoded(requests, first, Path::new(&source.path))?,
        None => text::ids(requests, first),
    };
    let path = io.output("sample")?;
    std::fs::write(&path, sample)
        .map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))?;
    if let Some(last) = first.batches.last() {
        io.metric("duration", last.end.as_secs_f64(), "s");
        io.metric("output rate", first.tokens.len() as f64 / last.end.as_secs_f64(), "tokens/s");
    }
    let directory = io.output("run")?;
    let alone = runs.len() == 1;
    for (at, run) in runs.into_iter().enumerate() {
        let place = if alone { directory.clone() } else { directory.join(at.to_string()) };
        RunTables::of(run, TokenIds::Computed, meta.clone())
            .write(&place)
            .map_err(|e| StageError::new("cannot write the run").because(&e))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
