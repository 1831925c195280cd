#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Sequences, Served, Timing, serve};
use super::*;
use crate::infer::blocks::Tabled;
use crate::infer::machine::{Machine, Predict, StepTime};
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::{Knobs, Policy};

/// A time that depends on every context.
struct ByContext;

impl Predict for ByContext {
    type Error = Infallible;
    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, Infallible> {
        let work: u64 = batch.slices.iter().map(|s| u64::from(s.tokens) * (7 + u64::from(s.context % 5))).sum();
        Ok(StepTime { host: Nanos(3), device: Nanos(work) })
    }
}

/// Counts what it is handed singly, and refuses stretches where `stretches` is none.
struct Watched {
    machine: Machine<ByContext>,
    singly: u32,
    stretches: Option<u32>,
}

impl Backend for Watched {
    type Error = Infallible;
    fn now(&self) -> Nanos {
        self.machine.now()
    }
    fn wait_until(&mut self, t: Nanos) {
        self.machine.wait_until(t);
    }
    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), Infallible> {
        self.singly += 1;
        self.machine.submit(batch, sequences)
    }
    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, Infallible> {
        self.machine.collect(tokens)
    }
    fn repeat(&mut self, batch: &mut Batch, most: u32, until: Nanos, laps: &mut Vec<Lap>) -> Result<(), Infallible> {
        let Some(stretches) = &mut self.stretches else { return Ok(()) };
        *stretches += 1;
        self.machine.repeat(batch, most, until, laps)
    }
}

fn request(id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    let (prompt, prefix_blocks) = (Arc::default(), Arc::default());
    Request { id, arrival: Nanos(arrival), prompt_tokens, output_tokens, prompt, prefix_blocks, priority: 0 }
}

fn watched(requests: &[Request], knobs: &Knobs, stretches: Option<u32>) -> (Served, Run, Watched) {
    let mut watched = Watched { machine: Machine::new(ByContext), singly: 0, stretches };
    let mut run = Run::for_requests(requests);
    let served = serve(requests, knobs, Tabled::Counted, &mut watched, &mut run).unwrap();
    (served, run, watched)
}

#[test]
fn a_lone_request_is_two_iterations_and_a_stretch() {
    let knobs = Knobs { kv_blocks: 400, ..Knobs::default() };
    let (served, run, watched) = watched(&[request(0, 0, 5, 3000)], &knobs, Some(0));
    assert_eq!((served.batches, served.tokens, run.batches.len()), (3000, 3000, 3000));
    // The prefill, the first decode (which shows that decodes repeat) and the last (which completes).
    assert_eq!((watched.singly, watched.stretches), (3, Some(1)));
    let blocks: Vec<u32> = run.batches.iter().map(|b| b.kv_blocks_used).collect();
    let expected: Vec<u32> = (0..3000u32).map(|i| (5 + i).div_ceil(16)).collect();
    assert_eq!(blocks, expected, "a block every sixteen tokens");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Long outputs, arrivals in the middle of them, pools that run out.
    #[test]
    fn a_stretch_leaves_what_single_iterations_leave(
        rows in prop::collection::vec((0u64..2500, 1u32..40, 1u32..200), 1..12),
        policy in prop::sample::select(&[
            Policy::Sarathi, Policy::VllmV1, Policy::Vllm, Policy::Orca, Policy::FasterTransformer
        ][..]),
        kv_blocks in 40u32..200,
        block_tokens in 1u32..20,
        max_sequences in 1u32..9,
    ) {
        let knobs = Knobs {
            policy,
            kv_blocks,
            block_tokens,
            max_sequences,
            max_sequence_tokens: Some(240.min(kv_blocks * block_tokens)),
            max_batched_tokens: 240,
            ..Knobs::default()
        };
        let mut arrival = 0;
        let make = |(id, (gap, prompt, output)): (usize, (u64, u32, u32))| {
            arrival += gap;
            request(id as u32, arrival, prompt, output)
        };
        let requests: Vec<Request> = rows.into_iter().enumerate().map(make).collect();
        let (single, single_run, _) = watched(&requests, &knobs, None);
        let (served, run, _) = watched(&requests, &knobs, Some(0));
        prop_assert_eq!(served, single);
        prop_assert_eq!(run, single_run);
    }
}
