use super::*;

#[test]
fn what_is_recorded_before_and_after_is_read_as_its_mean() {
    let mut facts = BTreeMap::new();
    assert_eq!(of(&facts), None);
    record(&mut facts, 1_000, 3_000);
    assert_eq!(of(&facts), Some(2_000.0));
}
