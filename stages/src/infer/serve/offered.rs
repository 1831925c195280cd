//! The loop as a replica of a fleet: what it serves is offered bit by bit, and somebody else decides whose turn it is.

use super::super::record::Recorder;
use super::super::request::Request;
use super::super::time::Nanos;
use super::{Backend, Progress, Serving};

impl<B: Backend, R: Recorder> Serving<'_, B, R> {
    /// The replica's clock.
    pub(in super::super) fn now(&self) -> Nanos {
        self.backend.now()
    }

    /// Takes a request at `at`, not before anything it was offered earlier; its id becomes the next of this replica,
    /// which is given back. The keys and values of its first `brought` tokens come with it.
    pub(in super::super) fn offer(&mut self, request: Request, brought: u32, at: Nanos) -> u32 {
        if self.flights.is_empty() && self.scheduler.is_idle() && self.arrived == self.requests.len() {
            self.idle_until = at;
            self.backend.wait_until(at);
        }
        let requests = self.requests.to_mut();
        let id = u32::try_from(requests.len()).expect("a workload has fewer than 2^32 requests");
        requests.push(Request { id, ..request });
        self.brought.push(brought);
        self.progress.push(Progress::default());
        id
    }

    /// Completions so far, in order of time: whose and when.
    pub(in super::super) fn completed(&self) -> (&[u32], &[Nanos]) {
        (&self.completed, &self.completions)
    }

    /// Requests that were refused so far, in order of id.
    pub(in super::super) fn refused(&self) -> &[(u32, String)] {
        &self.refusals
    }

    /// Requests that were offered and neither completed by `at` nor refused.
    pub(in super::super) fn outstanding(&self, at: Nanos) -> usize {
        let done = self.completions.len() - self.completions.iter().rev().take_while(|end| **end > at).count();
        self.requests.len() - self.refusals.len() - done
    }
}
