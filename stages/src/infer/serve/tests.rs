#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::infer::machine::{Machine, Predict, StepTime};
use crate::infer::record::Run;
use crate::infer::schedule::Policy;

const POLICIES: [Policy; 6] =
    [Policy::Sarathi, Policy::VllmV1, Policy::Vllm, Policy::Orca, Policy::FasterTransformer, Policy::Lightllm];

fn request(id: u32, arrival_ns: u64, prompt: &[u32], output_tokens: u32) -> Request {
    Request {
        id,
        arrival: Nanos(arrival_ns),
        prompt_tokens: prompt.len() as u32,
        output_tokens,
        prompt: prompt.into(),
        prefix_blocks: Arc::default(),
        priority: 0,
    }
}

/// The token that follows `tokens`: depends on each of them and on their order.
fn next_token(tokens: impl Iterator<Item = u32>) -> u32 {
    tokens.fold(1u32, |h, t| (h ^ t).wrapping_mul(0x9e37_79b1).rotate_left(13)) % 50
}

/// What a request gets when it is alone in the world.
fn alone(request: &Request) -> Vec<u32> {
    let mut tokens = request.prompt.to_vec();
    for _ in 0..request.output_tokens {
        tokens.push(next_token(tokens.iter().copied()));
    }
    tokens.split_off(request.prompt.len())
}

/// A backend with a paged cache that holds the tokens themselves: it sees only what it is handed, and computes the
/// next token from what it finds in the cache.
struct PagedToy {
    slots: Vec<u32>,
    block_tokens: usize,
    /// What the batch before this one yielded: all that a device still knows.
    previous: HashMap<u32, u32>,
    flights: VecDeque<(Timing, Vec<u32>)>,
    now: Nanos,
    free: Nanos,
}

impl PagedToy {
    fn new(knobs: &Knobs) -> PagedToy {
        PagedToy {
            slots: vec![u32::MAX; knobs.pool_tokens() as usize],
            block_tokens: knobs.block_tokens as usize,
            previous: HashMap::new(),
            flights: VecDeque::new(),
            now: Nanos(0),
            free: Nanos(0),
        }
    }
}

impl Backend for PagedToy {
    type Error = String;

    fn now(&self) -> Nanos {
        self.now
    }

    fn wait_until(&mut self, t: Nanos) {
        self.now = self.now.max(t);
    }

    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), String> {
        let mut yielded = Vec::new();
        let mut known = HashMap::new();
        for slice in &batch.slices {
            let blocks = sequences.blocks(slice.seq);
            let slot = |position: u32| {
                let (block, offset) = (position as usize / self.block_tokens, position as usize % self.block_tokens);
                blocks.get(block).map(|b| *b as usize * self.block_tokens + offset)
            };
            let ids = match sequences.token_ids(slice.seq) {
                [] => vec![*self.previous.get(&slice.seq).ok_or("nobody knows the token")?],
                ids => ids.to_vec(),
            };
            if ids.len() != slice.tokens as usize {
                return Err(format!("{} ids for {slice:?}", ids.len()));
            }
            for (position, id) in (slice.context..).zip(ids) {
                self.slots[slot(position).ok_or("the table is too short")?] = id;
            }
            if slice.yields {
                let seen = (0..slice.context + slice.tokens).map(|p| self.slots[slot(p).unwrap()]);
                let token = next_token(seen);
                yielded.push(token);
                known.insert(slice.seq, token);
            }
        }
        self.previous = known;
        self.now = self.now + Nanos(3);
        let start = self.now.max(self.free);
        let device = Nanos(10 + batch.slices.iter().map(|s| u64::from(s.tokens)).sum::<u64>());
        self.free = start + device;
        self.flights.push_back((Timing { start, end: self.free, device }, yielded));
        Ok(())
    }

    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, String> {
        let (timing, yielded) = self.flights.pop_front().unwrap();
        self.now = self.now.max(timing.end);
        tokens.extend(yielded);
        Ok(timing)
    }
}

/// Requests that share prefixes, arrive in bursts, and are long against the small pools below.
fn workloads() -> impl Strategy<Value = Vec<Request>> {
    let one = (0u64..120, 1usize..40, 1u32..30, 0u32..3);
    prop::collection::vec(one, 1..24).prop_map(|rows| {
        let mut arrival = 0;
        let make = |(id, (gap, length, output, family)): (usize, (u64, usize, u32, u32))| {
            arrival += gap.saturating_sub(40);
            let prompt: Vec<u32> = (0..length as u32).map(|i| if i < 16 { family } else { i * family % 7 }).collect();
            request(id as u32, arrival, &prompt, output)
        };
        rows.into_iter().enumerate().map(make).collect()
    })
}

