#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::pool::KvPool;
use crate::model::probe::{Stopwatch, Unobserved};
use crate::model::reference::Reference;
use crate::model::sample::greedy;
use crate::model::weights::tests::{Made, tiny_card, tiny_llama};

const BLOCK: usize = 4;

/// Our pass with a pool whose blocks are dealt out in no order, so that neighbours in a sequence are none in memory.
struct Paged {
    model: Model,
    pool: KvPool,
    scratch: Scratch,
    free: Vec<u32>,
    tables: Vec<Vec<u32>>,
    lengths: Vec<usize>,
}

impl Paged {
    fn new(card: &Card, source: &dyn Source, blocks: u32, sequences: usize, threads: usize) -> Paged {
        let mut free: Vec<u32> = (0..blocks).map(|i| (i * 7 + 3) % blocks).collect();
        free.dedup();
        Paged {
            model: Model::new(card, source, 256, threads).unwrap(),
            pool: KvPool::new(card, blocks as usize, BLOCK),
            scratch: Scratch::default(),
            free,
            tables: vec![Vec::new(); sequences],
            lengths: vec![0; sequences],
        }
    }

    /// Runs one step of `(sequence, ids, yields)`; the logits of those that yield, in order.
    fn step(&mut self, slices: &[(usize, &[u32], bool)]) -> Vec<Vec<f32>> {
        let mut step = Step::new();
        for (seq, ids, yields) in slices {
            let context = self.lengths[*seq];
            self.lengths[*seq] += ids.len();
            while self.tables[*seq].len() * BLOCK < self.lengths[*seq] {
                self.tables[*seq].push(self.free.pop().unwrap());
            }
            let slice = Slice { seq: *seq as u32, context: context as u32, tokens: ids.len() as u32, yields: *yields };
            step.push(slice, ids, &self.tables[*seq]);
        }
        let logits = self.model.forward(&step, &mut self.pool, &mut self.scratch, &mut Unobserved).unwrap();
        let Some(logits) = logits else { return Vec::new() };
        let opened = logits.open();
        (0..opened.rows())
            .map(|row| {
                let mut to = vec![0.0; opened.columns()];
                opened.copy(row, 0, &mut to);
                to
            })
            .collect()
    }
}

fn prompt(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i * 31 + i * 7 + seed * 53) % 140).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}

/// Both sum the same products in f32 in another order: an error of about √(terms) · 2⁻²⁴ a product, which two layers of
/// norms and softmax carry on at about the size of the logits. What is observed is about 1.5e-6; a wrong mask, rotation or
/// block shows at 1e-2.
const TOLERANCE: f32 = 1e-5;

fn assert_close(got: &[f32], want: &[f32], what: &str) {
    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(got.len() == want.len() && worst <= TOLERANCE * scale, "{what}: {worst:e} of {scale}");
}

fn cards() -> [Card; 3] {
    [tiny_card(), tiny_llama(), Card { tied_embeddings: false, kv_heads: 1, ..tiny_card() }]
}

#[test]
fn prefill_and_decode_agree_with_candle_transformers() {
    for card in cards() {
        for threads in [1, 2] {
            let mut paged = Paged::new(&card, &Made, 64, 1, threads);
            let mut reference = Reference::new(&card, &Made, 256).unwrap();
            let ids = prompt(21, 0);
            let (mut ours, mut theirs) = (paged.step(&[(0, &ids, true)]), reference.forward(&ids, 0).unwrap());
            assert_close(&ours[0], &theirs, &format!("{} prefill", card.name));
            for i in 0..40 {
                let next = argmax(&theirs);
                assert_eq!(argmax(&ours[0]), next, "{} token {i}", card.name);
                ours = paged.step(&[(0, &[next], true)]);
                theirs = reference.forward(&[next], ids.len() + i).unwrap();
                assert_close(&ours[0], &theirs, &format!("{} decode {i}", card.name));
            }
        }
    }
}

#[test]
fn a_prompt_in_chunks_across_block_borders_gives_the_logits_of_the_whole() {
    let ids = prompt(150, 1);
    for card in cards() {
        let want = Reference::new(&card, &Made, 256).unwrap().forward(&ids, 0).unwrap();
        for chunk in [1, 2, 3, 4, 5, 31, 64, 65, 130, 150] {
            let mut paged = Paged::new(&card, &Made, 64, 1, 2);
            let mut got = Vec::new();
            for piece in ids.chunks(chunk) {
                let last = paged.lengths[0] + piece.len() == ids.len();
                got = paged.step(&[(0, piece, last)]);
                assert_eq!(got.len(), usize::from(last), "logits for slices that yield and no others");
            }
            assert_close(&got[0], &want, &format!("{} in chunks of {chunk}", card.name));
        }
    }
}

