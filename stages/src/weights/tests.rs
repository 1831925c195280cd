#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use engine::exec::Source;
use safetensors::SafeTensors;
use tempfile::TempDir;

use super::*;
use crate::model::card::Architecture;

fn small() -> Card {
    Card {
        name: "small".to_owned(),
        architecture: Architecture::Qwen3,
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        ffn: 96,
        vocab: 1_200,
        tokenizer_size: 1_200,
        tied_embeddings: true,
        qk_norm: true,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        max_positions: 256,
        dtype: Dtype::F32,
        files: BTreeMap::new(),
    }
}

fn written(card: &Card, seed: u64) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(FILE);
    write(&path, card, seed, |_| ()).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn the_file_is_read_by_the_safetensors_crate_with_every_name_and_shape() {
    for card in [small(), Card { dtype: Dtype::Bf16, tied_embeddings: false, qk_norm: false, ..small() }] {
        let bytes = written(&card, 1);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let wanted = tensors(&card);
        assert_eq!(file.len(), wanted.len());
        let mut values = 0;
        for tensor in &wanted {
            let view = file.tensor(&tensor.name).unwrap();
            assert_eq!(view.shape().iter().map(|n| *n as u64).collect::<Vec<_>>(), tensor.shape, "{}", tensor.name);
            assert_eq!(view.data().len() as u64, tensor.values() * card.dtype.bytes());
            values += tensor.values();
        }
        assert_eq!(values, card.parameters());
        assert_eq!(file.tensor("lm_head.weight").is_ok(), !card.tied_embeddings);
        assert_eq!(file.tensor("model.layers.0.self_attn.q_norm.weight").is_ok(), card.qk_norm);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let digest = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        blake3::hash(&pool.install(|| written(&small(), seed))).to_hex()[..16].to_owned()
    };
    assert_eq!(digest(1, 7), digest(3, 7));
    assert_ne!(digest(1, 7), digest(1, 8));
    insta::assert_snapshot!(digest(2, 7), @"9d5606d3019e1820");
}

#[test]
fn a_value_does_not_depend_on_where_reading_begins() {
    let tensor = &tensors(&small())[0];
    assert!(tensor.values() > CHUNK, "the test needs two chunks");
    let mut all = vec![0.0; usize::try_from(tensor.values()).unwrap()];
    tensor.fill(3, 0, &mut all);
    let mut part = vec![0.0; 100];
    tensor.fill(3, CHUNK + 50, &mut part);
    assert_eq!(part, all[CHUNK as usize + 50..][..100]);
}

#[test]
fn values_have_the_mean_and_spread_they_should() {
    for tensor in tensors(&small()).iter().filter(|t| t.values() >= 4_096) {
        let mut values = vec![0.0f32; usize::try_from(tensor.values()).unwrap()];
        tensor.fill(5, 0, &mut values);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let spread = (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Five standard errors.
        let error = f64::from(tensor.spread) / n.sqrt();
        assert!((mean - f64::from(tensor.mean)).abs() < 5.0 * error, "{}: mean {mean}", tensor.name);
        assert!((spread - f64::from(tensor.spread)).abs() < 5.0 * error, "{}: spread {spread}", tensor.name);
    }
}

#[test]
fn the_kind_writes_a_directory_and_a_full_disk_is_an_error_that_says_so() {
    let directory = TempDir::new().unwrap();
    let model = directory.path().join("model.toml");
    std::fs::write(&model, toml::to_string(&small()).unwrap()).unwrap();
    let source = Source { label: "model".to_owned(), path: model, digest: String::new() };
    let inputs = BTreeMap::from([("model".to_owned(), vec![source])]);
    let mut io = Io::detached(directory.path(), inputs, &["weights"]);
    Weights::run(&Config { seed: 7, cpus: 1 }, &mut io).unwrap();
    let bytes = std::fs::read(directory.path().join("out/weights").join(FILE)).unwrap();
    assert_eq!(bytes, written(&small(), 7));
    let full = write(Path::new("/dev/full"), &small(), 7, |_| ()).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

/// Through the reference implementation, so that the test rests on nothing of ours but the weights.
#[test]
fn greedy_decoding_does_not_stick_to_a_token() {
    use candle_core::{Device, IndexOp, Tensor};
    use candle_transformers::models::qwen3::{Config, ModelForCausalLM};
    let card = Card { vocab: 2_048, tokenizer_size: 2_048, layers: 4, hidden: 128, ffn: 256, ..small() };
    let bytes = written(&card, 7);
    let device = Device::Cpu;
    let vars = candle_nn::VarBuilder::from_buffered_safetensors(bytes, candle_core::DType::F32, &device).unwrap();
    let config = Config {
        vocab_size: card.vocab as usize,
        hidden_size: card.hidden as usize,
        intermediate_size: card.ffn as usize,
        num_hidden_layers: card.layers as usize,
        num_attention_heads: card.heads as usize,
        head_dim: card.head_dim as usize,
        attention_bias: false,
        num_key_value_heads: card.kv_heads as usize,
        max_position_embeddings: card.max_positions as usize,
        sliding_window: None,
        max_window_layers: 0,
        tie_word_embeddings: true,
        rope_theta: card.rope_theta,
        rms_norm_eps: card.norm_eps,
        use_sliding_window: false,
        hidden_act: candle_nn::Activation::Silu,
    };
    let mut model = ModelForCausalLM::new(&config, vars).unwrap();
    let mut input = vec![11u32, 901, 77, 1_500];
    let (mut offset, mut tokens) = (0, Vec::new());
    for _ in 0..64 {
        let ids = Tensor::new(input.as_slice(), &device).unwrap().unsqueeze(0).unwrap();
        let logits = model.forward(&ids, offset).unwrap().i((0, 0)).unwrap().to_vec1::<f32>().unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
        offset += input.len();
        tokens.push(best);
        input = vec![best];
    }
    let distinct: std::collections::BTreeSet<u32> = tokens.iter().copied().collect();
    assert!(distinct.len() >= 24, "{} distinct of 64: {tokens:?}", distinct.len());
}
