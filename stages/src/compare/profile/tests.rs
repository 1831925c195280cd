#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use super::*;
use crate::compare::replay::replay;
use crate::compare::side::Side;
use crate::compare::verdict::Outcome;
use crate::compare::{Config, compare, read};
use crate::infer::blocks::Tabled;
use crate::infer::machine::Machine;
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::serve;
use crate::infer::time::Nanos;
use crate::tables::run::{RunMeta, RunTables, TokenIds};

/// A profile of a made-up device; every operation takes a constant and a rate, times `slow`.
fn rows(slow: f64) -> Vec<ops::Row> {
    let row = |op: &str, tokens: u32, sequences: u32, context: u32, ns: f64| ops::Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step: 1,
        samples: 9,
        median_ns: ns * slow,
        mad_ns: 1.0,
        min_ns: ns * slow,
        p90_ns: ns * slow,
    };
    let mut rows = Vec::new();
    for op in ["embed", "norm", "qkv", "qk_rope", "kv_write", "o", "gate_up", "silu_mul", "down", "add"] {
        rows.extend([1, 16, 64, 512].map(|n| row(op, n, 1, 0, 50_000.0 + 2_000.0 * f64::from(n))));
    }
    for op in ["head", "sample"] {
        rows.extend([1, 8, 64].map(|n| row(op, n, n, 0, 20_000.0 + 5_000.0 * f64::from(n))));
    }
    rows.extend([1, 8, 64].map(|n| row("host", n, n, 0, (30_000.0 + 1_000.0 * f64::from(n)) / slow)));
    for context in [0u32, 256, 2048] {
        let c = f64::from(context);
        rows.extend([2, 64, 512].map(|n| row("attention_prefill", n, 1, context, 9_000.0 + f64::from(n) * (c + 40.0))));
        rows.extend([1, 8, 64].map(|n| row("attention_decode", n, n, context, 9_000.0 + f64::from(n) * (c + 90.0))));
    }
    rows
}

fn requests(apart_ns: u64) -> Vec<Request> {
    (0..50_u32)
        .map(|id| Request {
            id,
            arrival: Nanos(u64::from(id) * apart_ns),
            prompt_tokens: 10 + id * 29 % 300,
            output_tokens: 2 + id * 7 % 30,
            prompt: Arc::default(),
            prefix_blocks: Arc::default(),
            priority: 0,
        })
        .collect()
}

/// Serves on the made-up device through the very loop that serves everywhere.
fn run(label: &str, slow: f64, knobs: &Knobs, apart_ns: u64) -> Side {
    let mut machine = Machine::new(Predictor::new(&rows(slow), Outside::Refuse).unwrap());
    let mut kept = Run::default();
    serve(&requests(apart_ns), knobs, Tabled::Counted, &mut machine, &mut kept).unwrap();
    let mut meta = RunMeta::new("sim", "virtual");
    meta.knobs = serde_json::to_value(knobs).unwrap();
    let directory = tempfile::tempdir().unwrap();
    RunTables::of(kept, TokenIds::MadeUp, meta).write(directory.path()).unwrap();
    read::read(directory.path(), label).unwrap()
}

fn profile(slow: f64) -> Profile {
    Profile::new(&rows(slow), String::new()).unwrap()
}

fn knobs(pipelined: bool, kv_blocks: u32) -> Knobs {
    Knobs { pipelined, kv_blocks, max_sequences: 16, max_batched_tokens: 128, ..Knobs::default() }
}

#[test]
fn a_run_replayed_with_the_profile_that_made_it_is_the_run() {
    for (knobs, apart_ns) in [
        (knobs(false, 4096), 4_000_000),
        (knobs(true, 4096), 4_000_000),
        // So few blocks that sequences lose theirs and start over.
        (knobs(false, 30), 100_000),
    ] {
        let side = run("real.run", 1.0, &knobs, apart_ns);
        let mut profile = profile(1.0);
        let replayed = replay(&side, &mut |slices| profile.forecast(slices)).unwrap().side;
        for (ours, theirs) in replayed.requests.iter().zip(&side.requests) {
            let gap = ours.completion.unwrap().0.abs_diff(theirs.completion.unwrap().0);
            assert!(gap <= 1_000, "{knobs:?}: request {} ends {gap} ns off", ours.id);
        }
        let preempted: u32 = side.requests.iter().map(|r| r.preemptions).sum();
        assert_eq!(preempted > 0, knobs.kv_blocks == 30, "the case tests what it says");
    }
}

