//! The token ids of all sequences, prompt and output, in one piece of memory that is set aside before the run. Empty
//! where the requests bring no ids (a simulation).
//!
//! Invariant: of each sequence the first `known` ids are valid; they only grow.

use super::request::Request;
use super::serve::Slice;

#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    ids: Vec<u32>,
    /// Where each sequence's ids begin; empty where no ids are kept.
    starts: Vec<usize>,
    known: Vec<u32>,
}

impl Ledger {
    pub(super) fn of(requests: &[Request]) -> Ledger {
        if requests.iter().all(|r| r.prompt.is_empty()) {
            return Ledger::default();
        }
        let positions = |r: &Request| r.prompt_tokens as usize + r.output_tokens as usize;
        let mut ids = Vec::with_capacity(requests.iter().map(positions).sum());
        let mut starts = Vec::with_capacity(requests.len());
        for request in requests {
            starts.push(ids.len());
            ids.extend_from_slice(&request.prompt);
            ids.resize(starts[starts.len() - 1] + positions(request), 0);
        }
        let known = requests.iter().map(|r| r.prompt.len() as u32).collect();
        Ledger { ids, starts, known }
    }

    /// The ids at positions `from .. from + count`, or none where they are not all known to the host.
    pub(super) fn ids(&self, seq: u32, from: u32, count: u32) -> &[u32] {
        let Some(start) = self.starts.get(seq as usize) else { return &[] };
        if from + count > self.known[seq as usize] {
            return &[];
        }
        let first = start + from as usize;
        &self.ids[first..first + count as usize]
    }

    /// Whether a slice needs ids that are not known and that its own last iteration does not leave on the device:
    /// only a decode takes up the token of the iteration before it.
    pub(super) fn lacks(&self, slice: &Slice) -> bool {
        let Some(known) = self.known.get(slice.seq as usize) else { return false };
        slice.tokens > 1 && slice.context + slice.tokens > *known
    }

    /// Appends an output token.
    pub(super) fn push(&mut self, seq: u32, id: u32) {
        if let Some(start) = self.starts.get(seq as usize) {
            let known = &mut self.known[seq as usize];
            self.ids[start + *known as usize] = id;
            *known += 1;
        }
    }
}
