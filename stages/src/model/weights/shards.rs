//! Weights in Hugging Face's safetensors: `model.safetensors`, or shards named by `model.safetensors.index.json`.
//!
//! Files are mapped, not read: a tensor's pages come in when it is widened and may go again after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use half::bf16;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as Kept, Metadata};

use super::{Source, WeightsError, check_finite, check_shapes, dtype_word};
use crate::model::card::{Card, Dtype};
use crate::model::names;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The part of the index that is needed.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Mapped safetensors files whose tensors are those of a card.
#[derive(Debug)]
pub struct Safetensors {
    shards: Vec<Shard>,
    place: BTreeMap<String, usize>,
    directory: PathBuf,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Bytes before the first tensor's data.
    data_start: usize,
    metadata: Metadata,
}

impl Safetensors {
    /// Opens a directory and checks every tensor of the card.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(directory: &Path, card: &Card) -> Result<Safetensors, WeightsError> {
        let index = directory.join(INDEX);
        if !index.is_file() {
            return Safetensors::open_file(&directory.join(SINGLE), card);
        }
        let text = std::fs::read(&index).map_err(|source| WeightsError::Io { path: index.clone(), source })?;
        let wrong = |message: String| WeightsError::Format {
            path: index.clone(),
            wanted: "an index of safetensors shards",
            message,
        };
        let parsed: Index = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let files: BTreeSet<&String> = parsed.weight_map.values().collect();
        if let Some(outside) = files.iter().find(|f| Path::new(f).file_name().is_none_or(|n| n != f.as_str())) {
            return Err(wrong(format!("`{outside}` is not the name of a file beside it")));
        }
        let shards = files.iter().map(|f| Shard::open(directory.join(f))).collect::<Result<Vec<_>, _>>()?;
        Safetensors { place: places(&shards), shards, directory: directory.to_owned() }.checked(card)
    }

    /// Opens one file and checks every tensor of the card.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open_file(path: &Path, card: &Card) -> Result<Safetensors, WeightsError> {
        let shards = vec![Shard::open(path.to_owned())?];
        Safetensors { place: places(&shards), shards, directory: path.to_owned() }.checked(card)
    }

    fn checked(self, card: &Card) -> Result<Safetensors, WeightsError> {
        let info = |name: &str| self.shards[*self.place.get(name)?].metadata.info(name);
        let wanted = check_shapes(&self.directory, card, |name| Some(info(name)?.shape.clone()))?;
        for (name, _) in &wanted {
            let kept = info(name).expect("its shape was found").dtype;
            let right = match card.dtype {
                Dtype::Bf16 => kept == Kept::BF16,
                Dtype::F32 => kept == Kept::F32,
            };
            if !right {
                return Err(WeightsError::Dtype {
                    path: self.path_of(name).to_owned(),
                    name: name.clone(),
                    found: format!("{kept:?}"),
                    wanted: dtype_word(card.dtype),
                });
            }
        }
        let known: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        match self.place.keys().find(|name| !known.contains(name.as_str()) && !superfluous(name, card)) {
            Some(name) => Err(WeightsError::Unknown { path: self.path_of(name).to_owned(), name: name.clone() }),
            None => Ok(self),
        }
    }

    fn path_of(&self, name: &str) -> &Path {
        self.place.get(name).map_or(self.directory.as_path(), |shard| &self.shards[*shard].path)
    }
}

/// Tensors that checkpoints carry along and nobody reads: a tied head written out, and rotary tables of old exports.
fn superfluous(name: &str, card: &Card) -> bool {
    (card.tied_embeddings && name == names::HEAD) || name.ends_with(".rotary_emb.inv_freq")
}

fn places(shards: &[Shard]) -> BTreeMap<String, usize> {
    let mut place = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        for name in shard.metadata.tensors().into_keys() {
            place.insert(name, i);
        }
    }
    place
}

impl Shard {
    fn open(path: PathBuf) -> Result<Shard, WeightsError> {
        let file = File::open(&path).map_err(|source| WeightsError::Io { path: path.clone(), source })?;
        #[expect(unsafe_code, reason = "mapping a file is the one way not to copy gigabytes")]
        // SAFETY: the map is read-only and private to this source. Stages get their inputs as content-named blobs
        // that nobody writes to after they are made; a user's own file that shrinks meanwhile raises SIGBUS, which
        // ends this stage's process and no other.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| WeightsError::Io { path: path.clone(), source })?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| WeightsError::Format {
            path: path.clone(),
            wanted: "a safetensors file",
            message: e.to_string(),
        })?;
        let data_start = header + 8;
        Ok(Shard { path, map, data_start, metadata })
    }
}

impl Safetensors {
    /// A tensor's bytes, how it is kept and in which file.
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<(&[u8], Kept, &Path), WeightsError> {
        let missing = || WeightsError::Missing {
            path: self.directory.clone(),
            name: name.to_owned(),
            shape: shape.to_vec(),
            missing: 1,
            wanted: 1,
        };
        let shard = &self.shards[*self.place.get(name).ok_or_else(missing)?];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            return Err(WeightsError::Shape {
                path: shard.path.clone(),
                name: name.to_owned(),
                found: info.shape.clone(),
                wanted: shape.to_vec(),
            });
        }
        let (start, end) = info.data_offsets;
        Ok((&shard.map[shard.data_start + start..shard.data_start + end], info.dtype, &shard.path))
    }
}

impl Source for Safetensors {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (bytes, kept, path) = self.bytes(name, shape)?;
        let numbers = match kept {
            Kept::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        };
        check_finite(path, name, numbers)
    }

    fn read_bf16(&self, name: &str, shape: &[usize]) -> Result<Option<&[u8]>, WeightsError> {
        let (bytes, kept, path) = self.bytes(name, shape)?;
        if kept != Kept::BF16 {
            return Ok(None);
        }
        let odd = |b: &[u8; 2]| !bf16::from_le_bytes(*b).is_finite();
        match bytes.as_chunks().0.par_iter().with_min_len(1 << 16).position_first(odd) {
            Some(index) => Err(WeightsError::NotFinite { path: path.to_owned(), name: name.to_owned(), index }),
            None => Ok(Some(bytes)),
        }
    }

    fn about(&self) -> String {
        match self.shards.len() {
            1 => "safetensors".to_owned(),
            n => format!("safetensors, {n} files"),
        }
    }
}
