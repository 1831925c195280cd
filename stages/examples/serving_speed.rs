//! How fast the serving loop and the exact mode are: iterations a second on one core.
//!
//! `cargo run --release --example serving_speed [FOLDER]`; FOLDER holds Vidur case folders (`case.json`, `requests.csv`).

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stages::infer::blocks::Tabled;
use stages::infer::machine::Machine;
use stages::infer::record::{BatchRow, Recorder, RequestRow, Run, TokenRow};
use stages::infer::request::Request;
use stages::infer::schedule::Knobs;
use stages::infer::serve::{Served, Slice, serve};
use stages::infer::time::Nanos;
use stages::predict::{Outside, Predictor};
use stages::tables::ops::Row;
use stages::vidur;

/// Keeps nothing.
struct Forgetful;

impl Recorder for Forgetful {
    fn batch(&mut self, _: BatchRow, _: &[Slice]) {}
    fn token(&mut self, _: TokenRow) {}
    fn request(&mut self, _: RequestRow) {}
}

fn main() {
    let mut out = std::io::stdout().lock();
    for (name, requests, knobs) in workloads() {
        for (kept, kind) in [(true, "all rows kept"), (false, "nothing kept")] {
            let begin = Instant::now();
            let served = run(&requests, &knobs, kept);
            let seconds = begin.elapsed().as_secs_f64();
            let _ = writeln!(
                out,
                "{name}, {kind}: {} iterations in {seconds:.4} s, {:.2} M iterations/s, {:.1} M tokens/s",
                served.batches,
                f64::from(served.batches) / seconds / 1e6,
                served.tokens as f64 / seconds / 1e6
            );
        }
    }
    for folder in std::env::args().skip(1) {
        exact(&mut out, Path::new(&folder));
    }
}

fn exact(out: &mut impl std::io::Write, folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        let Ok((case, requests)) = vidur::Case::load(&path) else { continue };
        let begin = Instant::now();
        let Ok(outcome) = vidur::run(&case, &requests) else { continue };
        let seconds = begin.elapsed().as_secs_f64();
        let _ = writeln!(out, "exact mode, {}: {} batches in {seconds:.4} s", case.name, outcome.batches.len());
    }
}

fn run(requests: &[Request], knobs: &Knobs, kept: bool) -> Served {
    let predictor = Predictor::new(&profile(), Outside::Extrapolate).expect("the profile below is sound");
    let mut machine = Machine::new(predictor);
    if kept {
        let mut rows = Run::for_requests(requests);
        serve(requests, knobs, Tabled::Counted, &mut machine, &mut rows).expect("it runs to its end")
    } else {
        serve(requests, knobs, Tabled::Counted, &mut machine, &mut Forgetful).expect("it runs to its end")
    }
}

fn request(id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request {
        id,
        arrival: Nanos(arrival),
        prompt_tokens,
        output_tokens,
        prompt: Arc::default(),
        prefix_blocks: Arc::default(),
        priority: 0,
    }
}

fn workloads() -> Vec<(&'static str, Vec<Request>, Knobs)> {
    let knobs = Knobs { kv_blocks: 20_000, ..Knobs::default() };
    let one = vec![request(0, 0, 64, 40_000)];
    let wide = (0..128).map(|id| request(id, 0, 64, 2_000)).collect();
    // A linear congruential stream will do for a workload that is only timed.
    let mut state = 1u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut arrival = 0;
    let many = (0..16_000)
        .map(|id| {
            arrival += draw(30_000_000);
            request(id, arrival, 64 + draw(2_000) as u32, 16 + draw(400) as u32)
        })
        .collect();
    vec![
        ("one request of 40,000 tokens", one, knobs.clone()),
        ("128 requests together", wide, knobs.clone()),
        ("16,000 requests", many, knobs),
    ]
}

fn profile() -> Vec<Row> {
    let row = |op: &str, tokens: u32, sequences: u32, context: u32, median_ns: f64| Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step: 1,
        samples: 5,
        median_ns,
        mad_ns: 1.0,
        min_ns: median_ns,
        p90_ns: median_ns,
    };
    let mut rows = Vec::new();
    for n in [1u32, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
        let time = 50_000.0 + 2_000.0 * f64::from(n);
        for op in ["embed", "norm", "qkv", "qk_rope", "kv_write", "o", "gate_up", "silu_mul", "down", "add"] {
            rows.push(row(op, n, 1, 0, time));
        }
        for op in ["head", "sample", "host"] {
            rows.push(row(op, n, n, 0, time));
        }
        for context in [0u32, 64, 256, 1024, 4096, 16384] {
            let attention = time + 10.0 * f64::from(n) * f64::from(context);
            rows.push(row("attention_decode", n, n, context, attention));
            rows.push(row("attention_prefill", n.max(2), 1, context, attention));
            rows.push(row("step", n, n, context, 14.0 * attention));
        }
    }
    rows
}
