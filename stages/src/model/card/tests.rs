#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

const QWEN: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
  "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
  "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
  "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
  "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936
}"#;

/// The card of `models/<name>`, which every clone has.
fn shipped(name: &str) -> Card {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).join("model.toml");
    load(&path).unwrap()
}

fn changed(from: &str, to: &str) -> Result<Card, Fault> {
    assert!(QWEN.contains(from), "{from}");
    parse(&QWEN.replace(from, to))
}

#[test]
fn a_config_json_of_qwen3_gives_the_shipped_card() {
    let card = parse(QWEN).unwrap();
    let shipped = shipped("qwen3-0.6b");
    let same = Card {
        name: shipped.name.clone(),
        tokenizer_size: shipped.tokenizer_size,
        files: shipped.files.clone(),
        ..card
    };
    assert_eq!(same, shipped);
}

#[test]
fn every_shipped_card_loads_and_has_its_published_number_of_parameters() {
    // Non-embedding and total counts are on the models' public cards; ours count an embedding that serves twice once.
    let counts = [
        ("tiny-qwen3", 918_912),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-1.7b", 1_720_574_976),
        ("qwen3-4b", 4_022_468_096),
        ("qwen3-8b", 8_190_735_360),
        ("smollm2-135m", 134_515_008),
    ];
    for (name, parameters) in counts {
        let card = shipped(name);
        assert_eq!(card.name, name);
        assert_eq!(card.parameters(), parameters, "{name}");
    }
}

#[test]
fn a_token_of_qwen3_takes_112_kib_of_cache() {
    assert_eq!(shipped("qwen3-0.6b").kv_bytes_per_token(), 2 * 28 * 8 * 128 * 2);
}

#[test]
fn what_changes_the_computation_is_refused_by_name() {
    let refused = |from: &str, to: &str| changed(from, to).unwrap_err().message;
    assert_eq!(
        refused("\"qwen3\"", "\"qwen3_moe\""),
        "models of type `qwen3_moe` (Qwen3ForCausalLM) are not supported"
    );
    assert_eq!(
        refused("\"use_cache\"", "\"num_experts\": 128, \"use_cache\""),
        "a mixture of 128 experts is not supported"
    );
    assert_eq!(
        refused("\"use_sliding_window\": false", "\"use_sliding_window\": true"),
        "a sliding window of attention is not supported"
    );
    assert_eq!(
        refused("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\"}"),
        "`rope_scaling` of type `yarn` is not supported"
    );
    assert_eq!(
        refused("\"attention_bias\": false", "\"attention_bias\": true"),
        "a bias in attention or feed-forward layers is not supported"
    );
    assert_eq!(refused("\"silu\"", "\"gelu\""), "the activation `gelu` is not supported");
    assert_eq!(refused("bfloat16", "float16"), "weights in `float16` are not supported");
    assert_eq!(
        refused("\"use_cache\"", "\"layer_types\": [\"full_attention\", \"linear_attention\"], \"use_cache\""),
        "attention of type `linear_attention` is not supported"
    );
}

#[test]
fn a_width_of_heads_is_read_and_never_derived_for_qwen3() {
    let fault = changed("\"head_dim\": 128, ", "").unwrap_err();
    assert!(fault.message.contains("no `head_dim`"), "{}", fault.message);
}

#[test]
fn a_llama_without_a_width_of_heads_has_hidden_over_heads() {
    let llama = QWEN.replace("\"qwen3\"", "\"llama\"").replace("\"head_dim\": 128, ", "");
    assert_eq!(parse(&llama).unwrap().head_dim, 64);
    let odd = llama.replace("\"hidden_size\": 1024", "\"hidden_size\": 1025");
    assert!(parse(&odd).unwrap_err().message.contains("do not divide"));
}

#[test]
fn numbers_that_cannot_be_are_refused_with_their_field() {
    let refused = |from: &str, to: &str| changed(from, to).unwrap_err().message;
    assert_eq!(
        refused("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 5"),
        "`kv_heads` 5 does not divide `heads` 16"
    );
    assert_eq!(refused("\"num_hidden_layers\": 28", "\"num_hidden_layers\": 0"), "`layers` is 0");
    assert_eq!(refused("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 0"), "`kv_heads` is 0");
    assert_eq!(refused("\"head_dim\": 128", "\"head_dim\": 127"), "`head_dim` 127 is odd; rotary positions turn pairs");
    assert_eq!(refused("\"rope_theta\": 1000000", "\"rope_theta\": 0"), "`rope_theta` is 0, wanted a number above 1");
    assert_eq!(refused("1e-06", "-1e-06"), "`norm_eps` is -0.000001, wanted a small positive number");
    assert!(refused("\"num_hidden_layers\": 28", "\"num_hidden_layers\": -1").contains("invalid value"));
    assert!(refused("\"hidden_size\": 1024, ", "").contains("missing field `hidden_size`"));
}

#[test]
fn a_card_in_toml_with_a_key_too_many_is_refused() {
    let text = toml::to_string(&shipped("tiny-qwen3")).unwrap();
    assert_eq!(parse(&text).unwrap(), shipped("tiny-qwen3"));
    let fault = parse(&format!("layer = 4\n{text}")).unwrap_err();
    assert!(fault.message.contains("unknown field `layer`"), "{}", fault.message);
}

#[test]
fn meaning_is_blind_to_format_name_and_files_and_sees_every_number() {
    let directory = tempfile::TempDir::new().unwrap();
    let digest = |text: &str| {
        let path = directory.path().join("card");
        std::fs::write(&path, text).unwrap();
        (MEANING.digest)(&path).unwrap()
    };
    let card = Card { tokenizer_size: 151_936, ..shipped("qwen3-0.6b") };
    assert_eq!(digest(QWEN), digest(&toml::to_string(&card).unwrap()));
    assert_ne!(digest(QWEN), digest(&QWEN.replace("_layers\": 28,", "_layers\": 27,")));
    assert_ne!(digest(QWEN), digest(&QWEN.replace("1e-06", "1e-05")));
}

#[test]
fn a_missing_card_is_an_error_that_names_it() {
    let error = load(Path::new("/no/model.toml")).unwrap_err();
    assert_eq!(error.message, "cannot read the model's card `/no/model.toml`");
}
