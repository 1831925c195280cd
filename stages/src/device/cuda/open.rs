//! A card set up to serve a model under a scheduler's knobs: what `bench` and `profile` both begin with.

use std::collections::BTreeMap;

use crate::infer::schedule::Knobs;
use crate::model::card::Card;
use crate::model::weights::Source;
use crate::tables::run::Hardware;

use super::backend::CudaBackend;
use super::compile::{self, Cache};
use super::driver::Device;
use super::engine::{Engine, Limits};
use super::error::CudaError;
use super::weights::Rounded;

/// Opens the card, loads `source`, takes the pool that `knobs` ask for, and plans and records everything that they
/// allow, so that no step stops for it.
///
/// # Errors
/// When a library or a card is missing, the shape is not supported or the memory does not suffice.
pub fn open(card: &Card, knobs: &Knobs, source: &dyn Source) -> Result<CudaBackend, CudaError> {
    let device = Device::open()?;
    let limits = Limits {
        tokens: knobs.max_batched_tokens as usize,
        sequences: knobs.max_sequences.min(knobs.max_batched_tokens) as usize,
        blocks: knobs.kv_blocks as usize,
        block_tokens: knobs.block_tokens as usize,
    };
    let mut engine = Engine::new(&device, card, limits, &Rounded(source), &Cache::of_user())?;
    engine.warm()?;
    CudaBackend::new(engine)
}

/// The card as it is, in the words of a run's meta.
///
/// # Errors
/// When the driver does not answer.
pub fn machine(device: &Device) -> Result<Hardware, CudaError> {
    let (major, minor) = device.capability;
    let (compiler_major, compiler_minor) = compile::version()?;
    let details = BTreeMap::from([
        ("compute_capability".to_owned(), format!("{major}.{minor}")),
        ("multiprocessors".to_owned(), device.multiprocessors.to_string()),
        ("nvrtc".to_owned(), format!("{compiler_major}.{compiler_minor}")),
    ]);
    Ok(Hardware {
        device: "cuda".to_owned(),
        name: device.name()?,
        threads: 1,
        memory_bytes: device.memory()?.1 as u64,
        details,
    })
}
