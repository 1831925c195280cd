//! Which tensors a model is made of: names as Hugging Face writes them, shapes, and what each is for.
//!
//! A linear layer's shape is `[out, in]`, rows are outputs.

use super::card::Card;

/// The embedding, `[vocab, hidden]`.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The norm before the output projection, `[hidden]`.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The output projection, `[vocab, hidden]`; absent where the embedding serves.
pub const HEAD: &str = "lm_head.weight";

/// What a tensor of a layer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Norm before attention, `[hidden]`.
    InputNorm,
    /// Queries, `[heads · head_dim, hidden]`.
    Q,
    /// Keys, `[kv_heads · head_dim, hidden]`.
    K,
    /// Values, `[kv_heads · head_dim, hidden]`.
    V,
    /// Norm of each query head, `[head_dim]`.
    QNorm,
    /// Norm of each key head, `[head_dim]`.
    KNorm,
    /// Attention's output, `[hidden, heads · head_dim]`.
    O,
    /// Norm before the feed-forward layer, `[hidden]`.
    PostNorm,
    /// Gate, `[ffn, hidden]`.
    Gate,
    /// Up, `[ffn, hidden]`.
    Up,
    /// Down, `[hidden, ffn]`.
    Down,
}

impl Part {
    const ALL: [Part; 11] = [
        Part::InputNorm,
        Part::Q,
        Part::K,
        Part::V,
        Part::QNorm,
        Part::KNorm,
        Part::O,
        Part::PostNorm,
        Part::Gate,
        Part::Up,
        Part::Down,
    ];

    fn word(self) -> &'static str {
        match self {
            Part::InputNorm => "input_layernorm",
            Part::Q => "self_attn.q_proj",
            Part::K => "self_attn.k_proj",
            Part::V => "self_attn.v_proj",
            Part::QNorm => "self_attn.q_norm",
            Part::KNorm => "self_attn.k_norm",
            Part::O => "self_attn.o_proj",
            Part::PostNorm => "post_attention_layernorm",
            Part::Gate => "mlp.gate_proj",
            Part::Up => "mlp.up_proj",
            Part::Down => "mlp.down_proj",
        }
    }

    /// Its name in layer `layer`.
    pub fn name(self, layer: u32) -> String {
        format!("model.layers.{layer}.{}.weight", self.word())
    }

    /// Its shape in the model of `card`.
    pub fn shape(self, card: &Card) -> Vec<usize> {
        let [hidden, ffn, head] = [card.hidden, card.ffn, card.head_dim].map(|n| n as usize);
        let (q, kv) = (card.heads as usize * head, card.kv_heads as usize * head);
        match self {
            Part::InputNorm | Part::PostNorm => vec![hidden],
            Part::QNorm | Part::KNorm => vec![head],
            Part::Q => vec![q, hidden],
            Part::K | Part::V => vec![kv, hidden],
            Part::O => vec![hidden, q],
            Part::Gate | Part::Up => vec![ffn, hidden],
            Part::Down => vec![hidden, ffn],
        }
    }

    fn present(self, card: &Card) -> bool {
        card.qk_norm || !matches!(self, Part::QNorm | Part::KNorm)
    }
}

/// Every tensor of the model of `card` with its shape, from the embedding to the head.
pub fn all(card: &Card) -> Vec<(String, Vec<usize>)> {
    let (vocab, hidden) = (card.vocab as usize, card.hidden as usize);
    let mut tensors = vec![(EMBEDDING.to_owned(), vec![vocab, hidden])];
    for layer in 0..card.layers {
        for part in Part::ALL.into_iter().filter(|p| p.present(card)) {
            tensors.push((part.name(layer), part.shape(card)));
        }
    }
    tensors.push((FINAL_NORM.to_owned(), vec![hidden]));
    if !card.tied_embeddings {
        tensors.push((HEAD.to_owned(), vec![vocab, hidden]));
    }
    tensors
}

#[cfg(test)]
mod tests;
