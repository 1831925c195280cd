use super::*;
use crate::compare::tests::{ENGINE, served, workload};

#[test]
fn no_token_is_lost_between_the_columns() {
    let side = served("sim.run", &workload(60), ENGINE);
    let lane = lane(&side, end(&side), Clock::Arrival);
    let prompt: f64 = side.requests.iter().map(|r| f64::from(r.prompt_tokens)).sum();
    let decoded: f64 = side.requests.iter().map(|r| f64::from(r.produced_tokens - 1)).sum();
    assert!((lane.prefill.iter().sum::<f64>() - prompt).abs() < 1e-6);
    assert!((lane.decode.iter().sum::<f64>() - decoded).abs() < 1e-6);
}

#[test]
fn a_run_without_batches_is_drawn_from_its_requests() {
    let mut side = served("real.run", &[(0, 10, 3), (1, 20, 3), (500, 10, 2)], ENGINE);
    side.batches.clear();
    let lane = lane(&side, end(&side), Clock::Arrival);
    assert!(lane.blocks.is_empty());
    assert_eq!(lane.running.iter().copied().fold(0.0, f64::max), 2.0);
    assert_eq!(lane.decode.iter().sum::<f64>(), 8.0);
    assert_eq!(lane.prefill.iter().sum::<f64>(), 40.0);
}

#[test]
fn the_largest_number_within_a_column_counts() {
    let end = BINS as u64 * 100;
    let out = largest(vec![(110, 1), (120, 1), (130, -1), (330, -1)], end);
    assert_eq!(&out[..5], [0.0, 2.0, 1.0, 1.0, 0.0]);
}
