#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use super::*;
use crate::compare::read;
use crate::compare::tests::{ENGINE, served, workload as asked, write_run};
use crate::infer::request::Request;
use crate::infer::time::Nanos;
use crate::tables::requests::{Row, write_requests};
use crate::tables::run::{RunTables, Status};

fn text(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

fn header(directory: &Path, name: &str) -> String {
    text(directory, name).lines().next().unwrap().to_owned()
}

#[test]
fn an_exported_run_read_back_is_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("stage"), directory.path().join("plain"));
    let mut side = served("real.run", &asked(30), ENGINE);
    side.meta.kind = "bench".to_owned();
    side.meta.backend = "paged".to_owned();
    write_run(&side, &from.join("run"));
    let written = export(&from, &to, Layout::Plain).unwrap();
    assert_eq!(written.len(), 3);
    let back = read::read(&to, "real.run").unwrap();
    assert_eq!(back.tokens, side.tokens);
    for (ours, theirs) in back.requests.iter().zip(&side.requests) {
        assert_eq!(ours, &crate::tables::run::RequestRow { scheduled: None, ..theirs.clone() });
    }
    let known = serde_json::json!({ "max_batched_tokens": 512, "max_sequences": 8 });
    assert_eq!(back.meta.knobs, known);
    assert_eq!((back.meta.backend.as_str(), back.meta.model.name.as_str()), ("paged", "toy"));
}

#[test]
fn columns_are_the_layouts_own() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut side = served("sim.run", &asked(5), ENGINE);
    write_run(&side, &at("sim"));
    export(&at("sim"), &at("plain-sim"), Layout::Plain).unwrap();
    let common = "request_id,arrival_time_ns,first_token_time_ns,ttft_ns,num_prefill_tokens,num_decode_tokens,\
                  num_decode_tokens_actual,status,completion_time_ns";
    assert_eq!(header(&at("plain-sim"), "request_metrics.csv"), common);
    assert_eq!(header(&at("plain-sim"), "token_metrics.csv"), "request_id,token_index,token_time_ns,token_latency_ns");
    side.meta.kind = "bench".to_owned();
    write_run(&side, &at("real"));
    let mut tables = RunTables::read(&at("real")).unwrap();
    tables.tokens.iter_mut().for_each(|t| t.token = Some(t.index + 7));
    std::fs::remove_dir_all(at("real")).unwrap();
    tables.write(&at("real")).unwrap();
    export(&at("real"), &at("plain-real"), Layout::Plain).unwrap();
    assert_eq!(header(&at("plain-real"), "request_metrics.csv"), format!("{common},backend,error_type,error_msg"));
    let tokens = text(&at("plain-real"), "token_metrics.csv");
    let rows: Vec<&str> = tokens.lines().collect();
    assert_eq!(rows[0], "request_id,token_index,token_time_ns,token_latency_ns,token_id");
    // The first prefill: 0.2 ms of host, 5 ms, and 16 tokens of 10 µs; then 0.2 + 5 ms and the next one's prefill.
    assert_eq!(rows[1], "0,0,5360000,0,7");
}

