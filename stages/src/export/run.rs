//! A run: `request_metrics.csv`, `token_metrics.csv`, `run_meta.json`.

use std::path::Path;

use engine::kind::StageError;
use serde_json::{Map, Value, json};

use super::{File, content_id, csv, stamp};
use crate::compare::read;
use crate::compare::side::{Format, Side};
use crate::infer::time::Nanos;
use crate::tables::run::{RequestRow, Status, TokenRow};
use crate::tables::{self, TOKENS};

/// The three files of the run at `path`.
pub(super) fn files(path: &Path) -> Result<Vec<File>, StageError> {
    let side = read::read(path, "run")?;
    let requests = requests(&side);
    let ids = token_ids(path, &side)?;
    let meta = super::json(&meta(path, &side, &requests));
    let mut files = vec![("request_metrics.csv".to_owned(), requests)];
    files.extend(tokens(&side, ids.as_ref()).map(|text| ("token_metrics.csv".to_owned(), text)));
    files.push(("run_meta.json".to_owned(), meta));
    Ok(files)
}

/// Whether the layout calls it a simulation.
fn simulated(side: &Side) -> bool {
    side.meta.kind == "sim" || side.format == Format::LlmServingSim || side.meta.backend == "vidur"
}

fn requests(side: &Side) -> String {
    let real = !simulated(side);
    // The layout's simulations have no columns for errors; one that has errors must say them all the same.
    let errors = real || side.requests.iter().any(|r| r.status != Status::Ok);
    let mut header = vec![
        "request_id",
        "arrival_time_ns",
        "first_token_time_ns",
        "ttft_ns",
        "num_prefill_tokens",
        "num_decode_tokens",
        "num_decode_tokens_actual",
        "status",
        "completion_time_ns",
    ];
    if real {
        header.push("backend");
    }
    if errors {
        header.extend(["error_type", "error_msg"]);
    }
    let rows = side.requests.iter().map(|request| {
        let mut row = request_row(request);
        if real {
            row.push(side.meta.backend.clone());
        }
        if errors {
            let kind = if request.status == Status::Ok { "" } else { request.status.word() };
            row.extend([kind.to_owned(), request.error.clone().unwrap_or_default()]);
        }
        row
    });
    csv(&header, rows)
}

fn request_row(request: &RequestRow) -> Vec<String> {
    let instant = |at: Option<Nanos>| at.map_or_else(String::new, |t| t.0.to_string());
    // The layout knows two words: a request that was refused did not end well either.
    let status = if request.status == Status::Ok { "ok" } else { "error" };
    vec![
        request.id.to_string(),
        request.arrival.0.to_string(),
        instant(request.first_token),
        instant(request.first_token.map(|first| first.since(request.arrival))),
        request.prompt_tokens.to_string(),
        request.output_tokens.to_string(),
        request.produced_tokens.to_string(),
        status.to_owned(),
        instant(request.completion),
    ]
}

/// Ids of the output tokens by request and index, where the run's tables have all of them.
fn token_ids(path: &Path, side: &Side) -> Result<Option<Vec<Vec<u32>>>, StageError> {
    if side.format != Format::Tables {
        return Ok(None);
    }
    let mut rows: Vec<TokenRow> = tables::read(&tables::run::file(path, &TOKENS))?;
    rows.sort_by_key(|row| (row.request, row.index));
    let mut ids: Vec<Vec<u32>> = vec![Vec::new(); side.requests.len()];
    for row in rows {
        let (Some(place), Some(id)) = (side.place(row.request), row.token) else { return Ok(None) };
        ids[place].push(id);
    }
    Ok(Some(ids))
}

/// `None` where the run has no token times: the layout's file would have to be made up.
fn tokens(side: &Side, ids: Option<&Vec<Vec<u32>>>) -> Option<String> {
    let times = side.tokens.as_ref()?;
    let mut header = vec!["request_id", "token_index", "token_time_ns", "token_latency_ns"];
    if ids.is_some() {
        header.push("token_id");
    }
    let rows = side.requests.iter().zip(times).enumerate().flat_map(|(place, (request, times))| {
        times.iter().enumerate().map(move |(index, at)| {
            let latency = index.checked_sub(1).map_or(0, |before| at - times[before]);
            let mut row = vec![request.id.to_string(), index.to_string(), at.to_string(), latency.to_string()];
            row.extend(ids.map(|ids| ids[place][index].to_string()));
            row
        })
    });
    Some(csv(&header, rows))
}

fn meta(path: &Path, side: &Side, requests: &str) -> Value {
    let meta = &side.meta;
    let sim = simulated(side);
    let span_ns = side.requests.iter().filter_map(|r| r.completion).map(|t| t.0).max().unwrap_or(0);
    let (started, ended) = stamp::of_run(path, meta, span_ns);
    let mut env: Map<String, Value> = meta.versions.iter().map(|(name, v)| (name.clone(), json!(v))).collect();
    let device = meta.hardware.as_ref().map_or("", |h| h.name.as_str());
    env.insert("device".to_owned(), json!(device));
    let mut out = json!({
        "schema_version": "v1",
        "run_id": content_id(if sim { 'v' } else { 'r' }, requests),
        "run_type": if sim { "vidur" } else { "real" },
        "model": meta.model.name,
        "started_at": started,
        "ended_at": ended,
        "git_commit": meta.versions.get("git_commit").cloned().unwrap_or_default(),
        "env": env,
        "params": if meta.config.is_null() { json!({}) } else { meta.config.clone() },
        "hydra": { "config_path": "", "config_name": meta.kind },
        "workload_dir": "",
        "scheduler": scheduler(&meta.knobs, sim),
        "parallel": { "tensor_parallel_size": 1, "pipeline_parallel_size": 1 },
    });
    let fields = out.as_object_mut().expect("it was written as an object");
    if !device.is_empty() {
        fields.insert("hardware".to_owned(), json!(device));
    }
    if sim {
        fields.insert("profiling_root".to_owned(), json!(""));
        fields.insert("cpu_overhead".to_owned(), json!({ "skip_cpu_overhead_modeling": false }));
    } else {
        fields.insert("backend".to_owned(), json!(meta.backend));
        fields.insert("ignore_eos".to_owned(), json!(true));
    }
    out
}

/// Our knobs under their names.
fn scheduler(knobs: &Value, sim: bool) -> Value {
    let sequences = if sim { "batch_size_cap" } else { "max_num_seqs" };
    let names = [
        ("max_batched_tokens", "chunk_size"),
        ("max_sequences", sequences),
        ("block_tokens", "block_size"),
        ("watermark", "watermark_blocks_fraction"),
    ];
    let found = names.into_iter().filter_map(|(ours, theirs)| Some((theirs.to_owned(), knobs.get(ours)?.clone())));
    Value::Object(found.collect())
}
