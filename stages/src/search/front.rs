//! Configurations side by side, and those that nothing beats.

use std::fmt::Write as _;

use crate::capacity::{Capacity, Metric};
use crate::tables::{CONFIGURATIONS, Cells, Record, Slots, Table};

/// A configuration and what it gives; a row of [`CONFIGURATIONS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The stage that found it.
    pub label: String,
    /// What it runs on.
    pub machine: String,
    /// Cards of a replica.
    pub cards: u32,
    /// The scheduler's policy.
    pub policy: String,
    /// Most tokens of an iteration.
    pub max_batched_tokens: u32,
    /// Most sequences at a time.
    pub max_sequences: u32,
    /// Requests a second.
    pub rate_per_s: f64,
    /// Of a replica.
    pub cost_per_hour: f64,
    /// Requests for a unit of money at that rate; without a price, requests a second.
    pub requests_per_cost: f64,
    /// At 85 % of the rate, ns; none where the rate is 0 or no request has the metric.
    pub latency_ns: Option<u64>,
    /// Whether no other is at least as good in both and better in one.
    pub on_front: bool,
}

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The best first: most requests for the money; of equals the faster, then by label.
pub fn compare(capacities: &[(String, Capacity)], metric: Metric, percentile: u32) -> Vec<Configuration> {
    let mut found: Vec<Configuration> =
        capacities.iter().map(|(l, c)| configuration(l, c, metric, percentile)).collect();
    found.sort_by(|a, b| {
        let worth = b.requests_per_cost.total_cmp(&a.requests_per_cost);
        worth.then(a.latency_ns.unwrap_or(u64::MAX).cmp(&b.latency_ns.unwrap_or(u64::MAX))).then(a.label.cmp(&b.label))
    });
    // From the cheapest on, a configuration is on the front if it is faster than all that are cheaper.
    let mut fastest = u64::MAX;
    for c in &mut found {
        let latency = c.latency_ns.unwrap_or(u64::MAX);
        c.on_front = c.rate_per_s > 0.0 && latency < fastest;
        fastest = fastest.min(latency);
    }
    found
}

fn configuration(label: &str, capacity: &Capacity, metric: Metric, percentile: u32) -> Configuration {
    let cost_per_hour = capacity.machine.cost_per_card_hour * f64::from(capacity.machine.cards);
    let rate_per_s = capacity.rate_per_s;
    let figures = capacity.operating.as_ref().and_then(|probe| probe.figures.get(&metric));
    let latency_s = figures.map(|f| match percentile {
        50 => f.p50,
        90 => f.p90,
        _ => f.p99,
    });
    Configuration {
        label: label.to_owned(),
        machine: capacity.machine.name.clone(),
        cards: capacity.machine.cards,
        policy: capacity.scheduler.policy.name().to_owned(),
        max_batched_tokens: capacity.scheduler.max_batched_tokens,
        max_sequences: capacity.scheduler.max_sequences,
        rate_per_s,
        cost_per_hour,
        requests_per_cost: if cost_per_hour > 0.0 { rate_per_s * SECONDS_PER_HOUR / cost_per_hour } else { rate_per_s },
        latency_ns: latency_s.map(|s| (s * 1e9).round() as u64),
        on_front: false,
    }
}

/// The table as CSV.
pub(super) fn csv(found: &[Configuration]) -> String {
    let names: Vec<&str> = CONFIGURATIONS.columns.iter().map(|c| c.name).collect();
    let mut out = names.join(",") + "\n";
    for c in found {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{}",
            quoted(&c.label),
            quoted(&c.machine),
            c.cards,
            c.policy,
            c.max_batched_tokens,
            c.max_sequences,
            c.rate_per_s,
            c.cost_per_hour,
            c.requests_per_cost,
            c.latency_ns.map(|ns| ns.to_string()).unwrap_or_default(),
            u32::from(c.on_front),
        );
    }
    out
}

impl Record for Configuration {
    const TABLE: Table = CONFIGURATIONS;

    fn put(&self, slots: &mut Slots) {
        slots.text(&self.label);
        slots.text(&self.machine);
        slots.u32(self.cards);
        slots.text(&self.policy);
        slots.u32(self.max_batched_tokens);
        slots.u32(self.max_sequences);
        slots.f64(self.rate_per_s);
        slots.f64(self.cost_per_hour);
        slots.f64(self.requests_per_cost);
        slots.maybe_u64(self.latency_ns);
        slots.u32(u32::from(self.on_front));
    }

    fn take(cells: &mut Cells<'_>) -> Configuration {
        Configuration {
            label: cells.text().to_owned(),
            machine: cells.text().to_owned(),
            cards: cells.u32(),
            policy: cells.text().to_owned(),
            max_batched_tokens: cells.u32(),
            max_sequences: cells.u32(),
            rate_per_s: cells.f64(),
            cost_per_hour: cells.f64(),
            requests_per_cost: cells.f64(),
            latency_ns: cells.maybe_u64(),
            on_front: cells.u32() != 0,
        }
    }
}
