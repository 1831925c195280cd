use super::*;

#[test]
fn every_operation_has_its_place_and_its_name_in_the_table() {
    let about = crate::tables::OPS.columns[0].about;
    for (i, operation) in Operation::ALL.into_iter().enumerate() {
        assert_eq!(operation as usize, i);
        assert!(about.contains(operation.name()), "`{}` is not in the schema", operation.name());
    }
}

#[test]
fn a_stopwatch_counts_calls_since_the_start_only() {
    let mut watch = Stopwatch::new();
    watch.lap(Operation::Add);
    watch.start();
    watch.lap(Operation::Norm);
    watch.lap(Operation::Norm);
    assert_eq!(watch.calls(Operation::Norm), 2);
    assert_eq!(watch.calls(Operation::Add), 0);
    assert_eq!(watch.per_call_ns(Operation::Add), None);
    assert!(watch.per_call_ns(Operation::Norm).is_some_and(|ns| ns > 0.0));
}
