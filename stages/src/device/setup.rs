//! What `bench` and `profile` do alike before they measure: check the knobs against the device, see that everything
//! fits, find the weights, start the threads. What differs between them is not known here.

use engine::exec::Io;
use engine::kind::{Complaint, StageError};

use super::cpu::memory;
use super::{DeviceSort, Hardware};
use crate::infer::schedule::Knobs;
use crate::model::card::Card;
use crate::model::weights::{self, Seeded, Source};

/// Checks the scheduler's knobs, and that the device can do what they ask for.
pub fn check_knobs(knobs: &Knobs, device: DeviceSort) -> Result<(), Complaint> {
    knobs.check().map_err(|(field, message)| Complaint::new(format!("scheduler.{field}"), message))?;
    if device == DeviceSort::Cpu && knobs.pipelined {
        return Err(Complaint::new(
            "scheduler.pipelined",
            "the processor works in the loop's own thread: scheduling cannot hide behind it",
        )
        .help("set `pipelined = false`, or take a card"));
    }
    Ok(())
}

/// The threads that a stage computes with, its caller among them.
pub fn threads(n: u16) -> Result<rayon::ThreadPool, StageError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(usize::from(n))
        .build()
        .map_err(|e| StageError::new(format!("cannot start {n} threads")).because(&e))
}

/// The longest sequence that a model is set up for: what the pool and the model can hold, and nobody needs more.
pub fn positions(card: &Card, knobs: &Knobs) -> usize {
    usize::try_from(knobs.pool_tokens().min(u64::from(card.max_positions))).expect("a u32 fits")
}

/// The weights that are wired, or seeded ones.
pub fn weights(io: &Io, card: &Card, seed: u64) -> Result<Box<dyn Source>, StageError> {
    match io.optional("weights") {
        Some(source) => weights::open(&source.path, card).map_err(|e| {
            StageError::new(format!("cannot use the weights `{}`", source.label))
                .because(&e)
                .help("they must be those of the wired model's card")
        }),
        None => Ok(Box::new(Seeded::new(card, seed))),
    }
}

/// Refuses what does not fit into the memory that was declared, or is there.
pub fn check_memory(hardware: &Hardware, knobs: &Knobs, card: &Card) -> Result<(), StageError> {
    let declared = (hardware.memory_mib > 0).then_some(hardware.memory_mib << 20);
    match declared.into_iter().chain(memory::available()).min() {
        Some(limit) => memory::Demand::of(card, knobs)
            .check(limit, knobs)
            .map_err(|(message, help)| StageError::new(message).help(help)),
        None => Ok(()),
    }
}

/// The processor as it is, in the words of a run's meta.
pub fn machine(hardware: &Hardware) -> crate::tables::run::Hardware {
    crate::tables::run::Hardware {
        device: hardware.device.word().to_owned(),
        name: memory::processor(),
        threads: u32::from(hardware.threads),
        memory_bytes: memory::available().unwrap_or(0),
        details: std::collections::BTreeMap::new(),
    }
}
