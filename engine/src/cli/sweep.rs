//! `pipe gc` in words: what goes and why, how much that frees, and what it would cost to compute it again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::report::paint::Paint;
use crate::report::{bytes, count, duration};
use crate::store::gc::{Sweep, Why};

#[cfg(test)]
mod tests;

/// A line for each reason, and what stays.
pub(super) fn tell(sweep: &Sweep, paint: Paint) -> String {
    let mut sums: BTreeMap<Why, (u64, u64, u64)> = BTreeMap::new();
    for item in &sweep.items {
        let sum = sums.entry(item.why).or_default();
        sum.0 += 1;
        sum.1 += item.bytes;
        sum.2 += item.recompute_ns;
    }
    let mut out = String::new();
    for (why, (number, size, again_ns)) in &sums {
        let words = match why {
            Why::Unneeded => "records that no latest run and no pin names",
            Why::Unnamed => "blobs that no kept record names",
            Why::Litter => "leavings of processes that died",
            Why::Expired => "in the trash, past their grace: deleted for good",
        };
        let again = if *again_ns > 0 { format!(", {} to compute again", duration(*again_ns)) } else { String::new() };
        let _ = writeln!(out, "{:>8}  {:>10}  {words}{}", count(*number), bytes(*size), paint.dim(&again));
    }
    let _ = writeln!(out, "{:>8}  {:>10}  stay", count(sweep.kept as u64), bytes(sweep.kept_bytes));
    out
}
