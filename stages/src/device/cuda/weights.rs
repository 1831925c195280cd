//! A model's weights on the card, laid out for the kernels: q, k, v in one matrix, gate and up in one.

use std::borrow::Cow;
use std::rc::Rc;

use half::bf16;
use rayon::prelude::*;

use crate::model::weights::Source;

use super::driver::{Buffer, Device};
use super::error::CudaError;
use super::kernels::Dimensions;

/// Where tensors come from, by their Hugging Face names.
pub trait Tensors {
    /// The bf16 numbers of `name`, little-endian, row by row; `shape` is what is expected.
    ///
    /// # Errors
    /// Why it cannot be had: absent, another shape or another type.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [u8]>, String>;
}

/// Tensors of a source: its own bf16 words where it keeps such, else its numbers rounded.
pub struct Rounded<'a>(pub &'a dyn Source);

impl Tensors for Rounded<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [u8]>, String> {
        if let Some(words) = self.0.read_bf16(name, shape).map_err(|e| e.to_string())? {
            return Ok(Cow::Borrowed(words));
        }
        let numbers = self.0.read(name, shape).map_err(|e| e.to_string())?;
        let mut bytes = vec![0u8; numbers.len() * 2];
        bytes.par_chunks_exact_mut(2).zip(numbers.par_iter()).with_min_len(1 << 14).for_each(|(pair, number)| {
            pair.copy_from_slice(&bf16::from_f32(*number).to_le_bytes());
        });
        Ok(Cow::Owned(bytes))
    }
}

/// One transformer block.
#[derive(Debug)]
pub struct Layer {
    /// RMSNorm before attention, `[hidden]`.
    pub attention_norm: Buffer,
    /// `[qkv, hidden]`.
    pub qkv: Buffer,
    /// `[head_dim]`, or empty.
    pub q_norm: Buffer,
    /// `[head_dim]`, or empty.
    pub k_norm: Buffer,
    /// `[hidden, heads · head_dim]`.
    pub o: Buffer,
    /// RMSNorm before the feed-forward layer, `[hidden]`.
    pub ffn_norm: Buffer,
    /// Gate, then up: `[2 · ffn, hidden]`.
    pub gate_up: Buffer,
    /// `[hidden, ffn]`.
    pub down: Buffer,
}

impl Layer {
    /// Where everything lies, in the order of `WholeLayer` in `kernels/whole.cu`.
    pub fn pointers(&self) -> [u64; 8] {
        let all = [
            &self.attention_norm,
            &self.qkv,
            &self.q_norm,
            &self.k_norm,
            &self.o,
            &self.ffn_norm,
            &self.gate_up,
            &self.down,
        ];
        all.map(Buffer::pointer)
    }
}

/// All of a model.
#[derive(Debug)]
pub struct Weights {
    /// `[vocab, hidden]`.
    pub embedding: Buffer,
    /// `[vocab, hidden]`; none where the embedding serves.
    pub head: Option<Buffer>,
    /// The last RMSNorm, `[hidden]`.
    pub norm: Buffer,
    /// In order.
    pub layers: Vec<Layer>,
    /// `[positions, head_dim / 2]` pairs of cosine and sine, f32.
    pub angles: Buffer,
}

impl Weights {
    /// Copies everything to the card.
    ///
    /// # Errors
    /// When a tensor cannot be had or the card's memory does not suffice.
    pub fn load(device: &Rc<Device>, d: &Dimensions, tied: bool, tensors: &dyn Tensors) -> Result<Weights, CudaError> {
        let loader = Loader { device, tensors };
        let embedding = loader.joined(&["model.embed_tokens"], &[&[d.vocab, d.hidden]])?;
        let head = if tied { None } else { Some(loader.joined(&["lm_head"], &[&[d.vocab, d.hidden]])?) };
        let layers = (0..d.layers).map(|i| loader.layer(d, i)).collect::<Result<_, _>>()?;
        Ok(Weights {
            embedding,
            head,
            norm: loader.joined(&["model.norm"], &[&[d.hidden]])?,
            layers,
            angles: Buffer::from_host(device, &angles(d), "rotary angles")?,
        })
    }

    /// The output projection.
    pub fn head(&self) -> &Buffer {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

/// cos and sin of position · theta^(-2i / head_dim), for each position and i below head_dim / 2.
fn angles(d: &Dimensions) -> Vec<f32> {
    let half = d.head_dim / 2;
    let frequencies: Vec<f64> = (0..half).map(|i| d.rope_theta.powf(-2.0 * i as f64 / d.head_dim as f64)).collect();
    let mut all = Vec::with_capacity(d.positions * d.head_dim);
    for position in 0..d.positions {
        for frequency in &frequencies {
            let (sine, cosine) = (position as f64 * frequency).sin_cos();
            all.extend([cosine as f32, sine as f32]);
        }
    }
    all
}

struct Loader<'a> {
    device: &'a Rc<Device>,
    tensors: &'a dyn Tensors,
}

impl Loader<'_> {
    fn layer(&self, d: &Dimensions, layer: usize) -> Result<Layer, CudaError> {
        let (q, kv, h) = (d.attended(), d.kv_heads * d.head_dim, d.hidden);
        let join = |parts: &[&str], shapes: &[&[usize]]| {
            let names: Vec<String> = parts.iter().map(|part| format!("model.layers.{layer}.{part}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.joined(&names, shapes)
        };
        let head_norm = |part: &str| {
            if d.qk_norm { join(&[part], &[&[d.head_dim]]) } else { Buffer::zeroed(self.device, 0, "nothing") }
        };
        Ok(Layer {
            attention_norm: join(&["input_layernorm"], &[&[h]])?,
            qkv: join(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], &[&[q, h], &[kv, h], &[kv, h]])?,
            q_norm: head_norm("self_attn.q_norm")?,
            k_norm: head_norm("self_attn.k_norm")?,
            o: join(&["self_attn.o_proj"], &[&[h, q]])?,
            ffn_norm: join(&["post_attention_layernorm"], &[&[h]])?,
            gate_up: join(&["mlp.gate_proj", "mlp.up_proj"], &[&[d.ffn, h], &[d.ffn, h]])?,
            down: join(&["mlp.down_proj"], &[&[h, d.ffn]])?,
        })
    }

    /// Tensors `<name>.weight`, one after another in one buffer.
    fn joined(&self, names: &[&str], shapes: &[&[usize]]) -> Result<Buffer, CudaError> {
        let bytes: usize = shapes.iter().map(|shape| shape.iter().product::<usize>() * 2).sum();
        let buffer = Buffer::zeroed(self.device, bytes, "weights")?;
        let mut at = 0;
        for (name, shape) in names.iter().zip(shapes) {
            let name = format!("{name}.weight");
            let fault = |reason: String| CudaError::Tensor { name: name.clone(), reason };
            let data = self.tensors.tensor(&name, shape).map_err(fault)?;
            let wanted = shape.iter().product::<usize>() * 2;
            if data.len() != wanted {
                return Err(fault(format!("it has {} bytes, and {shape:?} in bf16 takes {wanted}", data.len())));
            }
            buffer.write(at, &data)?;
            at += wanted;
        }
        Ok(buffer)
    }
}
