#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::Arc;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::infer::machine::StepTime;
use crate::infer::schedule::Policy;
use crate::infer::serve::{Batch, serve};

/// So many nanoseconds a token of the batch.
#[derive(Clone, Copy)]
struct ByTokens(u64);

impl Predict for ByTokens {
    type Error = Infallible;
    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, Infallible> {
        let tokens: u64 = batch.slices.iter().map(|s| u64::from(s.tokens)).sum();
        Ok(StepTime { host: Nanos(0), device: Nanos(self.0 * tokens) })
    }
}

fn request(id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    let (prompt, prefix_blocks) = (Arc::default(), Arc::default());
    Request { id, arrival: Nanos(arrival), prompt_tokens, output_tokens, prompt, prefix_blocks, priority: 0 }
}

fn knobs() -> Knobs {
    Knobs { max_batched_tokens: 64, max_sequences: 8, block_tokens: 4, kv_blocks: 400, ..Knobs::default() }
}

fn alike(count: usize) -> Vec<Replica<ByTokens>> {
    vec![Replica { role: Role::Whole, knobs: knobs(), predictor: ByTokens(10) }; count]
}

const PLAN: Plan = Plan {
    routing: Routing::RoundRobin,
    clients: None,
    transfer: Transfer { latency: Nanos(100), bytes_per_token: 2, bytes_per_s: 1e9 },
};

fn fleet(requests: &[Request], replicas: Vec<Replica<ByTokens>>, plan: &Plan) -> FleetRun {
    let mut stream = ChaCha8Rng::seed_from_u64(5);
    serve_fleet(requests, replicas, plan, &mut |n| (stream.next_u64() % u64::from(n)) as u32).unwrap()
}

