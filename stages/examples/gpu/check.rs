//! Holds the card against a plain f32 forward pass, and its ways through a step against each other.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use stages::device::cuda::compile::Cache;
use stages::device::cuda::{CudaBackend, Device, Engine, Limits};
use stages::infer::serve::{Backend, Batch};
use stages::model::card::Card;

use crate::drive::{Script, logits, step};
use crate::reference::{Past, Reference};
use crate::seeded::{Seeded, qwen3, smollm2};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Activations pass through bf16 (8 bits) at six places of a layer: two layers of independent roundings of 2^-9 give
/// a few thousandths; a misplaced row or key gives about one.
const RELATIVE_ERROR_MAX: f32 = 0.03;
/// A token may differ where the reference's two best logits are closer than this; their spread is about one.
const TIE: f32 = 0.06;

fn backend(card: &Card, limits: Limits) -> Result<CudaBackend, Box<dyn std::error::Error>> {
    let device = Device::open()?;
    let mut engine = Engine::new(&device, card, limits, &Seeded { seed: 7 }, &Cache::of_user())?;
    // Every kernel of whole steps, also where others are faster.
    engine.set_whole_rows_max(8);
    Ok(CudaBackend::new(engine)?)
}

fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    let difference: f32 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    let size: f32 = b.iter().map(|y| y * y).sum();
    let error = (difference / size).sqrt();
    if error.is_nan() { f32::INFINITY } else { error }
}

fn random_ids(rng: &mut ChaCha8Rng, count: usize, vocab: usize) -> Vec<u32> {
    (0..count).map(|_| rng.next_u32() % vocab as u32).collect()
}

fn below(rng: &mut ChaCha8Rng, most: usize) -> usize {
    rng.next_u32() as usize % most
}

fn say(name: &str, worst: f32, compared: usize, failures: &mut Vec<String>) {
    println!("check {name}: {compared} rows, worst relative error {worst:.5}");
    if compared == 0 || worst > RELATIVE_ERROR_MAX {
        failures.push(format!("{name}: {worst}"));
    }
}