fn knobs() -> impl Strategy<Value = Knobs> {
    let numbers = (8u32..64, 1u32..8, 1u32..9, 12u32..40);
    (prop::sample::select(&POLICIES[..]), numbers, any::<bool>(), any::<bool>(), 0usize..2).prop_map(
        |(policy, (max_batched_tokens, max_sequences, block_tokens, kv_blocks), pipelined, caching, watermark)| Knobs {
            policy,
            max_batched_tokens,
            max_sequences,
            max_sequence_tokens: Some(60.min(kv_blocks * if policy == Policy::Lightllm { 1 } else { block_tokens })),
            block_tokens: if policy == Policy::Lightllm { 1 } else { block_tokens },
            kv_blocks,
            watermark: [0.0, 0.1][watermark],
            pipelined,
            prefix_caching: caching && policy.chunks_prefill(),
            max_waiting_iterations: 3,
        },
    )
}

fn toy_run(requests: &[Request], knobs: &Knobs) -> (Served, Run) {
    let mut run = Run::for_requests(requests);
    let served = serve(requests, knobs, Tabled::Kept, &mut PagedToy::new(knobs), &mut run);
    (served.unwrap_or_else(|e| panic!("{e}")), run)
}

fn budget_holds(knobs: &Knobs, row: &BatchRow, slices: &[Slice]) -> bool {
    let tokens: u32 = slices.iter().map(|s| s.tokens).sum();
    let bounded = !knobs.policy.reserves() && (knobs.policy != Policy::Lightllm || row.decode_tokens == 0);
    tokens == row.prefill_tokens + row.decode_tokens
        && slices.len() <= knobs.max_sequences as usize
        && row.running <= knobs.max_sequences.max(if knobs.policy.reserves() { u32::MAX } else { 0 })
        && row.kv_blocks_used <= knobs.kv_blocks
        && (!bounded || tokens <= knobs.max_batched_tokens.max(knobs.max_sequences))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Covers chunked prefill, preemption and recomputation, shared prefixes and two batches in flight at once: a
    /// wrong block, position, or id changes some token.
    #[test]
    fn every_request_gets_the_tokens_it_would_get_alone(requests in workloads(), knobs in knobs()) {
        prop_assert_eq!(knobs.check(), Ok(()));
        let (served, run) = toy_run(&requests, &knobs);
        let mut tokens = vec![Vec::new(); requests.len()];
        for row in &run.tokens {
            prop_assert_eq!(row.token_index as usize, tokens[row.request_id as usize].len());
            tokens[row.request_id as usize].push(row.token_id);
        }
        for (request, row) in requests.iter().zip(&run.requests) {
            match row.status {
                Status::Ok => prop_assert_eq!(&tokens[request.id as usize], &alone(request)),
                _ => prop_assert!(tokens[request.id as usize].is_empty() && row.error.is_some()),
            }
        }
        prop_assert_eq!(served.completed + served.refused, requests.len() as u32);
        prop_assert_eq!(served.tokens, run.tokens.len() as u64);
    }

    #[test]
    fn batches_keep_to_the_knobs_and_follow_on_from_each_other(requests in workloads(), knobs in knobs()) {
        let (_, run) = toy_run(&requests, &knobs);
        let mut reached = vec![0; requests.len()];
        let mut end = Nanos(0);
        for (index, row) in run.batches.iter().enumerate() {
            prop_assert!(budget_holds(&knobs, row, run.slices(index)), "{:?} {:?}", row, run.slices(index));
            prop_assert!(row.start >= end && row.start >= row.scheduled && row.end >= row.start);
            end = row.end;
            for slice in run.slices(index) {
                let at = &mut reached[slice.seq as usize];
                let restarted = slice.context == 0 || (knobs.prefix_caching && slice.context % knobs.block_tokens == 0);
                prop_assert!(slice.context == *at || restarted, "{:?} after {}", slice, at);
                *at = slice.context + slice.tokens;
            }
        }
    }

    #[test]
    fn who_arrives_first_starts_first(requests in workloads(), knobs in knobs()) {
        let (_, run) = toy_run(&requests, &knobs);
        let started: Vec<Nanos> = run.requests.iter().filter_map(|r| r.scheduled).collect();
        prop_assert!(started.is_sorted(), "{:?}", started);
    }

    #[test]
    fn counting_blocks_gives_the_same_run_as_keeping_tables(requests in workloads(), knobs in knobs()) {
        let run = |tabled| {
            let mut run = Run::for_requests(&requests);
            serve(&requests, &knobs, tabled, &mut Machine::new(ByTokens), &mut run).map(|served| (served, run))
        };
        prop_assert_eq!(run(Tabled::Counted), run(Tabled::Kept));
    }

    #[test]
    fn two_in_flight_change_the_times_and_not_the_batches(mut requests in workloads(), knobs in knobs()) {
        requests.iter_mut().for_each(|r| r.arrival = Nanos(0));
        let batches = |pipelined| {
            let (_, run) = toy_run(&requests, &Knobs { pipelined, ..knobs.clone() });
            (0..run.batches.len()).map(|i| run.slices(i).to_vec()).collect::<Vec<_>>()
        };
        prop_assert_eq!(batches(true), batches(false));
    }
}

