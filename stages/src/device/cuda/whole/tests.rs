use super::*;

fn qwen3_small() -> Dimensions {
    Dimensions {
        layers: 28,
        hidden: 1024,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        ffn: 3072,
        vocab: 151_936,
        positions: 40_960,
        qk_norm: true,
        eps: 1e-6,
        rope_theta: 1e6,
    }
}

#[test]
fn a_whole_step_is_for_the_small_qwen_on_cards_with_its_instructions() {
    let d = qwen3_small();
    assert!(is_there(&d, "sm_90a") && !is_there(&d, "sm_80"));
    assert!(!is_there(&Dimensions { hidden: 2048, ffn: 6144, ..d }, "sm_90a"));
    assert!(!is_there(&Dimensions { head_dim: 64, heads: 9, kv_heads: 3, ..d }, "sm_90a"));
}

#[test]
fn the_exchange_has_room_for_every_word_that_the_kernel_counts() {
    // As `Exchange<8>::WORDS` in `kernels/whole.cu`: q k v, parts, attention, residual, feed-forward, residual.
    let words = 8 * 4096 / 2 + 8 * 8 * 16 * 260 + 8 * 2048 / 2 + 8 * 1024 / 2 + 8 * 3072 / 2 + 8 * 1024 / 2;
    assert_eq!(exchange_bytes(&qwen3_small(), 8), 2 * 4 * words);
}
