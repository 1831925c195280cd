use std::collections::BTreeMap;

use super::*;
use crate::capacity::{Figures, Machine, Objectives, Outcome, Probe};
use crate::infer::schedule::Knobs;

fn capacity(rate_per_s: f64, ttft_s: f64, cost: f64) -> Capacity {
    let figures = Figures { p50: ttft_s / 2.0, p90: ttft_s, p99: ttft_s };
    let operating = Probe {
        rate_per_s: 0.85 * rate_per_s,
        outcomes: vec![Outcome { name: "p99 TTFT ≤ 2 s".to_owned(), value: Some(ttft_s), met: true }],
        figures: BTreeMap::from([(Metric::Ttft, figures)]),
        output_tokens_per_s: 1.0,
        iterations: 1,
        preemptions: 0,
    };
    Capacity {
        format: 1,
        machine: Machine { name: "h100".to_owned(), cards: 2, cost_per_card_hour: cost },
        scheduler: Knobs::default(),
        objectives: Objectives::default(),
        requests: 100,
        rate_per_s,
        misses_at_per_s: None,
        limited_by: None,
        operating: (rate_per_s > 0.0).then_some(operating),
        probes: 9,
    }
}

fn four() -> Vec<(String, Capacity)> {
    let of = |label: &str, rate, ttft, cost| (label.to_owned(), capacity(rate, ttft, cost));
    vec![
        of("slow<&>", 10.0, 0.8, 3.0),
        of("beaten", 8.0, 0.9, 3.0),
        of("fast", 4.0, 0.1, 3.0),
        of("none", 0.0, 0.1, 3.0),
    ]
}

#[test]
fn the_front_holds_what_nothing_beats_in_both() {
    let found = compare(&four(), Metric::Ttft, 99);
    let labels: Vec<(&str, bool)> = found.iter().map(|c| (c.label.as_str(), c.on_front)).collect();
    assert_eq!(labels, [("slow<&>", true), ("beaten", false), ("fast", true), ("none", false)]);
    assert_eq!(found[0].requests_per_cost, 10.0 * 3600.0 / 6.0);
    assert_eq!((found[0].latency_ns, found[3].latency_ns), (Some(800_000_000), None));
}

#[test]
fn the_page_says_the_best_and_escapes_names() {
    let found = compare(&four(), Metric::Ttft, 99);
    let config = Config::default();
    let page = page::page(&found, &four(), &figure::figure(&found, &config), &config);
    assert!(page.contains("Best: slow&lt;&amp;&gt; on 2 × h100"), "{page}");
    assert!(page.contains("p99 TTFT ≤ 2 s") && !page.contains("slow<&>") && !page.contains("<script"));
    let none = vec![("none".to_owned(), capacity(0.0, 0.1, 0.0))];
    let found = compare(&none, Metric::Ttft, 99);
    assert!(page::best(&found, &config).starts_with("No configuration"));
    assert!(figure::figure(&found, &config).standalone().contains("<svg"));
}
