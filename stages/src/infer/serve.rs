//! The one serving loop and what it drives.
//!
//! Simulation and measurement differ in a [`Backend`] and in nothing else, so that a difference between their tables
//! comes only from the time of a batch or from what the host adds between batches. The loop knows neither clock nor
//! device nor file.
//!
//! Invariants: requests enter in order of arrival, each once the backend's time has passed it; the effect of a batch on
//! the schedule is booked when it is handed over, its tokens when it is collected; nothing idles while a request that
//! fits waits; at the end every token is accounted for and no block is held.

use std::collections::VecDeque;

use super::blocks::Tabled;
use super::laws;
use super::ledger::Ledger;
use super::record::{BatchRow, Recorder, RequestRow, Status, TokenRow};
use super::request::Request;
use super::schedule::{Census, Knobs, Scheduler};
use super::time::Nanos;

pub use super::batch::{Batch, Slice};

mod stretch;

/// What a backend may ask of the sequences in a batch.
pub trait Sequences {
    /// The sequence's KV blocks in order; enough for context + tokens of its slice.
    fn blocks(&self, seq: u32) -> &[u32];
    /// Ids that the prompt and, after a preemption, the tokens produced so far give for positions
    /// `context .. context + tokens`; empty where nobody brought ids, and for the one token whose id only the device
    /// knows yet: then it is the token that the sequence yields in the batch submitted just before this one.
    fn token_ids(&self, seq: u32) -> &[u32];
}

/// Where a batch's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// When the device began, on the backend's clock.
    pub start: Nanos,
    /// When its tokens were there for the host.
    pub end: Nanos,
    /// Time the device itself says it worked, where it can tell; else `end - start`.
    pub device: Nanos,
}

/// A virtual or a real machine.
///
/// `submit` hands over one iteration, `collect` waits for the oldest one handed over. A loop that is not pipelined
/// calls them in turn; a pipelined one keeps two in flight, so that scheduling hides behind the device.
pub trait Backend {
    /// What can go wrong in it.
    type Error;
    /// The time since the run's start.
    fn now(&self) -> Nanos;
    /// Returns at `t`, or at once if that is past.
    fn wait_until(&mut self, t: Nanos);
    /// Begins one iteration.
    ///
    /// # Errors
    /// When the device refuses it.
    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), Self::Error>;
    /// Waits for the oldest iteration; appends to `tokens` one id for each slice that yields, in batch order.
    ///
    /// # Errors
    /// When the device failed.
    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, Self::Error>;
    /// Goes through iterations of the decodes in `batch`, the first with every context one longer than there, each
    /// later one with every context one longer again: at most `most`, and none begins at `until` or later. Appends what
    /// `submit` and `collect` would have told to `laps`; leaves `batch` anyhow. Nothing is in flight.
    ///
    /// Only a virtual machine can: others do nothing, and are handed one iteration at a time.
    ///
    /// # Errors
    /// When an iteration fails; those before it stand in `laps`.
    fn repeat(&mut self, batch: &mut Batch, most: u32, until: Nanos, laps: &mut Vec<Lap>) -> Result<(), Self::Error> {
        let _ = (batch, most, until, laps);
        Ok(())
    }
}

/// An iteration that [`Backend::repeat`] went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lap {
    /// The backend's time before it was handed over.
    pub scheduled: Nanos,
    /// Where its time went.
    pub timing: Timing,
}

/// What came of a run, beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Iterations.
    pub batches: u32,
    /// Output tokens.
    pub tokens: u64,
    /// Requests that were served to their end.
    pub completed: u32,
    /// Requests that could never fit.
    pub refused: u32,
    /// How often a sequence lost its blocks.
    pub preemptions: u64,
    /// End of the last iteration.
    pub end: Nanos,
}

/// Why a run did not reach its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServeError<E> {
    /// The backend failed.
    Backend {
        /// The batch it failed at.
        batch_id: u32,
        /// What it says.
        error: E,
    },
    /// The backend gave another number of tokens than the batch yields.
    Tokens {
        /// That batch.
        batch_id: u32,
        /// Slices that yield.
        expected: usize,
        /// Tokens that came.
        got: usize,
    },
    /// Nothing can run although something waits: who waits for what.
    Stuck(String),
    /// A request is not in its place: ids count up from 0 in order of arrival, and a prompt has the length it says.
    Request {
        /// Row of the workload.
        row: usize,
        /// What is wrong.
        message: String,
    },
}