/// Ten nanoseconds a token, one for the host.
struct ByTokens;

impl Predict for ByTokens {
    type Error = Infallible;
    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, Infallible> {
        let tokens: u64 = batch.slices.iter().map(|s| u64::from(s.tokens)).sum();
        Ok(StepTime { host: Nanos(1), device: Nanos(10 * tokens) })
    }
}

fn blank(id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { prompt_tokens, prompt: Arc::default(), ..request(id, arrival, &[], output_tokens) }
}

/// Slices of each batch as `seq@context+tokens`, a yielding one with `!`.
fn written(run: &Run) -> Vec<String> {
    let slice = |s: &Slice| format!("{}@{}+{}{}", s.seq, s.context, s.tokens, if s.yields { "!" } else { "" });
    (0..run.batches.len()).map(|i| run.slices(i).iter().map(slice).collect::<Vec<_>>().join(" ")).collect()
}

fn simulate(requests: &[Request], knobs: &Knobs) -> Run {
    let mut run = Run::for_requests(requests);
    serve(requests, knobs, Tabled::Counted, &mut Machine::new(ByTokens), &mut run).unwrap();
    run
}

#[test]
fn a_schedule_worked_by_hand_for_sarathi() {
    // Chunk 8, pool 6 blocks of 4. Request 0: 10 + 3; request 1: 5 + 2, arrives during the first batch; request 2:
    // 9 + 1 needs 3 blocks, which are free only when request 0 has gone.
    let knobs = Knobs { max_batched_tokens: 8, max_sequences: 8, block_tokens: 4, kv_blocks: 6, ..Knobs::default() };
    let requests = [blank(0, 0, 10, 3), blank(1, 5, 5, 2), blank(2, 5, 9, 1)];
    let run = simulate(&requests, &knobs);
    // After the third batch request 1 has given back its two blocks: three are free, and request 2 enters.
    let batches = ["0@0+8", "0@8+2! 1@0+5!", "0@10+1! 1@5+1!", "0@11+1! 2@0+7", "2@7+2!"];
    assert_eq!(written(&run), batches);
    let ends: Vec<u64> = run.batches.iter().map(|b| b.end.0).collect();
    assert_eq!(ends, [81, 152, 173, 254, 275]);
    let waits: Vec<u32> = run.batches.iter().map(|b| b.waiting).collect();
    assert_eq!(waits, [0, 1, 1, 0, 0]);
    assert_eq!(run.requests[2].scheduled, Some(Nanos(174)));
    assert_eq!(run.requests[2].first_token, Some(Nanos(275)));
    assert_eq!(run.batches.iter().map(|b| b.host.0).collect::<Vec<_>>(), [1; 5]);
}

#[test]
fn a_schedule_worked_by_hand_for_vllm_v1_preempts_the_latest() {
    // Pool 4 blocks of 2. Both prompts take 2 blocks; at 4 tokens each both need a third: the later one starts over.
    let knobs = Knobs {
        policy: Policy::VllmV1,
        max_batched_tokens: 8,
        max_sequences: 4,
        block_tokens: 2,
        kv_blocks: 4,
        watermark: 0.0,
        ..Knobs::default()
    };
    let run = simulate(&[blank(0, 0, 4, 3), blank(1, 0, 4, 2)], &knobs);
    assert_eq!(written(&run), ["0@0+4! 1@0+4!", "0@4+1!", "0@5+1!", "1@0+5!"]);
    assert_eq!(run.requests[1].preemptions, 1);
    assert_eq!(run.batches[1].preempted, 1);
    assert_eq!(run.batches[3].prefill_tokens, 5, "the token it had produced is computed again with the prompt");
    assert_eq!(run.tokens.iter().filter(|t| t.request_id == 1).count(), 2);
}

