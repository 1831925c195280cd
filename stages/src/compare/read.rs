//! Runs from directories, whatever wrote them; the format is told by what the directory holds.
//!
//! Nothing here judges a run: it only brings other people's columns and words into ours, and refuses what contradicts
//! itself, naming file, line and column.

use std::path::Path;

use engine::kind::StageError;
use serde_json::Value;

use super::side::{Format, Side};
use crate::tables::run::{self, RequestRow, RunTables};
use crate::tables::{BATCHES, RUN_REQUESTS, TOKENS};

mod llmservingsim;
mod predecessor;
mod recording;
mod sheet;

#[cfg(test)]
mod tests;

/// Reads the run at `path` (a directory, or the one file of a format that has one); `label` is what people call it.
///
/// # Errors
/// When its format is not known, or a file of it cannot be read as what it should be.
pub fn read(path: &Path, label: &str) -> Result<Side, StageError> {
    let place = locate(path)?;
    let side = match place.format {
        Format::Tables => tables(path, label)?,
        Format::Predecessor => predecessor::read(path, label)?,
        Format::Recording => recording::read(path, label)?,
        Format::VllmBench => llmservingsim::read_real(&place.file, label)?,
        Format::LlmServingSim => llmservingsim::read_sim(&place.file, label)?,
    };
    if side.requests.is_empty() {
        return Err(StageError::new(format!("the run at `{}` holds no request", path.display())));
    }
    Ok(side)
}

/// Reads the run at `path`, or its repeats where it holds directories numbered from 0: each a side of its own.
///
/// # Errors
/// As [`read`].
pub fn read_repeats(path: &Path, label: &str) -> Result<Vec<Side>, StageError> {
    if !path.join("0").is_dir() {
        return Ok(vec![read(path, label)?]);
    }
    let places = (0..).map(|n: u32| (n, path.join(n.to_string()))).take_while(|(_, place)| place.is_dir());
    places.map(|(n, place)| read(&place, &format!("{label}[{n}]"))).collect()
}

/// A format and the file that tells it.
struct Place {
    format: Format,
    file: std::path::PathBuf,
}

fn locate(path: &Path) -> Result<Place, StageError> {
    if path.is_file() {
        return format_of(path).map(|format| Place { format, file: path.to_owned() }).ok_or_else(|| unknown(path, &[]));
    }
    let mut names: Vec<String> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect())
        .map_err(|e| StageError::new(format!("cannot list the run at `{}`", path.display())).because(&e))?;
    names.sort();
    for (name, format) in [
        ("requests.parquet", Format::Tables),
        ("request_metrics.csv", Format::Predecessor),
        ("requests.jsonl", Format::VllmBench),
        ("requests.csv", Format::Recording),
    ] {
        if names.iter().any(|n| n == name) {
            return Ok(Place { format, file: path.join(name) });
        }
    }
    let simulated: Vec<_> = names
        .iter()
        .map(|name| path.join(name))
        .filter(|file| file.is_file() && format_of(file) == Some(Format::LlmServingSim))
        .collect();
    // Several of them may be cuts of one output: the longest is the whole.
    let longest = simulated.into_iter().max_by_key(|file| sheet::Sheet::open(file).map_or(0, |sheet| sheet.len()));
    longest.map_or_else(|| Err(unknown(path, &names)), |file| Ok(Place { format: Format::LlmServingSim, file }))
}

/// The format of a lone file, by its ending and header.
fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()? {
        "jsonl" => Some(Format::VllmBench),
        "csv" => {
            let header = sheet::Sheet::header_of(file);
            let has = |names: &[&str]| names.iter().all(|name| header.iter().any(|h| h == name));
            has(&["request id", "arrival", "end_time", "TTFT"]).then_some(Format::LlmServingSim)
        }
        _ => None,
    }
}