impl<E: std::fmt::Display> std::fmt::Display for ServeError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServeError::Backend { batch_id, error } => write!(f, "iteration {batch_id} failed: {error}"),
            ServeError::Tokens { batch_id, expected, got } => {
                write!(f, "iteration {batch_id} should have given {expected} tokens and gave {got}")
            }
            ServeError::Stuck(who) => write!(f, "nothing can run although work is left: {who}"),
            ServeError::Request { row, message } => write!(f, "request in row {row}: {message}"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for ServeError<E> {}

/// Serves `requests` (ids 0.. in order of arrival) on `backend` to the end, and says everything to `recorder`.
/// `tabled` says whether the backend reads block tables. `knobs` have been checked.
///
/// Does not allocate per iteration once its buffers have grown, except where the recorder does.
///
/// # Errors
/// See [`ServeError`]; what was recorded until then stays recorded.
///
/// # Panics
/// When a law of the loop is broken (tokens, blocks, Little's law): a defect here, never of the input.
pub fn serve<B: Backend, R: Recorder>(
    requests: &[Request],
    knobs: &Knobs,
    tabled: Tabled,
    backend: &mut B,
    recorder: &mut R,
) -> Result<Served, ServeError<B::Error>> {
    check_requests(requests)?;
    let mut serving = Serving {
        requests,
        scheduler: Scheduler::new(knobs, tabled),
        // Nobody reads ids of a machine that takes one iteration at a time and keeps no tables.
        ledger: match tabled {
            Tabled::Counted if !knobs.pipelined && !knobs.prefix_caching => Ledger::default(),
            _ => Ledger::of(requests),
        },
        progress: vec![Progress::default(); requests.len()],
        completions: Vec::with_capacity(requests.len()),
        refusals: Vec::new(),
        flights: VecDeque::with_capacity(2),
        spare: Vec::with_capacity(2),
        ids: Vec::new(),
        complete: Vec::new(),
        scratch: stretch::Scratch::default(),
        arrived: 0,
        idle_until: Nanos::default(),
        served: Served::default(),
        backend,
        recorder,
    };
    serving.run(if knobs.pipelined { 2 } else { 1 })?;
    serving.close();
    Ok(serving.served)
}

fn check_requests<E>(requests: &[Request]) -> Result<(), ServeError<E>> {
    let mut before = Nanos::default();
    for (row, request) in requests.iter().enumerate() {
        let fault = if request.id as usize != row {
            format!("its id is {}", request.id)
        } else if request.arrival < before {
            format!("it arrives at {} ns, before the row above it at {} ns", request.arrival.0, before.0)
        } else if !request.prompt.is_empty() && request.prompt.len() != request.prompt_tokens as usize {
            format!("it has {} prompt ids and says {} prompt tokens", request.prompt.len(), request.prompt_tokens)
        } else {
            before = request.arrival;
            continue;
        };
        return Err(ServeError::Request { row, message: fault });
    }
    Ok(())
}

/// An iteration that was handed over and not yet collected.
struct Flight {
    batch: Batch,
    census: Census,
    scheduled: Nanos,
    /// The arrival that ended the last idle wait before it.
    idle_until: Nanos,
}

/// What has become of a request so far.
#[derive(Clone, Copy, Default)]
struct Progress {
    scheduled: Option<Nanos>,
    first_token: Option<Nanos>,
    completion: Option<Nanos>,
    produced: u32,
}

struct Serving<'a, B, R> {
    requests: &'a [Request],
    scheduler: Scheduler,
    ledger: Ledger,
    progress: Vec<Progress>,
    /// In order of time.
    completions: Vec<Nanos>,
    /// In order of id.
    refusals: Vec<(u32, String)>,
    flights: VecDeque<Flight>,
    spare: Vec<Batch>,
    ids: Vec<u32>,
    complete: Vec<u32>,
    scratch: stretch::Scratch,
    arrived: usize,
    idle_until: Nanos,
    served: Served,
    backend: &'a mut B,
    recorder: &'a mut R,
}

/// `since` is the end of the iteration before, or the arrival that ended an idle wait.
fn row(batch_id: u32, scheduled: Nanos, timing: Timing, since: Nanos, census: &Census) -> BatchRow {
    BatchRow {
        batch_id,
        scheduled,
        start: timing.start,
        end: timing.end,
        device: timing.device,
        host: timing.start.since(since),
        prefill_tokens: census.prefill_tokens,
        decode_tokens: census.decode_tokens,
        kv_blocks_used: census.kv_blocks_used,
        running: census.running,
        waiting: census.waiting,
        preempted: census.preempted,
    }
}

/// What the backend sees of the sequences of the batch it is given.
struct View<'a> {
    scheduler: &'a Scheduler,
    ledger: &'a Ledger,
}

impl Sequences for View<'_> {
    fn blocks(&self, seq: u32) -> &[u32] {
        self.scheduler.blocks(seq)
    }

    fn token_ids(&self, seq: u32) -> &[u32] {
        let s = self.scheduler.sequence(seq);
        self.ledger.ids(seq, s.computed, s.scheduled)
    }
}

