use super::words::{duration, percent, signed};

#[test]
fn durations_come_in_the_unit_that_suits_them() {
    let cases = [
        (12.0, "12 ns"),
        (1_234.0, "1.2 µs"),
        (1_234_567.0, "1.23 ms"),
        (12_345_678.0, "12.3 ms"),
        (123_456_789.0, "123 ms"),
        (1_234_567_890.0, "1.23 s"),
        (65_456_600_000.0, "65.5 s"),
        (-2_000_000.0, "-2.00 ms"),
    ];
    for (ns, text) in cases {
        assert_eq!(duration(ns), text);
    }
}

#[test]
fn errors_are_said_with_their_direction() {
    assert_eq!(signed(0.0231), "2.3 % too high");
    assert_eq!(signed(-0.5), "50.0 % too low");
    assert_eq!(signed(0.0001), "right");
    assert_eq!(percent(7.5), "750 %");
}
