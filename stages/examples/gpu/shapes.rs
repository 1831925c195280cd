//! Other dense shapes by the same code, and real weights: does a model run, how long does it decode, how long does it load.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use stages::device::cuda::compile::Cache;
use stages::device::cuda::kernels::Dimensions;
use stages::device::cuda::weights::{Rounded, Tensors, Weights};
use stages::device::cuda::{CudaBackend, Device, Engine, Limits};
use stages::model::card;
use stages::model::weights;

use crate::bench::{copy_rate, decode_step};
use crate::seeded::Seeded;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A few million seeded numbers over and over: gigabytes in no time, and no tensor is all alike.
struct Repeated {
    matrix: Vec<u8>,
}

impl Tensors for Repeated {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [u8]>, String> {
        if shape.len() == 1 {
            return Ok(Cow::Owned(Seeded { seed: 7 }.tensor(name, shape)?.into_owned()));
        }
        let bytes = shape.iter().product::<usize>() * 2;
        Ok(Cow::Owned(self.matrix.iter().copied().cycle().take(bytes).collect()))
    }
}

/// Decodes with each card's shape; the floor is weights and KV once over at the copy rate.
pub(crate) fn larger(cards: &[PathBuf], batches: &[usize]) -> Outcome<Value> {
    let device = Device::open()?;
    let rate = copy_rate(&device)?;
    let mut rows = Vec::new();
    for path in cards {
        let card = card::load(path)?;
        let matrix = Seeded { seed: 7 }.tensor("model.layers.0.mlp", &[4096, 1024])?.into_owned();
        let limits = Limits { tokens: 1024, sequences: 32, blocks: 2048, block_tokens: 16 };
        let engine = Engine::new(&device, &card, limits, &Repeated { matrix }, &Cache::of_user())?;
        let mut backend = CudaBackend::new(engine)?;
        for batch in batches {
            let bytes = (2.0 * card.parameters() as f64, card.kv_bytes_per_token() as f64);
            let row = decode_step(&mut backend, *batch, rate, bytes)?;
            println!("{}: batch {batch}: {} ms, floor {} ms", card.name, row["step_ms"], row["floor_ms"]);
            rows.push(json!({ "card": card.name, "row": row }));
        }
    }
    Ok(json!({ "card": device.name()?, "copy_bytes_per_s": rate, "rows": rows }))
}

/// Opens each directory's safetensors and brings all tensors to the card, twice: the second time the files are in memory.
pub(crate) fn load(cards: &[PathBuf], directories: &[PathBuf]) -> Outcome<Value> {
    let device = Device::open()?;
    let mut rows = Vec::new();
    for (path, directory) in cards.iter().zip(directories) {
        let card = card::load(path)?;
        let dimensions = Dimensions::of(&card)?;
        for _ in 0..2 {
            let began = Instant::now();
            let source = weights::open(directory, &card)?;
            Weights::load(&device, &dimensions, card.tied_embeddings, &Rounded(source.as_ref()))?;
            device.synchronize()?;
            let seconds = began.elapsed().as_secs_f64();
            println!("{}: {} parameters on the card in {seconds:.2} s", card.name, card.parameters());
            rows.push(json!({ "card": card.name, "parameters": card.parameters(), "seconds": seconds }));
        }
    }
    Ok(json!({ "card": device.name()?, "rows": rows }))
}
