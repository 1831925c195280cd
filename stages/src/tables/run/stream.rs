//! Between the rows of a run in memory (`infer::record`) and the rows of its tables, and a recorder that writes them
//! as they come, with bounded memory.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::infer::batch::Slice;
use crate::infer::record;

use super::super::Writer;
use super::{
    BATCHES, BatchRow, META, RUN_REQUESTS, RequestRow, RunMeta, RunTables, Status, TOKENS, TableError, TokenRow, file,
};

/// Whether the ids of output tokens mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenIds {
    /// Somebody computed them.
    Computed,
    /// They were made up; the column stays empty.
    MadeUp,
}

impl From<record::RequestRow> for RequestRow {
    fn from(row: record::RequestRow) -> RequestRow {
        let status = match row.status {
            record::Status::Ok => Status::Ok,
            record::Status::Refused => Status::Refused,
            record::Status::Error => Status::Error,
        };
        RequestRow {
            id: row.request_id,
            status,
            arrival: row.arrival,
            sent: row.sent,
            scheduled: row.scheduled,
            first_token: row.first_token,
            completion: row.completion,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.output_tokens,
            produced_tokens: row.produced_tokens,
            cached_tokens: row.cached_tokens,
            preemptions: row.preemptions,
            error: row.error,
        }
    }
}

impl From<&RequestRow> for record::RequestRow {
    fn from(row: &RequestRow) -> record::RequestRow {
        let status = match row.status {
            Status::Ok => record::Status::Ok,
            Status::Refused => record::Status::Refused,
            Status::Error => record::Status::Error,
        };
        record::RequestRow {
            request_id: row.id,
            status,
            arrival: row.arrival,
            sent: row.sent,
            scheduled: row.scheduled,
            first_token: row.first_token,
            completion: row.completion,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.output_tokens,
            produced_tokens: row.produced_tokens,
            cached_tokens: row.cached_tokens,
            preemptions: row.preemptions,
            error: row.error.clone(),
        }
    }
}

impl From<&TokenRow> for record::TokenRow {
    fn from(row: &TokenRow) -> record::TokenRow {
        record::TokenRow {
            request_id: row.request,
            token_index: row.index,
            time: row.time,
            batch_id: row.batch,
            token_id: row.token.unwrap_or_default(),
        }
    }
}

impl TokenRow {
    /// From a recorded token.
    pub fn of(row: record::TokenRow, ids: TokenIds) -> TokenRow {
        TokenRow {
            request: row.request_id,
            index: row.token_index,
            time: row.time,
            batch: row.batch_id,
            token: (ids == TokenIds::Computed).then_some(row.token_id),
        }
    }
}

impl BatchRow {
    /// Takes over a recorded iteration, keeping the memory of its lists.
    fn set(&mut self, row: record::BatchRow, slices: &[Slice]) {
        let refill = |mut list: Vec<u32>, field: fn(&Slice) -> u32| {
            list.clear();
            list.extend(slices.iter().map(field));
            list
        };
        *self = BatchRow {
            id: row.batch_id,
            scheduled: row.scheduled,
            start: row.start,
            end: row.end,
            device: row.device,
            host: row.host,
            prefill_tokens: row.prefill_tokens,
            decode_tokens: row.decode_tokens,
            seqs: refill(std::mem::take(&mut self.seqs), |s| s.seq),
            contexts: refill(std::mem::take(&mut self.contexts), |s| s.context),
            tokens: refill(std::mem::take(&mut self.tokens), |s| s.tokens),
            kv_blocks_used: row.kv_blocks_used,
            running: row.running,
            waiting: row.waiting,
            preempted: row.preempted,
        };
    }
}

impl RunTables {
    /// A run that was kept in memory.
    pub fn of(run: record::Run, ids: TokenIds, meta: RunMeta) -> RunTables {
        let batch = |(index, row): (usize, &record::BatchRow)| {
            let mut made = BatchRow::default();
            made.set(*row, run.slices(index));
            made
        };
        RunTables {
            batches: run.batches.iter().enumerate().map(batch).collect(),
            tokens: run.tokens.iter().map(|row| TokenRow::of(*row, ids)).collect(),
            requests: run.requests.into_iter().map(RequestRow::from).collect(),
            meta,
        }
    }
}

