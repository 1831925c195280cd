#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn counted_gaps_have_the_figures_of_all_gaps(gaps in prop::collection::vec((0u64..9, 1u64..4), 1..60)) {
        let mut counted = Gaps::default();
        let mut all = Vec::new();
        for (gap, times) in gaps {
            counted.add(Nanos(gap), times);
            all.extend((0..times).map(|_| gap as f64));
        }
        let (counted, all) = (counted.summary().unwrap(), Summary::of(&mut all).unwrap());
        prop_assert!((counted.mean - all.mean).abs() < 1e-9);
        prop_assert_eq!(Summary { mean: 0.0, ..counted }, Summary { mean: 0.0, ..all });
    }
}

#[test]
fn many_different_gaps_are_put_together_and_none_is_lost() {
    let mut gaps = Gaps::default();
    for round in 0..400_000u64 {
        gaps.add(Nanos(round * 7919 % 1000), 1);
    }
    assert!(gaps.counted.len() <= 1 << 16, "{}", gaps.counted.len());
    assert_eq!(gaps.summary().unwrap().n, 400_000);
    assert_eq!(gaps.summary().unwrap().max, 999.0);
}

#[test]
fn a_stretch_tells_what_single_iterations_tell() {
    let row = |batch_id: u32| BatchRow {
        batch_id,
        scheduled: Nanos(u64::from(batch_id) * 10),
        start: Nanos(u64::from(batch_id) * 10 + 1),
        end: Nanos(u64::from(batch_id) * 10 + u64::from(batch_id % 3) + 2),
        device: Nanos(1),
        host: Nanos(1),
        prefill_tokens: 0,
        decode_tokens: 2,
        kv_blocks_used: batch_id,
        running: 2,
        waiting: 0,
        preempted: 0,
    };
    let slice = |seq| Slice { seq, context: 5, tokens: 1, yields: true };
    for length in [1u32, 2, 7] {
        let rows: Vec<BatchRow> = (1..=length).map(row).collect();
        let (mut single, mut at_once) = (Tally::for_requests(2), Tally::for_requests(2));
        for tally in [&mut single, &mut at_once] {
            tally.token(TokenRow { request_id: 1, token_index: 0, time: Nanos(1), batch_id: 0, token_id: 0 });
        }
        for row in &rows {
            single.batch(*row, &[slice(0), slice(1)]);
            for request_id in [0, 1] {
                single.token(TokenRow { request_id, token_index: 0, time: row.end, batch_id: 0, token_id: 0 });
            }
        }
        let mut slices = [slice(0), slice(1)];
        at_once.stretch(Stretch { rows: &rows, slices: &mut slices, produced: &[0, 1], token_id: 0 });
        assert_eq!(single.gaps.summary(), at_once.gaps.summary());
        assert_eq!((single.iterations, single.latest), (at_once.iterations, at_once.latest));
    }
}
