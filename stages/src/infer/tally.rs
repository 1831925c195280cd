//! A run in figures: requests as rows, gaps between tokens as (gap, how often), iterations as sums. What a search over
//! many configurations needs, without a row a token.
//!
//! Invariant: percentiles of gaps are those of all gaps, not of a sample: equal gaps are counted, none is rounded.

use serde::{Deserialize, Serialize};

use super::batch::Slice;
use super::metrics::Summary;
use super::record::{BatchRow, Recorder, RequestRow, Stretch, TokenRow};
use super::time::Nanos;

/// Sums over iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iterations {
    /// How many.
    pub iterations: u64,
    /// Sequences, each counted in every iteration it was in.
    pub sequences: u64,
    /// Most sequences of one iteration.
    pub sequences_max: u64,
    /// Prompt tokens computed, also those computed again.
    pub prefill_tokens: u64,
    /// Decode tokens computed.
    pub decode_tokens: u64,
    /// Time the device worked, ns.
    pub device_ns: u64,
    /// Time the host kept it waiting, ns.
    pub host_ns: u64,
    /// Most KV blocks held.
    pub kv_blocks_max: u32,
    /// Most requests in the queue.
    pub waiting_max: u32,
    /// Sequences that lost their blocks.
    pub preempted: u64,
}

impl Iterations {
    /// Adds an iteration of so many sequences.
    pub fn add(&mut self, row: &BatchRow, sequences: usize) {
        self.iterations += 1;
        self.sequences += sequences as u64;
        self.sequences_max = self.sequences_max.max(sequences as u64);
        self.prefill_tokens += u64::from(row.prefill_tokens);
        self.decode_tokens += u64::from(row.decode_tokens);
        self.device_ns += row.device.0;
        self.host_ns += row.host.0;
        self.kv_blocks_max = self.kv_blocks_max.max(row.kv_blocks_used);
        self.waiting_max = self.waiting_max.max(row.waiting);
        self.preempted += u64::from(row.preempted);
    }
}

/// Gaps between consecutive tokens of a request (TBT), each with how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    counted: Vec<(u64, u64)>,
    /// How long the list was when equal gaps were last put together.
    merged: usize,
}

impl Gaps {
    /// Adds the same gap `count` times.
    pub fn add(&mut self, gap: Nanos, count: u64) {
        match self.counted.last_mut() {
            Some((last, times)) if *last == gap.0 => *times += count,
            _ => {
                if self.counted.len() >= (2 * self.merged).max(1 << 16) {
                    self.merge();
                }
                self.counted.push((gap.0, count));
            }
        }
    }

    fn merge(&mut self) {
        self.counted.sort_unstable();
        self.counted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
            }
            same
        });
        self.merged = self.counted.len();
    }

    /// The figures of all gaps, ns; none of none.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.clone();
        sorted.merge();
        let counted = &sorted.counted;
        let n: u64 = counted.iter().map(|(_, count)| count).sum();
        let last = n.checked_sub(1)?;
        let sum: u128 = counted.iter().map(|(gap, count)| u128::from(*gap) * u128::from(*count)).sum();
        let upto: Vec<u64> = counted
            .iter()
            .scan(0, |total, (_, count)| {
                *total += count;
                Some(*total)
            })
            .collect();
        let ranked = |rank: u64| counted[upto.partition_point(|total| *total <= rank)].0 as f64;
        let at = |p: f64| {
            let rank = p / 100.0 * last as f64;
            let (low, share) = (rank.floor() as u64, rank.fract());
            let (a, b) = (ranked(low), ranked((low + 1).min(last)));
            a + (b - a) * share
        };
        Some(Summary {
            n,
            mean: sum as f64 / n as f64,
            min: at(0.0),
            p50: at(50.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
            max: at(100.0),
        })
    }
}

/// No token has come.
const NONE: u64 = u64::MAX;

/// Takes a run's rows and keeps its figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// In order of id, once the run is over.
    pub requests: Vec<RequestRow>,
    /// Between the tokens of each request.
    pub gaps: Gaps,
    /// Over all iterations.
    pub iterations: Iterations,
    /// When each request's latest token came; [`NONE`] = none has.
    latest: Vec<u64>,
}

impl Tally {
    /// Room for a run of so many requests.
    pub fn for_requests(count: usize) -> Tally {
        Tally { requests: Vec::with_capacity(count), latest: vec![NONE; count], ..Tally::default() }
    }

    fn came(&mut self, request: u32, time: Nanos) {
        let latest = &mut self.latest[request as usize];
        let before = std::mem::replace(latest, time.0);
        if before != NONE {
            self.gaps.add(Nanos(time.0 - before), 1);
        }
    }
}

impl Recorder for Tally {
    fn batch(&mut self, row: BatchRow, slices: &[Slice]) {
        self.iterations.add(&row, slices.len());
    }

    fn token(&mut self, row: TokenRow) {
        self.came(row.request_id, row.time);
    }

    fn request(&mut self, row: RequestRow) {
        self.requests.push(row);
    }

    fn stretch(&mut self, stretch: Stretch<'_>) {
        let [first, .., last] = stretch.rows else {
            for row in stretch.rows {
                self.iterations.add(row, stretch.slices.len());
                stretch.slices.iter().for_each(|slice| self.came(slice.seq, row.end));
            }
            return;
        };
        for row in stretch.rows {
            self.iterations.add(row, stretch.slices.len());
        }
        for slice in stretch.slices.iter() {
            self.came(slice.seq, first.end);
            self.latest[slice.seq as usize] = last.end.0;
        }
        for pair in stretch.rows.windows(2) {
            self.gaps.add(Nanos(pair[1].end.0 - pair[0].end.0), stretch.slices.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests;
