//! The scheduler: who goes into the next iteration, and what an iteration's end changes.
//!
//! One type for simulation, measurement and the exact mode. It does not know the time, a device or tokens' ids: the
//! sequence of batches is a pure function of what was admitted, the knobs, and the order of calls. `next` forms a
//! batch, `finish` books its effect; between the two its sequences are in flight. Because the number of output
//! tokens is given, a loop that keeps two batches in flight may call `finish` as soon as a batch is handed over.
//!
//! Invariants: a sequence is in one batch at a time; what a batch computes is covered by blocks its sequences hold;
//! what can never fit is refused at admission, so that a lone sequence can always go on.

mod knobs;
mod lightllm;
mod orca;
mod sarathi;
mod state;
mod static_batch;
mod steady;
mod unified;
mod vllm;

use super::blocks::Tabled;
use super::request::Request;
use super::serve::Batch;

pub use knobs::{Knobs, Policy};
pub use state::{Census, Law, Limits, Sequence};
pub use steady::Repeats;

use state::State;
use steady::Steady;

/// Why a request was not taken: it can never fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it needs and what there is.
    pub reason: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What a policy decides.
trait Form {
    /// Fills the empty `batch` with sequences that then are in flight; leaves it empty when nothing can run now.
    fn form(&mut self, state: &mut State, batch: &mut Batch);