#[test]
fn every_field_that_the_layout_requires_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (kind, special) in [("sim", ["workload_dir", "profiling_root"]), ("bench", ["workload_dir", "backend"])] {
        let mut side = served("run", &asked(3), ENGINE);
        side.meta.kind = kind.to_owned();
        write_run(&side, &at(kind));
        export(&at(kind), &at(&format!("{kind}-plain")), Layout::Plain).unwrap();
        let meta: serde_json::Value =
            serde_json::from_str(&text(&at(&format!("{kind}-plain")), "run_meta.json")).unwrap();
        let required = [
            "schema_version",
            "run_id",
            "run_type",
            "model",
            "started_at",
            "ended_at",
            "git_commit",
            "env",
            "params",
            "hydra",
        ];
        for field in required.iter().chain(&special) {
            assert!(!meta[*field].is_null(), "{kind}: {field}");
        }
        assert!(meta["started_at"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn what_was_refused_is_an_error_with_its_reason_and_no_times() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut side = served("sim.run", &asked(3), ENGINE);
    let request = &mut side.requests[1];
    request.status = Status::Refused;
    request.error = Some("needs 9 blocks, the pool has 4".to_owned());
    (request.scheduled, request.first_token, request.completion, request.produced_tokens) = (None, None, None, 0);
    side.tokens.as_mut().unwrap()[1].clear();
    write_run(&side, &at("run"));
    export(&at("run"), &at("plain"), Layout::Plain).unwrap();
    let row = text(&at("plain"), "request_metrics.csv").lines().nth(2).unwrap().to_owned();
    assert!(row.starts_with("1,") && row.ends_with(",0,error,,refused,\"needs 9 blocks, the pool has 4\""), "{row}");
    assert_eq!(read::read(&at("plain"), "r").unwrap().requests[1].status, Status::Error);
}

#[test]
fn an_exported_workload_has_arrivals_that_are_the_running_sum_of_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let row = |id: u32, arrival: u64, source: Option<&str>| Row {
        request: Request {
            id,
            arrival: Nanos(arrival),
            prompt_tokens: 2,
            output_tokens: 5 + id,
            prompt: Arc::from([id, 9]),
            prefix_blocks: Arc::default(),
            priority: 0,
        },
        source: source.map(str::to_owned),
    };
    std::fs::create_dir(at("workload")).unwrap();
    let rows = [row(0, 3, Some("poem")), row(1, 10, None), row(2, 10, None)];
    write_requests(&at("workload/requests.parquet"), &[], &rows).unwrap();
    export(&at("workload"), &at("plain"), Layout::Plain).unwrap();
    assert_eq!(
        text(&at("plain"), "trace_lengths.csv"),
        "request_id,prompt_id,num_prefill_tokens,num_decode_tokens\n0,poem,2,5\n1,p00001,2,6\n2,p00002,2,7\n"
    );
    assert_eq!(
        text(&at("plain"), "trace_intervals.csv"),
        "request_id,inter_arrival_ns,arrival_time_ns\n0,3,3\n1,7,10\n2,0,10\n"
    );
    let first = text(&at("plain"), "prompts.jsonl").lines().next().unwrap().to_owned();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first, serde_json::json!({ "prompt_id": "poem", "text": "", "token_ids": [0, 9] }));
    let meta: serde_json::Value = serde_json::from_str(&text(&at("plain"), "workload_meta.json")).unwrap();
    assert!(meta["workload_id"].as_str().unwrap().starts_with("w_"));
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write_run(&served("sim.run", &asked(3), ENGINE), &at("run"));
    export(&at("run"), &at("plain"), Layout::Plain).unwrap();
    let error = export(&at("run"), &at("plain"), Layout::Plain).unwrap_err();
    assert!(error.message.contains("request_metrics.csv` exists already"), "{}", error.message);
    let error = export(&at("nowhere"), &at("other"), Layout::Plain).unwrap_err();
    assert!(error.message.contains("there is nothing at"), "{}", error.message);
}

#[test]
fn the_verb_asks_for_two_paths() {
    assert_eq!((VERB.run)(&[]), 2);
    assert_eq!((VERB.run)(&["--help".into()]), 0);
    assert_eq!((VERB.run)(&["/no/such/run".into(), "/no/such/place".into()]), 2);
}

#[test]
fn seconds_become_dates() {
    for (seconds, date) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_767_604_209, "2026-01-05T09:10:09Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(stamp::utc(seconds), date);
    }
}

#[test]
fn vidurs_layout_has_vidurs_columns_and_times_that_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let side = served("sim.run", &asked(6), ENGINE);
    write_run(&side, &at("run"));
    let written = export(&at("run"), &at("vidur"), Layout::Vidur).unwrap();
    let header = header(&at("vidur"), "request_metrics.csv");
    assert!(
        header.starts_with("Request Id,request_e2e_time,request_e2e_time_normalized,request_execution_time"),
        "{header}"
    );
    let names: Vec<&str> = header.split(',').collect();
    let of = |row: &str, name: &str| -> f64 {
        row.split(',').nth(names.iter().position(|n| *n == name).unwrap()).unwrap().parse().unwrap()
    };
    for (row, request) in text(&at("vidur"), "request_metrics.csv").lines().skip(1).zip(&side.requests) {
        let e2e = of(row, "request_e2e_time");
        assert_eq!(e2e, (request.completion.unwrap().0 - request.arrival.0) as f64 / 1e9);
        let parts = of(row, "request_scheduling_delay")
            + of(row, "request_execution_time")
            + of(row, "request_preemption_time");
        assert!((parts - e2e).abs() < 1e-9, "{row}");
    }
    assert!(written.iter().any(|p| p.ends_with("plots/batch_size.csv")));
    let trace: serde_json::Value = serde_json::from_str(&text(&at("vidur"), "chrome_trace.json")).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().len(), RunTables::read(&at("run")).unwrap().batches.len());
}
