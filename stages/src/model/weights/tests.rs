#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use half::bf16;
use safetensors::tensor::TensorView;

use super::gguf::halves_from_pairs;
use super::*;
use crate::model::card::Architecture;

/// A Qwen3-like shape with everything odd about it that is allowed: three query heads to a key head, a head wider
/// than hidden / heads, widths that are no multiple of a panel.
pub(crate) fn tiny_card() -> Card {
    Card {
        name: "tiny".to_owned(),
        architecture: Architecture::Qwen3,
        layers: 2,
        hidden: 48,
        heads: 6,
        kv_heads: 2,
        head_dim: 16,
        ffn: 80,
        vocab: 150,
        tokenizer_size: 140,
        tied_embeddings: true,
        qk_norm: true,
        rope_theta: 1e4,
        norm_eps: 1e-6,
        max_positions: 512,
        dtype: Dtype::F32,
        files: BTreeMap::new(),
    }
}

/// A llama-like shape.
pub(crate) fn tiny_llama() -> Card {
    Card {
        name: "tiny-llama".to_owned(),
        architecture: Architecture::Llama,
        hidden: 96,
        qk_norm: false,
        tied_embeddings: false,
        ..tiny_card()
    }
}

/// Weights out of nothing but names: matrices around 0 with the spread 1/√in, norms around 1.
#[derive(Debug, Default)]
pub(crate) struct Made;

impl Source for Made {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let mut state = name.bytes().fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let n = shape.iter().product();
        Ok(match shape {
            [_] => (0..n).map(|_| 1.0 + 0.2 * uniform()).collect(),
            _ => {
                let spread = (3.0 / shape[1] as f32).sqrt();
                (0..n).map(|_| spread * uniform()).collect()
            }
        })
    }

    fn about(&self) -> String {
        "made up".to_owned()
    }
}

fn bytes_of(numbers: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::Bf16 => numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
    }
}