impl<B: Backend, R: Recorder> Serving<'_, B, R> {
    fn run(&mut self, depth: usize) -> Result<(), ServeError<B::Error>> {
        loop {
            self.take_arrivals();
            if depth == 1 && self.stretch()? {
                continue;
            }
            while self.flights.len() < depth && self.launch()? {
                self.take_arrivals();
            }
            if !self.flights.is_empty() {
                self.land()?;
            } else if !self.scheduler.is_idle() {
                return Err(ServeError::Stuck(self.scheduler.explain()));
            } else if let Some(next) = self.requests.get(self.arrived) {
                self.idle_until = next.arrival;
                self.backend.wait_until(next.arrival);
            } else {
                return Ok(());
            }
        }
    }

    fn take_arrivals(&mut self) {
        let now = self.backend.now();
        while let Some(request) = self.requests.get(self.arrived).filter(|r| r.arrival <= now) {
            self.arrived += 1;
            if let Err(refused) = self.scheduler.admit(request) {
                self.refusals.push((request.id, refused.reason));
            }
        }
    }

    /// Forms the next iteration and hands it over; `false` when nothing can run now.
    fn launch(&mut self) -> Result<bool, ServeError<B::Error>> {
        let mut batch = self.spare.pop().unwrap_or_default();
        let Some(census) = self.scheduler.next(&mut batch) else {
            self.spare.push(batch);
            return Ok(false);
        };
        if batch.slices.iter().any(|s| self.ledger.lacks(s)) {
            // A sequence that lost its blocks computes a token again that only the device knows yet.
            while !self.flights.is_empty() {
                self.land()?;
            }
        }
        let scheduled = self.backend.now();
        let view = View { scheduler: &self.scheduler, ledger: &self.ledger };
        let batch_id = self.served.batches + self.flights.len() as u32;
        self.backend.submit(&batch, &view).map_err(|error| ServeError::Backend { batch_id, error })?;
        self.complete.clear();
        self.scheduler.finish(&batch, &mut self.complete);
        self.served.preemptions += u64::from(census.preempted);
        self.flights.push_back(Flight { batch, census, scheduled, idle_until: self.idle_until });
        Ok(true)
    }

    /// Waits for the oldest iteration in flight and records it.
    fn land(&mut self) -> Result<(), ServeError<B::Error>> {
        let batch_id = self.served.batches;
        self.ids.clear();
        let timing = self.backend.collect(&mut self.ids).map_err(|error| ServeError::Backend { batch_id, error })?;
        let flight = self.flights.pop_front().expect("something is in flight");
        let expected = flight.batch.slices.iter().filter(|s| s.yields).count();
        if self.ids.len() != expected {
            return Err(ServeError::Tokens { batch_id, expected, got: self.ids.len() });
        }
        let Flight { batch, census, scheduled, idle_until } = flight;
        let row = row(batch_id, scheduled, timing, self.served.end.max(idle_until), &census);
        self.recorder.batch(row, &batch.slices);
        self.record_tokens(batch_id, &batch, timing);
        self.served.batches += 1;
        self.served.end = timing.end;
        self.spare.push(batch);
        Ok(())
    }

    fn record_tokens(&mut self, batch_id: u32, batch: &Batch, timing: Timing) {
        let mut yielded = self.ids.iter();
        for slice in &batch.slices {
            let progress = &mut self.progress[slice.seq as usize];
            progress.scheduled.get_or_insert(timing.start);
            if !slice.yields {
                continue;
            }
            let token_id = *yielded.next().expect("there are as many as slices that yield");
            let token_index = progress.produced;
            progress.produced += 1;
            progress.first_token.get_or_insert(timing.end);
            if progress.produced == self.requests[slice.seq as usize].output_tokens {
                progress.completion = Some(timing.end);
                self.completions.push(timing.end);
                self.served.completed += 1;
            }
            self.ledger.push(slice.seq, token_id);
            self.recorder.token(TokenRow { request_id: slice.seq, token_index, time: timing.end, batch_id, token_id });
            self.served.tokens += 1;
        }
    }

    /// Writes the requests' rows and holds the run against its laws.
    fn close(&mut self) {
        let mut refusals = std::mem::take(&mut self.refusals).into_iter().peekable();
        let mut spans = Vec::with_capacity(self.requests.len());
        let mut tokens = 0;
        for (request, progress) in self.requests.iter().zip(&self.progress) {
            let refused = refusals.next_if(|(id, _)| *id == request.id).map(|(_, reason)| reason);
            let (mut cached_tokens, mut preemptions) = (0, 0);
            if refused.is_some() {
                self.served.refused += 1;
            } else {
                let s = self.scheduler.sequence(request.id);
                (cached_tokens, preemptions) = (s.cached, s.restarts);
                let completion = progress.completion.expect("every admitted request is served to its end");
                spans.push((request.arrival, completion));
                tokens += u64::from(request.output_tokens);
            }
            self.recorder.request(RequestRow {
                request_id: request.id,
                status: if refused.is_some() { Status::Refused } else { Status::Ok },
                arrival: request.arrival,
                sent: None,
                scheduled: progress.scheduled,
                first_token: progress.first_token,
                completion: progress.completion,
                prompt_tokens: request.prompt_tokens,
                output_tokens: request.output_tokens,
                produced_tokens: progress.produced,
                cached_tokens,
                preemptions,
                error: refused,
            });
        }
        assert_eq!(tokens, self.served.tokens, "tokens asked for and tokens produced");
        assert_eq!(self.scheduler.blocks_used(), 0, "blocks held at the end");
        laws::assert_little(&spans, &self.completions);
    }
}

#[cfg(test)]
mod tests;
