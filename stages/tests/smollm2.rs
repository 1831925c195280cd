//! Real weights: SmolLM2-135M-Instruct (llama architecture, 4-bit GGUF) through our own paged forward pass. What
//! `models/smollm2-135m/bootstrap.sh` brings is not part of the repository; without it these tests say what they miss.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama;
use stages::infer::serve::Slice;
use stages::model::card;
use stages::model::forward::{Model, Scratch, Step};
use stages::model::pool::KvPool;
use stages::model::probe::Unobserved;
use stages::model::reference::Reference;
use stages::model::sample::greedy;
use stages::model::weights;
use tokenizers::Tokenizer;

const BLOCK_TOKENS: usize = 16;
const BLOCKS: u32 = 16;

/// The model's directory if its weights and tokenizer are there.
fn here() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m");
    let missing: Vec<&str> =
        ["weights.gguf", "tokenizer.json"].into_iter().filter(|f| !directory.join(f).is_file()).collect();
    if missing.is_empty() {
        return Some(directory);
    }
    eprintln!(
        "not tested: {} lacks {}; `sh models/smollm2-135m/bootstrap.sh` brings it",
        directory.display(),
        missing.join(", ")
    );
    None
}

fn chat(question: &str) -> String {
    format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
}

/// Greedy continuation by our pass: the prompt in chunks of `chunk` tokens, then `n` tokens.
fn ours(model: &Model, prompt: &[u32], chunk: usize, n: usize) -> Vec<u32> {
    let mut pool = KvPool::new(model.card(), BLOCKS as usize, BLOCK_TOKENS);
    // From the back, so that order in the sequence is not order in memory.
    let table: Vec<u32> = (0..BLOCKS).rev().collect();
    let (mut scratch, mut step, mut ids, mut context) = (Scratch::default(), Step::new(), Vec::new(), 0);
    let mut pass = |piece: &[u32], yields: bool, ids: &mut Vec<u32>| {
        step.clear();
        step.push(Slice { seq: 0, context, tokens: piece.len() as u32, yields }, piece, &table);
        context += piece.len() as u32;
        if let Some(logits) = model.forward(&step, &mut pool, &mut scratch, &mut Unobserved).unwrap() {
            greedy(&logits, ids).unwrap();
        }
    };
    let chunks = prompt.chunks(chunk);
    let last = chunks.len() - 1;
    for (i, piece) in chunks.enumerate() {
        pass(piece, i == last, &mut ids);
    }
    while ids.len() < n {
        let next = *ids.last().unwrap();
        pass(&[next], true, &mut ids);
    }
    ids
}

fn largest(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}

#[test]
fn smollm2_answers_in_english_and_says_what_candle_says() {
    let Some(directory) = here() else { return };
    let card = card::load(&directory.join("model.toml")).unwrap();
    let source = weights::open(&directory.join("weights.gguf"), &card).unwrap();
    let tokenizer = Tokenizer::from_file(directory.join("tokenizer.json")).unwrap();
    let prompt = tokenizer.encode(chat("What is the capital of France?"), false).unwrap().get_ids().to_vec();
    let model = Model::new(&card, source.as_ref(), 256, 1).unwrap();

    let got = ours(&model, &prompt, usize::MAX, 32);
    let text = tokenizer.decode(&got, true).unwrap();
    assert!(text.contains("The capital of France is Paris"), "{text}");
    assert_eq!(ours(&model, &prompt, 5, 32), got, "in chunks of 5");
    drop(model);

    // candle-transformers' llama on the same dequantised numbers: every token.
    let mut reference = Reference::new(&card, source.as_ref(), 256).unwrap();
    let mut theirs = vec![largest(&reference.forward(&prompt, 0).unwrap())];
    while theirs.len() < got.len() {
        let (next, offset) = (*theirs.last().unwrap(), prompt.len() + theirs.len() - 1);
        theirs.push(largest(&reference.forward(&[next], offset).unwrap()));
    }
    assert_eq!(got, theirs);
}

/// candle's quantised llama reads the file by itself and rotates neighbouring pairs, as the file is laid: it shares
/// neither our order of rows nor our products (activations are quantised to 8 bits), so a few tokens must do.
#[test]
fn rows_put_back_from_the_gguf_file_mean_what_the_file_means() {
    let Some(directory) = here() else { return };
    let card = card::load(&directory.join("model.toml")).unwrap();
    let path = directory.join("weights.gguf");
    let source = weights::open(&path, &card).unwrap();
    let tokenizer = Tokenizer::from_file(directory.join("tokenizer.json")).unwrap();
    let prompt = tokenizer.encode(chat("Name three colours."), false).unwrap().get_ids().to_vec();
    let got = ours(&Model::new(&card, source.as_ref(), 256, 1).unwrap(), &prompt, usize::MAX, 6);

    let mut file = std::fs::File::open(&path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut quantised = quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let mut known = prompt.clone();
    let mut offset = 0;
    for (i, want) in got.iter().enumerate() {
        let input = Tensor::new(&known[offset..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let logits = quantised.forward(&input, offset).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        offset = known.len();
        assert_eq!(largest(&logits), *want, "token {i}");
        known.push(*want);
    }
}