fn unknown(path: &Path, names: &[String]) -> StageError {
    let error = StageError::new(format!("`{}` holds no run that is known here", path.display()));
    if names.iter().any(|n| n == "requests.csv.gz") {
        return error.help("unpack it first: gunzip --keep requests.csv.gz tokens.csv.gz");
    }
    if names.iter().any(|n| n == "real") && names.iter().any(|n| n == "sim") {
        return error.help("it is a pair: wire its `sim` to `predicted` and its `real` to `measured`");
    }
    error.help(
        "a run is a directory with requests.parquet, tokens.parquet, batches.parquet and meta.json; or \
         request_metrics.csv and token_metrics.csv; or requests.csv and tokens.csv; or LLMServingSim's \
         requests.jsonl or request CSV",
    )
}

fn tables(path: &Path, label: &str) -> Result<Side, StageError> {
    let RunTables { requests, tokens: rows, mut batches, meta } = RunTables::read(path)?;
    let requests = by_id(&run::file(path, &RUN_REQUESTS), requests)?;
    let mut tokens: Vec<Vec<(u32, u64)>> = vec![Vec::new(); requests.len()];
    for row in &rows {
        let place = requests
            .binary_search_by_key(&row.request, |r| r.id)
            .expect("the reader checked that tokens name requests that are there");
        tokens[place].push((row.index, row.time.0));
    }
    for (request, times) in requests.iter().zip(&mut tokens) {
        times.sort_unstable();
        if times.len() != request.produced_tokens as usize {
            return Err(StageError::new(format!(
                "`{}` holds {} tokens of request {}, its `produced_tokens` is {}",
                run::file(path, &TOKENS).display(),
                times.len(),
                request.id,
                request.produced_tokens
            )));
        }
    }
    batches.sort_by_key(|b| b.id);
    if let Some(b) = batches.iter().find(|b| b.end < b.start) {
        return Err(StageError::new(format!(
            "`{}`: batch {} ends before it starts",
            run::file(path, &BATCHES).display(),
            b.id
        )));
    }
    let tokens = tokens.into_iter().map(|times| times.into_iter().map(|t| t.1).collect()).collect();
    Ok(Side { label: label.to_owned(), format: Format::Tables, requests, tokens: Some(tokens), batches, meta })
}

/// The rows in order of ids, each id once.
fn by_id(path: &Path, mut rows: Vec<RequestRow>) -> Result<Vec<RequestRow>, StageError> {
    rows.sort_by_key(|r| r.id);
    match rows.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(StageError::new(format!("`{}` holds request {} twice", path.display(), pair[0].id))),
        None => Ok(rows),
    }
}

fn json(path: &Path) -> Result<Value, StageError> {
    let bytes =
        std::fs::read(path).map_err(|e| StageError::new(format!("cannot read `{}`", path.display())).because(&e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| StageError::new(format!("cannot read `{}` as JSON", path.display())).because(&e))
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// Other people's words for our knobs.
const KNOBS: &[(&str, &str)] = &[
    ("chunk_size", "max_batched_tokens"),
    ("max_num_batched_tokens", "max_batched_tokens"),
    ("max_num_seqs", "max_sequences"),
    ("batch_size_cap", "max_sequences"),
    ("block_size", "block_tokens"),
    ("num_gpu_blocks", "kv_blocks"),
    ("watermark_blocks_fraction", "watermark"),
    ("enable_prefix_caching", "prefix_caching"),
];

/// The knobs in `tables`, under our names; the first table that has one wins; `null` where there is none.
fn knobs<'a>(tables: impl Iterator<Item = &'a Value>) -> Value {
    let mut found = serde_json::Map::new();
    for table in tables {
        for (theirs, ours) in KNOBS {
            match table.get(theirs) {
                None | Some(Value::Null) => {}
                Some(value) => {
                    found.entry((*ours).to_owned()).or_insert_with(|| value.clone());
                }
            }
        }
    }
    if found.is_empty() { Value::Null } else { Value::Object(found) }
}
