//! A model's card: its exact shape, as `models/<name>/model.toml` or a Hugging Face `config.json` gives it.
//!
//! `head_dim` is read, never derived: Qwen3-0.6B has 128, while hidden / heads would be 64.
//!
//! A card that was loaded is checked: no count is 0, heads divide, numbers are in range. This module does not know
//! tensors or weights.

use std::path::Path;

use engine::kind::{Meaning, StageError};
use serde::{Deserialize, Serialize};

mod huggingface;

#[cfg(test)]
mod tests;

/// Digests a card by what it says: blind to its format (TOML or `config.json`), comments and order.
pub const MEANING: Meaning = Meaning {
    name: "card/1",
    digest: |path| {
        let card = load(path).map_err(|e| e.to_string())?;
        Ok(*card.hash().as_bytes())
    },
};

/// Loads a card from a `model.toml` or a Hugging Face `config.json`, and checks it.
///
/// # Errors
/// When the file cannot be read, lacks a field or has one too many, says something that cannot be, or describes a
/// model that is not supported (by name).
pub fn load(path: &Path) -> Result<Card, StageError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| StageError::new(format!("cannot read the model's card `{}`", path.display())).because(&e))?;
    let card = parse(&text).map_err(|fault| {
        let error = StageError::new(format!("the model's card `{}`: {}", path.display(), fault.message));
        match fault.help {
            Some(help) => error.help(help),
            None => error,
        }
    })?;
    Ok(card)
}

/// What is wrong with a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

/// Reads a card from text: JSON is a `config.json`, the rest is TOML.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str) -> Result<Card, Fault> {
    let card = if text.trim_start().starts_with('{') {
        huggingface::parse(text)?
    } else {
        toml::from_str(text).map_err(|e| Fault::new(e.to_string().trim_end().replace('\n', "; ")))?
    };
    card.check()?;
    Ok(card)
}

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

impl Architecture {
    /// The word in a card.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Qwen3 => "qwen3",
            Architecture::Llama => "llama",
        }
    }
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
    /// What the types cannot say.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), Fault> {
        let counts = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("ffn", self.ffn),
            ("vocab", self.vocab),
            ("tokenizer_size", self.tokenizer_size),
            ("max_positions", self.max_positions),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Fault::new(format!("`{name}` is 0")));
        }
        if self.name.is_empty() {
            return Err(Fault::new("`name` is empty"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Fault::new(format!("`kv_heads` {} does not divide `heads` {}", self.kv_heads, self.heads)));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Fault::new(format!("`head_dim` {} is odd; rotary positions turn pairs", self.head_dim)));
        }
        if self.tokenizer_size > self.vocab {
            return Err(Fault::new(format!(
                "`tokenizer_size` {} is more than the {} rows of the embedding (`vocab`)",
                self.tokenizer_size, self.vocab
            )));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return Err(Fault::new(format!("`rope_theta` is {}, wanted a number above 1", self.rope_theta)));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(Fault::new(format!("`norm_eps` is {}, wanted a small positive number", self.norm_eps)));
        }
        if (self.architecture == Architecture::Qwen3) != self.qk_norm {
            return Err(Fault::new(format!(
                "`qk_norm` is {} for the architecture `{}`",
                self.qk_norm,
                self.architecture.name()
            ))
            .help("qwen3 normalises q and k, llama does not"));
        }
        Ok(())
    }

    /// Digest of what computes: every field but `name` and `files`.
    fn hash(&self) -> blake3::Hash {
        let bare = Card { name: String::new(), files: Default::default(), ..self.clone() };
        let text = serde_json::to_string(&bare).expect("a card's maps have text keys");
        blake3::Hasher::new_derive_key("pipe 2025 model card 1").update(text.as_bytes()).finalize()
    }

    /// Digest of what computes (every field but `name` and `files`), 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        self.hash().to_hex().to_string()
    }

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
