//! The kind `weights`: seeded random weights of a card's exact shape, as `model.safetensors` with Hugging Face names.
//!
//! The time of a step does not depend on the values of dense weights, so that these are right for speed and meaningless
//! as text. They are made so that greedy decoding does not stick to one token: projections keep the variance of what
//! goes through them (standard deviation 1/√inputs), the embedding is small beside what the layers add, norms are
//! near 1. Values are sums of four uniform numbers (Irwin–Hall, n = 4), which is near enough to normal and needs no
//! logarithm: integer arithmetic and one multiplication, the same bits on every machine.
//!
//! Invariant: a value depends on the seed, the tensor's name and its place alone, not on threads or chunks.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Needs, Port, Sort, StageError, StageKind, Wired};
use half::bf16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kinds::codes;
use crate::model::card::{self, Card, Dtype};
use crate::random::Stream;

mod tensors;

#[cfg(test)]
mod tests;

pub use tensors::{Tensor, tensors};

/// The file in the output's directory.
pub const FILE: &str = "model.safetensors";

/// Values that one stream gives.
const CHUNK: u64 = 1 << 16;
/// Chunks that are made before they are written: what is in memory at a time (16 MiB as f32).
const CHUNKS_AT_ONCE: u64 = 64;

/// What `weights` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Every value follows from it.
    pub seed: u64,
    /// Cores to make them with; the bytes are the same.
    pub cpus: u16,
}

impl Default for Config {
    fn default() -> Config {
        Config { seed: 0, cpus: 1 }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Weights;

impl StageKind for Weights {
    type Config = Config;
    const NAME: &'static str = "weights";
    const ABOUT: &'static str = "seeded random weights of a model's exact shape: right for speed, meaningless as text";
    const CODE: Code = Code { version: 1, modules: codes::WEIGHTS };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        if config.cpus == 0 {
            return Err(Complaint::new("cpus", "nothing is made without a core").help("give at least 1"));
        }
        Ok(Contract {
            inputs: vec![Port::new("model", "model", "the card").by_meaning(card::MEANING)],
            outputs: vec![Port::new("weights", "weights", "a directory with `model.safetensors`, Hugging Face names")],
            needs: Needs { cpus: config.cpus, ..Needs::default() },
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let directory = io.output("weights")?;
        let path = directory.join(FILE);
        let failed = |e: &std::io::Error| {
            StageError::new(format!("cannot write the weights to `{}`", path.display()))
                .because(e)
                .help("they need as many bytes as the model has, free on the disk of the cache")
        };
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(io.cpus()))
            .build()
            .map_err(|e| StageError::new("cannot start threads").because(&e))?;
        std::fs::create_dir_all(&directory).map_err(|e| failed(&e))?;
        let total = card.parameters();
        threads
            .install(|| write(&path, &card, config.seed, |done| io.progress(done, total, "values")))
            .map_err(|e| failed(&e))
    }
}

/// Writes the weights of `card` as a safetensors file; `progress` hears of values done.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, card: &Card, seed: u64, mut progress: impl FnMut(u64) + Send) -> std::io::Result<()> {
    let tensors = tensors(card);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&header(&tensors, card.dtype))?;
    let mut done = 0;
    for tensor in &tensors {
        let mut at = 0;
        while at < tensor.values() {
            let end = (at + CHUNK * CHUNKS_AT_ONCE).min(tensor.values());
            let starts: Vec<u64> = (at..end).step_by(usize::try_from(CHUNK).expect("a chunk fits")).collect();
            let chunks: Vec<Vec<u8>> = starts
                .into_par_iter()
                .map(|start| {
                    let mut values = vec![0.0; usize::try_from((end - start).min(CHUNK)).expect("a chunk fits")];
                    tensor.fill(seed, start, &mut values);
                    bytes(&values, card.dtype)
                })
                .collect();
            for chunk in &chunks {
                file.write_all(chunk)?;
            }
            done += end - at;
            at = end;
            progress(done);
        }
    }
    file.flush()
}

fn bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    }
}

/// The safetensors header: 8 bytes of length, then JSON padded with blanks to a multiple of 8.
fn header(tensors: &[Tensor], dtype: Dtype) -> Vec<u8> {
    let word = match dtype {
        Dtype::F32 => "F32",
        Dtype::Bf16 => "BF16",
    };
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.values() * dtype.bytes();
        let entry = serde_json::json!({ "dtype": word, "shape": tensor.shape, "data_offsets": [offset, end] });
        entries.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut json = serde_json::Value::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.append(&mut json);
    out
}
