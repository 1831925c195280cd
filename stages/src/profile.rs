//! The kind `profile`: times every operation of a model on a device, over the whole range that a scheduler can ask for.
//!
//! The timed code is the code that serves. What an operation is, and how a predictor adds them up, stands in
//! `stages/DESIGN.md`. It does not know any workload.

use std::collections::BTreeMap;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::device::cpu::{Cpu, pace};
use crate::device::setup::{check_knobs, check_memory, machine, positions, threads, weights};
use crate::device::{DeviceSort, Hardware};
use crate::infer::schedule::Knobs;
use crate::kinds::codes;
use crate::model::card::{self, Card};
use crate::model::forward::Model;
use crate::tables;
use crate::tables::run::{META, Named, RunMeta};

mod figures;
mod gpu;
mod grid;
mod host;
mod rounds;

use grid::{Grid, Limits};

/// What `profile` can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What computes.
    pub hardware: Hardware,
    /// The scheduler whose range is covered; the same fragment as the run's.
    pub scheduler: Knobs,
    /// Seed of the random weights where none are wired.
    pub weights_seed: u64,
    /// Time to spend on timings, seconds. Every point is timed at least three times, however long that takes.
    pub seconds: f64,
    /// How close the points lie.
    pub grid: Spacing,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hardware: Hardware::default(),
            scheduler: Knobs::default(),
            weights_seed: 0,
            seconds: 12.0,
            grid: Spacing::Normal,
        }
    }
}

/// How close the points of a grid lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Sizes grow fourfold, contexts sixteenfold.
    Coarse,
    /// Sizes double, contexts grow fourfold.
    Normal,
    /// Two sizes in each doubling, contexts double.
    Fine,
}

/// Facts of a profile with their units in their names.
type Facts = BTreeMap<String, serde_json::Value>;

/// The kind.
#[derive(Debug)]
pub struct Profile;

impl StageKind for Profile {
    type Config = Config;
    const NAME: &'static str = "profile";
    const ABOUT: &'static str = "times every operation of a model on a device";
    const CODE: Code = Code { version: 1, modules: codes::PROFILE };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.hardware.check()?;
        check_knobs(&config.scheduler, config.hardware.device)?;
        if !(config.seconds.is_finite() && config.seconds > 0.0) {
            return Err(Complaint::new("seconds", format!("{} is no time to measure in", config.seconds))
                .help("give seconds above 0"));
        }
        Ok(Contract {
            inputs: vec![
                Port::new("model", "model", "the card").by_meaning(card::MEANING),
                Port::new("weights", "weights", "safetensors or GGUF; seeded random ones if left out").optional(),
            ],
            outputs: vec![Port::new("ops", "ops", "ops.parquet, a row a measured point, and meta.json")],
            needs: config.hardware.needs(),
            oracles: config.hardware.oracles(),
            sort: Sort::Measured,
            tools: Vec::new(),
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        match config.hardware.device {
            DeviceSort::Cpu => threads(config.hardware.threads)?.install(|| on_cpu(config, io, &card)),
            DeviceSort::Cuda => gpu::on_card(config, io, &card),
        }
    }
}

/// Layers that a pass goes through where single operations are timed: enough that a layer's weights are as cold or as
/// warm in the caches as in the whole model.
const DEPTH: usize = 4;

fn on_cpu(config: &Config, io: &mut Io, card: &Card) -> Result<(), StageError> {
    let knobs = &config.scheduler;
    check_memory(&config.hardware, knobs, card)?;
    let source = weights(io, card, config.weights_seed)?;
    let about = source.about();
    let positions = positions(card, knobs);
    let model = Model::new(card, source.as_ref(), positions, usize::from(config.hardware.threads))
        .map_err(|e| StageError::new("cannot set up the model").because(&e))?;
    drop(source);
    let limits = Limits::of(knobs, positions);
    let grid = Grid::new(&limits, config.grid);
    let mut cpu = Cpu::new(model, knobs.kv_blocks, knobs.block_tokens, limits.sequences as usize);
    cpu.pool_mut().fill();
    let depth = DEPTH.min(card.layers as usize);
    let before = pace::sample();
    let measured = rounds::measure(&mut cpu, knobs, &grid, depth, config.seconds, io)?;
    let mut rows = measured.rows(card)?;
    io.progress(0, 0, "the host between iterations");
    cpu.set_depth(depth);
    rows.extend(host::measure(&mut cpu, knobs, &grid)?);
    let after = pace::sample();
    let mut facts =
        BTreeMap::from([("rounds".to_owned(), measured.rounds().into()), ("weights".to_owned(), about.into())]);
    tables::run::pace::record(&mut facts, before, after);
    write(config, io, card, &rows, facts, machine(&config.hardware))
}

fn write(
    config: &Config,
    io: &mut Io,
    card: &Card,
    rows: &[tables::ops::Row],
    facts: Facts,
    hardware: tables::run::Hardware,
) -> Result<(), StageError> {
    let directory = io.output("ops")?;
    std::fs::create_dir_all(&directory)
        .map_err(|e| StageError::new(format!("cannot make `{}`", directory.display())).because(&e))?;
    let failed = |e| StageError::new("cannot write the profile").because(&e);
    tables::write(&directory.join("ops.parquet"), &[], rows).map_err(failed)?;
    let json = |e: serde_json::Error| StageError::new("cannot print the configuration").because(&e);
    let mut meta = RunMeta::new(Profile::NAME, "paged");
    meta.knobs = serde_json::to_value(&config.scheduler).map_err(json)?;
    meta.config = serde_json::to_value(config).map_err(json)?;
    meta.model = Named { name: card.name.clone(), digest: card.digest() };
    meta.hardware = Some(hardware);
    meta.versions.insert("pipe".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    meta.facts = facts;
    meta.write(&directory.join(META)).map_err(failed)?;
    io.metric("points", rows.len() as f64, "rows");
    Ok(())
}

#[cfg(test)]
mod tests;
