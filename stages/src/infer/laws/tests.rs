//! Queueing theory through the serving loop: one request an iteration, its service time carried by its prompt.
//!
//! The arrivals and services are drawn here, from a fixed seed; theory gives the mean wait in the queue of the
//! stationary system, so a run is long enough for its mean to lie within 1 % of it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::infer::blocks::Tabled;
use crate::infer::machine::{Machine, Predict, StepTime};
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::{Batch, serve};

/// Serves each sequence in the time that is written down for it.
struct Services(Vec<u64>);

impl Predict for Services {
    type Error = Infallible;
    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, Infallible> {
        let time = self.0[batch.slices[0].seq as usize];
        Ok(StepTime { host: Nanos(0), device: Nanos(time) })
    }
}

/// Uniform on (0, 1].
fn uniform(stream: &mut ChaCha8Rng) -> f64 {
    ((stream.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

fn exponential(stream: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * uniform(stream).ln()
}

const MEAN_SERVICE_NS: f64 = 1e6;

/// The mean wait in the queue of `n` requests at load `rho`, ns; `service` draws a service time of mean 1.
fn mean_wait(n: u32, rho: f64, seed: u64, service: impl Fn(&mut ChaCha8Rng) -> f64) -> f64 {
    let mut arrivals = ChaCha8Rng::seed_from_u64(seed);
    let mut services = ChaCha8Rng::seed_from_u64(seed + 1);
    let mut now = 0.0;
    let requests: Vec<Request> = (0..n)
        .map(|id| {
            now += exponential(&mut arrivals, MEAN_SERVICE_NS / rho);
            Request {
                id,
                arrival: Nanos(now as u64),
                prompt_tokens: 1,
                output_tokens: 1,
                prompt: Arc::default(),
                prefix_blocks: Arc::default(),
                priority: 0,
            }
        })
        .collect();
    let times = (0..n).map(|_| (service(&mut services) * MEAN_SERVICE_NS).round() as u64).collect();
    let knobs = Knobs { max_sequences: 1, ..Knobs::default() };
    let mut run = Run::for_requests(&requests);
    serve(&requests, &knobs, Tabled::Counted, &mut Machine::new(Services(times)), &mut run).unwrap();
    let waits = run.requests.iter().map(|r| r.scheduled.unwrap().since(r.arrival).0 as f64);
    waits.sum::<f64>() / f64::from(n)
}

fn within_one_percent(measured: f64, theory: f64) {
    let error = measured / theory - 1.0;
    assert!(error.abs() < 0.01, "measured {measured:.0} ns, theory {theory:.0} ns: {:+.2} %", 100.0 * error);
}

/// Pollaczek and Khinchine: W = ρ · (1 + cv²) / 2 / (1 − ρ) service times.
fn theory(rho: f64, cv_squared: f64) -> f64 {
    MEAN_SERVICE_NS * rho * (1.0 + cv_squared) / 2.0 / (1.0 - rho)
}

#[test]
fn exponential_services_wait_as_m_m_1_says() {
    within_one_percent(mean_wait(1_000_000, 0.6, 11, |s| exponential(s, 1.0)), theory(0.6, 1.0));
}

#[test]
fn fixed_services_wait_as_m_d_1_says() {
    within_one_percent(mean_wait(1_000_000, 0.6, 23, |_| 1.0), theory(0.6, 0.0));
}

#[test]
fn two_sorts_of_services_wait_as_m_g_1_says() {
    // 0.5 with probability 0.8, else 3: mean 1, second moment 2, so cv² = 1.
    let service = |s: &mut ChaCha8Rng| if uniform(s) <= 0.8 { 0.5 } else { 3.0 };
    within_one_percent(mean_wait(1_000_000, 0.5, 37, service), theory(0.5, 1.0));
}

#[test]
fn littles_law_holds_of_what_is_true() {
    let spans = [(Nanos(0), Nanos(30)), (Nanos(10), Nanos(20)), (Nanos(40), Nanos(41))];
    assert_little(&spans, &[Nanos(20), Nanos(30), Nanos(41)]);
}

#[test]
#[should_panic(expected = "never completed")]
fn a_lost_request_breaks_littles_law() {
    assert_little(&[(Nanos(0), Nanos(30)), (Nanos(10), Nanos(20))], &[Nanos(20)]);
}

#[test]
#[should_panic(expected = "Little's law")]
fn a_completion_at_another_time_breaks_littles_law() {
    assert_little(&[(Nanos(0), Nanos(30)), (Nanos(10), Nanos(20))], &[Nanos(20), Nanos(31)]);
}