fn uniform(stream: &mut ChaCha8Rng) -> f64 {
    ((stream.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Erlang's C: the chance that all of `c` servers at load `rho` each are busy.
fn erlang_c(c: u32, rho: f64) -> f64 {
    let a = f64::from(c) * rho;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..c {
        term *= a / f64::from(k);
        sum += term;
    }
    let all = term * a / f64::from(c) / (1.0 - rho);
    all / (sum + all)
}

/// Services of 1 µs a prompt token with a mean of 4,000 tokens, so that whole tokens cut off next to nothing.
#[test]
fn one_queue_before_several_replicas_waits_as_m_m_c_says() {
    const MEAN: f64 = 4000.0;
    for (servers, rho, seed) in [(2u32, 0.6, 3), (3, 0.6, 5)] {
        let (mut arrivals, mut services) = (ChaCha8Rng::seed_from_u64(seed), ChaCha8Rng::seed_from_u64(seed + 100));
        let mut now = 0.0;
        let requests: Vec<Request> = (0..1_000_000)
            .map(|id| {
                now -= uniform(&mut arrivals).ln() * MEAN * 1000.0 / rho / f64::from(servers);
                request(id, now as u64, ((-uniform(&mut services).ln() * MEAN).round() as u32).max(1), 1)
            })
            .collect();
        let knobs = Knobs { max_batched_tokens: 1 << 20, max_sequences: 1, kv_blocks: 1 << 17, ..Knobs::default() };
        let replica = Replica { role: Role::Whole, knobs, predictor: ByTokens(1000) };
        let run = fleet(&requests, vec![replica; servers as usize], &Plan { routing: Routing::Queue, ..PLAN });
        let wait = |r: &RequestRow| r.scheduled.unwrap().since(r.arrival).0 as f64;
        let mean = run.requests.iter().map(wait).sum::<f64>() / 1e6;
        let theory = erlang_c(servers, rho) * MEAN * 1000.0 / f64::from(servers) / (1.0 - rho);
        let error = mean / theory - 1.0;
        assert!(error.abs() < 0.01, "{servers} servers: {mean:.0} ns, theory {theory:.0} ns: {:+.2} %", 100.0 * error);
    }
}

fn workload() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec((0u64..400, 1u32..60, 1u32..30), 1..40).prop_map(|rows| {
        let mut arrival = 0;
        let make = |(id, (gap, prompt, output)): (usize, (u64, u32, u32))| {
            arrival += gap;
            request(id as u32, arrival, prompt, output)
        };
        rows.into_iter().enumerate().map(make).collect()
    })
}

const ROUTINGS: [Routing; 6] = [
    Routing::RoundRobin,
    Routing::Random,
    Routing::LeastOutstanding,
    Routing::PowerOfTwo,
    Routing::PrefixAware,
    Routing::Queue,
];

proptest! {
    #[test]
    fn a_fleet_of_one_is_the_loop_itself(requests in workload(), routing in prop::sample::select(&ROUTINGS[..5])) {
        let run = fleet(&requests, alike(1), &Plan { routing, ..PLAN });
        let mut tally = Tally::for_requests(requests.len());
        serve(&requests, &knobs(), Tabled::Counted, &mut Machine::new(ByTokens(10)), &mut tally).unwrap();
        prop_assert_eq!(run.requests, tally.requests);
        prop_assert_eq!(run.gaps.summary(), tally.gaps.summary());
        prop_assert_eq!(run.members[0].1, tally.iterations);
    }

    /// With prefills and decodes apart, with clients that wait for their answers, on unlike machines: everybody gets
    /// all tokens, and nothing happens before its cause.
    #[test]
    fn everybody_is_served_whatever_the_fleet(
        requests in workload(),
        routing in prop::sample::select(&ROUTINGS[..]),
        policy in prop::sample::select(&[Policy::Sarathi, Policy::VllmV1][..]),
        apart in any::<bool>(),
        clients in prop::option::of((1u32..6, 0u64..300, 1u32..4)),
    ) {
        let replica = |role, kv_blocks, ns| Replica {
            role,
            knobs: Knobs { policy, kv_blocks, ..knobs() },
            predictor: ByTokens(ns),
        };
        let replicas = match apart {
            true => vec![
                replica(Role::Prefill, 60, 10),
                replica(Role::Decode, 40, 7),
                replica(Role::Prefill, 200, 3),
                replica(Role::Decode, 90, 10),
            ],
            false => vec![replica(Role::Whole, 40, 10), replica(Role::Whole, 400, 3), replica(Role::Whole, 90, 7)],
        };
        let clients = clients.map(|(count, think, turns)| Clients { count, think: Nanos(think), turns });
        let plan = Plan { routing, clients, ..PLAN };
        let run = fleet(&requests, replicas.clone(), &plan);
        prop_assert_eq!(&run, &fleet(&requests, replicas, &plan), "equal arguments give equal runs");
        for (request, row) in requests.iter().zip(&run.requests) {
            prop_assert_eq!(row.produced_tokens, request.output_tokens);
            prop_assert!(row.arrival <= row.scheduled.unwrap() && row.scheduled <= row.first_token);
            prop_assert!(row.first_token <= row.completion);
            if clients.is_none() {
                prop_assert_eq!(row.arrival, request.arrival);
            }
        }
        if let Some(clients) = clients {
            let under_way = |at: Nanos| run.requests.iter().filter(|r| r.arrival <= at && r.completion > Some(at)).count();
            let most = run.requests.iter().map(|r| under_way(r.arrival)).max().unwrap();
            prop_assert!(most <= clients.count as usize, "{} under way", most);
            for (at, row) in run.requests.iter().enumerate().skip(1) {
                if !at.is_multiple_of(clients.turns as usize) {
                    let before = run.requests[at - 1].completion.unwrap();
                    prop_assert_eq!(row.arrival, before + clients.think, "turn {}", at);
                }
            }
        }
    }
}

#[test]
fn a_handover_worked_by_hand() {
    let replica = |role, ns| Replica { role, knobs: knobs(), predictor: ByTokens(ns) };
    let run = fleet(&[request(0, 5, 20, 3)], vec![replica(Role::Prefill, 10), replica(Role::Decode, 30)], &PLAN);
    // Prefill 5 … 205; 100 ns and 20 tokens of 2 bytes at 1 byte a ns: 345; two decodes of 30 ns.
    let row = &run.requests[0];
    assert_eq!((row.first_token, row.completion), (Some(Nanos(205)), Some(Nanos(405))));
    assert_eq!(run.replicas, [(Some(0), Some(1))]);
    let gaps = run.tbt().unwrap();
    assert_eq!((gaps.n, gaps.max, gaps.min), (2, 170.0, 30.0));
    assert_eq!(run.iterations().iterations, 3);
}

#[test]
fn least_outstanding_counts_those_that_run() {
    // Replica 0 works on the first request long after its queue is empty; the others all go to replica 1.
    let requests = [request(0, 0, 60, 20), request(1, 700, 1, 1), request(2, 720, 1, 1), request(3, 740, 1, 1)];
    let run = fleet(&requests, alike(2), &Plan { routing: Routing::LeastOutstanding, ..PLAN });
    assert_eq!(run.replicas.iter().map(|r| r.0.unwrap()).collect::<Vec<_>>(), [0, 1, 1, 1]);
}

#[test]
fn a_prefix_goes_where_it_was_before() {
    let mut requests: Vec<Request> = (0..6).map(|id| request(id, u64::from(id) * 10_000, 32, 2)).collect();
    for (request, blocks) in requests.iter_mut().zip([[1, 2], [7, 8], [1, 2], [7, 9], [1, 3], [5, 5]]) {
        request.prefix_blocks = blocks.into();
    }
    let placed = |routing| {
        let run = fleet(&requests, alike(3), &Plan { routing, ..PLAN });
        run.replicas.iter().map(|r| r.0.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(placed(Routing::RoundRobin), [0, 1, 2, 0, 1, 2]);
    // Nobody has anything outstanding when the next comes, so what is new goes to the first.
    assert_eq!(placed(Routing::PrefixAware), [0, 0, 0, 0, 0, 0]);
    let at_once: Vec<Request> = requests.iter().map(|r| Request { arrival: Nanos(0), ..r.clone() }).collect();
    let run = fleet(&at_once, alike(3), &Plan { routing: Routing::PrefixAware, ..PLAN });
    assert_eq!(run.replicas.iter().map(|r| r.0.unwrap()).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 2]);
}

#[test]
fn a_client_waits_for_its_answer_and_thinks() {
    // 20 tokens of prompt and one of output: 200 ns; then 50 ns of thought within a session of two.
    let requests: Vec<Request> = (0..4).map(|id| request(id, 0, 20, 1)).collect();
    let clients = Some(Clients { count: 1, think: Nanos(50), turns: 2 });
    let run = fleet(&requests, alike(1), &Plan { clients, ..PLAN });
    assert_eq!(run.requests.iter().map(|r| r.arrival.0).collect::<Vec<_>>(), [0, 250, 450, 700]);
}
