#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

/// Arrives at 100, is scheduled at 150, has its first token at 250 and its third at 650.
fn served() -> RequestRow {
    RequestRow {
        request_id: 0,
        status: Status::Ok,
        arrival: Nanos(100),
        sent: None,
        scheduled: Some(Nanos(150)),
        first_token: Some(Nanos(250)),
        completion: Some(Nanos(650)),
        prompt_tokens: 10,
        output_tokens: 3,
        produced_tokens: 3,
        cached_tokens: 0,
        preemptions: 0,
        error: None,
    }
}

#[test]
fn each_metric_is_a_difference_of_instants() {
    let metrics = RequestMetrics::of(&served()).unwrap();
    assert_eq!(
        metrics,
        RequestMetrics {
            ttft: 150.0,
            ttft_from_sent: None,
            tpot: Some(200.0),
            e2e: 550.0,
            normalised: 550.0 / 3.0,
            scheduling_delay: 50.0,
            prefill: 100.0,
            decode: 400.0,
        }
    );
}

#[test]
fn a_client_has_a_second_time_to_first_token() {
    let row = RequestRow { sent: Some(Nanos(120)), scheduled: None, ..served() };
    let metrics = RequestMetrics::of(&row).unwrap();
    assert_eq!((metrics.ttft, metrics.ttft_from_sent, metrics.prefill), (150.0, Some(130.0), 130.0));
}

#[test]
fn one_token_has_no_time_per_output_token_and_a_refused_request_no_metrics() {
    let one = RequestRow { completion: Some(Nanos(250)), produced_tokens: 1, ..served() };
    assert_eq!(RequestMetrics::of(&one).unwrap().tpot, None);
    assert_eq!(RequestMetrics::of(&RequestRow { status: Status::Refused, ..served() }), None);
    assert_eq!(RequestMetrics::of(&RequestRow { first_token: None, ..served() }), None);
}

#[test]
fn gaps_are_pooled_over_requests() {
    let token = |request_id, time| TokenRow { request_id, token_index: 0, time: Nanos(time), batch_id: 0, token_id: 0 };
    let tokens = [token(0, 10), token(1, 10), token(0, 30), token(1, 40), token(0, 35)];
    assert_eq!(gaps(&tokens, 2), [20.0, 30.0, 5.0]);
}

#[test]
fn throughput_counts_what_was_served_over_the_whole_span() {
    let refused = RequestRow { status: Status::Refused, arrival: Nanos(0), completion: None, ..served() };
    let second = RequestRow { completion: Some(Nanos(1_000_000_000)), ..served() };
    let throughput = Throughput::of(&[refused, served(), second]);
    assert_eq!(throughput.span_s, 1.0);
    assert_eq!((throughput.requests_per_s, throughput.output_tokens_per_s), (2.0, 6.0));
    assert_eq!(throughput.total_tokens_per_s, 26.0);
    assert_eq!(Throughput::of(&[]), Throughput::default());
}

#[test]
fn goodput_counts_only_who_met_every_objective() {
    let slow = RequestRow { arrival: Nanos(0), first_token: Some(Nanos(900_000_000)), ..served() };
    let slow = RequestRow { completion: Some(Nanos(1_000_000_000)), ..slow };
    let rows = [served(), slow];
    let goodput = |objectives: Objectives| objectives.goodput_per_s(&rows);
    assert_eq!(goodput(Objectives::default()), 2.0);
    assert_eq!(goodput(Objectives { ttft_ms_max: Some(1.0), ..Objectives::default() }), 1.0);
    assert_eq!(goodput(Objectives { tpot_ms_max: Some(60.0), e2e_ms_max: Some(1.0), ..Objectives::default() }), 1.0);
    assert_eq!(goodput(Objectives { tpot_ms_max: Some(1e-9), ..Objectives::default() }), 0.0);
}

#[test]
fn percentiles_are_linear_between_ranks() {
    let samples = [1.0, 2.0, 4.0, 8.0];
    assert_eq!(percentile(&samples, 50.0), Some(3.0));
    assert_eq!(percentile(&samples, 90.0), Some(4.0 + 4.0 * (0.9 * 3.0 - 2.0)));
    assert_eq!(percentile(&samples, 0.0), Some(1.0));
    assert_eq!(percentile(&samples, 100.0), Some(8.0));
    assert_eq!(percentile(&[], 50.0), None);
    assert_eq!(Summary::of(&mut []), None);
}

proptest! {
    /// At ranks that are whole numbers a percentile is the sample a sort puts there; between them it lies between.
    #[test]
    fn a_percentile_is_what_sorting_says(mut samples in prop::collection::vec(-1e9f64..1e9, 2..60), p in 0.0f64..100.0) {
        let summary = Summary::of(&mut samples.clone()).unwrap();
        samples.sort_by(f64::total_cmp);
        let last = samples.len() - 1;
        for (rank, sample) in samples.iter().enumerate() {
            let value = percentile(&samples, 100.0 * rank as f64 / last as f64).unwrap();
            prop_assert!((value - sample).abs() <= 1e-3, "{} {}", value, sample);
        }
        let rank = p / 100.0 * last as f64;
        let value = percentile(&samples, p).unwrap();
        prop_assert!(samples[rank.floor() as usize] <= value && value <= samples[rank.ceil() as usize]);
        prop_assert_eq!((summary.min, summary.max, summary.n), (samples[0], samples[last], samples.len() as u64));
        prop_assert!(summary.p50 <= summary.p90 && summary.p90 <= summary.p95 && summary.p95 <= summary.p99);
    }
}
