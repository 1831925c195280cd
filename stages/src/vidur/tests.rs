//! Every figure of recorded cases, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::verb::cases;
use super::*;

/// The cases that stand in the repository.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/vidur")
}

/// Cells that are numbers are compared as the doubles they read as, to the bit; all others as text.
fn same_cell(expected: &str, got: &str) -> bool {
    let words = |cell: &str| cell.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (expected, got) = (words(expected), words(got));
    expected.len() == got.len()
        && expected.iter().zip(&got).all(|(e, g)| match (e.parse::<f64>(), g.parse::<f64>()) {
            (Ok(e), Ok(g)) => e.to_bits() == g.to_bits(),
            _ => e == g,
        })
}

fn compare_csv(expected: &Path, got: &str) {
    let expected_text = std::fs::read_to_string(expected).unwrap();
    let rows = |text: &str| {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.records().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (expected_rows, rows) = (rows(&expected_text), rows(got));
    assert_eq!(expected_rows.len(), rows.len(), "rows of {}", expected.display());
    for (at, (e, g)) in expected_rows.iter().zip(&rows).enumerate() {
        for ((column, e), g) in expected_rows[0].iter().zip(e).zip(g) {
            assert!(same_cell(e, g), "{} row {at} `{column}`: expected {e}, got {g}", expected.display());
        }
        assert_eq!(e.len(), g.len());
    }
}

fn compare_json(place: &str, expected: &Value, got: &Value) {
    match (expected, got) {
        (Value::Object(e), Value::Object(g)) => {
            let keys =
                |m: &serde_json::Map<String, Value>| m.keys().cloned().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(keys(e), keys(g), "{place}");
            e.iter().for_each(|(key, value)| compare_json(&format!("{place}.{key}"), value, &g[key]));
        }
        (Value::Array(e), Value::Array(g)) => {
            assert_eq!(e.len(), g.len(), "{place}");
            e.iter().zip(g).enumerate().for_each(|(i, (e, g))| compare_json(&format!("{place}[{i}]"), e, g));
        }
        (Value::Number(e), Value::Number(g)) => assert_eq!(e.as_f64(), g.as_f64(), "{place}"),
        _ => assert_eq!(expected, got, "{place}"),
    }
}

fn check(folder: &Path) {
    let (case, requests) = Case::load(folder).unwrap();
    let outcome = run(&case, &requests).unwrap();
    compare_csv(&folder.join("expected_batches.csv"), &batches_csv(&outcome));
    compare_csv(&folder.join("expected_request_metrics.csv"), &request_metrics_csv(&outcome));
    let summary = std::fs::read_to_string(folder.join("expected_summary.json")).unwrap();
    compare_json(&case.name, &serde_json::from_str(&summary).unwrap(), &summary_json(&outcome));
}

#[test]
fn every_recorded_case_comes_out_to_the_bit() {
    let folders = cases(&own()).unwrap();
    assert!(folders.len() >= 20, "{} cases", folders.len());
    folders.iter().for_each(|folder| check(folder));
}

fn check_generator(folder: &Path) {
    let requests = Generator::load(folder).unwrap().requests(folder).unwrap();
    let mut text = "id,arrived_at,num_prefill_tokens,num_decode_tokens\n".to_owned();
    for (id, r) in requests.iter().enumerate() {
        text += &format!("{id},{:?},{},{}\n", r.arrived_at, r.num_prefill_tokens, r.num_decode_tokens);
    }
    compare_csv(&folder.join("expected_requests.csv"), &text);
}

/// What a program of Vidur's users reads as text reads the same: digits, exponents and the type of a column with gaps.
#[test]
fn request_metrics_and_batches_are_the_same_text() {
    for folder in cases(&own()).unwrap() {
        let (case, requests) = Case::load(&folder).unwrap();
        let outcome = run(&case, &requests).unwrap();
        for (name, got) in [("batches", batches_csv(&outcome)), ("request_metrics", request_metrics_csv(&outcome))] {
            let expected = std::fs::read_to_string(folder.join(format!("expected_{name}.csv"))).unwrap();
            assert!(expected == got, "{name} of {}", case.name);
        }
    }
}

#[test]
fn the_skew_of_collectives_has_the_bits_that_cpython_gives() {
    for (devices, power) in [(2.0, 2.378414230005442), (4.0, 5.656854249492381), (8.0, 13.454342644059432)] {
        assert_eq!(super::time::device_power(devices).to_bits(), f64::to_bits(power), "{devices}");
    }
}

#[test]
fn every_recorded_generator_comes_out_to_the_bit() {
    let mut checked = 0;
    for entry in std::fs::read_dir(own().join("generators")).unwrap() {
        check_generator(&entry.unwrap().path());
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn a_generator_that_would_never_end_is_refused() {
    let text = r#"{"type": "synthetic", "seed": 1, "num_requests": null, "duration": 9.0,
        "interval_generator": {"type": "static"},
        "length_generator": {"type": "fixed", "prefill_tokens": 1, "decode_tokens": 1}}"#;
    let generator: Generator = serde_json::from_str(text).unwrap();
    assert!(generator.requests(Path::new("")).unwrap_err().to_string().contains("`num_requests`"));
}

/// More cases than the repository holds (those with a foreign trace): `PIPE_VIDUR_ORACLE` names a folder of them, or
/// `PIPE_TEST_DATA` one that holds `oracle/vidur/`.
#[test]
fn every_case_of_the_oracle_comes_out_to_the_bit() {
    let named = std::env::var_os("PIPE_VIDUR_ORACLE").map(PathBuf::from);
    let beside = || std::env::var_os("PIPE_TEST_DATA").map(|root| PathBuf::from(root).join("oracle/vidur"));
    let Some(folder) = named.or_else(|| beside().filter(|folder| folder.is_dir())) else {
        eprintln!("neither PIPE_VIDUR_ORACLE nor PIPE_TEST_DATA is set: only the repository's own cases were run");
        return;
    };
    cases(&folder).unwrap().iter().for_each(|folder| check(folder));
    let generators = folder.join("generators");
    for entry in std::fs::read_dir(generators).into_iter().flatten() {
        check_generator(&entry.unwrap().path());
    }
}

/// FNV-1a over the words of every batch, as the recorded digests are made.
fn digest(outcome: &Outcome) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut word = |w: u64| hash = (hash ^ w).wrapping_mul(0x100_0000_01b3);
    for (id, batch) in outcome.batches.iter().enumerate() {
        word(id as u64);
        word(batch.scheduled_at.to_bits());
        word(batch.completed_at.unwrap().to_bits());
        word(batch.requests.len() as u64);
        word(batch.prefill_tokens);
        word(batch.decode_tokens);
        word(u64::from(batch.allocated_blocks));
        word(batch.waiting as u64);
        word(batch.stage_starts[0].to_bits());
        word(batch.stage_times[0].to_bits());
        for (request, tokens) in &batch.requests {
            word(u64::from(*request));
            word(u64::from(*tokens));
        }
    }
    format!("{hash:016x}")
}

/// The long workloads by which speed is measured: `PIPE_VIDUR_SPEED` names a folder of them, unpacked.
#[test]
fn the_long_workloads_come_out_to_the_bit() {
    let Some(folder) = std::env::var_os("PIPE_VIDUR_SPEED") else {
        eprintln!("PIPE_VIDUR_SPEED is not set: the long workloads were not run");
        return;
    };
    for folder in cases(Path::new(&folder)).unwrap() {
        let (case, requests) = Case::load(&folder).unwrap();
        let outcome = run(&case, &requests).unwrap();
        let summary = std::fs::read_to_string(folder.join("expected_summary.json")).unwrap();
        let expected: Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(expected["batch_digest"], digest(&outcome), "{}", case.name);
        let got = summary_json(&outcome);
        for key in ["end_time", "events_created", "completed_requests", "total_restarts", "utilization"] {
            compare_json(key, &expected[key], &got[key]);
        }
        compare_csv(&folder.join("expected_request_metrics.csv"), &request_metrics_csv(&outcome));
    }
}
