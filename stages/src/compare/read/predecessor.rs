//! A run directory of gpu-simulate-test: `request_metrics.csv`, `token_metrics.csv`, `run_meta.json`. Columns and
//! units: that project's "standardised artifacts"; all times are integer nanoseconds from the run's start.

use std::collections::BTreeMap;
use std::path::Path;

use engine::kind::StageError;
use serde_json::Value;

use super::sheet::Sheet;
use super::{by_id, json, knobs, text_at};
use crate::compare::side::{Format, Side};
use crate::infer::time::Nanos;
use crate::tables::run::{Hardware, Named, RequestRow, RunMeta, Status};

/// Reads the directory; `token_metrics.csv` and `run_meta.json` may be missing.
pub(super) fn read(directory: &Path, label: &str) -> Result<Side, StageError> {
    let mut requests = requests(&directory.join("request_metrics.csv"))?;
    let path = directory.join("token_metrics.csv");
    let tokens = if path.is_file() { Some(tokens(&path, &mut requests)?) } else { None };
    for request in &requests {
        if request.status == Status::Ok && request.completion.is_none() {
            return Err(StageError::new(format!(
                "`{}`: request {} has no `completion_time_ns`",
                directory.join("request_metrics.csv").display(),
                request.id
            ))
            .help("put `token_metrics.csv` beside it: the last token's time is the completion"));
        }
    }
    let path = directory.join("run_meta.json");
    let meta = if path.is_file() { meta(&json(&path)?) } else { RunMeta::new("import", "unknown") };
    Ok(Side { label: label.to_owned(), format: Format::Predecessor, requests, tokens, batches: Vec::new(), meta })
}

fn requests(path: &Path) -> Result<Vec<RequestRow>, StageError> {
    let sheet = Sheet::open(path)?;
    let id = sheet.column("request_id")?;
    let arrival = sheet.column("arrival_time_ns")?;
    let first = sheet.column("first_token_time_ns")?;
    let ttft = sheet.column("ttft_ns")?;
    let prompt = sheet.column("num_prefill_tokens")?;
    let asked = sheet.column("num_decode_tokens")?;
    let produced = sheet.column("num_decode_tokens_actual")?;
    let status = sheet.column("status")?;
    let completion = sheet.optional("completion_time_ns");
    let error = sheet.optional("error_msg");
    let mut rows = Vec::with_capacity(sheet.len());
    for row in 0..sheet.len() {
        let status = match sheet.text(row, status) {
            "ok" => Status::Ok,
            "error" => Status::Error,
            other => return Err(sheet.fault(row, format!("`status` is `{other}`, wanted `ok` or `error`"))),
        };
        let request = RequestRow {
            id: sheet.small(row, id)?,
            status,
            arrival: Nanos(sheet.whole(row, arrival)?),
            first_token: sheet.maybe_whole(row, first)?.map(Nanos),
            completion: completion.map_or(Ok(None), |c| sheet.maybe_whole(row, c))?.map(Nanos),
            prompt_tokens: sheet.small(row, prompt)?,
            output_tokens: sheet.small(row, asked)?,
            produced_tokens: sheet.small(row, produced)?,
            error: error.map(|c| sheet.text(row, c).to_owned()).filter(|text| !text.is_empty()),
            ..RequestRow::default()
        };
        if status == Status::Ok {
            let Some(first) = request.first_token else {
                return Err(sheet.fault(row, "`first_token_time_ns` is empty although `status` is `ok`"));
            };
            let said = sheet.whole(row, ttft)?;
            if request.arrival.0.checked_add(said) != Some(first.0) {
                return Err(sheet.fault(
                    row,
                    format!("`ttft_ns` is {said}, but first token - arrival = {} - {}", first.0, request.arrival.0),
                ));
            }
            if request.completion.is_some_and(|end| end < first) {
                return Err(sheet.fault(row, "`completion_time_ns` lies before `first_token_time_ns`"));
            }
        }
        rows.push(request);
    }
    by_id(path, rows)
}

/// Token times by request; fills in completions that the request's row lacks.
fn tokens(path: &Path, requests: &mut [RequestRow]) -> Result<Vec<Vec<u64>>, StageError> {
    let sheet = Sheet::open(path)?;
    let id = sheet.column("request_id")?;
    let index = sheet.column("token_index")?;
    let time = sheet.column("token_time_ns")?;
    let mut all: Vec<Vec<u64>> = requests.iter().map(|r| Vec::with_capacity(r.produced_tokens as usize)).collect();
    for row in 0..sheet.len() {
        let id = sheet.small(row, id)?;
        let Ok(place) = requests.binary_search_by_key(&id, |r| r.id) else {
            return Err(sheet.fault(row, format!("`request_id` {id} is not in `request_metrics.csv`")));
        };
        let times = &mut all[place];
        if sheet.whole(row, index)? != times.len() as u64 {
            return Err(sheet.fault(row, format!("`token_index` is not {}: indices count from 0", times.len())));
        }
        let at = sheet.whole(row, time)?;
        if times.last().is_some_and(|before| at < *before) {
            return Err(sheet.fault(row, "`token_time_ns` falls"));
        }
        times.push(at);
    }
    for (request, times) in requests.iter_mut().zip(&all) {
        if request.status == Status::Ok && times.len() != request.produced_tokens as usize {
            return Err(StageError::new(format!(
                "`{}` holds {} tokens of request {}, `num_decode_tokens_actual` is {}",
                path.display(),
                times.len(),
                request.id,
                request.produced_tokens
            )));
        }
        if request.completion.is_none() {
            request.completion = times.last().copied().map(Nanos);
        }
    }
    Ok(all)
}

fn meta(value: &Value) -> RunMeta {
    let run_type = text_at(value, "/run_type").unwrap_or("unknown");
    let mut meta = RunMeta::new("import", text_at(value, "/backend").unwrap_or(run_type));
    meta.config = value.clone();
    meta.model = Named { name: text_at(value, "/model").unwrap_or("").to_owned(), digest: String::new() };
    let places = ["/scheduler", "/params/backend/scheduler", "/params/vidur/scheduler"];
    meta.knobs = knobs(places.iter().filter_map(|place| value.pointer(place)));
    if let Some(name) = text_at(value, "/env/device").or_else(|| text_at(value, "/hardware")) {
        meta.hardware = Some(Hardware { device: "unknown".to_owned(), name: name.to_owned(), ..Hardware::default() });
    }
    if let Some(Value::Object(env)) = value.pointer("/env") {
        meta.versions = env
            .iter()
            .filter(|(name, _)| *name != "device")
            .filter_map(|(name, version)| Some((name.clone(), version.as_str()?.to_owned())))
            .collect::<BTreeMap<_, _>>();
    }
    if let Some(commit) = text_at(value, "/git_commit") {
        meta.versions.insert("git_commit".to_owned(), commit.to_owned());
    }
    if run_type == "vidur" {
        meta.notes.push(
            "token times of this format's simulations are interpolated between the first token and the completion: \
             the spread of their TBT says nothing"
                .to_owned(),
        );
    }
    meta
}
