#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::compare::tests::{ENGINE, Engine, served, workload};
use crate::compare::{Config, compare};

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
fn an_error_of_timing_alone_is_called_timing() {
    // Requests so far apart that the sequence of batches cannot depend on their times.
    let asked: Vec<_> = (0..20).map(|i| (i * 1000, 100, 10)).collect();
    let slow = Engine { step_ns: 5_500_000, ..ENGINE };
    let measured = [served("real.run", &asked, ENGINE)];
    let predicted = served("sim.run", &asked, slow);
    let verdict = compare(&Config::default(), &predicted, &measured, None, Some(&mut ask(slow))).unwrap();
    for split in &verdict.attribution.split {
        assert!(split.scheduling_ns.abs() < 1.0 && split.timing_ns > 0.0, "{split:?}");
    }
    let decode = verdict.attribution.batches.iter().find(|b| b.sort == "decode").unwrap();
    assert!((decode.error_p50 - 0.1).abs() < 1e-9);
    assert_eq!(decode.batches, 20 * 9);
}

#[test]
fn an_error_of_scheduling_alone_is_called_scheduling() {
    let asked = workload(60);
    let narrow = Engine { max_sequences: 4, ..ENGINE };
    let measured = [served("real.run", &asked, ENGINE)];
    let predicted = served("sim.run", &asked, narrow);
    let config = Config { allow_mismatch: true, ..Config::default() };
    let verdict = compare(&config, &predicted, &measured, None, Some(&mut ask(ENGINE))).unwrap();
    assert_eq!(verdict.attribution.split.len(), 4);
    for split in &verdict.attribution.split {
        assert!(split.timing_ns.abs() < 1.0, "{split:?}");
    }
    let e2e = verdict.attribution.split.iter().find(|s| s.metric.name() == "e2e").unwrap();
    assert!(e2e.scheduling_ns.abs() > 1e6, "{e2e:?}");
}

#[test]
fn timing_and_scheduling_add_up_to_the_error() {
    let asked = workload(60);
    let slow = Engine { step_ns: 5_700_000, ..ENGINE };
    let measured = [served("real.run", &asked, ENGINE)];
    let predicted = served("sim.run", &asked, slow);
    let verdict = compare(&Config::default(), &predicted, &measured, None, Some(&mut ask(slow))).unwrap();
    for split in &verdict.attribution.split {
        let figure = verdict.metric(split.metric).unwrap().figure(crate::compare::metric::Stat::Mean).unwrap();
        let error = figure.predicted_ns - figure.measured_ns;
        assert!((split.timing_ns + split.scheduling_ns - error).abs() < 1.0, "{split:?} {error}");
    }
}

#[test]
fn a_token_time_that_is_no_batchs_end_is_refused() {
    let mut measured = served("real.run", &workload(3), ENGINE);
    measured.tokens.as_mut().unwrap()[1][0] += 1;
    let error = replay(&measured, &mut ask(ENGINE)).unwrap_err();
    assert!(error.message.contains("the end of no batch"), "{}", error.message);
}
