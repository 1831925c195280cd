//! Where a model's numbers come from: safetensors (one file or sharded), GGUF, or a seed.
//!
//! Every source answers with f32, in Hugging Face's names, shapes and row order, whatever it keeps. Opening one checks
//! all tensors of the card: name, shape and number format. It does not know what the numbers are for.

use std::path::{Path, PathBuf};

use super::card::{Card, Dtype};
use super::names;

mod gguf;
mod seeded;
mod shards;

pub use gguf::Gguf;
pub use seeded::Seeded;
pub use shards::Safetensors;

/// Gives tensors by name.
pub trait Source: Send + Sync {
    /// The numbers of `name`, row-major, `shape` as [`names::all`] gives it.
    ///
    /// # Errors
    /// When it cannot be read or holds another shape.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError>;

    /// The same as bf16 words, little-endian, where it keeps them so: no number is widened only to be narrowed again.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn read_bf16(&self, _name: &str, _shape: &[usize]) -> Result<Option<&[u8]>, WeightsError> {
        Ok(None)
    }

    /// What it is, for a run's meta: `safetensors, 2 files`.
    fn about(&self) -> String;
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("`{}` is not {wanted}: {message}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// `safetensors`, `a GGUF file`…
        wanted: &'static str,
        /// What the parser says.
        message: String,
    },
    /// Nothing there looks like weights.
    #[error("`{}` holds neither `model.safetensors`, `model.safetensors.index.json` nor a `.gguf` file", path.display())]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// A tensor is missing.
    #[error("`{}` lacks the tensor `{name}` {shape:?} of the card ({missing} of {wanted} are missing)", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
        /// The first that is missing.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many are missing.
        missing: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// A tensor has another shape.
    #[error("`{name}` in `{}` has the shape {found:?}, the card says {wanted:?}", path.display())]
    Shape {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// By the card.
        wanted: Vec<usize>,
    },
    /// A tensor has another number format.
    #[error("`{name}` in `{}` is kept in {found}, the card says {wanted}", path.display())]
    Dtype {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
        /// In the file.
        found: String,
        /// By the card.
        wanted: &'static str,
    },
    /// A tensor that the architecture has no use for.
    #[error("`{}` holds the tensor `{name}`, which the card's architecture does not have", path.display())]
    Unknown {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
    },
    /// The file is of another architecture.
    #[error("`{}` holds a model of the architecture `{found}`, the card says `{wanted}`", path.display())]
    Architecture {
        /// Where.
        path: PathBuf,
        /// In the file.
        found: String,
        /// By the card.
        wanted: &'static str,
    },
    /// A tensor holds something that is no number.
    #[error("`{name}` in `{}` holds NaN or infinity at index {index}", path.display())]
    NotFinite {
        /// Where.
        path: PathBuf,
        /// Which.
        name: String,
        /// Of the first such number, row-major.
        index: usize,
    },
}

/// Opens the weights at `path` (a directory with safetensors or one GGUF file, or such a file) and checks every
/// tensor of the card.
///
/// # Errors
/// When a file cannot be read, or a tensor is missing, has another shape or another number format than the card says.
pub fn open(path: &Path, card: &Card) -> Result<Box<dyn Source>, WeightsError> {
    if path.is_dir() {
        if path.join(shards::INDEX).is_file() || path.join(shards::SINGLE).is_file() {
            return Ok(Box::new(Safetensors::open(path, card)?));
        }
        return match only_gguf(path)? {
            Some(file) => Ok(Box::new(Gguf::open(&file, card)?)),
            None => Err(WeightsError::Nothing { path: path.to_owned() }),
        };
    }
    if path.extension().is_some_and(|e| e == "gguf") || has_magic(path, b"GGUF")? {
        return Ok(Box::new(Gguf::open(path, card)?));
    }
    Ok(Box::new(Safetensors::open_file(path, card)?))
}

/// The one `.gguf` file of a directory; `None` if there is none or more than one.
fn only_gguf(directory: &Path) -> Result<Option<PathBuf>, WeightsError> {
    let io = |source| WeightsError::Io { path: directory.to_owned(), source };
    let mut found = None;
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "gguf") && found.replace(path).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

fn has_magic(path: &Path, magic: &[u8; 4]) -> Result<bool, WeightsError> {
    use std::io::Read as _;
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut head = [0; 4];
    let mut file = std::fs::File::open(path).map_err(io)?;
    match file.read_exact(&mut head) {
        Ok(()) => Ok(&head == magic),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(io(e)),
    }
}

fn dtype_word(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bf16 => "BF16",
        Dtype::F32 => "F32",
    }
}

/// Compares what a file holds with what the card wants: `found` gives the shape of a tensor by name.
fn check_shapes(
    path: &Path,
    card: &Card,
    found: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<Vec<(String, Vec<usize>)>, WeightsError> {
    let wanted = names::all(card);
    let missing: Vec<_> = wanted.iter().filter(|(name, _)| found(name).is_none()).collect();
    if let Some((name, shape)) = missing.first() {
        return Err(WeightsError::Missing {
            path: path.to_owned(),
            name: name.clone(),
            shape: shape.clone(),
            missing: missing.len(),
            wanted: wanted.len(),
        });
    }
    for (name, shape) in &wanted {
        let found = found(name).expect("none is missing");
        if &found != shape {
            return Err(WeightsError::Shape {
                path: path.to_owned(),
                name: name.clone(),
                found,
                wanted: shape.clone(),
            });
        }
    }
    Ok(wanted)
}

fn check_finite(path: &Path, name: &str, numbers: Vec<f32>) -> Result<Vec<f32>, WeightsError> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(numbers),
        Some(index) => Err(WeightsError::NotFinite { path: path.to_owned(), name: name.to_owned(), index }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
