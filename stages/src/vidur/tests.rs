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

/// More cases than the repository holds: `PIPE_VIDUR_ORACLE` names a folder of them.
#[test]
fn every_case_of_the_oracle_comes_out_to_the_bit() {
    let Some(folder) = std::env::var_os("PIPE_VIDUR_ORACLE") else {
        eprintln!("PIPE_VIDUR_ORACLE is not set: only the repository's own cases were run");
        return;
    };
    cases(Path::new(&folder)).unwrap().iter().for_each(|folder| check(folder));
}
