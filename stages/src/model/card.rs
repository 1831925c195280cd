//! A model's card: its exact shape, as `models/<name>/model.toml` or a Hugging Face `config.json` gives it.
//!
//! `head_dim` is read, never derived: Qwen3-0.6B has 128, while hidden / heads would be 64.

use serde::{Deserialize, Serialize};

/// Shape of a dense decoder-only transformer (RMSNorm, rotary positions, gated SiLU feed-forward, grouped queries).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What people call it.
    pub name: String,
    /// The family, which decides names of tensors and the use of norms on q and k.
    pub architecture: Architecture,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Width of the feed-forward layer.
    pub ffn: u32,
    /// Rows of the embedding (may exceed the tokenizer's size).
    pub vocab: u32,
    /// Token ids below this are the tokenizer's; made-up prompts are drawn below it.
    pub tokenizer_size: u32,
    /// Whether the output projection is the embedding.
    pub tied_embeddings: bool,
    /// Whether q and k are normalised per head before the rotation.
    pub qk_norm: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f64,
    /// Longest sequence.
    pub max_positions: u32,
    /// What weights and KV cache are kept in.
    pub dtype: Dtype,
    /// Files beside the card, relative to it (`tokenizer`, `weights`); the engine resolves `@model.weights`.
    #[serde(default)]
    pub files: std::collections::BTreeMap<String, String>,
}

/// Families of models that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Qwen3 dense.
    Qwen3,
    /// Llama and models of its shape (SmolLM2).
    Llama,
}

/// Number formats of weights and cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    /// 16 bits, 8 of exponent.
    Bf16,
    /// 32 bits.
    F32,
}

impl Dtype {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::Bf16 => 2,
            Dtype::F32 => 4,
        }
    }
}

impl Card {
    /// Bytes that one token takes in the KV cache: 2 · layers · kv_heads · head_dim · bytes.
    pub fn kv_bytes_per_token(&self) -> u64 {
        2 * u64::from(self.layers) * u64::from(self.kv_heads) * u64::from(self.head_dim) * self.dtype.bytes()
    }

    /// Trained numbers, an embedding that serves twice counted once.
    pub fn parameters(&self) -> u64 {
        let (hidden, head) = (u64::from(self.hidden), u64::from(self.head_dim));
        let attention = hidden * head * (u64::from(self.heads) * 2 + u64::from(self.kv_heads) * 2);
        let norms = 2 * hidden + if self.qk_norm { 2 * head } else { 0 };
        let layer = attention + 3 * hidden * u64::from(self.ffn) + norms;
        let embedding = u64::from(self.vocab) * hidden * if self.tied_embeddings { 1 } else { 2 };
        u64::from(self.layers) * layer + embedding + hidden
    }
}
