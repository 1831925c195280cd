//! A CSV file with a header whose every fault names file, line and column.

use std::path::{Path, PathBuf};

use engine::kind::StageError;

/// A whole CSV file. Lines count from 1, the header is the first.
pub(super) struct Sheet {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

/// A column's place and name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    place: usize,
    name: &'static str,
}

impl Sheet {
    /// Reads `path`.
    pub(super) fn open(path: &Path) -> Result<Sheet, StageError> {
        let failed = |e: csv::Error| StageError::new(format!("cannot read `{}` as CSV", path.display())).because(&e);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(failed)?;
        let header = reader.headers().map_err(failed)?;
        let header = header.iter().map(|h| h.trim_start_matches('\u{feff}').to_owned()).collect();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().map_err(failed)?;
        Ok(Sheet { path: path.to_owned(), header, rows })
    }

    /// The names in the first line of `path`; empty where it cannot be read as text.
    pub(super) fn header_of(path: &Path) -> Vec<String> {
        let Ok(mut reader) = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path) else { return Vec::new() };
        reader.headers().map_or_else(
            |_| Vec::new(),
            |h| h.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect(),
        )
    }

    /// Rows without the header.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A column that must be there.
    pub(super) fn column(&self, name: &'static str) -> Result<Column, StageError> {
        self.optional(name).ok_or_else(|| {
            StageError::new(format!("`{}` has no column `{name}`", self.path.display()))
                .help(format!("it has: {}", self.header.join(", ")))
        })
    }

    /// A column that may be there.
    pub(super) fn optional(&self, name: &'static str) -> Option<Column> {
        self.header.iter().position(|h| h == name).map(|place| Column { place, name })
    }

    /// The text of a cell; empty where the row is short.
    pub(super) fn text(&self, row: usize, column: Column) -> &str {
        self.rows[row].get(column.place).unwrap_or("")
    }

    /// A whole number of at least 0.
    pub(super) fn whole(&self, row: usize, column: Column) -> Result<u64, StageError> {
        let text = self.text(row, column);
        whole(text).ok_or_else(|| {
            self.fault(row, format!("`{}` is `{text}`, wanted a whole number of at least 0", column.name))
        })
    }

    /// A whole number of at least 0, or nothing in an empty cell.
    pub(super) fn maybe_whole(&self, row: usize, column: Column) -> Result<Option<u64>, StageError> {
        if self.text(row, column).is_empty() { Ok(None) } else { self.whole(row, column).map(Some) }
    }

    /// A whole number of at least 0 that fits 32 bits.
    pub(super) fn small(&self, row: usize, column: Column) -> Result<u32, StageError> {
        let value = self.whole(row, column)?;
        u32::try_from(value).map_err(|_| self.fault(row, format!("`{}` is {value}, above 2^32 - 1", column.name)))
    }

    /// An error about one row.
    pub(super) fn fault(&self, row: usize, message: impl std::fmt::Display) -> StageError {
        let line = self.rows[row].position().map_or(row as u64 + 2, csv::Position::line);
        StageError::new(format!("`{}`, line {line}: {message}", self.path.display()))
    }
}

/// Digits, or a float without a fraction as pandas writes a column of integers that once held a gap. 2^53 bounds what
/// a float can say exactly.
fn whole(text: &str) -> Option<u64> {
    if let Ok(value) = text.parse::<u64>() {
        return Some(value);
    }
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value)).then_some(value as u64)
}
