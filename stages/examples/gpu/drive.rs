//! Sequences whose ids and blocks are given by hand, and steps made of them.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use stages::device::cuda::engine::{Engine, Operation};
use stages::device::cuda::{CudaBackend, CudaError};
use stages::infer::serve::{Backend, Batch, Sequences, Slice, Timing};

/// What a backend may ask, as vectors.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) blocks: Vec<Vec<u32>>,
    pub(crate) ids: Vec<Vec<u32>>,
}

impl Script {
    /// `sequences` sequences with room for `tokens` tokens each, their blocks scattered over the pool.
    pub(crate) fn scattered(lengths: &[usize], block_tokens: usize, blocks: usize) -> Script {
        let mut free: Vec<u32> = (0..blocks as u32).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for i in (1..free.len()).rev() {
            free.swap(i, rng.next_u32() as usize % (i + 1));
        }
        let mut free = free.into_iter();
        let mut take = |length: &usize| (&mut free).take(length.div_ceil(block_tokens)).collect::<Vec<u32>>();
        Script { blocks: lengths.iter().map(&mut take).collect(), ids: vec![Vec::new(); lengths.len()] }
    }

    /// Sets the ids of a slice and gives the slice.
    pub(crate) fn slice(&mut self, seq: usize, context: usize, ids: &[u32], yields: bool) -> Slice {
        self.ids[seq] = ids.to_vec();
        Slice { seq: seq as u32, context: context as u32, tokens: ids.len() as u32, yields }
    }

    /// A decode whose id only the card knows.
    pub(crate) fn next(&mut self, seq: usize, context: usize) -> Slice {
        self.ids[seq].clear();
        Slice { seq: seq as u32, context: context as u32, tokens: 1, yields: true }
    }
}

impl Sequences for Script {
    fn blocks(&self, seq: u32) -> &[u32] {
        &self.blocks[seq as usize]
    }
    fn token_ids(&self, seq: u32) -> &[u32] {
        &self.ids[seq as usize]
    }
}

/// One step, waited for; tokens in batch order.
pub(crate) fn step(
    backend: &mut CudaBackend,
    script: &Script,
    slices: Vec<Slice>,
) -> Result<(Vec<u32>, Timing), CudaError> {
    let mut tokens = Vec::new();
    backend.submit(&Batch { slices }, script)?;
    let timing = backend.collect(&mut tokens)?;
    Ok((tokens, timing))
}

/// Logits of every yielding slice of the step just collected.
pub(crate) fn logits(backend: &CudaBackend, outputs: usize) -> Result<Vec<Vec<f32>>, CudaError> {
    let engine: &Engine = backend.engine();
    backend.last_step().order[..outputs].iter().map(|place| engine.logits(*place as usize)).collect()
}

/// Nanoseconds of one call of each operation of a layer of the step collected last, and of what comes once.
pub(crate) fn operations(backend: &CudaBackend) -> Result<serde_json::Value, CudaError> {
    let of_layer = backend.engine().operations(backend.last_step());
    let once = [Operation::Begin, Operation::Head, Operation::Choose];
    let mut all = serde_json::Map::new();
    for operation in of_layer.iter().chain(&once) {
        backend.time(*operation)?;
        let ns = backend.time(*operation)?.min(backend.time(*operation)?);
        all.insert(format!("{operation:?}"), (ns.round() as u64).into());
    }
    Ok(all.into())
}