/// Writes the tensors of `card` that `keep` wants, from [`Made`], as one safetensors file.
fn write_safetensors(path: &Path, card: &Card, keep: impl Fn(&str) -> bool) {
    let kept = match card.dtype {
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::Bf16 => safetensors::Dtype::BF16,
    };
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = names::all(card)
        .into_iter()
        .filter(|(name, _)| keep(name))
        .map(|(name, shape)| {
            let numbers = Made.read(&name, &shape).unwrap();
            (name, shape, bytes_of(&numbers, card.dtype))
        })
        .collect();
    let views = data.iter().map(|(n, s, d)| (n.as_str(), TensorView::new(kept, s.clone(), d).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn same_as_made(source: &dyn Source, card: &Card, tolerance: f32) {
    for (name, shape) in names::all(card) {
        let (got, want) = (source.read(&name, &shape).unwrap(), Made.read(&name, &shape).unwrap());
        let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= tolerance * scale), "{name}");
    }
}

#[test]
fn one_file_and_shards_give_the_same_tensors() {
    let directory = tempfile::tempdir().unwrap();
    let card = tiny_card();
    write_safetensors(&directory.path().join("model.safetensors"), &card, |_| true);
    same_as_made(open(directory.path(), &card).unwrap().as_ref(), &card, 0.0);

    let sharded = tempfile::tempdir().unwrap();
    let first = |name: &str| name.contains("layers.0");
    write_safetensors(&sharded.path().join("a.safetensors"), &card, first);
    write_safetensors(&sharded.path().join("b.safetensors"), &card, |n| !first(n));
    let map: BTreeMap<String, &str> = names::all(&card)
        .into_iter()
        .map(|(n, _)| (n.clone(), if first(&n) { "a.safetensors" } else { "b.safetensors" }))
        .collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    std::fs::write(sharded.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let source = open(sharded.path(), &card).unwrap();
    same_as_made(source.as_ref(), &card, 0.0);
    assert_eq!(source.about(), "safetensors, 2 files");
}

#[test]
fn bf16_is_widened_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let card = Card { dtype: Dtype::Bf16, ..tiny_card() };
    write_safetensors(&directory.path().join("model.safetensors"), &card, |_| true);
    let source = open(directory.path(), &card).unwrap();
    let (name, shape) = (names::EMBEDDING, [150, 48]);
    let want: Vec<f32> = Made.read(name, &shape).unwrap().iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
    assert_eq!(source.read(name, &shape).unwrap(), want);
}

#[test]
fn a_gguf_file_gives_the_tensors_under_their_other_names_and_llama_rows_back_in_halves() {
    for card in [tiny_card(), tiny_llama()] {
        let directory = tempfile::tempdir().unwrap();
        write_gguf(&directory.path().join("model.gguf"), &card);
        // Q8_0 keeps 8 bits of a block of 32; norms and what is not a multiple of 32 wide are kept whole.
        same_as_made(open(directory.path(), &card).unwrap().as_ref(), &card, 0.01);
    }
}

fn write_gguf(path: &Path, card: &Card) {
    let architecture = if card.architecture == Architecture::Llama { "llama" } else { "qwen3" };
    let mut tensors = Vec::new();
    for (name, shape) in names::all(card) {
        let mut numbers = Made.read(&name, &shape).unwrap();
        if architecture == "llama" {
            let heads = if name.contains("q_proj") { card.heads } else { card.kv_heads } as usize;
            if name.contains("q_proj") || name.contains("k_proj") {
                numbers = pairs_from_halves(&numbers, heads, shape[1]);
            }
        }
        let tensor = Tensor::from_vec(numbers, shape.clone(), &Device::Cpu).unwrap();
        let kind = if shape.len() == 2 && shape[1] % 32 == 0 { GgmlDType::Q8_0 } else { GgmlDType::F32 };
        tensors.push((gguf::local_name(&name).unwrap(), QTensor::quantize(&tensor, kind).unwrap()));
    }
    let architecture = gguf_file::Value::String(architecture.to_owned());
    let mut file = std::fs::File::create(path).unwrap();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut file, &[("general.architecture", &architecture)], &tensors).unwrap();
}

/// What llama.cpp's converter does to q and k: row `h · d/2 + i` of a head becomes its row `2i + h`.
fn pairs_from_halves(rows: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let d = rows.len() / width / heads;
    let mut out = vec![0.0; rows.len()];
    for head in 0..heads {
        for half in 0..2 {
            for i in 0..d / 2 {
                let (from, to) = (head * d + half * d / 2 + i, head * d + 2 * i + half);
                out[to * width..][..width].copy_from_slice(&rows[from * width..][..width]);
            }
        }
    }
    out
}

#[test]
fn putting_rows_back_undoes_the_converter() {
    let rows: Vec<f32> = (0..3 * 8 * 5).map(|i| i as f32).collect();
    assert_eq!(halves_from_pairs(&pairs_from_halves(&rows, 3, 5), 3, 5), rows);
    assert_ne!(pairs_from_halves(&rows, 3, 5), rows);
}

fn fault(change: impl FnOnce(&mut Card), keep: impl Fn(&str) -> bool) -> String {
    let directory = tempfile::tempdir().unwrap();
    write_safetensors(&directory.path().join("model.safetensors"), &tiny_card(), keep);
    let mut card = tiny_card();
    change(&mut card);
    let error = open(directory.path(), &card).err().unwrap().to_string();
    error.replace(&directory.path().display().to_string(), "DIR")
}

