//! Seeded weights of a shape, made where they are asked for: the same bytes for the same name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::bf16;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use stages::device::cuda::weights::Tensors;
use stages::model::card::{Architecture, Card, Dtype};

/// Normal numbers for matrices, numbers near one for norms.
pub(crate) struct Seeded {
    pub(crate) seed: u64,
}

impl Tensors for Seeded {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [u8]>, String> {
        let numbers: usize = shape.iter().product();
        let is_norm = shape.len() == 1;
        let scale = if name.contains("embed") { 1.0 / 32.0 } else { 1.0 / (shape[shape.len() - 1] as f32).sqrt() };
        let named = name.bytes().fold(self.seed, |h, b| h.wrapping_mul(0x0100_0000_01b3) ^ u64::from(b));
        let mut bytes = vec![0u8; numbers * 2];
        bytes.par_chunks_mut(1 << 16).enumerate().for_each(|(i, chunk)| {
            let mut rng = ChaCha8Rng::seed_from_u64(named.wrapping_add(i as u64));
            for pair in chunk.chunks_exact_mut(2) {
                // Twelve uniform numbers make one that is normal enough.
                let sum: u32 = (0..3)
                    .map(|_| rng.next_u64())
                    .map(|w| (0..4).map(|k| (w >> (16 * k)) as u32 & 0xffff).sum::<u32>())
                    .sum();
                let normal = sum as f32 / 65536.0 - 6.0;
                let value = if is_norm { 1.0 + 0.1 * normal } else { scale * normal };
                pair.copy_from_slice(&bf16::from_f32(value).to_le_bytes());
            }
        });
        Ok(Cow::Owned(bytes))
    }
}

/// The Qwen3-0.6B shape with other numbers of layers and ids.
pub(crate) fn qwen3(layers: u32, vocab: u32) -> Card {
    Card {
        name: "qwen3-0.6b".to_owned(),
        architecture: Architecture::Qwen3,
        layers,
        hidden: 1024,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        ffn: 3072,
        vocab,
        tokenizer_size: vocab,
        tied_embeddings: true,
        qk_norm: true,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        max_positions: 40_960,
        dtype: Dtype::Bf16,
        files: BTreeMap::new(),
    }
}

/// The SmolLM2-135M shape with fewer layers.
pub(crate) fn smollm2(layers: u32) -> Card {
    Card {
        name: "smollm2-135m".to_owned(),
        architecture: Architecture::Llama,
        hidden: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        tokenizer_size: 8192,
        qk_norm: false,
        rope_theta: 1e5,
        norm_eps: 1e-5,
        max_positions: 8192,
        ..qwen3(layers, 8192)
    }
}
