#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::compare::tests::{ENGINE, Engine, served, workload};

/// What the made-up engine of the tests does, as a predictor.
fn ask(engine: Engine) -> impl FnMut(&[Slice]) -> Result<Forecast, StageError> {
    move |slices| {
        let prefill: u32 = slices.iter().filter(|s| s.context == 0).map(|s| s.tokens).sum();
        Ok(Forecast {
            device_ns: (engine.step_ns + engine.prefill_ns * u64::from(prefill)) as f64,
            host_ns: engine.host_ns as f64,
        })
    }
}

#[test]
fn with_the_engines_own_times_a_replay_is_the_run() {
    let measured = served("real.run", &workload(60), ENGINE);
    let replayed = replay(&measured, &mut ask(ENGINE)).unwrap().side;
    assert_eq!(replayed.requests, measured.requests);
    assert_eq!(replayed.tokens, measured.tokens);
}

#[test]
fn a_token_time_that_is_no_batchs_end_is_refused() {
    let mut measured = served("real.run", &workload(3), ENGINE);
    measured.tokens.as_mut().unwrap()[1][0] += 1;
    let error = replay(&measured, &mut ask(ENGINE)).unwrap_err();
    assert!(error.message.contains("the end of no batch"), "{}", error.message);
}
