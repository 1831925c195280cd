//! Weights in a GGUF file, dequantised to f32 by candle.
//!
//! Files of the `llama` architecture keep the rows of q and k interleaved for the rotation of neighbouring pairs
//! (llama.cpp's converter permutes them); ours, as Hugging Face's, rotates the two halves of a head, so those rows
//! are put back. `qwen3` files are not permuted. A tensor's dimensions stand in the file innermost first; candle turns
//! them round.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::Content;

use super::{Source, WeightsError, check_finite, check_shapes};
use crate::model::card::{Architecture, Card};
use crate::model::names;

/// A GGUF file whose tensors are those of a card.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    content: Content,
    architecture: Architecture,
    heads: usize,
    kv_heads: usize,
}

impl Gguf {
    /// Opens a file and checks its architecture and every tensor of the card.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(path: &Path, card: &Card) -> Result<Gguf, WeightsError> {
        let content = Content::read(&mut reader(path)?).map_err(|e| format_error(path, &e))?;
        let found = content
            .metadata
            .get("general.architecture")
            .and_then(|v| v.to_string().ok())
            .ok_or_else(|| WeightsError::Format {
                path: path.to_owned(),
                wanted: "a GGUF file of a model",
                message: "it does not say `general.architecture`".to_owned(),
            })?
            .clone();
        let wanted = match card.architecture {
            Architecture::Qwen3 => "qwen3",
            Architecture::Llama => "llama",
        };
        if found != wanted {
            return Err(WeightsError::Architecture { path: path.to_owned(), found, wanted });
        }
        let gguf = Gguf {
            path: path.to_owned(),
            content,
            architecture: card.architecture,
            heads: card.heads as usize,
            kv_heads: card.kv_heads as usize,
        };
        check_shapes(path, card, |name| {
            let info = gguf.content.tensor_infos.get(&local_name(name)?)?;
            Some(info.shape.dims().to_vec())
        })?;
        Ok(gguf)
    }

    /// Heads whose rows are interleaved in this tensor.
    fn interleaved_heads(&self, name: &str) -> Option<usize> {
        if self.architecture != Architecture::Llama {
            return None;
        }
        if name.ends_with(".q_proj.weight") {
            return Some(self.heads);
        }
        name.ends_with(".k_proj.weight").then_some(self.kv_heads)
    }
}

fn reader(path: &Path) -> Result<BufReader<File>, WeightsError> {
    File::open(path).map(BufReader::new).map_err(|source| WeightsError::Io { path: path.to_owned(), source })
}

fn format_error(path: &Path, error: &candle_core::Error) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), wanted: "a GGUF file", message: error.to_string() }
}

/// The name that llama.cpp gives a tensor of Hugging Face's name.
pub(super) fn local_name(name: &str) -> Option<String> {
    match name {
        names::EMBEDDING => return Some("token_embd.weight".to_owned()),
        names::FINAL_NORM => return Some("output_norm.weight".to_owned()),
        names::HEAD => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let word = match part.strip_suffix(".weight")? {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.o_proj" => "attn_output",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{word}.weight"))
}

/// Puts interleaved rows back into halves: row `2i + h` of a head becomes its row `h · d/2 + i`.
pub(super) fn halves_from_pairs(rows: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head_dim = rows.len() / width / heads;
    let mut out = Vec::with_capacity(rows.len());
    for head in 0..heads {
        for half in 0..2 {
            for i in 0..head_dim / 2 {
                let row = head * head_dim + 2 * i + half;
                out.extend_from_slice(&rows[row * width..][..width]);
            }
        }
    }
    out
}

impl Source for Gguf {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let missing = || WeightsError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            shape: shape.to_vec(),
            missing: 1,
            wanted: 1,
        };
        let local = local_name(name).ok_or_else(missing)?;
        let numbers = self
            .content
            .tensor(&mut reader(&self.path)?, &local, &Device::Cpu)
            .and_then(|t| t.dequantize(&Device::Cpu))
            .and_then(|t| t.flatten_all()?.to_vec1::<f32>())
            .map_err(|e| format_error(&self.path, &e))?;
        if numbers.len() != shape.iter().product::<usize>() {
            return Err(missing());
        }
        let numbers = check_finite(&self.path, name, numbers)?;
        Ok(match self.interleaved_heads(name) {
            Some(heads) => halves_from_pairs(&numbers, heads, shape[1]),
            None => numbers,
        })
    }

    fn about(&self) -> String {
        "GGUF, dequantised".to_owned()
    }
}
