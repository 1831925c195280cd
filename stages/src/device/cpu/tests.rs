#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::infer::blocks::Tabled;
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::{Knobs, Policy};
use crate::infer::serve::serve;
use crate::model::reference::Reference;
use crate::model::weights::tests::{Made, tiny_card};

fn requests() -> Vec<Request> {
    [(0u64, 11u32, 9u32), (0, 30, 12), (200_000, 3, 20), (200_001, 40, 1), (900_000, 7, 15)]
        .iter()
        .enumerate()
        .map(|(id, (arrival, prompt, output))| Request {
            id: id as u32,
            arrival: Nanos(*arrival),
            prompt_tokens: *prompt,
            output_tokens: *output,
            prompt: (0..*prompt).map(|i| (i * 13 + id as u32 * 31) % 140).collect(),
            prefix_blocks: [].into(),
            priority: 0,
        })
        .collect()
}

/// What greedy decoding of each request alone gives, by candle-transformers.
fn alone(requests: &[Request]) -> Vec<Vec<u32>> {
    let mut reference = Reference::new(&tiny_card(), &Made, 256).unwrap();
    requests
        .iter()
        .map(|request| {
            reference.clear().unwrap();
            let mut ids = request.prompt.to_vec();
            let mut offset = 0;
            for _ in 0..request.output_tokens {
                let logits = reference.forward(&ids[offset..], offset).unwrap();
                offset = ids.len();
                ids.push((0..logits.len()).fold(0, |b, i| if logits[i] > logits[b] { i } else { b }) as u32);
            }
            ids[request.prompt_tokens as usize..].to_vec()
        })
        .collect()
}

fn served(knobs: &Knobs) -> (Run, Vec<Vec<u32>>) {
    let requests = requests();
    let model = Model::new(&tiny_card(), &Made, 256, 1).unwrap();
    let mut cpu = Cpu::new(model, knobs.kv_blocks, knobs.block_tokens, requests.len());
    let mut run = Run::for_requests(&requests);
    serve(&requests, knobs, Tabled::Kept, &mut cpu, &mut run).unwrap();
    let mut outputs = vec![Vec::new(); requests.len()];
    for token in &run.tokens {
        outputs[token.request_id as usize].push(token.token_id);
    }
    (run, outputs)
}

#[test]
fn whatever_the_schedule_each_request_gets_the_tokens_it_gets_alone() {
    let want = alone(&requests());
    let knobs = Knobs { max_batched_tokens: 16, max_sequences: 4, block_tokens: 4, kv_blocks: 64, ..Knobs::default() };
    for (policy, pipelined) in
        [(Policy::Sarathi, false), (Policy::VllmV1, false), (Policy::Sarathi, true), (Policy::VllmV1, true)]
    {
        let (_, outputs) = served(&Knobs { policy, pipelined, ..knobs.clone() });
        assert_eq!(outputs, want, "{} pipelined {pipelined}", policy.name());
    }
}

#[test]
fn sequences_that_lose_their_blocks_start_over_and_get_the_same_tokens() {
    let want = alone(&requests());
    let tight = Knobs {
        max_batched_tokens: 16,
        max_sequences: 4,
        block_tokens: 4,
        kv_blocks: 15,
        watermark: 0.0,
        ..Knobs::default()
    };
    let (run, outputs) = served(&tight);
    assert!(run.requests.iter().any(|r| r.preemptions > 0), "the pool is so small that somebody must yield");
    assert_eq!(outputs, want);
}

#[test]
fn times_of_a_run_come_in_order_and_host_and_device_fill_the_busy_time() {
    let (run, _) = served(&Knobs { max_batched_tokens: 16, max_sequences: 4, ..Knobs::default() });
    for pair in run.batches.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert!(a.start < a.end && a.end <= b.scheduled && b.scheduled <= b.start);
        assert_eq!(a.device, a.end.since(a.start));
        assert!(b.host <= b.start.since(a.end));
    }
}

#[test]
fn waiting_ends_at_the_instant_and_not_before() {
    let origin = Instant::now();
    wait_until(origin, Nanos(3_000_000));
    assert!(origin.elapsed() >= Duration::from_millis(3));
    wait_until(origin, Nanos(1));
    assert!(origin.elapsed() < Duration::from_secs(2), "a past instant is not waited for");
}
