//! The plain reference: candle-transformers' own models on the same weights, one sequence at a time, with the cache
//! inside the layers. Slow beside [`forward`](super::forward), and nobody here wrote it: numerics are compared with it,
//! and `bench` can run it as a backend.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, qwen3};

use super::card::{Architecture, Card};
use super::forward::ModelError;
use super::names;
use super::weights::Source;

/// One of candle-transformers' models with the cache of one sequence.
pub struct Reference {
    model: Family,
}

enum Family {
    Qwen3(Box<qwen3::ModelForCausalLM>),
    Llama { model: Box<llama::Llama>, config: Box<llama::Config>, cache: Box<llama::Cache> },
}

impl Reference {
    /// The model of `card` with the weights of `source`, for sequences of at most `positions` tokens.
    ///
    /// # Errors
    /// When a tensor cannot be read, or candle-transformers cannot say the shape.
    pub fn new(card: &Card, source: &dyn Source, positions: usize) -> std::result::Result<Reference, ModelError> {
        let mut tensors = HashMap::new();
        for (name, shape) in names::all(card) {
            let numbers = source.read(&name, &shape)?;
            tensors.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu)?);
        }
        let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let positions = positions.min(card.max_positions as usize);
        let model = match card.architecture {
            Architecture::Qwen3 => {
                Family::Qwen3(Box::new(qwen3::ModelForCausalLM::new(&qwen3_config(card, positions), variables)?))
            }
            Architecture::Llama => {
                if card.head_dim * card.heads != card.hidden {
                    return Err(candle_core::Error::Msg(format!(
                        "candle-transformers' llama derives the head's width: {} heads of {} are not {}",
                        card.heads, card.head_dim, card.hidden
                    ))
                    .into());
                }
                let config = llama_config(card, positions);
                let cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
                let model = llama::Llama::load(variables, &config)?;
                Family::Llama { model: Box::new(model), config: Box::new(config), cache: Box::new(cache) }
            }
        };
        Ok(Reference { model })
    }

    /// Appends `ids` to the sequence, which holds `offset` tokens so far; the logits `[vocab]` after the last.
    ///
    /// # Errors
    /// When candle fails.
    pub fn forward(&mut self, ids: &[u32], offset: usize) -> Result<Vec<f32>> {
        let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match &mut self.model {
            Family::Qwen3(model) => model.forward(&input, offset)?,
            Family::Llama { model, cache, .. } => model.forward(&input, offset, cache)?,
        };
        logits.flatten_all()?.to_vec1()
    }

    /// Begins a new sequence.
    ///
    /// # Errors
    /// When candle fails.
    pub fn clear(&mut self) -> Result<()> {
        match &mut self.model {
            Family::Qwen3(model) => model.clear_kv_cache(),
            Family::Llama { config, cache, .. } => {
                **cache = llama::Cache::new(true, DType::F32, config, &Device::Cpu)?;
            }
        }
        Ok(())
    }
}

fn qwen3_config(card: &Card, positions: usize) -> qwen3::Config {
    qwen3::Config {
        vocab_size: card.vocab as usize,
        hidden_size: card.hidden as usize,
        intermediate_size: card.ffn as usize,
        num_hidden_layers: card.layers as usize,
        num_attention_heads: card.heads as usize,
        head_dim: card.head_dim as usize,
        attention_bias: false,
        num_key_value_heads: card.kv_heads as usize,
        max_position_embeddings: positions,
        sliding_window: None,
        max_window_layers: 0,
        tie_word_embeddings: card.tied_embeddings,
        rope_theta: card.rope_theta,
        rms_norm_eps: card.norm_eps,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn llama_config(card: &Card, positions: usize) -> llama::Config {
    llama::Config {
        hidden_size: card.hidden as usize,
        intermediate_size: card.ffn as usize,
        vocab_size: card.vocab as usize,
        num_hidden_layers: card.layers as usize,
        num_attention_heads: card.heads as usize,
        num_key_value_heads: card.kv_heads as usize,
        use_flash_attn: false,
        rms_norm_eps: card.norm_eps,
        rope_theta: card.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: positions,
        tie_word_embeddings: card.tied_embeddings,
    }
}
