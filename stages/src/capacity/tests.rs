#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::Arc;

use super::*;
use crate::infer::machine::{Predict, StepTime};
use crate::infer::serve::Batch;
use crate::infer::time::Nanos;
use crate::random::Stream;

/// Every iteration takes 10 ms.
#[derive(Clone)]
struct Fixed;

const SERVICE_S: f64 = 0.01;

impl Predict for Fixed {
    type Error = Infallible;

    fn step_time(&mut self, _: &Batch) -> Result<StepTime, Infallible> {
        Ok(StepTime { host: Nanos(0), device: Nanos::from_secs_f64(SERVICE_S) })
    }
}

/// One iteration a request, one request an iteration.
fn requests(n: u32, gap: &mut dyn FnMut() -> f64) -> Vec<Request> {
    let mut at = 0.0;
    (0..n)
        .map(|id| {
            let arrival = Nanos::from_secs_f64(at);
            at += gap();
            Request {
                id,
                arrival,
                prompt_tokens: 1,
                output_tokens: 1,
                prompt: Arc::from([]),
                prefix_blocks: Arc::from([]),
                priority: 0,
            }
        })
        .collect()
}

fn delay(percentile: f64, at_most_s: f64) -> Objectives {
    Objectives {
        percentiles: vec![Objective { metric: Metric::SchedulingDelay, percentile, at_most_s }],
        goodput: None,
    }
}

fn capacity_of(requests: &[Request], objectives: &Objectives, tolerance: f64) -> Found {
    let knobs = Knobs { max_sequences: 1, ..Knobs::default() };
    let own = own_rate(requests).unwrap();
    let judge = |rate: f64| Ok(probe(requests, rate / own, rate, &knobs, Fixed, objectives).unwrap());
    highest(own, lowest_rate(requests), tolerance, judge).unwrap()
}

#[test]
fn a_queue_that_nothing_disturbs_has_the_capacity_of_its_server() {
    // Equal gaps of 1/r: nobody waits up to r = 1 / 10 ms, and beyond it the wait grows by 10 ms - 1/r a request.
    let found = capacity_of(&requests(20_000, &mut || 0.05), &delay(100.0, 0.005), 0.001);
    let exact = 1.0 / (SERVICE_S - 0.005 / 19_999.0);
    assert!(found.rate <= exact * 1.000_001 && exact <= found.misses_at.unwrap(), "{} {exact}", found.rate);
    assert!(found.misses_at.unwrap() <= found.rate * 1.001);
    assert_eq!(found.limited_by.as_deref(), Some("p100 scheduling delay ≤ 0.005 s"));
}

/// P(wait ≤ t) of M/D/1 at load rho, t in service times (Erlang 1909; A. K. Erlang's sum, exact for small t).
fn waits_at_most(rho: f64, t: f64) -> f64 {
    let mut sum = 0.0;
    for k in 0..=(t.floor() as i32) {
        let x = rho * (f64::from(k) - t);
        let factorial: f64 = (1..=k).map(f64::from).product();
        sum += x.powi(k) / factorial * (-x).exp();
    }
    (1.0 - rho) * sum
}

#[test]
fn the_capacity_of_m_d_1_is_that_of_erlangs_formula() {
    let mut stream = Stream::new(11, "m/d/1", 0);
    let arrivals = requests(200_000, &mut || stream.exponential());
    for (percentile, services) in [(90.0, 2.0), (95.0, 4.0)] {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let rho = 0.5 * (low + high);
            if waits_at_most(rho, services) >= percentile / 100.0 { low = rho } else { high = rho }
        }
        let exact = low / SERVICE_S;
        let found = capacity_of(&arrivals, &delay(percentile, services * SERVICE_S), 0.005);
        let error = found.rate / exact - 1.0;
        assert!(error.abs() < 0.005 + 0.01, "p{percentile}: {} against {exact}", found.rate);
    }
}

#[test]
fn what_even_an_idle_machine_misses_has_no_capacity() {
    let e2e = Objective { metric: Metric::E2e, percentile: 50.0, at_most_s: 0.009 };
    let objectives = Objectives { percentiles: vec![e2e], goodput: None };
    let found = capacity_of(&requests(100, &mut || 1.0), &objectives, 0.01);
    assert_eq!((found.rate, found.limited_by.as_deref()), (0.0, Some("p50 E2E ≤ 0.009 s")));
}

#[test]
fn goodput_counts_requests_that_keep_every_bound() {
    // Two at a time, then a long pause: every second one waits 10 ms.
    let mut even = false;
    let pairs = requests(1000, &mut || {
        even = !even;
        if even { 0.0 } else { 2.0 }
    });
    let with = |share| Objectives {
        percentiles: Vec::new(),
        goodput: Some(Goodput { share, ttft_s: Some(0.015), tpot_s: None, e2e_s: None }),
    };
    assert!(capacity_of(&pairs, &with(0.5), 0.01).rate > 10.0);
    assert_eq!(capacity_of(&pairs, &with(0.6), 0.01).rate, 0.0);
}

#[test]
fn a_workload_without_gaps_has_no_rate_to_scale() {
    let error = own_rate(&requests(10, &mut || 0.0)).unwrap_err();
    assert!(error.message.contains("no rate to scale"));
}

#[test]
fn what_cannot_be_promised_is_refused_by_field() {
    let config = |text: &str| -> Config { toml::from_str(text).unwrap() };
    let told = |text: &str| CapacityStage::contract(&config(text), &Wired::default()).unwrap_err().message;
    assert!(told("objectives = {}").contains("every rate would do"));
    let of = |o: &str| format!("objectives = {{ percentiles = [{{ metric = 'tbt', {o} }}] }}");
    assert!(told(&of("percentile = 0, at_most_s = 1.0")).contains("above 0, at most 100"));
    assert!(told(&of("percentile = 99, at_most_s = 0.0")).contains("a time above 0"));
    assert!(told("objectives = { goodput = { share = 0.9 } }").contains("at least one of"));
    CapacityStage::contract(&config(CapacityStage::EXAMPLE), &Wired::default()).unwrap();
}