/// A few short batches through every kernel, for a sanitizer.
fn small() -> Outcome {
    let mut failures = Vec::new();
    for (card, narrow) in [(qwen3(1, 1024), 32), (qwen3(1, 1024), 0), (smollm2(1), 0)] {
        let limits = Limits { tokens: 256, sequences: 16, blocks: 128, block_tokens: 16 };
        let mut backend = backend(&card, limits)?;
        backend.engine_mut().set_narrow_rows_max(narrow);
        if narrow == 0 {
            backend.engine_mut().set_whole_rows_max(0);
        }
        let lengths = [150usize, 40, 17, 3];
        let mut script = Script::scattered(&lengths, 16, limits.blocks);
        let mut wanted = Vec::new();
        for step_of in 0..2 {
            let mut slices = Vec::new();
            for (seq, length) in lengths.iter().enumerate() {
                let ids: Vec<u32> = (0..*length as u32).map(|i| i * 37 % 1000).collect();
                // First as prefills, then the last token of each as a decode beside the first one's whole prompt.
                match (step_of, seq) {
                    (0, _) | (1, 0) => slices.push(script.slice(seq, 0, &ids, true)),
                    _ => slices.push(script.slice(seq, length - 1, &ids[length - 1..], true)),
                }
            }
            step(&mut backend, &script, slices)?;
            wanted.push(logits(&backend, lengths.len())?);
        }
        let slices =
            (1..4).map(|seq| script.slice(seq, lengths[seq] - 1, &[(lengths[seq] as u32 - 1) * 37 % 1000], true));
        let slices: Vec<_> = slices.collect();
        step(&mut backend, &script, slices)?;
        let alone = logits(&backend, 3)?;
        let mut worst = (0..4).map(|i| relative_error(&wanted[1][i], &wanted[0][i])).fold(0f32, f32::max);
        worst = (0..3).map(|i| relative_error(&alone[i], &wanted[0][i + 1])).fold(worst, f32::max);
        say(&format!("small, fused to {narrow} rows, head_dim {}", card.head_dim), worst, 7, &mut failures);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// Everything; fails at the end with the list of what differed.
pub(crate) fn all() -> Outcome {
    if std::env::var_os("SMALL").is_some() {
        return small();
    }
    let mut failures = Vec::new();
    let card = qwen3(2, 8192);
    for (name, card, block_tokens, narrow) in [
        ("mixed batches, blocks of 16", &card, 16, 32),
        ("mixed batches, blocks of 32, no fused products", &card, 32, 0),
        ("mixed batches, head_dim 64, groups of 3", &smollm2(2), 16, 32),
    ] {
        if let Err(e) = mixed(name, card, block_tokens, narrow, &mut failures) {
            failures.push(format!("{name}: {e}"));
        }
    }
    for (name, check) in [
        ("greedy", greedy as fn(&Card, &mut Vec<String>) -> Outcome),
        ("wide", wide as fn(&Card, &mut Vec<String>) -> Outcome),
        ("long", long as fn(&Card, &mut Vec<String>) -> Outcome),
    ] {
        if let Err(e) = check(&card, &mut failures) {
            failures.push(format!("{name}: {e}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// Steps of one, two, four and eight sequences as one kernel each, from the first token on, against the reference:
/// nothing of cublasLt runs, so a sanitizer sees the project's kernels alone.
pub(crate) fn exchange() -> Outcome {
    const STEPS: usize = 20;
    let card = qwen3(2, 1024);
    let mut failures = Vec::new();
    let limits = Limits { tokens: 16, sequences: 8, blocks: 64, block_tokens: 16 };
    let mut backend = backend(&card, limits)?;
    if !backend.engine().is_whole(8) {
        return Err("this card has no kernel for whole steps".into());
    }
    let reference = Reference::new(*backend.engine().dimensions(), &Seeded { seed: 7 })?;
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for count in [1usize, 2, 3, 8] {
        let mut script = Script::scattered(&vec![STEPS; count], 16, limits.blocks);
        let ids: Vec<Vec<u32>> = (0..count).map(|_| random_ids(&mut rng, STEPS, 1024)).collect();
        let mut pasts: Vec<Past> = (0..count).map(|_| Past::default()).collect();
        let (mut worst, mut compared) = (0f32, 0);
        for at in 0..STEPS {
            let slices: Vec<_> = (0..count).map(|i| script.slice(i, at, &ids[i][at..=at], true)).collect();
            step(&mut backend, &script, slices)?;
            for (i, row) in logits(&backend, count)?.iter().enumerate() {
                let residual = reference.step(&mut pasts[i], ids[i][at]);
                worst = worst.max(relative_error(row, &reference.logits(&residual)));
                compared += 1;
            }
        }
        say(&format!("whole steps of {count}"), worst, compared, &mut failures);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// Sequences of many lengths cut into random chunks and batched at random, every yielded row against the reference.
fn mixed(name: &str, card: &Card, block_tokens: usize, narrow: usize, failures: &mut Vec<String>) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut lengths: Vec<usize> = (0..20).map(|_| 1 + below(&mut rng, 150)).collect();
    lengths.extend([1, 2, 15, 16, 17, 31, 32, 33, 64, 129, 700]);
    let limits = Limits { tokens: 512, sequences: 64, blocks: 1024, block_tokens };
    let mut backend = backend(card, limits)?;
    backend.engine_mut().set_narrow_rows_max(narrow);
    if narrow == 0 {
        backend.engine_mut().set_whole_rows_max(0);
    }
    let vocab = card.vocab as usize;
    let ids: Vec<Vec<u32>> = lengths.iter().map(|n| random_ids(&mut rng, *n, vocab)).collect();
    let reference = Reference::new(*backend.engine().dimensions(), &Seeded { seed: 7 })?;
    let residuals: Vec<Vec<Vec<f32>>> = ids
        .par_iter()
        .map(|ids| {
            let mut past = Past::default();
            ids.iter().map(|id| reference.step(&mut past, *id)).collect()
        })
        .collect();
    let mut script = Script::scattered(&lengths, block_tokens, limits.blocks);
    let mut done = vec![0usize; lengths.len()];
    let (mut worst, mut compared) = (0f32, 0);
    while done.iter().zip(&lengths).any(|(d, n)| d < n) {
        let only_decodes = below(&mut rng, 3) == 0;
        let most = 1 + below(&mut rng, lengths.len());
        let mut slices = Vec::new();
        let mut rows = 0;
        for seq in 0..lengths.len() {
            let left = lengths[seq] - done[seq];
            if left == 0 || slices.len() == most || (only_decodes && done[seq] == 0) || below(&mut rng, 3) == 0 {
                continue;
            }
            let is_decode = only_decodes || (done[seq] > 0 && below(&mut rng, 2) == 0);
            let tokens = if is_decode { 1 } else { 1 + below(&mut rng, left.min(200)) };
            if rows + tokens > limits.tokens {
                continue;
            }
            rows += tokens;
            let yields = is_decode || below(&mut rng, 2) == 0;
            slices.push(script.slice(seq, done[seq], &ids[seq][done[seq]..done[seq] + tokens], yields));
        }
        if slices.is_empty() {
            continue;
        }
        let (tokens, _) = step(&mut backend, &script, slices.clone())?;
        let rows = logits(&backend, tokens.len())?;
        for ((slice, row), token) in slices.iter().filter(|s| s.yields).zip(&rows).zip(&tokens) {
            let last = (slice.context + slice.tokens) as usize - 1;
            let wanted = reference.logits(&residuals[slice.seq as usize][last]);
            let error = relative_error(row, &wanted);
            if error > RELATIVE_ERROR_MAX && failures.len() < 20 {
                let what = format!(
                    "sequence {} at {last} ({} tokens, {} slices): {error}",
                    slice.seq,
                    slice.tokens,
                    slices.len()
                );
                println!("  {what}");
                failures.push(what);
            }
            let best = row.iter().copied().fold(f32::MIN, f32::max);
            if row[*token as usize] != best {
                failures.push(format!("{name}: token {token} is not the greatest of its own logits"));
            }
            (worst, compared) = (worst.max(error), compared + 1);
        }
        for slice in &slices {
            done[slice.seq as usize] += slice.tokens as usize;
        }
    }
    say(name, worst, compared, failures);
    Ok(())
}

/// 200 steps with tokens fed back on the card, two in flight, against the reference's choices.
fn greedy(card: &Card, failures: &mut Vec<String>) -> Outcome {
    const STEPS: usize = 200;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let limits = Limits { tokens: 2048, sequences: 64, blocks: 2048, block_tokens: 16 };
    let mut backend = backend(card, limits)?;
    let reference = Reference::new(*backend.engine().dimensions(), &Seeded { seed: 7 })?;
    let prompts: Vec<Vec<u32>> = [5usize, 16, 30, 47].iter().map(|n| random_ids(&mut rng, *n, 8192)).collect();
    for copies in [1usize, 4, 12] {
        let count = prompts.len() * copies;
        let lengths: Vec<usize> = (0..count).map(|i| prompts[i % prompts.len()].len() + STEPS).collect();
        let mut script = Script::scattered(&lengths, 16, limits.blocks);
        let mut made: Vec<Vec<u32>> = vec![Vec::new(); count];
        let prefill: Vec<_> = (0..count).map(|i| script.slice(i, 0, &prompts[i % prompts.len()], true)).collect();
        backend.submit(&Batch { slices: prefill }, &script)?;
        for at in 1..=STEPS {
            if at < STEPS {
                let length = |i: usize| prompts[i % prompts.len()].len();
                let slices = (0..count).map(|i| script.next(i, length(i) + at - 1)).collect();
                backend.submit(&Batch { slices }, &script)?;
            }
            let mut tokens = Vec::new();
            backend.collect(&mut tokens)?;
            made.iter_mut().zip(&tokens).for_each(|(m, t)| m.push(*t));
        }
        let judged: Vec<(usize, usize, f32)> =
            (0..prompts.len()).into_par_iter().map(|p| follow(&reference, &prompts[p], &made[p])).collect();
        let agreed: usize = judged.iter().map(|j| j.0).sum();
        let ties: usize = judged.iter().map(|j| j.1).sum();
        let worst = judged.iter().map(|j| j.2).fold(0f32, f32::max);
        println!("check greedy, {count} sequences: {agreed} tokens agree, {ties} ties, widest gap {worst:.4}");
        if worst > TIE || agreed < prompts.len() * STEPS * 9 / 10 {
            failures.push(format!("greedy with {count}: {agreed} agree, gap {worst}"));
        }
        let strays = (0..count).filter(|i| made[*i] != made[*i % prompts.len()]).count();
        println!("  copies that went another way: {strays} of {}", count - prompts.len());
    }
    Ok(())
}

/// Feeds the card's own tokens to the reference: how many it would have chosen too, how many not, and the widest gap
/// between its best logit and that of the card's token.
fn follow(reference: &Reference, prompt: &[u32], made: &[u32]) -> (usize, usize, f32) {
    let mut past = Past::default();
    let mut residual = Vec::new();
    for id in prompt {
        residual = reference.step(&mut past, *id);
    }
    let (mut agreed, mut ties, mut widest) = (0, 0, 0f32);
    for token in made {
        let logits = reference.logits(&residual);
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let gap = best - logits[*token as usize];
        if gap == 0.0 {
            agreed += 1
        } else {
            ties += 1
        }
        widest = widest.max(gap);
        residual = reference.step(&mut past, *token);
    }
    (agreed, ties, widest)
}

/// Decodes of 1 to 256 sequences of mixed contexts against prefills of the same tokens elsewhere in the pool.
fn wide(card: &Card, failures: &mut Vec<String>) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let limits = Limits { tokens: 8192, sequences: 256, blocks: 24_000, block_tokens: 16 };
    let mut backend = backend(card, limits)?;
    let lengths: Vec<usize> =
        (0..256).map(|i| if i % 16 == 0 { 1 + below(&mut rng, 1990) } else { 2 + below(&mut rng, 700) }).collect();
    let ids: Vec<Vec<u32>> = lengths.iter().map(|n| random_ids(&mut rng, *n, 8192)).collect();
    let twice: Vec<usize> = lengths.iter().chain(&lengths).copied().collect();
    let mut script = Script::scattered(&twice, 16, limits.blocks);
    let mut wanted = Vec::new();
    for seq in 0..256 {
        let slice = script.slice(seq, 0, &ids[seq], true);
        step(&mut backend, &script, vec![slice])?;
        wanted.push(logits(&backend, 1)?.remove(0));
        if lengths[seq] > 1 {
            let slice = script.slice(seq + 256, 0, &ids[seq][..lengths[seq] - 1], false);
            step(&mut backend, &script, vec![slice])?;
        }
    }
    for count in [1usize, 2, 3, 8, 9, 16, 17, 32, 33, 64, 100, 128, 200, 256] {
        let (mut worst, mut compared) = (0f32, 0);
        for _ in 0..2 {
            let slices: Vec<_> = (0..count)
                .map(|i| {
                    let last = lengths[i] - 1;
                    script.slice(i + 256, last, &ids[i][last..], true)
                })
                .collect();
            step(&mut backend, &script, slices)?;
            for (i, row) in logits(&backend, count)?.iter().enumerate() {
                worst = worst.max(relative_error(row, &wanted[i]));
                compared += 1;
            }
        }
        say(&format!("decode of {count} against prefill"), worst, compared, failures);
    }
    Ok(())
}

/// Contexts to 32k: the last token as a decode against the same as the end of a chunk.
fn long(card: &Card, failures: &mut Vec<String>) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let limits = Limits { tokens: 2048, sequences: 8, blocks: 4200, block_tokens: 16 };
    let mut backend = backend(card, limits)?;
    for length in [2047usize, 4097, 20_000, 32_768] {
        let ids = random_ids(&mut rng, length, 8192);
        let mut script = Script::scattered(&[length, length], 16, limits.blocks);
        let mut wanted = Vec::new();
        for (seq, end) in [(0, length), (1, length - 1)] {
            for from in (0..end).step_by(2000) {
                let to = (from + 2000).min(end);
                let slice = script.slice(seq, from, &ids[from..to], to == length);
                step(&mut backend, &script, vec![slice])?;
            }
            if end == length {
                wanted = logits(&backend, 1)?.remove(0);
            }
        }
        let slice = script.slice(1, length - 1, &ids[length - 1..], true);
        step(&mut backend, &script, vec![slice])?;
        let error = relative_error(&logits(&backend, 1)?[0], &wanted);
        say(&format!("decode at context {length} against prefill"), error, 1, failures);
    }
    Ok(())
}