#[test]
fn an_idle_wait_ends_at_the_arrival_and_costs_the_host_nothing_before() {
    let run = simulate(&[blank(0, 0, 1, 1), blank(1, 1000, 1, 1)], &Knobs::default());
    assert_eq!(run.batches[1].start, Nanos(1001));
    assert_eq!(run.batches[1].host, Nanos(1));
}

#[test]
fn two_in_flight_hide_the_host_behind_the_device() {
    let requests = [blank(0, 0, 4, 5)];
    let ends = |pipelined| {
        let run = simulate(&requests, &Knobs { pipelined, ..Knobs::default() });
        run.batches.iter().map(|b| b.end.0).collect::<Vec<_>>()
    };
    assert_eq!(ends(false), [41, 52, 63, 74, 85]);
    assert_eq!(ends(true), [41, 51, 61, 71, 81]);
}

#[test]
fn what_can_never_fit_is_refused_and_the_rest_goes_on() {
    let knobs = Knobs { block_tokens: 4, kv_blocks: 4, watermark: 0.0, ..Knobs::default() };
    let run = simulate(&[blank(0, 0, 16, 2), blank(1, 0, 15, 2), blank(2, 0, 16, 1)], &knobs);
    let status: Vec<&str> = run.requests.iter().map(|r| r.status.name()).collect();
    assert_eq!(status, ["refused", "ok", "ok"], "the last output token needs no room in the cache");
    assert!(run.requests[0].error.as_deref().unwrap().contains("5 KV blocks"), "{:?}", run.requests[0].error);
}

#[test]
fn a_shared_prefix_is_computed_once() {
    let prompt: Vec<u32> = (0..20).collect();
    let requests = [request(0, 0, &prompt, 2), request(1, 500, &prompt, 2)];
    let knobs = Knobs { prefix_caching: true, block_tokens: 4, ..Knobs::default() };
    let (_, run) = toy_run(&requests, &knobs);
    assert_eq!(run.requests[0].cached_tokens, 0);
    assert_eq!(run.requests[1].cached_tokens, 16, "the last block is computed again: a token must come of it");
    assert_eq!(written(&run), ["0@0+20!", "0@20+1!", "1@16+4!", "1@20+1!"]);
}

#[test]
fn a_lower_priority_number_goes_first() {
    let mut requests = [blank(0, 0, 8, 1), blank(1, 1, 8, 1), blank(2, 1, 8, 1)];
    requests[2].priority = -1;
    let knobs = Knobs { max_batched_tokens: 8, max_sequences: 1, ..Knobs::default() };
    assert_eq!(written(&simulate(&requests, &knobs)), ["0@0+8!", "2@0+8!", "1@0+8!"]);
}

#[test]
fn a_request_out_of_its_place_is_named() {
    let knobs = Knobs::default();
    let serve = |requests: &[Request]| {
        serve(requests, &knobs, Tabled::Counted, &mut Machine::new(ByTokens), &mut Run::default()).unwrap_err()
    };
    let unsorted = serve(&[blank(0, 7, 1, 1), blank(1, 3, 1, 1)]);
    assert_eq!(unsorted.to_string(), "request in row 1: it arrives at 3 ns, before the row above it at 7 ns");
    let misnumbered = serve(&[blank(4, 0, 1, 1)]);
    assert_eq!(misnumbered.to_string(), "request in row 0: its id is 4");
    let short = serve(&[Request { prompt_tokens: 2, ..request(0, 0, &[1, 2, 3], 1) }]);
    assert!(short.to_string().contains("3 prompt ids"), "{short}");
}

#[test]
fn a_backend_that_fails_or_miscounts_ends_the_run_with_the_iteration_named() {
    struct Broken;
    impl Backend for Broken {
        type Error = String;
        fn now(&self) -> Nanos {
            Nanos(0)
        }
        fn wait_until(&mut self, _: Nanos) {}
        fn submit(&mut self, batch: &Batch, _: &dyn Sequences) -> Result<(), String> {
            if batch.slices.len() > 1 { Err("no memory".to_owned()) } else { Ok(()) }
        }
        fn collect(&mut self, _: &mut Vec<u32>) -> Result<Timing, String> {
            Ok(Timing::default())
        }
    }
    let run = |requests: &[Request]| {
        serve(requests, &Knobs::default(), Tabled::Counted, &mut Broken, &mut Run::default()).unwrap_err().to_string()
    };
    assert_eq!(run(&[blank(0, 0, 1, 1), blank(1, 0, 1, 1)]), "iteration 0 failed: no memory");
    assert_eq!(run(&[blank(0, 0, 1, 1)]), "iteration 0 should have given 1 tokens and gave 0");
}
