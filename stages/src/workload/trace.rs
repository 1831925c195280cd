//! Traces of other people: rows with two lengths, most of them with an arrival.
//!
//! A format is known by the names of its columns (a layout, see `csv`) or by being JSON lines (Mooncake) or a directory
//! (the predecessor's pair of files). Columns are found by name, never by place. Arrivals are exact to the nanosecond:
//! decimals are read as decimals. This module does not know limits, rates or tokens' ids.
//!
//! Invariant: rows come out in the file's order, and where the trace is timed that is the order of arrival.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::kind::StageError;
use serde::{Deserialize, Serialize};

use crate::infer::time::Nanos;

mod csv;
mod mooncake;
mod number;
mod pair;

#[cfg(test)]
mod tests;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Whichever it looks like.
    Auto,
    /// CSV: `TIMESTAMP` (wall clock), `ContextTokens`, `GeneratedTokens`.
    Azure,
    /// JSON lines: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` (one for each 512 tokens of the prompt).
    Mooncake,
    /// CSV: `Timestamp` (s), `Request tokens`, `Response tokens`; rows with 0 response tokens failed and are left out.
    Burstgpt,
    /// CSV: `arrived_at` (s), `num_prefill_tokens`, `num_decode_tokens`.
    Vidur,
    /// CSV: `num_prefill_tokens`, `num_decode_tokens`; no arrivals.
    Lengths,
    /// CSV: `arrival_time_ns`, `num_prefill_tokens`, `num_decode_tokens`.
    PredecessorTrace,
    /// A directory with `trace_lengths.csv` and, for arrivals, `trace_intervals.csv`; or with `trace.csv`.
    Predecessor,
    /// CSV: `prompt_tokens`, `output_tokens` and, for arrivals, `arrival_ns`.
    Plain,
}

/// The formats in words; columns are found by name and may have others beside them.
pub const FORMATS: &str = "\
azure              CSV: TIMESTAMP (wall clock), ContextTokens, GeneratedTokens
mooncake           JSON lines: timestamp (ms), input_length, output_length, hash_ids (one for each 512 tokens)
burstgpt           CSV: Timestamp (s), Request tokens, Response tokens (0 = failed, left out)
vidur              CSV: arrived_at (s), num_prefill_tokens, num_decode_tokens
lengths            CSV: num_prefill_tokens, num_decode_tokens; arrivals come from a law
predecessor-trace  CSV: arrival_time_ns, num_prefill_tokens, num_decode_tokens
predecessor        a directory: trace_lengths.csv and trace_intervals.csv, or trace.csv
plain              CSV: prompt_tokens, output_tokens, and arrival_ns if there are arrivals
A column prompt_id, where there is one, joins prompts wired beside the trace.
";

/// A trace as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// At least one.
    pub rows: Vec<Row>,
    /// Whether rows have arrivals; else every `arrival` is 0.
    pub timed: bool,
    /// Rows that were left out because they asked for no output.
    pub failed: u64,
    /// Tokens of one of the `prefix_blocks`; 0 where the trace has none.
    pub block_tokens: u32,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// 0-based, among the rows of the file.
    pub index: u64,
    /// As the trace counts it: from its own zero.
    pub arrival: Nanos,
    /// At least 1.
    pub prompt_tokens: u32,
    /// At least 1.
    pub output_tokens: u32,
    /// Ids of the prompt's blocks from the front.
    pub prefix_blocks: Arc<[u64]>,
    /// The prompt's name, where the trace has one.
    pub prompt_id: Option<String>,
}

/// What is wrong with a trace, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, where the trace is a directory.
    pub file: Option<String>,
    /// 1-based line, as an editor counts.
    pub line: Option<u64>,
    /// The column's name.
    pub column: Option<String>,
    /// What.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    /// A fault of the whole file.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault { file: None, line: None, column: None, message: message.into(), help: None }
    }

    /// The same fault at a line.
    #[must_use]
    pub fn line(mut self, line: u64) -> Fault {
        self.line = Some(line);
        self
    }

    /// The same fault in a column.
    #[must_use]
    pub fn column(mut self, column: &str) -> Fault {
        self.column = Some(column.to_owned());
        self
    }

    /// The same fault in a file of the directory.
    #[must_use]
    pub fn file(mut self, file: &str) -> Fault {
        self.file = Some(file.to_owned());
        self
    }

    /// The same fault with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// As the stage's error; `label` is what the author calls the trace.
    pub fn of(self, label: &str) -> StageError {
        let mut place = format!("`{label}`");
        if let Some(file) = &self.file {
            place = format!("`{label}/{file}`");
        }
        if let Some(line) = self.line {
            place.push_str(&format!(", line {line}"));
        }
        if let Some(column) = &self.column {
            place.push_str(&format!(", column `{column}`"));
        }
        let error = StageError::new(format!("{place}: {}", self.message));
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

/// Reads a trace of the given format.
///
/// # Errors
/// Where the file cannot be read as such, or holds no request.
pub fn read(path: &Path, format: Format) -> Result<Trace, Fault> {
    let trace = if path.is_dir() {
        match format {
            Format::Auto | Format::Predecessor => pair::read(path)?,
            _ => return Err(Fault::new("a directory, where the declared format is one file")),
        }
    } else {
        let text = text(path)?;
        match format {
            Format::Predecessor => {
                return Err(Fault::new("a file, where the declared format is a directory")
                    .help("wire the directory that holds `trace_lengths.csv` and `trace_intervals.csv`"));
            }
            Format::Mooncake => mooncake::read(&text)?,
            Format::Auto if text.trim_start().starts_with('{') => mooncake::read(&text)?,
            _ => csv::read(&text, format)?,
        }
    };
    if trace.rows.is_empty() {
        let rows = if trace.failed > 0 {
            format!("all {} requests have no output", trace.failed)
        } else {
            "there is no request in it".to_owned()
        };
        return Err(Fault::new(rows));
    }
    Ok(trace)
}

/// The file's text, without a byte-order mark at its beginning.
///
/// # Errors
/// When it cannot be read, or is not UTF-8 (with the line).
pub fn text(path: &Path) -> Result<String, Fault> {
    let bytes = std::fs::read(path).map_err(|e| Fault::new(format!("cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() as u64;
        Fault::new("is not UTF-8").line(line).help("convert the file to UTF-8, or unpack it first")
    })?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// Checks that arrivals do not fall; `line` is the file's line of the second.
fn in_order(before: Option<Nanos>, arrival: Nanos, line: u64, column: &str) -> Result<(), Fault> {
    match before {
        Some(before) if arrival < before => {
            Err(Fault::new(format!("arrives {} ns before the request above it", before.0 - arrival.0))
                .line(line)
                .column(column)
                .help("sort the trace by arrival"))
        }
        _ => Ok(()),
    }
}

fn inner(directory: &Path, file: &str) -> Option<PathBuf> {
    Some(directory.join(file)).filter(|path| path.is_file())
}
