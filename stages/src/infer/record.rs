//! What a run leaves behind, as plain rows: requests, tokens, iterations (the columns of `tables::RUN_REQUESTS`,
//! `TOKENS` and `BATCHES`). Knows no file format.
//!
//! Invariants: batches come in order of execution; a token row follows its batch; request rows come in order of id
//! once the run is over.

use super::batch::Slice;
use super::time::Nanos;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All its tokens came.
    Ok,
    /// It can never fit and was not taken.
    Refused,
    /// It was taken and did not end well.
    Error,
}

impl Status {
    /// The word in the `status` column.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Refused => "refused",
            Status::Error => "error",
        }
    }
}

/// A request's four instants and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Row of the workload.
    pub request_id: u32,
    /// How it ended.
    pub status: Status,
    /// Scheduled arrival.
    pub arrival: Nanos,
    /// When a client handed it over; none where no client stands between.
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

/// One output token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRow {
    /// Row of the workload.
    pub request_id: u32,
    /// 0-based.
    pub token_index: u32,
    /// End of the batch that made it.
    pub time: Nanos,
    /// That batch.
    pub batch_id: u32,
    /// What it is; made up in a simulation.
    pub token_id: u32,
}

/// One iteration, without its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRow {
    /// 0-based, in order of execution.
    pub batch_id: u32,
    /// When the scheduler had put it together.
    pub scheduled: Nanos,
    /// When the device began.
    pub start: Nanos,
    /// When its tokens were there for the host.
    pub end: Nanos,
    /// Time the device worked on it.
    pub device: Nanos,
    /// From the end of the batch before, or the arrival that ended an idle wait, to the start.
    pub host: Nanos,
    /// Prompt tokens in it (also those computed again after a preemption).
    pub prefill_tokens: u32,
    /// Decode tokens in it.
    pub decode_tokens: u32,
    /// Blocks held when it was scheduled.
    pub kv_blocks_used: u32,
    /// Sequences admitted when it was scheduled.
    pub running: u32,
    /// Requests in the queue when it was scheduled.
    pub waiting: u32,
    /// Sequences that lost their blocks to it.
    pub preempted: u32,
}

/// Takes rows as they come. Called inside the timed region of a measurement: must not do I/O there.
pub trait Recorder {
    /// An iteration ended; `slices` in batch order.
    fn batch(&mut self, row: BatchRow, slices: &[Slice]);
    /// An output token came (after its batch).
    fn token(&mut self, row: TokenRow);
    /// A request's row is final; in order of id, when the run is over.
    fn request(&mut self, row: RequestRow);

    /// Iterations of the same decodes, one after the other; as if [`Recorder::batch`] and [`Recorder::token`] had been
    /// called for each.
    fn stretch(&mut self, stretch: Stretch<'_>) {
        let Stretch { rows, slices, produced, token_id } = stretch;
        for (step, row) in (0..).zip(rows) {
            self.batch(*row, slices);
            for (slice, first) in slices.iter_mut().zip(produced) {
                let token_index = first + step;
                let BatchRow { batch_id, end: time, .. } = *row;
                self.token(TokenRow { request_id: slice.seq, token_index, time, batch_id, token_id });
                slice.context += 1;
            }
        }
    }
}

/// Iterations of the same decodes, one after the other.
#[derive(Debug)]
pub struct Stretch<'a> {
    /// One an iteration.
    pub rows: &'a [BatchRow],
    /// The slices of the first of them; every later one has each context one longer. The recorder may change them.
    pub slices: &'a mut [Slice],
    /// How many tokens each slice's request had produced before the first.
    pub produced: &'a [u32],
    /// The id that stands for every token.
    pub token_id: u32,
}

/// All rows of a run in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// In order of id.
    pub requests: Vec<RequestRow>,
    /// In order of time.
    pub tokens: Vec<TokenRow>,
    /// In order of execution.
    pub batches: Vec<BatchRow>,
    slices: Vec<Slice>,
    ends: Vec<usize>,
}

/// Rows set aside before a run at most, so that a long simulation does not ask for memory it may not need.
const RESERVED_ROWS_MAX: u64 = 1 << 22;

impl Run {
    /// Room for a run of `requests`, so that recording does not allocate while the clock runs.
    pub fn for_requests(requests: &[super::request::Request]) -> Run {
        let tokens: u64 = requests.iter().map(|r| u64::from(r.output_tokens)).sum();
        let rows = |n: u64| usize::try_from(n.min(RESERVED_ROWS_MAX)).expect("2^22 fits");
        Run {
            requests: Vec::with_capacity(requests.len()),
            tokens: Vec::with_capacity(rows(tokens)),
            batches: Vec::with_capacity(rows(tokens + requests.len() as u64)),
            slices: Vec::with_capacity(rows(2 * tokens + requests.len() as u64)),
            ends: Vec::with_capacity(rows(tokens + requests.len() as u64)),
        }
    }

    /// The slices of the batch at `index` in [`Run::batches`], in batch order.
    pub fn slices(&self, index: usize) -> &[Slice] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.slices[start..self.ends[index]]
    }
}

impl Recorder for Run {
    fn batch(&mut self, row: BatchRow, slices: &[Slice]) {
        self.batches.push(row);
        self.slices.extend_from_slice(slices);
        self.ends.push(self.slices.len());
    }

    fn token(&mut self, row: TokenRow) {
        self.tokens.push(row);
    }

    fn request(&mut self, row: RequestRow) {
        self.requests.push(row);
    }
}
