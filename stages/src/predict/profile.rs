//! The `ops` table taken apart: each operation's rows checked and turned into curves and surfaces.
//!
//! What cannot be true (zero, not finite, the same time for every size, an operation that is missing or unknown) is an
//! error that names the operation and the row; what is odd is a note.

use crate::tables::ops::Row;

use super::curve::Curve;
use super::surface::{Surface, Work};

/// Operations that work on every token of an iteration, by tokens.
const TOKEN_WISE: [&str; 10] =
    ["embed", "norm", "qkv", "qk_rope", "kv_write", "o", "gate_up", "silu_mul", "down", "add"];
/// Those of them that an engine may do inside another: then that one's time holds theirs.
const FUSED: [&str; 2] = ["kv_write", "add"];
/// Operations that work on the slices that yield, by their number.
const HEAD: [&str; 2] = ["head", "sample"];
const OTHERS: [&str; 4] = ["attention_prefill", "attention_decode", "host", "step"];

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// An operation has no row.
    #[error("the profile lacks the operation `{op}`")]
    Missing {
        /// Its name.
        op: String,
    },
    /// A row that cannot be true.
    #[error("row {row} of the profile (operation `{op}`): {message}")]
    Row {
        /// 0-based.
        row: usize,
        /// Its operation.
        op: String,
        /// What is wrong with it.
        message: String,
    },
    /// Rows that cannot all be true.
    #[error("operation `{op}` of the profile: {message}")]
    Rows {
        /// Its name.
        op: String,
        /// What is wrong with them.
        message: String,
    },
}

/// A checked profile.
#[derive(Debug)]
pub(super) struct Profile<'a> {
    rows: &'a [Row],
    notes: Vec<String>,
}

impl<'a> Profile<'a> {
    /// Checks every row by itself.
    pub(super) fn new(rows: &'a [Row]) -> Result<Profile<'a>, ProfileError> {
        for (at, row) in rows.iter().enumerate() {
            if let Some(message) = fault(row) {
                return Err(ProfileError::Row { row: at, op: row.op.clone(), message });
            }
        }
        Ok(Profile { rows, notes: Vec::new() })
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// All operations on every token of an iteration together.
    pub(super) fn token_wise(&mut self) -> Result<Curve, ProfileError> {
        let present = |op: &&&str| !FUSED.contains(*op) || self.rows.iter().any(|r| r.op == ***op);
        let ops: Vec<&str> = TOKEN_WISE.iter().filter(present).copied().collect();
        self.together(&ops, |r| r.tokens)
    }

    /// Head and sampling together, by slices that yield.
    pub(super) fn head(&mut self) -> Result<Curve, ProfileError> {
        self.together(&HEAD, |r| r.tokens)
    }

    /// Between iterations, by sequences.
    pub(super) fn host(&mut self) -> Result<Curve, ProfileError> {
        Ok(self.curve("host", |r| r.sequences)?.1)
    }

    /// Attention of a slice of more than one token, all layers, by its tokens and context.
    pub(super) fn attention_prefill(&mut self) -> Result<Surface, ProfileError> {
        let op = "attention_prefill";
        let rows = self.of(op)?;
        if let Some(row) = rows.iter().find(|r| r.sequences != 1) {
            let message = format!("it is measured one sequence at a time; a row has {}", row.sequences);
            return Err(ProfileError::Rows { op: op.to_owned(), message });
        }
        let points = rows.iter().map(|r| (f64::from(r.tokens), f64::from(r.context), whole(r)));
        Ok(Surface::rising(distinct(op, points)?, Work::Pairs))
    }

    /// Attention of all slices of one token, all layers, by their number and mean context.
    pub(super) fn attention_decode(&mut self) -> Result<Surface, ProfileError> {
        let op = "attention_decode";
        let rows = self.of(op)?;
        let points = rows.iter().map(|r| (f64::from(r.sequences), f64::from(r.context), whole(r)));
        Ok(Surface::rising(distinct(op, points)?, Work::Count))
    }

    /// Whole iterations.
    pub(super) fn steps(&self) -> Result<Vec<&'a Row>, ProfileError> {
        let rows: Vec<&Row> = self.rows.iter().filter(|r| r.op == "step").collect();
        match rows.iter().find(|r| r.tokens < r.sequences) {
            Some(row) => Err(ProfileError::Rows {
                op: "step".to_owned(),
                message: format!("{} tokens cannot belong to {} sequences", row.tokens, row.sequences),
            }),
            None => Ok(rows),
        }
    }

    fn of(&self, op: &str) -> Result<Vec<&'a Row>, ProfileError> {
        let rows: Vec<&Row> = self.rows.iter().filter(|r| r.op == op).collect();
        if rows.is_empty() { Err(ProfileError::Missing { op: op.to_owned() }) } else { Ok(rows) }
    }