    /// Takes back the sequences of a batch that ended; `state` has booked their progress already.
    fn settle(&mut self, state: &mut State, batch: &Batch) {
        for slice in &batch.slices {
            if state.is_complete(slice.seq) {
                state.release(slice.seq);
            } else {
                state.running.push(slice.seq);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Former {
    Sarathi(sarathi::Sarathi),
    Unified(unified::Unified),
    Vllm(vllm::Vllm),
    Orca(orca::Orca),
    Static(static_batch::StaticBatch),
    Lightllm(lightllm::Lightllm),
}

impl Former {
    fn of(policy: Policy) -> Former {
        match policy {
            Policy::Sarathi => Former::Sarathi(sarathi::Sarathi::default()),
            Policy::VllmV1 => Former::Unified(unified::Unified),
            Policy::Vllm => Former::Vllm(vllm::Vllm),
            Policy::Orca => Former::Orca(orca::Orca),
            Policy::FasterTransformer => Former::Static(static_batch::StaticBatch::default()),
            Policy::Lightllm => Former::Lightllm(lightllm::Lightllm::default()),
        }
    }

    fn form(&mut self, state: &mut State, batch: &mut Batch) {
        match self {
            Former::Sarathi(f) => f.form(state, batch),
            Former::Unified(f) => f.form(state, batch),
            Former::Vllm(f) => f.form(state, batch),
            Former::Orca(f) => f.form(state, batch),
            Former::Static(f) => f.form(state, batch),
            Former::Lightllm(f) => f.form(state, batch),
        }
    }

    fn settle(&mut self, state: &mut State, batch: &Batch) {
        match self {
            Former::Sarathi(f) => f.settle(state, batch),
            Former::Unified(f) => f.settle(state, batch),
            Former::Vllm(f) => f.settle(state, batch),
            Former::Orca(f) => f.settle(state, batch),
            Former::Static(f) => f.settle(state, batch),
            Former::Lightllm(f) => f.settle(state, batch),
        }
    }
}

/// A policy, its queues and its KV pool.
#[derive(Debug, Clone)]
pub struct Scheduler {
    state: State,
    former: Former,
    steady: Steady,
}

impl Scheduler {
    /// A scheduler without work. `tabled` says whether somebody needs block tables; a prefix cache keeps them anyway.
    pub fn new(knobs: &Knobs, tabled: Tabled) -> Scheduler {
        let tabled = if knobs.prefix_caching { Tabled::Kept } else { tabled };
        Scheduler::with_limits(knobs.policy, Limits::of(knobs), tabled)
    }

    /// A scheduler whose numbers were worked out elsewhere (the exact mode, several stages).
    pub fn with_limits(policy: Policy, limits: Limits, tabled: Tabled) -> Scheduler {
        Scheduler { state: State::new(limits, tabled), former: Former::of(policy), steady: Steady::default() }
    }

    /// Takes a request into the queue, behind those of its priority.
    ///
    /// # Errors
    /// [`Refused`] when it could never run to its end, however empty the pool.
    pub fn admit(&mut self, request: &Request) -> Result<(), Refused> {
        self.state.check_fits(request.prompt_tokens, request.output_tokens)?;
        self.steady.disarm();
        self.state.enqueue(
            request.id,
            request.arrival.0,
            request.prompt_tokens,
            request.output_tokens,
            request.priority,
            &request.prompt,
        );
        Ok(())
    }

    /// Takes a request into the queue whether or not it can ever fit (the exact mode refuses nothing). `arrival` is
    /// any number that orders requests by their arrival.
    pub fn admit_unchecked(&mut self, id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) {
        self.steady.disarm();
        self.state.enqueue(id, arrival, prompt_tokens, output_tokens, 0, &[]);
    }

    /// Forms the next iteration in `batch` (whose content is replaced); `None` when nothing can run now. Its
    /// sequences are in flight until [`Scheduler::finish`] gets the same batch.
    pub fn next(&mut self, batch: &mut Batch) -> Option<Census> {
        batch.slices.clear();
        if let Some(census) = self.steady.next(&mut self.state, batch) {
            return Some(census);
        }
        self.steady.begin();
        self.state.begin_batch();
        self.former.form(&mut self.state, batch);
        if batch.slices.is_empty() { None } else { Some(self.state.census()) }
    }

    /// Books the end of a batch that [`Scheduler::next`] formed; appends the sequences that are complete to
    /// `completed`, in batch order. Their blocks are free afterwards.
    pub fn finish(&mut self, batch: &Batch, completed: &mut Vec<u32>) {
        if self.steady.is_out() {
            return self.steady.finish(&mut self.state, batch);
        }
        let before = completed.len();
        for slice in &batch.slices {
            self.state.advance(slice);
            if self.state.is_complete(slice.seq) {
                completed.push(slice.seq);
            }
        }
        self.former.settle(&mut self.state, batch);
        if completed.len() == before {
            let formed = self.state.census();
            self.steady.arm(&self.state, &formed, batch);
        }
    }

    /// How often the batch that [`Scheduler::finish`] got last will surely be formed again, each time with every context
    /// one longer, as long as nobody is admitted; none of these repetitions completes anybody.
    pub fn repeats(&mut self) -> Option<Repeats<'_>> {
        self.steady.repeats(&self.state)
    }

    /// Forms and books `count` of those repetitions at once, as many as [`Scheduler::repeats`] said at most.
    pub fn repeat(&mut self, count: u32) {
        self.steady.repeat(&mut self.state, count);
    }

    /// The KV blocks of a sequence in order; empty where blocks are only counted.
    pub fn blocks(&self, seq: u32) -> &[u32] {
        self.state.pool.table(seq)
    }

    /// A sequence's counts.
    pub fn sequence(&self, seq: u32) -> &Sequence {
        self.state.sequence(seq)
    }

    /// Requests in the queue.
    pub fn waiting(&self) -> usize {
        self.state.waiting.len()
    }

    /// Sequences that hold blocks.
    pub fn running(&self) -> u32 {
        self.state.holders
    }

    /// Blocks that somebody holds.
    pub fn blocks_used(&self) -> u32 {
        self.state.pool.used()
    }

    /// Whether nothing waits and nobody holds a block.
    pub fn is_idle(&self) -> bool {
        self.state.waiting.is_empty() && self.state.running.is_empty() && self.state.holders == 0
    }

    /// Who waits for what, in words, for a state in which nothing can run.
    pub fn explain(&self) -> String {
        self.state.explain()
    }
}

#[cfg(test)]
mod tests;