#[test]
fn an_error_of_timing_alone_is_called_timing() {
    // Requests so far apart that their batches cannot depend on how long one takes.
    let knobs = knobs(false, 4096);
    let measured = [run("real.run", 1.0, &knobs, 500_000_000)];
    let predicted = run("sim.run", 1.1, &knobs, 500_000_000);
    let verdict = compare(&Config::default(), &predicted, &measured, Some(profile(1.1)), None).unwrap();
    assert_eq!(verdict.attribution.split.len(), 4);
    for split in &verdict.attribution.split {
        assert!(split.scheduling_ns.abs() < 10.0 && split.timing_ns > 0.0, "{split:?}");
    }
    let decode = verdict.attribution.batches.iter().find(|b| b.sort == "decode").unwrap();
    assert!((decode.error_p50 - 0.1).abs() < 1e-3, "{decode:?}");
}

#[test]
fn an_error_of_scheduling_alone_is_called_scheduling() {
    let narrow = Knobs { max_sequences: 3, ..knobs(false, 4096) };
    let measured = [run("real.run", 1.0, &knobs(false, 4096), 1_000_000)];
    let predicted = run("sim.run", 1.0, &narrow, 1_000_000);
    let config = Config { allow_mismatch: true, ..Config::default() };
    let verdict = compare(&config, &predicted, &measured, Some(profile(1.0)), None).unwrap();
    let e2e = verdict.attribution.split.iter().find(|s| s.metric.name() == "e2e").unwrap();
    assert!(e2e.timing_ns.abs() < 1_000.0 && e2e.scheduling_ns.abs() > 1e6, "{e2e:?}");
    assert!(verdict.attribution.words.iter().any(|w| w.contains("more of it is scheduling")));
}

#[test]
fn timing_and_scheduling_add_up_to_the_error() {
    let knobs = knobs(false, 4096);
    let measured = [run("real.run", 1.0, &knobs, 2_000_000)];
    let predicted = run("sim.run", 1.2, &knobs, 2_000_000);
    let verdict = compare(&Config::default(), &predicted, &measured, Some(profile(1.2)), None).unwrap();
    for split in &verdict.attribution.split {
        let figure = verdict.metric(split.metric).unwrap().figure(crate::compare::metric::Stat::Mean).unwrap();
        let error = figure.predicted_ns - figure.measured_ns;
        assert!((split.timing_ns + split.scheduling_ns - error).abs() < 1.0, "{split:?} {error}");
    }
}

#[test]
fn measured_batches_outside_of_the_profile_are_counted() {
    let mut profile = profile(1.0);
    let far = Slice { seq: 0, context: 5_000, tokens: 1, yields: true };
    profile.forecast(&[far]).unwrap();
    profile.forecast(&[Slice { context: 10, ..far }]).unwrap();
    let notes = profile.notes();
    assert!(notes[0].starts_with("1 of 2 measured batches lie outside of the profile"), "{notes:?}");
}

#[test]
fn a_profile_fitted_on_these_requests_is_marked() {
    let knobs = knobs(false, 4096);
    let mut side = run("real.run", 1.0, &knobs, 4_000_000);
    side.meta.requests.digest = "a".repeat(64);
    let held_out = |fitted_on: &str| {
        let profile = Profile::new(&rows(1.0), fitted_on.to_owned()).unwrap();
        let verdict = compare(&Config::default(), &side, std::slice::from_ref(&side), Some(profile), None).unwrap();
        verdict.checks.iter().find(|c| c.name == "held-out").unwrap().outcome
    };
    assert_eq!(held_out(&"a".repeat(64)), Outcome::Differs);
    assert_eq!(held_out(""), Outcome::Same);
}
