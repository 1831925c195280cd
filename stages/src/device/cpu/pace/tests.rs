use super::*;

#[test]
fn the_loop_is_not_optimised_away() {
    assert!(sample() > u64::from(LENGTH) / 10, "a tenth of a nanosecond a turn is no processor's");
}
