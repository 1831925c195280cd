//! A run in Vidur's layout: `request_metrics.csv`, `plots/` with its CSVs, `chrome_trace.json`, `config.json`.
//!
//! Columns are Vidur's, in seconds; definitions are those of its `docs/metrics.md`. Two things are better: quantiles are
//! exact (Vidur's are a sketch's, 0.1 % off), and counts stay those that were asked for when a request starts over.

use std::path::Path;

use engine::kind::StageError;
use serde_json::{Value, json};

use super::{File, csv};
use crate::infer::metrics::percentile;
use crate::infer::time::Nanos;
use crate::tables::run::{BatchRow, META, RequestRow, RunTables};

/// What batches add up to for a request, ns.
#[derive(Debug, Clone, Copy, Default)]
struct Worked {
    total: u64,
    device: u64,
}

/// The files of the run at `path`; names may hold a folder.
pub(super) fn files(path: &Path) -> Result<Vec<File>, StageError> {
    let run = RunTables::read(path)
        .map_err(|e| StageError::new("only a run of our own has what Vidur's layout needs").because(&e))?;
    let worked = worked(&run);
    let (header, rows) = request_metrics(&run, &worked);
    let columns: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut files: Vec<File> = vec![("request_metrics.csv".to_owned(), csv(&columns, rows.iter().cloned()))];
    for (at, name) in header.iter().enumerate().skip(1) {
        let values: Vec<f64> = rows.iter().filter_map(|r| r[at].parse().ok()).collect();
        files.push((format!("plots/{name}.csv"), ranked(name, values)));
    }
    for (name, of) in BATCH {
        let values = run.batches.iter().map(of).collect();
        files.push((format!("plots/{name}.csv"), quantiles(name, values)));
    }
    let arrivals = run.requests.iter().map(|r| r.arrival).collect();
    let completions = run.requests.iter().filter_map(|r| r.completion).collect();
    files.push(("plots/request_arrival_time_series.csv".to_owned(), series("request_arrival", arrivals)));
    files.push(("plots/request_completion_time_series.csv".to_owned(), series("request_completion", completions)));
    files.push(("chrome_trace.json".to_owned(), trace(&run.batches)));
    let meta = std::fs::read_to_string(path.join(META))
        .map_err(|e| StageError::new(format!("cannot read `{}`", path.join(META).display())).because(&e))?;
    files.push(("config.json".to_owned(), super::json(&config(&meta)?)));
    Ok(files)
}

type OfBatch = fn(&BatchRow) -> f64;

const BATCH: [(&str, OfBatch); 5] = [
    ("batch_execution_time", |b| seconds(b.end.0 - b.start.0)),
    ("batch_num_tokens", |b| f64::from(b.prefill_tokens + b.decode_tokens)),
    ("batch_num_prefill_tokens", |b| f64::from(b.prefill_tokens)),
    ("batch_num_decode_tokens", |b| f64::from(b.decode_tokens)),
    ("batch_size", |b| b.seqs.len() as f64),
];

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn worked(run: &RunTables) -> Vec<Worked> {
    let mut worked = vec![Worked::default(); run.requests.len()];
    for batch in &run.batches {
        for request in &batch.seqs {
            let of = &mut worked[*request as usize];
            of.total += batch.end.0 - batch.start.0;
            of.device += batch.device.0;
        }
    }
    worked
}

fn request_metrics(run: &RunTables, worked: &[Worked]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut header = vec!["Request Id".to_owned()];
    for name in ["request_e2e_time", "request_execution_time", "request_model_execution_time"] {
        header.extend([name.to_owned(), format!("{name}_normalized")]);
    }
    header.extend(
        [
            "request_preemption_time",
            "request_scheduling_delay",
            "request_execution_plus_preemption_time",
            "request_execution_plus_preemption_time_normalized",
            "prefill_e2e_time",
            "prefill_time_execution_plus_preemption",
            "prefill_time_execution_plus_preemption_normalized",
            "decode_time_execution_plus_preemption_normalized",
            "request_inter_arrival_delay",
            "request_num_tokens",
            "request_num_prefill_tokens",
            "request_num_decode_tokens",
            "request_pd_ratio",
            "request_num_restarts",
        ]
        .map(str::to_owned),
    );
    let mut before: Option<Nanos> = None;
    let rows = run.requests.iter().zip(worked).map(|(r, w)| {
        let gap = before.replace(r.arrival).map(|b| seconds(r.arrival.0 - b.0));
        request_row(r, *w, gap)
    });
    (header, rows.collect())
}

