#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;
use crate::infer::serve::Slice;

fn row(op: &str, tokens: u32, sequences: u32, context: u32, calls_per_step: u32, median_ns: f64) -> Row {
    Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step,
        samples: 9,
        median_ns,
        mad_ns: 1.0,
        min_ns: median_ns,
        p90_ns: median_ns,
    }
}

/// A machine of two layers whose every operation is a constant and a rate: the truth is known.
fn profile() -> Vec<Row> {
    let mut rows = Vec::new();
    for op in ["embed", "norm", "qkv", "qk_rope", "kv_write", "o", "gate_up", "silu_mul", "down", "add"] {
        let calls = if op == "embed" { 1 } else { 2 };
        rows.extend([1, 4, 16, 64].map(|n| row(op, n, 1, 0, calls, 100.0 + 10.0 * f64::from(n))));
    }
    for op in ["head", "sample"] {
        rows.extend([1, 2, 8].map(|n| row(op, n, n, 0, 1, 50.0 + 5.0 * f64::from(n))));
    }
    rows.extend([1, 2, 8].map(|n| row("host", n, n, 0, 1, 1000.0 + 100.0 * f64::from(n))));
    for context in [0u32, 64, 256] {
        rows.extend([2u32, 16, 64].map(|n| row("attention_prefill", n, 1, context, 2, prefill(n, context))));
        rows.extend([1u32, 4, 8].map(|n| row("attention_decode", n, n, context, 2, decode(n, f64::from(context)))));
    }
    rows
}

fn prefill(n: u32, context: u32) -> f64 {
    let n = f64::from(n);
    20.0 + n * (f64::from(context) + 0.5 * (n + 1.0))
}

fn decode(n: u32, context: f64) -> f64 {
    30.0 + f64::from(n) * (1.0 + 0.25 * context)
}

fn tokens_take(n: u32) -> f64 {
    19.0 * (100.0 + 10.0 * f64::from(n))
}

fn head_takes(n: u32) -> f64 {
    2.0 * (50.0 + 5.0 * f64::from(n))
}

fn slice(seq: u32, context: u32, tokens: u32, yields: bool) -> Slice {
    Slice { seq, context, tokens, yields }
}

fn predict(rows: &[Row], slices: &[Slice]) -> StepTime {
    Predictor::new(rows, Outside::Refuse).unwrap().step_time(&Batch { slices: slices.to_vec() }).unwrap()
}

#[test]
fn an_iteration_takes_the_sum_of_its_operations() {
    let step = predict(&profile(), &[slice(0, 100, 1, true), slice(1, 50, 1, true), slice(2, 30, 20, false)]);
    let device = tokens_take(22) + head_takes(2) + 2.0 * decode(2, 75.0) + 2.0 * prefill(20, 30);
    assert_eq!(step, StepTime { host: Nanos(1300), device: Nanos(device.round() as u64) });
}

#[test]
fn what_does_not_yield_pays_for_no_head() {
    let parts =
        Predictor::new(&profile(), Outside::Refuse).unwrap().breakdown(&Batch { slices: vec![slice(0, 0, 16, false)] });
    assert_eq!((parts.head, parts.attention_decode, parts.correction), (0.0, 0.0, 0.0));
    assert!((parts.device() - (tokens_take(16) + 2.0 * prefill(16, 0))).abs() < 1e-9);
}

#[test]
fn whole_iterations_correct_the_sum() {
    let mut rows = profile();
    let sum = |slices: &[Slice]| predict(&profile(), slices).device.0 as f64;
    let decodes: Vec<Slice> = (0..4).map(|s| slice(s, 64, 1, true)).collect();
    let mut mixed = decodes.clone();
    mixed.push(slice(4, 64, 28, true));
    rows.push(row("step", 4, 4, 64, 1, 1.10 * sum(&decodes)));
    rows.push(row("step", 16, 1, 64, 1, 1.20 * sum(&[slice(0, 64, 16, true)])));
    rows.push(row("step", 32, 5, 64, 1, 1.30 * sum(&mixed)));
    let ratio = |slices: &[Slice]| predict(&rows, slices).device.0 as f64 / sum(slices);
    assert!((ratio(&decodes) - 1.1).abs() < 1e-3);
    assert!((ratio(&[slice(0, 64, 16, true)]) - 1.2).abs() < 1e-3);
    assert!((ratio(&mixed) - 1.3).abs() < 1e-3);
    assert!((ratio(&[slice(0, 10, 1, true)]) - 1.1).abs() < 1e-2, "the nearest of its sort");
}

#[test]
fn outside_of_the_profile_it_refuses_or_counts() {
    let far = Batch { slices: vec![slice(0, 1000, 1, true)] };
    let mut strict = Predictor::new(&profile(), Outside::Refuse).unwrap();
    let error = strict.step_time(&far).unwrap_err();
    let told = "the profile knows `attention_decode` up to 256 tokens of context, and an iteration has 1000";
    assert_eq!(error.to_string(), told);
    let mut loose = Predictor::new(&profile(), Outside::Extrapolate).unwrap();
    let step = loose.step_time(&far).unwrap();
    let device = tokens_take(1) + head_takes(1) + 2.0 * decode(1, 1000.0);
    assert_eq!(step.device, Nanos(device.round() as u64), "the slope goes on");
    assert_eq!((loose.beyond().iterations, loose.beyond().farthest.len()), (1, 1));
    loose.step_time(&Batch { slices: vec![slice(0, 2000, 1, true)] }).unwrap();
    assert_eq!(loose.beyond().farthest[0].asked, 2000.0);
    for (slices, op) in [
        (vec![slice(0, 0, 65, false)], "token-wise operations"),
        ((0..9).map(|s| slice(s, 0, 1, true)).collect(), "head"),
        ((0..9).map(|s| slice(s, 0, 1, false)).collect(), "host"),
        (vec![slice(0, 300, 2, false)], "attention_prefill"),
    ] {
        assert_eq!(strict.step_time(&Batch { slices }).unwrap_err().op, op);
    }
}

