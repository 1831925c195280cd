#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::workload::config::Subset;

fn limits(prompt: u32, output: u32, total: u32, rule: OverLimit) -> Limits {
    Limits { prompt, output, total, rule }
}

fn draft(arrival: u64) -> Draft {
    Draft {
        arrival: Nanos(arrival),
        prompt_tokens: 4,
        output_tokens: 2,
        ids: None,
        prefix_blocks: Arc::from([]),
        source: "row 0".to_owned(),
    }
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn what_is_within_all_limits_is_left_alone_under_every_rule() {
    for rule in [OverLimit::Refuse, OverLimit::Clip, OverLimit::Drop] {
        assert_eq!(limits(10, 5, 15, rule).judge(10, 5), Ok(Verdict::Fits));
    }
}

#[test]
fn clipping_cuts_each_length_and_then_the_prompt_to_what_the_output_leaves() {
    assert_eq!(limits(10, 5, 100, OverLimit::Clip).judge(11, 6), Ok(Verdict::Clipped(10, 5)));
    assert_eq!(limits(100, 100, 12, OverLimit::Clip).judge(10, 5), Ok(Verdict::Clipped(7, 5)));
    assert_eq!(limits(100, 100, 12, OverLimit::Clip).judge(10, 50), Ok(Verdict::Clipped(1, 11)));
}

#[test]
fn clipped_lengths_are_at_least_1_and_within_the_limits() {
    use proptest::prelude::*;
    proptest!(|(prompt in 1u32..5_000, output in 1u32..5_000, p in 1u32..3_000, o in 1u32..3_000, t in 2u32..4_000)| {
        let (prompt, output) = match limits(p, o, t, OverLimit::Clip).judge(prompt, output).unwrap() {
            Verdict::Clipped(prompt, output) => (prompt, output),
            _ => (prompt, output),
        };
        prop_assert!((1..=p).contains(&prompt) && (1..=o).contains(&output) && prompt + output <= t);
    });
}

#[test]
fn refusing_says_which_limit_and_dropping_counts() {
    let refused = |l: Limits| l.judge(10, 5).unwrap_err();
    assert_eq!(refused(limits(9, 9, 99, OverLimit::Refuse)), "its prompt of 10 tokens is longer than 9");
    assert_eq!(refused(limits(99, 4, 99, OverLimit::Refuse)), "it asks for 5 tokens, more than 4");
    assert_eq!(refused(limits(99, 9, 14, OverLimit::Refuse)), "its 10 + 5 tokens are more than 14");
    let mut tally = Tally::default();
    assert_eq!(limits(3, 9, 99, OverLimit::Drop).apply(draft(0), &mut tally).unwrap(), None);
    assert_eq!(tally, Tally { clipped: 0, dropped: 1 });
}

#[test]
fn a_clipped_text_loses_its_last_ids() {
    let text = Draft { ids: Some(Arc::from([1, 2, 3, 4])), ..draft(0) };
    let cut = limits(3, 9, 99, OverLimit::Clip).apply(text, &mut Tally::default()).unwrap().unwrap();
    assert_eq!(cut.ids.as_deref(), Some([1, 2, 3].as_slice()));
}

#[test]
fn the_models_positions_are_a_limit_of_the_whole() {
    assert_eq!(Limits::new(&config(""), Some(40)).total, 40);
    assert_eq!(Limits::new(&config("max_total_tokens = 30"), Some(40)).total, 30);
    assert_eq!(Limits::new(&config("max_total_tokens = 50"), Some(40)).total, 40);
}

#[test]
fn rows_are_all_or_a_range_or_indices_in_their_order() {
    assert_eq!(pick(&config(""), 4, true).unwrap(), [0, 1, 2, 3]);
    assert_eq!(pick(&config("subset = { range = [1, 3] }"), 4, true).unwrap(), [1, 2]);
    assert_eq!(pick(&config("subset = { indices = [3, 0, 3] }"), 4, false).unwrap(), [3, 0, 3]);
}

#[test]
fn indices_on_a_timed_trace_are_refused_unless_a_law_gives_the_arrivals() {
    let indices = config("subset = { indices = [3, 0] }");
    assert!(pick(&indices, 4, true).unwrap_err().message.contains("lose their meaning"));
    let law = config("subset = { indices = [3, 0] }\narrivals = { law = \"at-once\" }");
    assert_eq!(pick(&law, 4, true).unwrap(), [3, 0]);
}

#[test]
fn a_subset_beyond_the_rows_is_refused_with_the_row() {
    let refused = |subset| pick(&Config { subset: Some(subset), ..Config::default() }, 4, false).unwrap_err().message;
    let range = |first, end| Subset { range: Some([first, end]), indices: None };
    assert_eq!(refused(range(2, 5)), "`subset` asks for row 4, there are 4 (counted from 0)");
    assert_eq!(
        refused(Subset { range: None, indices: Some(vec![1, 9]) }),
        "`subset` asks for row 9, there are 4 (counted from 0)"
    );
}

#[test]
fn drawn_rows_come_from_the_subset_with_replacement_and_from_the_seed() {
    let text = "rows = \"drawn\"\nrequests = 50\narrivals = { law = \"at-once\" }\nsubset = { range = [10, 13] }";
    let rows = pick(&config(text), 20, true).unwrap();
    assert!(rows.len() >= 50 && rows.iter().all(|r| (10..13).contains(r)));
    assert_eq!(rows, pick(&config(text), 20, true).unwrap());
    assert_ne!(rows, pick(&config(&format!("{text}\nseed = 1")), 20, true).unwrap());
}

#[test]
fn arrivals_begin_at_0_and_are_scaled_to_the_rate_or_by_the_factor() {
    let retimed = |text: &str| {
        let mut drafts = vec![draft(1_000), draft(3_000), draft(11_000)];
        retime(&mut drafts, &config(text)).unwrap();
        drafts.iter().map(|d| d.arrival.0).collect::<Vec<_>>()
    };
    assert_eq!(retimed(""), [0, 2_000, 10_000]);
    assert_eq!(retimed("time_scale = 2.5"), [0, 5_000, 25_000]);
    // Two gaps in 10 s at 0.2 a second.
    assert_eq!(retimed("rate_per_s = 0.2"), [0, 2_000_000_000, 10_000_000_000]);
}

#[test]
fn a_rate_of_requests_that_all_come_at_once_is_refused() {
    let error = retime(&mut [draft(5), draft(5)], &config("rate_per_s = 1.0")).unwrap_err();
    assert!(error.message.contains("arrive at once"), "{}", error.message);
    retime(&mut [draft(5)], &config("rate_per_s = 1.0")).unwrap();
}

#[test]
fn lengths_are_scaled_rounded_and_at_least_1() {
    assert_eq!((scaled(100, 0.25), scaled(3, 0.5), scaled(1, 0.1), scaled(7, 1.0)), (25, 2, 1, 7));
}
