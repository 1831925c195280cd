use super::*;
use crate::model::card::{Architecture, Dtype};

fn qwen3_0_6b() -> Card {
    Card {
        name: "qwen3-0.6b".to_owned(),
        architecture: Architecture::Qwen3,
        layers: 28,
        hidden: 1024,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        ffn: 3072,
        vocab: 151_936,
        tokenizer_size: 151_669,
        tied_embeddings: true,
        qk_norm: true,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        max_positions: 40_960,
        dtype: Dtype::Bf16,
        files: std::collections::BTreeMap::new(),
    }
}

#[test]
fn the_tensors_hold_as_many_numbers_as_the_card_counts() {
    let mut card = qwen3_0_6b();
    for (tied, qk_norm) in [(true, true), (false, true), (true, false)] {
        card.tied_embeddings = tied;
        card.qk_norm = qk_norm;
        let total: u64 = all(&card).iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
        assert_eq!(total, card.parameters(), "tied {tied}, qk_norm {qk_norm}");
    }
}

#[test]
fn names_are_those_of_hugging_face() {
    let tensors = all(&qwen3_0_6b());
    let has = |name: &str, shape: &[usize]| tensors.iter().any(|(n, s)| n == name && s == shape);
    assert!(has("model.layers.27.self_attn.q_proj.weight", &[2048, 1024]));
    assert!(has("model.layers.0.self_attn.k_norm.weight", &[128]));
    assert!(has("model.layers.3.post_attention_layernorm.weight", &[1024]));
    assert!(!tensors.iter().any(|(n, _)| n == HEAD), "a tied head is no tensor of its own");
}
