#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::compare::tests::{ENGINE, served};

#[test]
fn a_side_that_stopped_early_cuts_the_others() {
    let asked = [(0, 10, 5), (50, 10, 5)];
    let predicted = served("sim.run", &asked, ENGINE);
    let mut measured = served("real.run", &asked, ENGINE);
    measured.requests[1].produced_tokens = 3;
    measured.tokens.as_mut().unwrap()[1].truncate(3);
    let measured = [measured];
    let aligned = align(&predicted, &measured, Clock::Arrival);
    assert_eq!(aligned.cut, [1]);
    assert_eq!((aligned.predicted[0].tokens, aligned.predicted[1].tokens), (5, 3));
    assert_eq!(aligned.predicted[1].last, predicted.tokens.as_ref().unwrap()[1][2]);
}

#[test]
fn without_token_times_a_request_cannot_be_cut_and_is_left_out() {
    let asked = [(0, 10, 5), (50, 10, 5)];
    let mut predicted = served("sim.run", &asked, ENGINE);
    predicted.tokens = None;
    let mut measured = served("real.run", &asked, ENGINE);
    measured.requests[1].produced_tokens = 3;
    measured.tokens.as_mut().unwrap()[1].truncate(3);
    let measured = [measured];
    let aligned = align(&predicted, &measured, Clock::Arrival);
    assert_eq!(aligned.predicted.len(), 1);
    assert!(aligned.left_out[0].because.contains("no token times to cut by"));
}

#[test]
fn the_clock_runs_from_arrival_or_from_when_it_was_sent() {
    let asked = [(10, 10, 2)];
    let predicted = served("sim.run", &asked, ENGINE);
    let mut measured = served("real.run", &asked, ENGINE);
    measured.requests[0].sent = Some(crate::infer::time::Nanos(12_000_000));
    let measured = [measured];
    let start = |clock| {
        let aligned = align(&predicted, &measured, clock);
        (aligned.predicted[0].start, aligned.measured[0][0].start)
    };
    assert_eq!(start(Clock::Arrival), (10_000_000, 10_000_000));
    assert_eq!(start(Clock::Sent), (10_000_000, 12_000_000));
}
