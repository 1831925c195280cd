//! Vidur's exact mode: its event order, its arithmetic in doubles and its oddities, with our scheduler inside, so that
//! whoever comes from Vidur finds the same figures to the bit. The rules follow Vidur's main branch at `7d47513`.
//!
//! The policies are `infer::schedule`'s own under [`Law::Vidur`](crate::infer::schedule::Law); what lives here is what
//! only Vidur has: the queue of events, stages and replicas, the memory planner, execution times, metrics. It does
//! not know our tables or pipelines.
//!
//! Invariants: the queue is ordered by (time, order of creation) and nothing else; sums are added in Vidur's order.

mod account;
mod case;
mod events;
mod generate;
mod output;
mod planner;
mod random;
mod time;
mod usage;
mod verb;

pub use account::RequestMetrics;
pub use case::{Case, CaseError, CaseRequest};
pub use events::{BatchRecord, Ended, Outcome, run};
pub use generate::{Generator, Synthetic, TraceReplay};
pub use output::{batches_csv, request_metrics_csv, summary_json};
pub use planner::{Plan, plan};
pub use verb::VERB;

#[cfg(test)]
mod tests;
