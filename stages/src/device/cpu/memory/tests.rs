use super::*;
use crate::model::weights::tests::tiny_card;

#[test]
fn what_does_not_fit_says_for_what_and_how_much_would() {
    let knobs = Knobs { kv_blocks: 1024, ..Knobs::default() };
    let demand = Demand::of(&tiny_card(), &knobs);
    assert_eq!(demand.check(demand.total(), &knobs), Ok(()));
    let (message, help) = demand.check(demand.total() - 1, &knobs).expect_err("one byte short");
    assert!(message.starts_with("serving takes 10 MiB (weights as f32 1, KV pool 8, one step 2)"), "{message}");
    assert_eq!(help, "`scheduler.kv_blocks` of 1023 would fit");
    let (_, help) = demand.check(1000, &knobs).expect_err("nothing fits");
    assert!(help.starts_with("no pool fits"), "{help}");
}

#[test]
fn available_memory_is_read_from_the_kernels_words() {
    assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    12 kB\n"), Some(12 * 1024));
    assert_eq!(available_in("MemTotal: 9 kB\n"), None);
}
