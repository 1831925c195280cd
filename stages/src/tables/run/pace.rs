//! The processor's pace around a measurement, among the facts of its meta: the time of a fixed loop before and after it.

use std::collections::BTreeMap;

/// Names of the facts in a run's meta, ns: the loop's time before the measurement, and after it.
pub const FACTS: [&str; 2] = ["pace_before_ns", "pace_after_ns"];

/// Puts the loop's times before and after a measurement among its facts.
pub fn record(facts: &mut BTreeMap<String, serde_json::Value>, before: u64, after: u64) {
    for (name, ns) in FACTS.into_iter().zip([before, after]) {
        facts.insert(name.to_owned(), ns.into());
    }
}

/// The mean of both, where a measurement's facts tell them.
pub fn of(facts: &BTreeMap<String, serde_json::Value>) -> Option<f64> {
    let mut sum = 0.0;
    for name in FACTS {
        sum += facts.get(name)?.as_f64()?;
    }
    Some(sum / FACTS.len() as f64)
}

#[cfg(test)]
mod tests;
