//! A card from a Hugging Face `config.json`. What is not supported is refused by name, never ignored: a window of
//! attention, experts, scaled rotary positions and biases change what a step computes and costs.

use serde::Deserialize;
use serde_json::Value;

use super::{Architecture, Card, Dtype, Fault};

/// Fields that matter, of the many that are there.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(rename = "_name_or_path", default)]
    name: Option<String>,
    num_hidden_layers: u32,
    hidden_size: u32,
    num_attention_heads: u32,
    #[serde(default)]
    num_key_value_heads: Option<u32>,
    #[serde(default)]
    head_dim: Option<u32>,
    intermediate_size: u32,
    vocab_size: u32,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<Value>,
    #[serde(default)]
    rope_parameters: Option<Value>,
    rms_norm_eps: f64,
    max_position_embeddings: u32,
    #[serde(default)]
    torch_dtype: Option<String>,
    #[serde(default)]
    dtype: Option<String>,
    #[serde(default)]
    use_sliding_window: Option<bool>,
    #[serde(default)]
    sliding_window: Option<Value>,
    #[serde(default)]
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    num_experts: Option<u32>,
    #[serde(default)]
    num_local_experts: Option<u32>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    quantization_config: Option<Value>,
}

pub(super) fn parse(text: &str) -> Result<Card, Fault> {
    let config: Config = serde_json::from_str(text).map_err(|e| Fault::new(e.to_string()))?;
    let architecture = architecture(&config)?;
    refuse_the_unsupported(&config)?;
    let kv_heads = config.num_key_value_heads.unwrap_or(config.num_attention_heads);
    Ok(Card {
        name: config.name.clone().unwrap_or_else(|| config.model_type.clone()),
        architecture,
        layers: config.num_hidden_layers,
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        kv_heads,
        head_dim: head_dim(&config, architecture)?,
        ffn: config.intermediate_size,
        vocab: config.vocab_size,
        // The file does not know the tokenizer.
        tokenizer_size: config.vocab_size,
        tied_embeddings: config.tie_word_embeddings.unwrap_or(false),
        qk_norm: architecture == Architecture::Qwen3,
        rope_theta: rope_theta(&config)?,
        norm_eps: config.rms_norm_eps,
        max_positions: config.max_position_embeddings,
        dtype: dtype(&config)?,
        files: Default::default(),
    })
}

fn architecture(config: &Config) -> Result<Architecture, Fault> {
    match config.model_type.as_str() {
        "qwen3" => Ok(Architecture::Qwen3),
        "llama" => Ok(Architecture::Llama),
        other => {
            let class = config.architectures.first().map_or(String::new(), |class| format!(" ({class})"));
            Err(Fault::new(format!("models of type `{other}`{class} are not supported"))
                .help("supported are dense `qwen3` and `llama`"))
        }
    }
}

/// Qwen3 always writes it; only for Llama is hidden / heads its definition.
fn head_dim(config: &Config, architecture: Architecture) -> Result<u32, Fault> {
    match (config.head_dim, architecture) {
        (Some(width), _) => Ok(width),
        (None, Architecture::Llama) => {
            let heads = config.num_attention_heads;
            config
                .hidden_size
                .checked_div(heads)
                .filter(|width| width * heads == config.hidden_size)
                .ok_or_else(|| Fault::new(format!("{heads} heads do not divide `hidden_size` {}", config.hidden_size)))
        }
        (None, Architecture::Qwen3) => {
            Err(Fault::new("there is no `head_dim`, and for qwen3 it does not follow from the rest"))
        }
    }
}

fn rope_theta(config: &Config) -> Result<f64, Fault> {
    let of_parameters = config.rope_parameters.as_ref().and_then(|p| p.get("rope_theta")).and_then(Value::as_f64);
    config.rope_theta.or(of_parameters).ok_or_else(|| Fault::new("there is no `rope_theta`"))
}

fn dtype(config: &Config) -> Result<Dtype, Fault> {
    match config.torch_dtype.as_deref().or(config.dtype.as_deref()) {
        Some("bfloat16") => Ok(Dtype::Bf16),
        Some("float32") => Ok(Dtype::F32),
        Some(other) => Err(Fault::new(format!("weights in `{other}` are not supported"))
            .help("supported are `bfloat16` and `float32`")),
        None => Err(Fault::new("there is neither `torch_dtype` nor `dtype`")),
    }
}

fn refuse_the_unsupported(config: &Config) -> Result<(), Fault> {
    let no = |what: String| Err(Fault::new(format!("{what} is not supported")));
    if let Some(experts) = config.num_experts.or(config.num_local_experts).filter(|n| *n > 1) {
        return no(format!("a mixture of {experts} experts"));
    }
    // Qwen writes the window's width also where it is switched off.
    let window = config.sliding_window.as_ref().is_some_and(|w| !w.is_null());
    if config.use_sliding_window.unwrap_or(window) {
        return no("a sliding window of attention".to_owned());
    }
    if let Some(kind) = config.layer_types.iter().flatten().find(|kind| *kind != "full_attention") {
        return no(format!("attention of type `{kind}`"));
    }
    let kind = |v: &Value| v.get("rope_type").or_else(|| v.get("type")).and_then(Value::as_str).map(str::to_owned);
    for (name, scaling) in [("rope_scaling", &config.rope_scaling), ("rope_parameters", &config.rope_parameters)] {
        if let Some(scaling) = scaling.as_ref().filter(|v| !v.is_null()) {
            let kind =
                kind(scaling).unwrap_or_else(|| if name == "rope_parameters" { "default" } else { "?" }.to_owned());
            if kind != "default" {
                return no(format!("`{name}` of type `{kind}`"));
            }
        }
    }
    if config.attention_bias == Some(true) || config.mlp_bias == Some(true) {
        return no("a bias in attention or feed-forward layers".to_owned());
    }
    if let Some(activation) = config.hidden_act.as_deref().filter(|a| *a != "silu") {
        return no(format!("the activation `{activation}`"));
    }
    if config.quantization_config.as_ref().is_some_and(|q| !q.is_null()) {
        return no("a quantised model (`quantization_config`)".to_owned());
    }
    Ok(())
}
