//! Which tensors a card has, and the value at each place.

use crate::model::card::Card;

use super::{CHUNK, Stream};

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// As Hugging Face names it.
    pub name: String,
    /// `[outputs, inputs]` of a projection, `[rows, hidden]` of an embedding, `[width]` of a norm.
    pub shape: Vec<u64>,
    /// Mean of its values.
    pub mean: f32,
    /// Standard deviation of its values.
    pub spread: f32,
}

/// Standard deviation of the embedding: small beside what a layer adds (near 1), so that with tied embeddings a token
/// does not predict itself. The first layer's attention is as small: what all positions share must not drown the
/// token before its feed-forward layer has spread it.
const EMBEDDING_SPREAD: f32 = 0.02;
/// Standard deviation of the norms about 1.
const NORM_SPREAD: f32 = 0.02;

/// Every tensor of a card, in the order in which they are written.
pub fn tensors(card: &Card) -> Vec<Tensor> {
    let [hidden, head_dim, ffn, vocab] = [card.hidden, card.head_dim, card.ffn, card.vocab].map(u64::from);
    let (q, kv) = (u64::from(card.heads) * head_dim, u64::from(card.kv_heads) * head_dim);
    let mut out = vec![Tensor {
        name: "model.embed_tokens.weight".to_owned(),
        shape: vec![vocab, hidden],
        mean: 0.0,
        spread: EMBEDDING_SPREAD,
    }];
    for layer in 0..card.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        out.push(norm(name("input_layernorm"), hidden));
        out.push(projection(name("self_attn.q_proj"), q, hidden));
        out.push(projection(name("self_attn.k_proj"), kv, hidden));
        out.push(projection(name("self_attn.v_proj"), kv, hidden));
        let mut o = projection(name("self_attn.o_proj"), hidden, q);
        if layer == 0 {
            o.spread *= EMBEDDING_SPREAD;
        }
        out.push(o);
        if card.qk_norm {
            out.push(norm(name("self_attn.q_norm"), head_dim));
            out.push(norm(name("self_attn.k_norm"), head_dim));
        }
        out.push(norm(name("post_attention_layernorm"), hidden));
        out.push(projection(name("mlp.gate_proj"), ffn, hidden));
        out.push(projection(name("mlp.up_proj"), ffn, hidden));
        out.push(projection(name("mlp.down_proj"), hidden, ffn));
    }
    out.push(norm("model.norm.weight".to_owned(), hidden));
    if !card.tied_embeddings {
        out.push(projection("lm_head.weight".to_owned(), vocab, hidden));
    }
    out
}

fn projection(name: String, outputs: u64, inputs: u64) -> Tensor {
    Tensor { name, shape: vec![outputs, inputs], mean: 0.0, spread: 1.0 / (inputs as f32).sqrt() }
}

fn norm(name: String, width: u64) -> Tensor {
    Tensor { name, shape: vec![width], mean: 1.0, spread: NORM_SPREAD }
}

impl Tensor {
    /// How many values it has.
    pub fn values(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Values from the place `start` on, in row-major order, before they are rounded to the card's number format.
    ///
    /// # Panics
    /// When `start` is not where a chunk begins (a multiple of 65,536) and `out` reaches beyond its chunk.
    pub fn fill(&self, seed: u64, start: u64, out: &mut [f32]) {
        let mut start = start;
        for part in out.chunks_mut(usize::try_from(CHUNK).expect("a chunk fits")) {
            let (chunk, skip) = (start / CHUNK, start % CHUNK);
            assert!(skip + part.len() as u64 <= CHUNK, "values are made chunk by chunk");
            let mut stream = Stream::new(seed, &self.name, chunk);
            (0..skip).for_each(|_| {
                stream.bits();
            });
            for value in part.iter_mut() {
                *value = self.mean + self.spread * unit(stream.bits());
            }
            start += part.len() as u64;
        }
    }
}

/// A number of mean 0 and standard deviation 1 from 64 uniform bits: the sum of four uniform 16-bit numbers, less its
/// mean, over its standard deviation √((2³² − 1) / 3).
fn unit(bits: u64) -> f32 {
    const MEAN: i32 = 2 * 0xffff;
    const INVERSE_SPREAD: f32 = 1.0 / 37_837.227;
    let sum: i32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as i32).sum();
    (sum - MEAN) as f32 * INVERSE_SPREAD
}