fn request_row(r: &RequestRow, worked: Worked, gap: Option<f64>) -> Vec<String> {
    let (prefill, decode) = (f64::from(r.prompt_tokens), f64::from(r.output_tokens));
    let between = |later: Option<Nanos>, earlier: Option<Nanos>| Some(seconds(later?.0.checked_sub(earlier?.0)?));
    let ended = r.completion;
    let arrival = Some(r.arrival);
    let e2e = between(ended, arrival);
    let execution = ended.map(|_| seconds(worked.total));
    let device = ended.map(|_| seconds(worked.device));
    let both = between(ended, r.scheduled);
    // What lies between its first batch and its end, and is in none of its batches.
    let preempted = both.zip(execution).map(|(b, e)| (b - e).max(0.0));
    let to_first = between(r.first_token, r.scheduled);
    let by = |value: Option<f64>, n: f64| value.map(|v| v / n);
    let mut row = vec![r.id.to_string()];
    let times = [
        e2e,
        by(e2e, decode),
        execution,
        by(execution, decode),
        device,
        by(device, decode),
        preempted,
        between(r.scheduled, arrival),
        both,
        by(both, decode),
        between(r.first_token, arrival),
        to_first,
        by(to_first, prefill),
        by(between(ended, r.first_token), decode),
        gap,
    ];
    row.extend(times.map(|t| t.map(|t| format!("{t:?}")).unwrap_or_default()));
    row.extend([
        (r.prompt_tokens + r.output_tokens).to_string(),
        r.prompt_tokens.to_string(),
        r.output_tokens.to_string(),
        format!("{:?}", prefill / decode),
        r.preemptions.to_string(),
    ]);
    row
}

/// Values with their share of ranks, as Vidur writes metrics of requests.
fn ranked(name: &str, mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let rows = values
        .iter()
        .enumerate()
        .map(|(at, v)| vec![at.to_string(), format!("{v:?}"), format!("{:?}", (at + 1) as f64 / n)]);
    csv(&["", name, "cdf"], rows)
}

/// Quantiles at 1 % steps, as Vidur writes metrics of batches.
fn quantiles(name: &str, mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let rows = (0..=100_u32).filter_map(|p| {
        let value = percentile(&values, f64::from(p))?;
        Some(vec![p.to_string(), format!("{:?}", f64::from(p) / 100.0), format!("{value:?}")])
    });
    csv(&["", "cdf", name], rows)
}

/// How many so far, by time.
fn series(name: &str, mut times: Vec<Nanos>) -> String {
    times.sort_unstable();
    let rows = times
        .iter()
        .enumerate()
        .map(|(at, t)| vec![at.to_string(), format!("{:?}", seconds(t.0)), (at + 1).to_string()]);
    csv(&["", "Time (sec)", name], rows)
}

/// A bar a batch, for Chrome's and Perfetto's viewers.
fn trace(batches: &[BatchRow]) -> String {
    let events: Vec<Value> = batches
        .iter()
        .map(|b| {
            json!({
                "name": format!("{:?}", b.seqs),
                "ph": "X",
                "ts": b.start.0 as f64 / 1e3,
                "dur": (b.end.0 - b.start.0) as f64 / 1e3,
                "pid": 0,
                "tid": 0,
                "args": {
                    "batch_id": b.id,
                    "batch_size": b.seqs.len(),
                    "request_ids": b.seqs,
                    "num_prefill_tokens": b.prefill_tokens,
                    "num_decode_tokens": b.decode_tokens,
                },
            })
        })
        .collect();
    serde_json::to_string(&json!({ "traceEvents": events })).expect("plain data") + "\n"
}

/// Vidur's names for the knobs; what has no counterpart stays under `pipe`.
fn config(meta: &str) -> Result<Value, StageError> {
    let meta: Value =
        serde_json::from_str(meta).map_err(|e| StageError::new("cannot understand `meta.json`").because(&e))?;
    let knobs = &meta["knobs"];
    Ok(json!({
        "cluster_config": {
            "num_replicas": 1,
            "replica_config": { "model_name": meta["model"]["name"] },
            "replica_scheduler_config": {
                "name": knobs["policy"],
                "batch_size_cap": knobs["max_sequences"],
                "block_size": knobs["block_tokens"],
                "num_blocks": knobs["kv_blocks"],
                "watermark_blocks_fraction": knobs["watermark"],
                "chunk_size": knobs["max_batched_tokens"],
            },
        },
        "pipe": meta,
    }))
}