    fn together(&mut self, ops: &[&str], size: impl Fn(&Row) -> u32) -> Result<Curve, ProfileError> {
        let parts: Result<Vec<(f64, Curve)>, ProfileError> = ops.iter().map(|op| self.curve(op, &size)).collect();
        Ok(Curve::sum(&parts?))
    }

    /// Calls of an operation in an iteration, and the time of one by size: the mean of the medians at equal sizes.
    fn curve(&mut self, op: &str, size: impl Fn(&Row) -> u32) -> Result<(f64, Curve), ProfileError> {
        let mut rows = self.of(op)?;
        rows.sort_by_key(|r| size(r));
        let calls = rows[0].calls_per_step;
        if let Some(other) = rows.iter().find(|r| r.calls_per_step != calls) {
            let message = format!("`calls_per_step` is {calls} in one row and {} in another", other.calls_per_step);
            return Err(ProfileError::Rows { op: op.to_owned(), message });
        }
        let points: Vec<(f64, f64)> = rows
            .chunk_by(|a, b| size(a) == size(b))
            .map(|twins| {
                let mean = twins.iter().map(|r| r.median_ns).sum::<f64>() / twins.len() as f64;
                (f64::from(size(twins[0])), mean)
            })
            .collect();
        check_spread(op, points.iter().map(|p| p.1))?;
        for pair in points.windows(2) {
            if pair[1].1 < DIP * pair[0].1 {
                self.note(format!(
                    "`{op}` takes {:.0} ns at {} and {:.0} ns at {}: one of the two is not to be trusted",
                    pair[0].1, pair[0].0, pair[1].1, pair[1].0
                ));
            }
        }
        Ok((f64::from(calls), Curve::rising(points)))
    }
}

/// A larger size that takes less than this share of a smaller one's time is noted.
const DIP: f64 = 0.5;

/// From so many sizes on, one and the same time for all cannot be a measurement.
const SIZES_THAT_DIFFER: usize = 4;

/// Time of all calls in an iteration, ns.
fn whole(row: &Row) -> f64 {
    row.median_ns * f64::from(row.calls_per_step)
}

fn fault(row: &Row) -> Option<String> {
    let known = |names: &[&str]| names.contains(&row.op.as_str());
    if !known(&TOKEN_WISE) && !known(&HEAD) && !known(&OTHERS) {
        return Some("nobody knows this operation".to_owned());
    }
    if !row.median_ns.is_finite() || row.median_ns <= 0.0 {
        return Some(format!("`median_ns` is {}; a time is finite and above 0", row.median_ns));
    }
    if row.calls_per_step == 0 || row.sequences == 0 || row.tokens == 0 {
        return Some(format!(
            "{} calls, {} sequences, {} tokens: each must be at least 1",
            row.calls_per_step, row.sequences, row.tokens
        ));
    }
    None
}

fn check_spread(op: &str, values: impl Iterator<Item = f64> + Clone) -> Result<(), ProfileError> {
    let first = values.clone().next().unwrap_or_default();
    let count = values.clone().count();
    if count >= SIZES_THAT_DIFFER && values.clone().all(|v| v == first) {
        let message = format!("all {count} sizes take exactly {first} ns: that is not a measurement");
        return Err(ProfileError::Rows { op: op.to_owned(), message });
    }
    Ok(())
}

/// Means at equal places; refuses one and the same time for all.
fn distinct(op: &str, points: impl Iterator<Item = (f64, f64, f64)>) -> Result<Vec<(f64, f64, f64)>, ProfileError> {
    let mut points: Vec<(f64, f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let means: Vec<(f64, f64, f64)> = points
        .chunk_by(|a, b| a.0 == b.0 && a.1 == b.1)
        .map(|twins| (twins[0].0, twins[0].1, twins.iter().map(|t| t.2).sum::<f64>() / twins.len() as f64))
        .collect();
    check_spread(op, means.iter().map(|p| p.2))?;
    Ok(means)
}
