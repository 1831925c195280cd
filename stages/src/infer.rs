//! What simulation and measurement share: requests, the scheduler, the KV blocks, the serving loop, the metrics.
//!
//! Invariant: nothing here does I/O, reads a clock, starts a thread or knows candle. Time is passed in; work is
//! done by a [`serve::Backend`]. `infer` imports nothing of this crate but itself.

pub mod batch;
pub mod blocks;
mod laws;
mod ledger;
pub mod machine;
pub mod metrics;
pub mod record;
pub mod request;
pub mod schedule;
pub mod serve;
pub mod tally;
pub mod time;
