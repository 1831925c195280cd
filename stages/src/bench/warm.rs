//! Warming up: the shapes that will come, run before the clock starts, so that caches, branch predictors, the
//! allocator and the processor's frequency are where serving keeps them.

use std::time::{Duration, Instant};

use engine::kind::StageError;

use crate::device::cpu::Cpu;
use crate::device::cpu::rehearsal::Rehearsal;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{Backend, Batch, Slice};

/// Iterations like those of the run: a chunk as long as any prompt allows, half of it and so on, and decodes in
/// batches of every power of two up to as many as can run, in the middle of the longest request.
pub(super) fn batches(knobs: &Knobs, requests: &[Request]) -> Vec<Batch> {
    let most = |of: fn(&Request) -> u32| requests.iter().map(of).max().unwrap_or(1);
    let (prompt, output) = (most(|r| r.prompt_tokens), most(|r| r.output_tokens));
    let room = |sequences: u32| {
        let tokens = u64::from(knobs.kv_blocks / sequences) * u64::from(knobs.block_tokens);
        u32::try_from(tokens).unwrap_or(u32::MAX)
    };
    let chunk = prompt.min(knobs.max_batched_tokens).min(room(1));
    let together = u32::try_from(requests.len()).unwrap_or(u32::MAX);
    let together = together.min(knobs.max_sequences).min(knobs.kv_blocks).min(knobs.max_batched_tokens).max(1);
    let slice = |seq, context, tokens| Slice { seq, context, tokens, yields: true };
    let mut batches: Vec<Batch> = halves(chunk).map(|tokens| Batch { slices: vec![slice(0, 0, tokens)] }).collect();
    for sequences in halves(together) {
        let context = (prompt + output / 2).min(room(sequences) - 1);
        batches.push(Batch { slices: (0..sequences).map(|seq| slice(seq, context, 1)).collect() });
    }
    batches
}

fn halves(from: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(from), |n| (*n > 1).then_some(n / 2))
}

/// Runs the shapes that will come, over and over for `seconds` and at least twice; the time it took, ns.
///
/// # Errors
/// When the backend fails.
pub(super) fn up(cpu: &mut Cpu, knobs: &Knobs, requests: &[Request], seconds: f64) -> Result<u64, StageError> {
    let batches = batches(knobs, requests);
    let rehearsal = Rehearsal::new(knobs);
    let (begin, least) = (Instant::now(), Duration::from_secs_f64(seconds));
    let failed = |e| StageError::new("warming up failed").because(&e);
    let mut ids = Vec::new();
    cpu.pool_mut().fill();
    // Past the time, only the first two rounds are still owed.
    for round in 0.. {
        for batch in &batches {
            if round >= 2 && begin.elapsed() >= least {
                cpu.pool_mut().forget();
                return Ok(u64::try_from(begin.elapsed().as_nanos()).expect("a warm-up ends within 584 years"));
            }
            cpu.submit(batch, &rehearsal.scene(batch)).map_err(failed)?;
            ids.clear();
            cpu.collect(&mut ids).map_err(failed)?;
        }
    }
    unreachable!("a clock goes on")
}

#[cfg(test)]
mod tests;
