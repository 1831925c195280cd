//! A run, measured or simulated, as a directory: `requests.parquet`, `tokens.parquet`, `batches.parquet`, `meta.json`.

use std::path::{Path, PathBuf};

use crate::infer::time::Nanos;

use super::{BATCHES, Cells, RUN_REQUESTS, Record, Slots, TOKENS, Table, TableError};

mod meta;
mod stream;

pub use meta::{Hardware, Named, RunMeta};
pub use stream::{BatchDetail, Detail, RunWriter, TokenDetail, TokenIds};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Served to its last token.
    #[default]
    Ok,
    /// Turned away at admission: it can never fit.
    Refused,
    /// Began and did not end.
    Error,
}

impl Status {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Refused => "refused",
            Status::Error => "error",
        }
    }

    /// From the word in the table.
    pub fn from_word(word: &str) -> Option<Status> {
        [Status::Ok, Status::Refused, Status::Error].into_iter().find(|s| s.word() == word)
    }
}

/// Row of [`RUN_REQUESTS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestRow {
    /// Row of the workload.
    pub id: u32,
    /// What became of it.
    pub status: Status,
    /// Scheduled arrival.
    pub arrival: Nanos,
    /// When a client handed it over, where one stands between.
    pub sent: Option<Nanos>,
    /// Start of the first batch it was in.
    pub scheduled: Option<Nanos>,
    /// End of the batch that made its first output token.
    pub first_token: Option<Nanos>,
    /// End of the batch that made its last output token.
    pub completion: Option<Nanos>,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub output_tokens: u32,
    /// Tokens that came.
    pub produced_tokens: u32,
    /// Prompt tokens taken from the prefix cache.
    pub cached_tokens: u32,
    /// How often it lost its blocks and started over.
    pub preemptions: u32,
    /// Why it was refused or failed.
    pub error: Option<String>,
}

/// Row of [`TOKENS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// Row of the workload.
    pub request: u32,
    /// 0-based.
    pub index: u32,
    /// End of the batch that made it.
    pub time: Nanos,
    /// That batch.
    pub batch: u32,
    /// What it is, where somebody computed it.
    pub token: Option<u32>,
}

/// Row of [`BATCHES`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchRow {
    /// 0-based, in order of execution.
    pub id: u32,
    /// When the scheduler had put it together.
    pub scheduled: Nanos,
    /// When the device began.
    pub start: Nanos,
    /// When its tokens were there for the host.
    pub end: Nanos,
    /// Time the device worked on it.
    pub device: Nanos,
    /// Time from the end of the batch before (or the arrival that ended an idle wait) to the start.
    pub host: Nanos,
    /// Prompt tokens in it.
    pub prefill_tokens: u32,
    /// Decode tokens in it.
    pub decode_tokens: u32,
    /// Request ids, in batch order.
    pub seqs: Vec<u32>,
    /// Tokens in the cache before it, for each.
    pub contexts: Vec<u32>,
    /// Tokens computed, for each.
    pub tokens: Vec<u32>,
    /// Blocks held when it was scheduled.
    pub kv_blocks_used: u32,
    /// Sequences admitted when it was scheduled.
    pub running: u32,
    /// Requests in the queue when it was scheduled.
    pub waiting: u32,
    /// Sequences that lost their blocks to it.
    pub preempted: u32,
}

impl Record for RequestRow {
    const TABLE: Table = RUN_REQUESTS;

    fn put(&self, slots: &mut Slots) {
        slots.u32(self.id);
        slots.text(self.status.word());
        slots.u64(self.arrival.0);
        slots.maybe_u64(self.sent.map(|t| t.0));
        slots.maybe_u64(self.scheduled.map(|t| t.0));
        slots.maybe_u64(self.first_token.map(|t| t.0));
        slots.maybe_u64(self.completion.map(|t| t.0));
        slots.u32(self.prompt_tokens);
        slots.u32(self.output_tokens);
        slots.u32(self.produced_tokens);
        slots.u32(self.cached_tokens);
        slots.u32(self.preemptions);
        slots.maybe_text(self.error.as_deref());
    }

    fn take(cells: &mut Cells<'_>) -> RequestRow {
        RequestRow {
            id: cells.u32(),
            // An unknown word is an error of the run, not a served request.
            status: Status::from_word(cells.text()).unwrap_or(Status::Error),
            arrival: Nanos(cells.u64()),
            sent: cells.maybe_u64().map(Nanos),
            scheduled: cells.maybe_u64().map(Nanos),
            first_token: cells.maybe_u64().map(Nanos),
            completion: cells.maybe_u64().map(Nanos),
            prompt_tokens: cells.u32(),
            output_tokens: cells.u32(),
            produced_tokens: cells.u32(),
            cached_tokens: cells.u32(),
            preemptions: cells.u32(),
            error: cells.maybe_text().map(str::to_owned),
        }
    }
}

impl Record for TokenRow {
    const TABLE: Table = TOKENS;

    fn put(&self, slots: &mut Slots) {
        slots.u32(self.request);
        slots.u32(self.index);
        slots.u64(self.time.0);
        slots.u32(self.batch);
        slots.maybe_u32(self.token);
    }

