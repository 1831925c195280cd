#![expect(clippy::unwrap_used, reason = "a test")]

use super::{Knobs, Policy};

fn fault(change: impl FnOnce(&mut Knobs)) -> &'static str {
    let mut knobs = Knobs::default();
    change(&mut knobs);
    knobs.check().unwrap_err().0
}

#[test]
fn the_defaults_hold() {
    assert_eq!(Knobs::default().check(), Ok(()));
}

#[test]
fn each_value_out_of_range_is_named() {
    assert_eq!(fault(|k| k.max_batched_tokens = 0), "max_batched_tokens");
    assert_eq!(fault(|k| k.max_sequences = 0), "max_sequences");
    assert_eq!(fault(|k| k.block_tokens = 0), "block_tokens");
    assert_eq!(fault(|k| k.kv_blocks = 0), "kv_blocks");
    assert_eq!(fault(|k| k.max_sequence_tokens = Some(0)), "max_sequence_tokens");
    assert_eq!(fault(|k| k.watermark = f64::NAN), "watermark");
    assert_eq!(fault(|k| k.watermark = 1.0), "watermark");
    assert_eq!(fault(|k| k.watermark = -0.1), "watermark");
    assert_eq!(fault(|k| k.kv_blocks = u32::MAX), "kv_blocks");
}

#[test]
fn values_that_contradict_each_other_are_named() {
    assert_eq!(fault(|k| k.max_sequences = 513), "max_sequences");
    assert_eq!(fault(|k| k.policy = Policy::Lightllm), "block_tokens");
    assert_eq!(fault(|k| k.policy = Policy::Orca), "max_sequence_tokens");
    let too_long = |k: &mut Knobs| {
        k.policy = Policy::FasterTransformer;
        k.max_sequence_tokens = Some(4096 * 16 + 1);
    };
    assert_eq!(fault(too_long), "kv_blocks");
    let no_cache = |k: &mut Knobs| {
        k.policy = Policy::Vllm;
        k.prefix_caching = true;
    };
    assert_eq!(fault(no_cache), "prefix_caching");
}

#[test]
fn printed_and_parsed_again_the_knobs_are_the_same() {
    let knobs = Knobs {
        policy: Policy::FasterTransformer,
        watermark: 0.1 + 0.2,
        max_sequence_tokens: Some(77),
        pipelined: true,
        ..Knobs::default()
    };
    for knobs in [knobs, Knobs::default()] {
        let printed = serde_json::to_string(&knobs).unwrap();
        assert_eq!(serde_json::from_str::<Knobs>(&printed).unwrap(), knobs);
    }
}

#[test]
fn the_name_of_a_policy_is_its_word_in_a_configuration() {
    for policy in
        [Policy::Sarathi, Policy::VllmV1, Policy::Vllm, Policy::Orca, Policy::FasterTransformer, Policy::Lightllm]
    {
        assert_eq!(serde_json::to_string(&policy).unwrap(), format!("\"{}\"", policy.name()));
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let error = toml::from_str::<Knobs>("max_batched_token = 512").unwrap_err();
    assert!(error.message().contains("max_batched_token"), "{error}");
}

#[test]
fn a_model_bounds_the_longest_sequence() {
    let knobs = Knobs { max_sequence_tokens: Some(100), ..Knobs::default() };
    assert_eq!(knobs.for_model(64).max_sequence_tokens, Some(64));
    assert_eq!(knobs.for_model(128).max_sequence_tokens, Some(100));
    assert_eq!(Knobs::default().for_model(64).max_sequence_tokens, Some(64));
}