#[test]
fn a_missing_operation_is_named() {
    for op in ["norm", "sample", "host", "attention_prefill", "attention_decode"] {
        let rows: Vec<Row> = profile().into_iter().filter(|r| r.op != op).collect();
        let error = Predictor::new(&rows, Outside::Refuse).unwrap_err();
        assert_eq!(error, ProfileError::Missing { op: op.to_owned() });
    }
}

#[test]
fn rows_that_cannot_be_true_are_named() {
    let with = |change: &dyn Fn(&mut Row)| {
        let mut rows = profile();
        change(&mut rows[5]);
        Predictor::new(&rows, Outside::Refuse).unwrap_err().to_string()
    };
    let zero = with(&|r| r.median_ns = 0.0);
    assert_eq!(zero, "row 5 of the profile (operation `norm`): `median_ns` is 0; a time is finite and above 0");
    assert!(with(&|r| r.median_ns = f64::NAN).contains("NaN"));
    assert!(with(&|r| r.op = "nrom".to_owned()).contains("nobody knows"));
    assert!(with(&|r| r.calls_per_step = 0).contains("at least 1"));
    assert!(with(&|r| r.calls_per_step = 3).contains("`calls_per_step` is 2 in one row and 3 in another"));
    let mut rows = profile();
    rows.iter_mut().filter(|r| r.op == "down").for_each(|r| r.median_ns = 7.0);
    let constant = Predictor::new(&rows, Outside::Refuse).unwrap_err().to_string();
    assert!(constant.contains("`down`") && constant.contains("exactly 7 ns"), "{constant}");
}

#[test]
fn a_dip_is_noted() {
    let mut rows = profile();
    rows.iter_mut().filter(|r| r.op == "down" && r.tokens == 16).for_each(|r| r.median_ns = 3.0);
    let predictor = Predictor::new(&rows, Outside::Refuse).unwrap();
    assert!(predictor.notes().iter().any(|n| n.contains("`down`")), "{:?}", predictor.notes());
}

proptest! {
    #[test]
    fn more_work_never_takes_less(
        noise in prop::collection::vec(0.7f64..1.4, 80),
        slices in prop::collection::vec((0u32..250, 1u32..9, any::<bool>()), 1..7),
        more in 0u32..8,
    ) {
        let mut rows = profile();
        rows.iter_mut().zip(noise).for_each(|(r, k)| r.median_ns *= k);
        let mut predictor = Predictor::new(&rows, Outside::Extrapolate).unwrap();
        let mut batch = Batch { slices: (0..).zip(slices).map(|(s, (c, t, y))| slice(s, c, t, y)).collect() };
        let before = predictor.step_time(&batch).unwrap();
        let decodes = batch.slices.iter().filter(|s| s.tokens == 1).count() as u32;
        batch.slices.iter_mut().filter(|s| s.tokens == 1).for_each(|s| s.context += more);
        let longer = predictor.step_time(&batch).unwrap();
        prop_assert!(longer.device >= before.device && longer.host == before.host);
        if decodes > 0 {
            batch.slices.push(slice(99, batch.slices.iter().find(|s| s.tokens == 1).unwrap().context, 1, true));
            batch.slices.iter_mut().filter(|s| s.tokens == 1).for_each(|s| s.context = 128);
            let wider = predictor.step_time(&batch).unwrap();
            batch.slices.pop();
            let narrower = predictor.step_time(&batch).unwrap();
            prop_assert!(wider.device >= narrower.device && wider.host >= narrower.host);
        }
    }
}

#[test]
fn what_an_engine_does_inside_another_operation_needs_no_rows() {
    let fused: Vec<Row> = profile().into_iter().filter(|r| r.op != "kv_write" && r.op != "add").collect();
    let slices = [slice(0, 100, 1, true), slice(1, 30, 20, false)];
    let (whole, less) = (predict(&profile(), &slices), predict(&fused, &slices));
    assert!(less.device < whole.device && less.host == whole.host, "{less:?} {whole:?}");
}

#[test]
fn one_long_sequence_among_short_ones_takes_at_least_its_own_time() {
    let mut rows = profile();
    // Many short sequences are nearly free here, a long one is not.
    for row in rows.iter_mut().filter(|r| r.op == "attention_decode") {
        row.median_ns = 100.0 + f64::from(row.context) * 50.0 + f64::from(row.sequences);
    }
    let mut slices: Vec<Slice> = (0..8).map(|s| slice(s, 0, 1, true)).collect();
    let attention = |slices: &[Slice]| {
        let predictor = Predictor::new(&rows, Outside::Refuse).unwrap();
        predictor.breakdown(&Batch { slices: slices.to_vec() }).attention_decode
    };
    slices[3].context = 256;
    assert_eq!(attention(&slices), 2.0 * (100.0 + 256.0 * 50.0 + 1.0), "not that of a mean context of 32");
    slices.iter_mut().for_each(|s| s.context = 64);
    assert_eq!(attention(&slices), 2.0 * (100.0 + 64.0 * 50.0 + 8.0), "alike ones are as measured");
}