    fn take(cells: &mut Cells<'_>) -> TokenRow {
        TokenRow {
            request: cells.u32(),
            index: cells.u32(),
            time: Nanos(cells.u64()),
            batch: cells.u32(),
            token: cells.maybe_u32(),
        }
    }
}

impl Record for BatchRow {
    const TABLE: Table = BATCHES;

    fn put(&self, slots: &mut Slots) {
        slots.u32(self.id);
        slots.u64(self.scheduled.0);
        slots.u64(self.start.0);
        slots.u64(self.end.0);
        slots.u64(self.device.0);
        slots.u64(self.host.0);
        slots.u32(self.prefill_tokens);
        slots.u32(self.decode_tokens);
        slots.u32_list(&self.seqs);
        slots.u32_list(&self.contexts);
        slots.u32_list(&self.tokens);
        slots.u32(self.kv_blocks_used);
        slots.u32(self.running);
        slots.u32(self.waiting);
        slots.u32(self.preempted);
    }

    fn take(cells: &mut Cells<'_>) -> BatchRow {
        BatchRow {
            id: cells.u32(),
            scheduled: Nanos(cells.u64()),
            start: Nanos(cells.u64()),
            end: Nanos(cells.u64()),
            device: Nanos(cells.u64()),
            host: Nanos(cells.u64()),
            prefill_tokens: cells.u32(),
            decode_tokens: cells.u32(),
            seqs: cells.u32_list().to_vec(),
            contexts: cells.u32_list().to_vec(),
            tokens: cells.u32_list().to_vec(),
            kv_blocks_used: cells.u32(),
            running: cells.u32(),
            waiting: cells.u32(),
            preempted: cells.u32(),
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTables {
    /// One row a request of the workload, in its order.
    pub requests: Vec<RequestRow>,
    /// Output tokens, in order of time.
    pub tokens: Vec<TokenRow>,
    /// Iterations, in order of execution; empty where nobody could see them (a server behind HTTP).
    pub batches: Vec<BatchRow>,
    /// What ran where.
    pub meta: RunMeta,
}

impl RunTables {
    /// Writes a new directory; nothing of an earlier run may lie there.
    ///
    /// # Errors
    /// When it cannot be made or a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), TableError> {
        std::fs::create_dir_all(directory).map_err(|source| TableError::Io {
            doing: "write",
            table: RUN_REQUESTS.name,
            path: directory.to_owned(),
            source,
        })?;
        super::write(&file(directory, &RUN_REQUESTS), &[], &self.requests)?;
        super::write(&file(directory, &TOKENS), &[], &self.tokens)?;
        super::write(&file(directory, &BATCHES), &[], &self.batches)?;
        self.meta.write(&directory.join(META))
    }

    /// Reads a directory that [`write`](RunTables::write) made.
    ///
    /// # Errors
    /// When a file is missing or cannot be read as what it should be, or rows of two tables contradict each other.
    pub fn read(directory: &Path) -> Result<RunTables, TableError> {
        let run = RunTables {
            requests: super::read(&file(directory, &RUN_REQUESTS))?,
            tokens: super::read(&file(directory, &TOKENS))?,
            batches: super::read(&file(directory, &BATCHES))?,
            meta: RunMeta::read(&directory.join(META))?,
        };
        run.check(directory)?;
        Ok(run)
    }

    /// What the schemas cannot say: request ids count from 0, tokens and batches name requests that are there, and a
    /// batch tells as many contexts and token counts as sequences.
    fn check(&self, directory: &Path) -> Result<(), TableError> {
        let fault = |table: &Table, row: usize, message: String| {
            Err(TableError::Row { path: file(directory, table), row: row as u64, message })
        };
        let known = self.requests.len();
        for (row, request) in self.requests.iter().enumerate() {
            if request.id as usize != row {
                return fault(&RUN_REQUESTS, row, format!("`request_id` is {}, wanted {row}", request.id));
            }
        }
        for (row, token) in self.tokens.iter().enumerate() {
            if token.request as usize >= known {
                return fault(
                    &TOKENS,
                    row,
                    format!("`request_id` {} is not among the {known} requests", token.request),
                );
            }
        }
        for (row, batch) in self.batches.iter().enumerate() {
            if batch.seqs.len() != batch.contexts.len() || batch.seqs.len() != batch.tokens.len() {
                return fault(&BATCHES, row, "`seqs`, `contexts` and `tokens` differ in length".to_owned());
            }
            if let Some(unknown) = batch.seqs.iter().find(|seq| **seq as usize >= known) {
                return fault(
                    &BATCHES,
                    row,
                    format!("`seqs` names {unknown}, which is not among the {known} requests"),
                );
            }
        }
        Ok(())
    }
}

/// The name of [`RunMeta`]'s file in a run's directory.
pub const META: &str = "meta.json";

/// Where a table lies in a run's directory.
pub fn file(directory: &Path, table: &Table) -> PathBuf {
    directory.join(format!("{}.parquet", table.name))
}
