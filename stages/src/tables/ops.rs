//! Rows of [`OPS`]: what `profile` measures and `predict` reads.

use std::path::{Path, PathBuf};

use super::{Cells, OPS, Record, Slots, Table, TableError, read};

/// A measured point of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which operation.
    pub op: String,
    /// Tokens of the batch that it works on.
    pub tokens: u32,
    /// Sequences in the batch.
    pub sequences: u32,
    /// Tokens in the cache before it, for each sequence.
    pub context: u32,
    /// How often one iteration calls it.
    pub calls_per_step: u32,
    /// Timings that the figures rest on.
    pub samples: u32,
    /// Median time of one call, ns.
    pub median_ns: f64,
    /// Median absolute deviation from the median, ns.
    pub mad_ns: f64,
    /// Least time of one call, ns.
    pub min_ns: f64,
    /// Ninetieth percentile, ns.
    pub p90_ns: f64,
}

impl Record for Row {
    const TABLE: Table = OPS;

    fn put(&self, slots: &mut Slots) {
        slots.text(&self.op);
        slots.u32(self.tokens);
        slots.u32(self.sequences);
        slots.u32(self.context);
        slots.u32(self.calls_per_step);
        slots.u32(self.samples);
        slots.f64(self.median_ns);
        slots.f64(self.mad_ns);
        slots.f64(self.min_ns);
        slots.f64(self.p90_ns);
    }

    fn take(cells: &mut Cells<'_>) -> Row {
        Row {
            op: cells.text().to_owned(),
            tokens: cells.u32(),
            sequences: cells.u32(),
            context: cells.u32(),
            calls_per_step: cells.u32(),
            samples: cells.u32(),
            median_ns: cells.f64(),
            mad_ns: cells.f64(),
            min_ns: cells.f64(),
            p90_ns: cells.f64(),
        }
    }
}

/// Where a profile's directory holds its table.
pub fn file(directory: &Path) -> PathBuf {
    directory.join(format!("{}.parquet", OPS.name))
}

/// The rows of several profiles, one after the other.
///
/// # Errors
/// When one of them cannot be read.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for path in paths {
        rows.append(&mut read(path)?);
    }
    Ok(rows)
}

/// Their names for a message.
pub fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    names.join(", ")
}
