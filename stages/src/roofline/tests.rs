#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::infer::machine::Predict;
use crate::infer::serve::{Batch, Slice};
use crate::predict::{Outside, Predictor};
use crate::sim::unmeasured;

/// As Hugging Face has it: heads of 128 where hidden / heads is 64.
const CONFIG: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28,
  "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
  "vocab_size": 151936, "tie_word_embeddings": true, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
  "max_position_embeddings": 40960, "torch_dtype": "bfloat16", "hidden_act": "silu", "attention_bias": false
}"#;

fn hardware() -> Hardware {
    Hardware { memory_mib: 81_559, peak_flops: 989e12, bandwidth_bytes_per_s: 3.35e12, ..Hardware::default() }
}

fn card() -> Card {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    card::load(&path).unwrap()
}

#[test]
fn a_plan_worked_by_hand() {
    let (card, hardware) = (card(), hardware());
    let plan = Roof { card: &card, hardware: &hardware }.plan();
    // 2 · 28 layers · 8 heads · 128 · 2 bytes; hidden / heads would say half of it.
    assert_eq!(plan.kv_bytes_per_token, 114_688);
    assert_eq!(plan.weight_bytes, 2 * plan.parameters);
    assert_eq!(plan.kv_tokens, Some(((81_559u64 << 20) - plan.weight_bytes) / 114_688));
    // A decode reads every weight once: 1.19 GB at 3.35 TB/s, and little beside.
    let reading = plan.weight_bytes as f64 / 3.35e12 * 1e9;
    assert!(plan.decode_ns > reading && plan.decode_ns < 1.02 * reading, "{} against {reading}", plan.decode_ns);
    let layer = 1024 * (2 * 2048 + 2 * 1024) + 3 * 1024 * 3072;
    assert_eq!(plan.flops_per_token, 2.0 * f64::from(28 * layer + 1024 * 151_936));
}

#[test]
fn a_simulator_reads_the_table_and_a_large_prefill_runs_at_the_peak() {
    let (card, hardware) = (card(), hardware());
    let roof = Roof { card: &card, hardware: &hardware };
    let knobs = Knobs { max_batched_tokens: 8192, ..Knobs::default() };
    let rows = roof.rows(&knobs);
    let mut predictor = Predictor::new(&rows, Outside::Refuse).unwrap();
    let mut time = |tokens: u32, context: u32| {
        let batch = Batch { slices: vec![Slice { seq: 0, context, tokens, yields: true }] };
        predictor.step_time(&batch).unwrap().device.0 as f64
    };
    let plan = roof.plan();
    assert!((time(1, 0) / plan.decode_ns - 1.0).abs() < 1e-3);
    // What it must compute, at the peak, is most of its time; the rest is traffic.
    let layers = plan.flops_per_token - 2.0 * 1024.0 * 151_936.0;
    let attention = plan.attention_flops_per_context_token * 8192.0 * 8193.0 / 2.0;
    let least = (8192.0 * layers + attention) / 989e12 * 1e9;
    let ratio = time(8192, 0) / least;
    assert!(ratio > 1.0 && ratio < 2.0, "{ratio}");
    assert!(time(1, 40_000) > time(1, 0), "a longer context takes longer");
    assert!(unmeasured(&rows).unwrap().starts_with("roofline only: "));
}

#[test]
fn what_was_measured_is_not_marked() {
    assert_eq!(unmeasured(&[Row { samples: 5, ..row("embed", 1, 1, 0, 1, 1.0) }]), None);
}

#[test]
fn a_card_without_peaks_is_a_complaint() {
    let complaint = Roofline::contract(&Config::default(), &Wired::default()).unwrap_err();
    assert_eq!(complaint.field, "hardware.peak_flops");
}

#[test]
fn a_grid_begins_and_ends_where_it_should() {
    assert_eq!(grid(1, 10), [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(grid(2, 2), [2]);
}
