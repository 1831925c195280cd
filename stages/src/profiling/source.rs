//! One CSV of a profiling root: rows selected by the model's shape, timings of an operation taken out of them.
//!
//! Invariant: a value is taken as it stands or reported with its line; nothing is filled in.

use std::io::Read;
use std::path::{Path, PathBuf};

use engine::kind::StageError;

use crate::fit::broken_rows;

/// The rows of a file, doubles aside.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    header: Vec<String>,
    /// Line in the file (the header's is 1) and cells.
    rows: Vec<(u64, Vec<String>)>,
}

/// What a row's columns must be.
pub type Selection<'a> = &'a [(&'a str, u64)];

/// An operation in a file and what its sizes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// By one column.
    By(&'static str),
    /// By two columns.
    ByTwo(&'static str, &'static str),
    /// By max(`prefill_chunk_size`, `batch_size`) and `kv_cache_size`: what writes to the cache.
    KvWrite,
}

/// Timings of an operation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Points {
    /// Sizes (the second 0 where there is one only) and median, ms, in order of the file.
    pub points: Vec<(f64, f64, f64)>,
    /// Lines whose value is missing.
    pub missing: Vec<u64>,
    /// Lines whose value cannot be true, and why.
    pub broken: Vec<(u64, String)>,
}

impl Source {
    /// Reads a file. Rows that repeat another in every cell are dropped.
    ///
    /// # Errors
    /// When it cannot be read, or a row has another number of cells than the header.
    pub fn open(path: &Path) -> Result<Source, StageError> {
        let file = std::fs::File::open(path).map_err(|e| {
            StageError::new(format!("cannot read the profiling table `{}`", path.display())).because(&e)
        })?;
        Source::read(path, file)
    }

    /// Reads a text that came from `path`.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn read(path: &Path, text: impl Read) -> Result<Source, StageError> {
        let fault = |e: csv::Error| {
            StageError::new(format!("cannot read the profiling table `{}`", path.display())).because(&e)
        };
        let mut reader = csv::Reader::from_reader(text);
        let header: Vec<String> = reader.headers().map_err(fault)?.iter().map(str::to_owned).collect();
        let mut seen = std::collections::HashSet::new();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(fault)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cells: Vec<String> = record.iter().map(str::to_owned).collect();
            if seen.insert(cells.clone()) {
                rows.push((line, cells));
            }
        }
        Ok(Source { path: path.to_owned(), header, rows })
    }

    /// Whether it has a column.
    pub fn has(&self, column: &str) -> bool {
        self.header.iter().any(|h| h == column)
    }

    /// Only the rows whose columns are as `selection` says.
    ///
    /// # Errors
    /// When a column is missing or no row is left.
    pub fn select(&self, selection: Selection) -> Result<Source, StageError> {
        let mut rows = self.rows.clone();
        for (column, wanted) in selection {
            let at = self.column(column)?;
            let values: std::collections::BTreeSet<String> = rows.iter().map(|r| r.1[at].clone()).collect();
            rows.retain(|r| r.1[at].parse::<f64>().is_ok_and(|v| v == *wanted as f64));
            if rows.is_empty() {
                let there: Vec<&str> = values.iter().take(12).map(String::as_str).collect();
                let message = format!("`{}` has no row whose `{column}` is {wanted}", self.path.display());
                return Err(StageError::new(message).help(format!("it has {}", there.join(", "))));
            }
        }
        Ok(Source { path: self.path.clone(), header: self.header.clone(), rows })
    }

    /// Only the rows whose column is above 0, or only those whose is 0.
    ///
    /// # Errors
    /// When the column is missing or holds no number.
    pub fn split(&self, column: &str) -> Result<(Source, Source), StageError> {
        let at = self.column(column)?;
        let mut parts = (Vec::new(), Vec::new());
        for row in &self.rows {
            let part = if self.size(row, at)? > 0.0 { &mut parts.0 } else { &mut parts.1 };
            part.push(row.clone());
        }
        let with = |rows| Source { path: self.path.clone(), header: self.header.clone(), rows };
        Ok((with(parts.0), with(parts.1)))
    }

    /// The timings in `column` (ms) by the sizes that `op` says; broken ones are found where there is one size.
    ///
    /// # Errors
    /// When a column is missing, a size is no number, or a value is no number at all.
    pub fn points(&self, column: &str, op: Op) -> Result<Points, StageError> {
        let value_at = self.column(column)?;
        let mut found = Points::default();
        let mut lines = Vec::new();
        for row in &self.rows {
            let (line, cells) = row;
            if cells[value_at].is_empty() || cells[value_at].eq_ignore_ascii_case("nan") {
                found.missing.push(*line);
                continue;
            }
            let value = self.number(row, value_at)?;
            if value <= 0.0 {
                found.broken.push((*line, format!("{value} ms")));
                continue;
            }
            let (x, y) = self.sizes(row, op)?;
            found.points.push((x, y, value));
            lines.push(*line);
        }
        if let Op::By(_) = op {
            let plain: Vec<(f64, f64)> = found.points.iter().map(|p| (p.0, p.2)).collect();
            let mut out = vec![false; plain.len()];
            for broken in broken_rows(&plain) {
                out[broken.at] = true;
                let (size, value) = plain[broken.at];
                let why = format!("{value} ms at {size}, where smaller sizes take {} ms", broken.at_least);
                found.broken.push((lines[broken.at], why));
            }
            let mut index = 0;
            found.points.retain(|_| {
                index += 1;
                !out[index - 1]
            });
        }
        Ok(found)
    }

    fn sizes(&self, row: &(u64, Vec<String>), op: Op) -> Result<(f64, f64), StageError> {
        let of = |name: &str| self.size(row, self.column(name)?);
        Ok(match op {
            Op::By(x) => (of(x)?, 0.0),
            Op::ByTwo(x, y) => (of(x)?, of(y)?),
            Op::KvWrite => (of("prefill_chunk_size")?.max(of("batch_size")?), of("kv_cache_size")?),
        })
    }

    fn size(&self, row: &(u64, Vec<String>), at: usize) -> Result<f64, StageError> {
        let value = self.number(row, at)?;
        if value >= 0.0 { Ok(value) } else { Err(self.fault(row.0, at, "a size is at least 0")) }
    }

    fn number(&self, row: &(u64, Vec<String>), at: usize) -> Result<f64, StageError> {
        let value: f64 =
            row.1[at].parse().map_err(|_| self.fault(row.0, at, &format!("`{}` is no number", row.1[at])))?;
        if value.is_finite() { Ok(value) } else { Err(self.fault(row.0, at, "not finite")) }
    }

    fn fault(&self, line: u64, at: usize, message: &str) -> StageError {
        StageError::new(format!("`{}`, line {line}, column `{}`: {message}", self.path.display(), self.header[at]))
    }

    fn column(&self, name: &str) -> Result<usize, StageError> {
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            StageError::new(format!("`{}` has no column `{name}`", self.path.display()))
                .help(format!("it has {}", self.header.join(", ")))
        })
    }
}