#[test]
fn sequences_of_a_mixed_batch_do_not_see_each_other() {
    let lengths = [5usize, 17, 64, 1, 33];
    for card in cards() {
        for threads in [1, 2] {
            let mut paged = Paged::new(&card, &Made, 97, lengths.len(), threads);
            let mut reference = Reference::new(&card, &Made, 256).unwrap();
            let mut known: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(i, n)| prompt(*n, 2 + i as u32)).collect();
            // Prefills begin one step after another, in chunks of at most 13, beside decodes of those before.
            for round in 0..14 {
                let mut slices: Vec<(usize, Vec<u32>, bool)> = Vec::new();
                for seq in 0..=round.min(lengths.len() - 1) {
                    let rest = &known[seq][paged.lengths[seq]..];
                    let piece = rest[..rest.len().min(13)].to_vec();
                    let yields = piece.len() == rest.len();
                    slices.push((seq, piece, yields));
                }
                let turn = round % slices.len();
                slices.rotate_left(turn);
                let borrowed: Vec<_> = slices.iter().map(|(s, ids, y)| (*s, ids.as_slice(), *y)).collect();
                let mut logits = paged.step(&borrowed).into_iter();
                for (seq, _, _) in slices.iter().filter(|(.., yields)| *yields) {
                    reference.clear().unwrap();
                    let want = reference.forward(&known[*seq], 0).unwrap();
                    let got = logits.next().unwrap();
                    assert_close(&got, &want, &format!("{} round {round} sequence {seq}", card.name));
                    known[*seq].push(argmax(&want));
                }
                assert!(logits.next().is_none());
            }
        }
    }
}

#[test]
fn greedy_sampling_takes_what_a_plain_search_takes() {
    let mut paged = Paged::new(&tiny_card(), &Made, 64, 2, 1);
    let (a, b) = (prompt(9, 8), prompt(3, 9));
    let mut step = Step::new();
    for (seq, ids) in [(0, &a), (1, &b)] {
        let blocks: Vec<u32> = (seq * 8..seq * 8 + 4).collect();
        step.push(Slice { seq, context: 0, tokens: ids.len() as u32, yields: true }, ids, &blocks);
    }
    let product = paged.model.forward(&step, &mut paged.pool, &mut paged.scratch, &mut Unobserved).unwrap().unwrap();
    let mut ids = Vec::new();
    greedy(&product, &mut ids).unwrap();
    let want: Vec<u32> = paged.step(&[(0, &a, true), (1, &b, true)]).iter().map(|l| argmax(l)).collect();
    assert_eq!(ids, want);
}

#[test]
fn a_listener_hears_each_operation_as_often_as_it_happens() {
    let mut paged = Paged::new(&tiny_card(), &Made, 64, 3, 1);
    let mut step = Step::new();
    for (seq, tokens, yields) in [(0u32, 6u32, true), (1, 1, true), (2, 5, false)] {
        let slice = Slice { seq, context: 0, tokens, yields };
        step.push(slice, &prompt(tokens as usize, seq), &[seq * 2, seq * 2 + 1]);
    }
    let mut watch = Stopwatch::new();
    paged.model.forward(&step, &mut paged.pool, &mut paged.scratch, &mut watch).unwrap();
    let layers = tiny_card().layers;
    for operation in Operation::ALL {
        let want = match operation {
            Operation::Embed | Operation::Head => 1,
            Operation::Norm | Operation::Add | Operation::AttentionPrefill => 2 * layers,
            Operation::Sample => 0,
            _ => layers,
        };
        assert_eq!(watch.calls(operation), want, "{}", operation.name());
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let mut paged = Paged::new(&tiny_card(), &Made, 8, 1, 1);
    let mut fault = |context: u32, ids: &[u32], blocks: &[u32]| {
        let mut step = Step::new();
        step.push(Slice { seq: 4, context, tokens: ids.len() as u32, yields: true }, ids, blocks);
        let result = paged.model.forward(&step, &mut paged.pool, &mut paged.scratch, &mut Unobserved);
        result.err().unwrap().to_string()
    };
    assert_eq!(fault(0, &[150], &[0]), "sequence 4 holds the token id 150, the embedding has 150 rows");
    assert_eq!(fault(256, &[1], &[0; 65]), "sequence 4 reaches 257 tokens, this model was set up for 256");
    assert_eq!(fault(4, &[1], &[0]), "sequence 4 holds 1 KV blocks of 4 tokens and needs room for 5");
    assert_eq!(fault(4, &[1], &[0, 8]), "sequence 4 holds the KV block 8, the pool has 8");
}

#[test]
fn the_bytes_of_a_model_are_those_it_holds() {
    for card in cards() {
        let model = Model::new(&card, &Made, 16, 1).unwrap();
        let mut numbers = model.embedding.as_ref().map_or(0, Vec::len) + model.final_norm.len() + model.head.numbers();
        for layer in &model.layers {
            numbers += layer.input_norm.len() + layer.post_norm.len();
            numbers += layer.qk_norms.as_ref().map_or(0, |(q, k)| q.len() + k.len());
            numbers += [&layer.qkv, &layer.o, &layer.gate_up, &layer.down].map(Linear::numbers).iter().sum::<usize>();
        }
        assert_eq!(Model::bytes(&card), 4 * numbers as u64, "{}", card.name);
    }
}