/// Which tables of a run are written; the others stay empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detail {
    /// Table `tokens`.
    pub tokens: TokenDetail,
    /// Table `batches`.
    pub batches: BatchDetail,
}

/// What is written of output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenDetail {
    /// A row a token.
    #[default]
    Full,
    /// No row: the figures of the gaps stand in `summary.json`.
    None,
}

/// What is written of iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchDetail {
    /// A row an iteration, with its sequences.
    #[default]
    Full,
    /// No row: the sums stand in `summary.json`.
    Summary,
}

/// Writes a run's directory while it goes on. Not for a timed region: it does I/O.
#[derive(Debug)]
pub struct RunWriter {
    requests: Writer<RequestRow>,
    tokens: Writer<TokenRow>,
    batches: Writer<BatchRow>,
    ids: TokenIds,
    detail: Detail,
    /// Kept for the memory of its lists.
    batch: BatchRow,
    failed: Option<TableError>,
}

impl RunWriter {
    /// A new directory; nothing of an earlier run may lie there.
    ///
    /// # Errors
    /// When it or a file in it cannot be made.
    pub fn create(directory: &Path, ids: TokenIds) -> Result<RunWriter, TableError> {
        std::fs::create_dir_all(directory).map_err(|source| TableError::Io {
            doing: "write",
            table: RUN_REQUESTS.name,
            path: directory.to_owned(),
            source,
        })?;
        Ok(RunWriter {
            requests: Writer::create(&file(directory, &RUN_REQUESTS), &[])?,
            tokens: Writer::create(&file(directory, &TOKENS), &[])?,
            batches: Writer::create(&file(directory, &BATCHES), &[])?,
            ids,
            detail: Detail::default(),
            batch: BatchRow::default(),
            failed: None,
        })
    }

    /// The same with only some of the tables filled.
    #[must_use]
    pub fn with_detail(self, detail: Detail) -> RunWriter {
        RunWriter { detail, ..self }
    }

    /// Ends the tables and writes `meta.json`.
    ///
    /// # Errors
    /// When anything of the run could not be written.
    pub fn finish(self, directory: &Path, meta: &RunMeta) -> Result<(), TableError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.requests.finish()?;
        self.tokens.finish()?;
        self.batches.finish()?;
        meta.write(&directory.join(META))
    }

    fn keep(&mut self, result: Result<(), TableError>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

impl record::Recorder for RunWriter {
    fn batch(&mut self, row: record::BatchRow, slices: &[Slice]) {
        if self.failed.is_none() && self.detail.batches == BatchDetail::Full {
            self.batch.set(row, slices);
            let result = self.batches.push(&self.batch);
            self.keep(result);
        }
    }

    fn token(&mut self, row: record::TokenRow) {
        if self.failed.is_none() && self.detail.tokens == TokenDetail::Full {
            let result = self.tokens.push(&TokenRow::of(row, self.ids));
            self.keep(result);
        }
    }

    fn request(&mut self, row: record::RequestRow) {
        if self.failed.is_none() {
            let result = self.requests.push(&row.into());
            self.keep(result);
        }
    }

    fn stretch(&mut self, stretch: record::Stretch<'_>) {
        let record::Stretch { rows, slices, produced, token_id } = stretch;
        if self.detail == (Detail { tokens: TokenDetail::None, batches: BatchDetail::Summary }) {
            return;
        }
        for (step, row) in (0..).zip(rows) {
            self.batch(*row, slices);
            for (slice, first) in slices.iter_mut().zip(produced) {
                let (request_id, token_index) = (slice.seq, first + step);
                self.token(record::TokenRow {
                    request_id,
                    token_index,
                    time: row.end,
                    batch_id: row.batch_id,
                    token_id,
                });
                slice.context += 1;
            }
        }
    }
}
