//! Every table that crosses a stage's border: column, Arrow type, unit and meaning, in one place.
//!
//! `pipe kinds KIND` prints them, the readers check them. A run is a directory that holds [`RUN_REQUESTS`],
//! [`TOKENS`], [`BATCHES`] (Parquet) and `meta.json`; see [`run`].
//!
//! A row is a plain struct that implements [`Record`]; [`write`](write()) and [`read`](read()) move rows to and from
//! Parquet. This module does not know what the rows are good for.
//!
//! Invariants: equal rows in equal order give equal bytes; nothing is read that the schema does not promise (a missing
//! column, another type, an absent or a non-finite value is an error that names file, column and row).

use std::path::Path;

mod describe;
mod error;
pub mod meaning;
pub mod ops;
mod read;
pub mod requests;
pub mod run;
mod write;

#[cfg(test)]
mod tests;

pub use describe::{carries, describe};
pub use error::TableError;
pub use meaning::TABLE;
pub use read::{Cells, Reader};
pub use write::{Slots, Writer};

/// A row of one of the tables here.
pub trait Record: Sized {
    /// The table it is a row of.
    const TABLE: Table;
    /// Puts every field, in the order of the table's columns.
    fn put(&self, slots: &mut Slots);
    /// Takes every field, in the order of the table's columns.
    fn take(cells: &mut Cells<'_>) -> Self;
}

/// Writes all rows to a new Parquet file. `notes` go into the file's metadata, beside the table's name and format.
///
/// # Errors
/// When the file cannot be written, or a value is not finite.
pub fn write<'a, R: Record + 'a>(
    path: &Path,
    notes: &[(&str, String)],
    rows: impl IntoIterator<Item = &'a R>,
) -> Result<(), TableError> {
    let mut writer = Writer::<R>::create(path, notes)?;
    for row in rows {
        writer.push(row)?;
    }
    writer.finish()
}

/// Reads all rows of a Parquet file.
///
/// # Errors
/// When the file cannot be read as this table.
pub fn read<R: Record>(path: &Path) -> Result<Vec<R>, TableError> {
    Reader::<R>::open(path)?.collect()
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; the unit is its last word where there is one (`_ns`).
    pub name: &'static str,
    /// Its type.
    pub holds: Holds,
    /// Whether a row may lack it.
    pub nullable: bool,
    /// What it is.
    pub about: &'static str,
}

/// Types of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// `UInt32`.
    U32,
    /// `UInt64`.
    U64,
    /// `Int32`.
    I32,
    /// `Float64`, finite.
    F64,
    /// `Utf8`.
    Text,
    /// `List<UInt32>`.
    U32List,
    /// `List<UInt64>`.
    U64List,
}

/// A table: a name, a format number and its columns.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// File name without `.parquet`.
    pub name: &'static str,
    /// Raised when a column's meaning changes; stands in the file's metadata.
    pub format: u32,
    /// In order.
    pub columns: &'static [Column],
}

const fn column(name: &'static str, holds: Holds, about: &'static str) -> Column {
    Column { name, holds, nullable: false, about }
}

const fn maybe(name: &'static str, holds: Holds, about: &'static str) -> Column {
    Column { name, holds, nullable: true, about }
}

use Holds::{F64, I32, Text, U32, U32List, U64, U64List};

/// What `workload` makes: a row a request, in order of arrival.
pub const REQUESTS: Table = Table {
    name: "requests",
    format: 1,
    columns: &[
        column("request_id", U32, "0-based, in order of arrival"),
        column("arrival_ns", U64, "scheduled arrival since the run's start"),
        column("prompt_tokens", U32, "length of the prompt, at least 1"),
        column("output_tokens", U32, "tokens to produce, at least 1; end-of-sequence is ignored"),
        column("prompt_ids", U32List, "token ids of the prompt, each below the tokenizer's size"),
        column("prefix_blocks", U64List, "ids of the prompt's blocks for prefix sharing; empty = nothing is shared"),
        column("priority", I32, "lower is served first"),
        maybe("source", Text, "where the row came from: a prompt's id, a trace's row"),
    ],
};

/// What `profile` makes: a row a measured point of an operation.
pub const OPS: Table = Table {
    name: "ops",
    format: 1,
    columns: &[
        column(
            "op",
            Text,
            "operation: embed, norm, qkv, qk_rope, kv_write, attention_prefill, attention_decode, o, gate_up, silu_mul, down, add, head, sample, host, step",
        ),
        column("tokens", U32, "tokens of the batch that the operation works on (rows of the matrix)"),
        column("sequences", U32, "sequences in the batch"),
        column(
            "context",
            U32,
            "tokens in the cache before the operation, for each sequence; 0 where it does not matter",
        ),
        column("calls_per_step", U32, "how often one iteration calls it"),
        column("samples", U32, "how many timings the figures rest on"),
        column("median_ns", F64, "median time of one call"),
        column("mad_ns", F64, "median absolute deviation from the median"),
        column("min_ns", F64, "least time of one call"),
        column("p90_ns", F64, "ninetieth percentile"),
    ],
};

