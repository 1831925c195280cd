//! The two sides that LLMServingSim's validation publishes: `requests.jsonl` of a real vLLM run, and the simulator's
//! CSV of requests. Neither has token times.
//!
//! The real side has two clocks: `arrival_time` (the client's, epoch) and the engine's (monotonic). They are joined by
//! the least delay between sending and queueing over all requests, which is taken for 0. `sent` is the instant at which
//! the engine queued the request: their published figures are counted from there (`clock = "sent"`).

use std::path::Path;

use engine::kind::StageError;
use serde_json::Value;

use super::sheet::Sheet;
use super::{by_id, json, knobs, text_at};
use crate::compare::side::{Format, Side};
use crate::infer::time::Nanos;
use crate::tables::run::{Hardware, Named, RequestRow, RunMeta};

#[derive(serde::Deserialize)]
struct Line {
    request_id: String,
    input_toks: u32,
    output_toks: u32,
    arrival_time: f64,
    queued_ts: f64,
    scheduled_ts: f64,
    first_token_ts: f64,
    last_token_ts: f64,
}

/// Reads `requests.jsonl`, and `meta.json` beside it where there is one.
pub(super) fn read_real(path: &Path, label: &str) -> Result<Side, StageError> {
    let lines = lines(path)?;
    let least = |of: fn(&Line) -> f64| lines.iter().map(of).fold(f64::INFINITY, f64::min);
    let offset = least(|l| l.queued_ts - l.arrival_time);
    let zero = least(|l| l.queued_ts).min(least(|l| l.arrival_time) + offset);
    let at = |seconds: f64| Nanos(((seconds - zero) * 1e9).round().max(0.0) as u64);
    let mut rows = Vec::with_capacity(lines.len());
    for line in &lines {
        let id = line.request_id.rsplit('-').next().and_then(|digits| digits.parse().ok()).ok_or_else(|| {
            StageError::new(format!("`{}`: `request_id` is `{}`, wanted `bench-N`", path.display(), line.request_id))
        })?;
        rows.push(RequestRow {
            id,
            arrival: at(line.arrival_time + offset),
            sent: Some(at(line.queued_ts)),
            scheduled: Some(at(line.scheduled_ts)),
            first_token: Some(at(line.first_token_ts)),
            completion: Some(at(line.last_token_ts)),
            prompt_tokens: line.input_toks,
            output_tokens: line.output_toks,
            produced_tokens: line.output_toks,
            ..RequestRow::default()
        });
    }
    let beside = path.with_file_name("meta.json");
    let meta = if beside.is_file() { real_meta(&json(&beside)?) } else { RunMeta::new("import", "vllm") };
    Ok(Side {
        label: label.to_owned(),
        format: Format::VllmBench,
        requests: by_id(path, rows)?,
        tokens: None,
        batches: Vec::new(),
        meta,
    })
}

fn lines(path: &Path) -> Result<Vec<Line>, StageError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| StageError::new(format!("cannot read `{}`", path.display())).because(&e))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fault = |message: String| StageError::new(format!("`{}`, line {}: {message}", path.display(), number + 1));
        let line: Line = serde_json::from_str(line).map_err(|e| fault(format!("not a request: {e}")))?;
        let times = [line.queued_ts, line.scheduled_ts, line.first_token_ts, line.last_token_ts];
        if !times.is_sorted() {
            return Err(fault("queued, scheduled, first and last token are not in order".to_owned()));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(StageError::new(format!("`{}` holds no request", path.display())));
    }
    Ok(lines)
}

fn real_meta(value: &Value) -> RunMeta {
    let mut meta = RunMeta::new("import", "vllm");
    meta.config = value.clone();
    // What vLLM resolved is hundreds of lines; the settings that were given say what was meant.
    if let Value::Object(fields) = &mut meta.config {
        fields.remove("resolved_config");
    }
    meta.model = Named { name: text_at(value, "/model").unwrap_or("").to_owned(), digest: String::new() };
    meta.knobs = knobs(["/engine_kwargs", "/kv_cache"].iter().filter_map(|place| value.pointer(place)));
    if let Some(version) = text_at(value, "/vllm_version") {
        meta.versions.insert("vllm".to_owned(), version.to_owned());
    }
    if let Some(name) = text_at(value, "/hardware/device_name") {
        meta.hardware = Some(Hardware { device: "cuda".to_owned(), name: name.to_owned(), ..Hardware::default() });
        for (name, place) in [("torch", "/hardware/torch_version"), ("cuda", "/hardware/cuda_version")] {
            if let Some(version) = text_at(value, place) {
                meta.versions.insert(name.to_owned(), version.to_owned());
            }
        }
    }
    meta
}

/// Reads the simulator's CSV, and `config.json` beside it where there is one.
pub(super) fn read_sim(path: &Path, label: &str) -> Result<Side, StageError> {
    let sheet = Sheet::open(path)?;
    let id = sheet.column("request id")?;
    let model = sheet.column("model")?;
    let prompt = sheet.column("input")?;
    let output = sheet.column("output")?;
    let arrival = sheet.column("arrival")?;
    let end = sheet.column("end_time")?;
    let queued = sheet.column("queuing_delay")?;
    let ttft = sheet.column("TTFT")?;
    let mut rows = Vec::with_capacity(sheet.len());
    for row in 0..sheet.len() {
        let arrival = Nanos(sheet.whole(row, arrival)?);
        let first = arrival + Nanos(sheet.whole(row, ttft)?);
        let end = Nanos(sheet.whole(row, end)?);
        if end < first {
            return Err(sheet.fault(row, "`end_time` lies before `arrival` + `TTFT`"));
        }
        let tokens = sheet.small(row, output)?;
        rows.push(RequestRow {
            id: sheet.small(row, id)?,
            arrival,
            scheduled: Some(arrival + Nanos(sheet.whole(row, queued)?)),
            first_token: Some(first),
            completion: Some(end),
            prompt_tokens: sheet.small(row, prompt)?,
            output_tokens: tokens,
            produced_tokens: tokens,
            ..RequestRow::default()
        });
    }
    let mut meta = RunMeta::new("import", "llmservingsim");
    if sheet.len() > 0 {
        meta.model.name = sheet.text(0, model).to_owned();
    }
    let beside = path.with_file_name("config.json");
    if beside.is_file() {
        meta.config = json(&beside)?;
    }
    Ok(Side {
        label: label.to_owned(),
        format: Format::LlmServingSim,
        requests: by_id(path, rows)?,
        tokens: None,
        batches: Vec::new(),
        meta,
    })
}