#[test]
fn what_does_not_fit_the_card_is_named() {
    assert_eq!(
        fault(|_| (), |n| !n.contains("layers.1.mlp")),
        "`DIR/model.safetensors` lacks the tensor `model.layers.1.mlp.gate_proj.weight` [80, 48] of the card (3 of \
         24 are missing)"
    );
    assert_eq!(
        fault(|c| c.ffn = 96, |_| true),
        "`model.layers.0.mlp.gate_proj.weight` in `DIR/model.safetensors` has the shape [80, 48], the card says [96, \
         48]"
    );
    assert_eq!(
        fault(|c| c.dtype = Dtype::Bf16, |_| true),
        "`model.embed_tokens.weight` in `DIR/model.safetensors` is kept in F32, the card says BF16"
    );
    assert_eq!(
        fault(|c| c.layers = 1, |_| true),
        "`DIR/model.safetensors` holds the tensor `model.layers.1.input_layernorm.weight`, which the card's \
         architecture does not have"
    );
}

#[test]
fn a_truncated_file_and_an_empty_directory_are_errors_that_name_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = open(directory.path(), &tiny_card()).err().unwrap();
    assert!(matches!(nothing, WeightsError::Nothing { .. }), "{nothing}");

    let path = directory.path().join("model.safetensors");
    write_safetensors(&path, &tiny_card(), |_| true);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let cut = open(directory.path(), &tiny_card()).err().unwrap();
    assert!(matches!(&cut, WeightsError::Format { wanted: "a safetensors file", .. }), "{cut}");

    let gguf = directory.path().join("x.gguf");
    std::fs::write(&gguf, b"GGUF\x03\0\0\0").unwrap();
    let cut = open(&gguf, &tiny_card()).err().unwrap();
    assert!(matches!(&cut, WeightsError::Format { wanted: "a GGUF file", .. }), "{cut}");
}

#[test]
fn a_number_that_is_none_is_found_when_its_tensor_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    write_safetensors(&path, &tiny_card(), |_| true);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let source = open(directory.path(), &tiny_card()).unwrap();
    let faults = names::all(&tiny_card()).iter().filter(|(n, s)| source.read(n, s).is_err()).count();
    assert_eq!(faults, 1);
}

#[test]
fn a_seed_gives_the_model_that_the_written_file_of_the_same_seed_gives() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let card = Card { dtype, vocab: 2000, ..tiny_card() };
        let directory = tempfile::tempdir().unwrap();
        crate::weights::write(&directory.path().join(shards::SINGLE), &card, 5, |_| ()).unwrap();
        let file = open(directory.path(), &card).unwrap();
        let seeded = Seeded::new(&card, 5);
        for (name, shape) in names::all(&card) {
            assert_eq!(file.read(&name, &shape).unwrap(), seeded.read(&name, &shape).unwrap(), "{name}");
        }
    }
}

#[test]
fn words_kept_as_bf16_are_given_as_they_lie_and_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let card = Card { dtype: Dtype::Bf16, ..tiny_card() };
    write_safetensors(&path, &card, |_| true);
    let source = open(directory.path(), &card).unwrap();
    for (name, shape) in names::all(&card) {
        let made = bytes_of(&Made.read(&name, &shape).unwrap(), Dtype::Bf16);
        assert_eq!(source.read_bf16(&name, &shape).unwrap(), Some(made.as_slice()), "{name}");
    }
    write_safetensors(&path, &tiny_card(), |_| true);
    let source = open(directory.path(), &tiny_card()).unwrap();
    assert_eq!(source.read_bf16("model.norm.weight", &[48]).unwrap(), None);
}

#[test]
fn a_word_that_is_no_number_is_refused_by_its_index() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let card = Card { dtype: Dtype::Bf16, ..tiny_card() };
    write_safetensors(&path, &card, |_| true);
    let bytes = std::fs::read(&path).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let start = header + 8 + metadata.info("model.norm.weight").unwrap().data_offsets.0;
    let mut torn = bytes;
    torn[start + 14..start + 16].copy_from_slice(&bf16::NAN.to_le_bytes());
    std::fs::write(&path, torn).unwrap();
    let error = open(directory.path(), &card).unwrap().read_bf16("model.norm.weight", &[48]).unwrap_err();
    assert!(error.to_string().contains("NaN or infinity at index 7"), "{error}");
}