/// Requests of a run, measured or simulated.
pub const RUN_REQUESTS: Table = Table {
    name: "requests",
    format: 1,
    columns: &[
        column("request_id", U32, "row of the workload"),
        column("status", Text, "ok, refused (can never fit), or error"),
        column("arrival_ns", U64, "scheduled arrival"),
        maybe("sent_ns", U64, "when a client handed it over; empty where no client stands between"),
        maybe("scheduled_ns", U64, "start of the first batch it was in"),
        maybe("first_token_ns", U64, "end of the batch that made its first output token"),
        maybe("completion_ns", U64, "end of the batch that made its last output token"),
        column("prompt_tokens", U32, "length of the prompt"),
        column("output_tokens", U32, "tokens asked for"),
        column("produced_tokens", U32, "tokens that came"),
        column("cached_tokens", U32, "prompt tokens taken from the prefix cache"),
        column("preemptions", U32, "how often it lost its blocks and started over"),
        maybe("error", Text, "why it was refused or failed"),
    ],
};

/// Output tokens of a run.
pub const TOKENS: Table = Table {
    name: "tokens",
    format: 1,
    columns: &[
        column("request_id", U32, "row of the workload"),
        column("token_index", U32, "0-based"),
        column("time_ns", U64, "end of the batch that made it"),
        column("batch_id", U32, "that batch"),
        maybe("token_id", U32, "what it is; empty in a simulation"),
    ],
};

/// Iterations of a run.
pub const BATCHES: Table = Table {
    name: "batches",
    format: 1,
    columns: &[
        column("batch_id", U32, "0-based, in order of execution"),
        column("scheduled_ns", U64, "when the scheduler had put it together"),
        column("start_ns", U64, "when the device began"),
        column("end_ns", U64, "when its tokens were there for the host"),
        column("device_ns", U64, "time the device worked on it"),
        column(
            "host_ns",
            U64,
            "time from the end of the batch before (or the arrival that ended an idle wait) to the start",
        ),
        column("prefill_tokens", U32, "prompt tokens in it"),
        column("decode_tokens", U32, "decode tokens in it"),
        column("seqs", U32List, "request ids, in batch order"),
        column("contexts", U32List, "tokens in the cache before it, for each"),
        column("tokens", U32List, "tokens computed, for each"),
        column("kv_blocks_used", U32, "blocks held when it was scheduled"),
        column("running", U32, "sequences admitted when it was scheduled"),
        column("waiting", U32, "requests in the queue when it was scheduled"),
        column("preempted", U32, "sequences that lost their blocks to it"),
    ],
};

/// What `capacity` tried: a row a rate, in order of rate.
pub const PROBES: Table = Table {
    name: "probes",
    format: 1,
    columns: &[
        column("rate_per_s", F64, "requests a second that arrived"),
        column("met", U32, "1 if every objective held, else 0"),
        maybe("p99_scheduling_delay_ns", U64, "99th percentile of first scheduled - arrival"),
        maybe("p99_ttft_ns", U64, "99th percentile of first token - arrival"),
        maybe("p99_tbt_ns", U64, "99th percentile of the gaps between a request's tokens"),
        maybe("p99_tpot_ns", U64, "99th percentile of a request's mean gap"),
        maybe("p99_e2e_ns", U64, "99th percentile of completion - arrival"),
        column("output_tokens_per_s", F64, "output tokens over the run's span"),
        column("iterations", U32, "batches"),
        column("preemptions", U64, "how often a sequence lost its blocks"),
    ],
};

/// What `search` compares: a row a configuration, the best first.
pub const CONFIGURATIONS: Table = Table {
    name: "configurations",
    format: 1,
    columns: &[
        column("label", Text, "the stage that found it, with its point of the matrix"),
        column("machine", Text, "what it runs on"),
        column("cards", U32, "cards of a replica"),
        column("policy", Text, "the scheduler's policy"),
        column("max_batched_tokens", U32, "most tokens of an iteration"),
        column("max_sequences", U32, "most sequences that hold blocks"),
        column("rate_per_s", F64, "highest rate that meets the objectives"),
        column("cost_per_hour", F64, "of a replica; 0 where no price was given"),
        column("requests_per_cost", F64, "requests served at that rate for a unit of money; for no price, a second"),
        maybe("latency_ns", U64, "the metric it is judged by, at 85 % of the rate"),
        column("on_front", U32, "1 if no other is both cheaper and faster, else 0"),
    ],
};

/// All of them, for `pipe kinds` and the tests.
pub const ALL: &[Table] = &[REQUESTS, OPS, RUN_REQUESTS, TOKENS, BATCHES, PROBES, CONFIGURATIONS];
