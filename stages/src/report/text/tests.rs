use super::*;

#[test]
fn nothing_from_outside_ends_an_element() {
    assert_eq!(escape("<a href=\"x\">'&</a>\u{1}"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&lt;/a&gt;\u{fffd}");
    assert_eq!(prose("`<b>` and `open"), "<code>&lt;b&gt;</code> and `open");
    assert_eq!(prose("no code"), "no code");
    assert_eq!(prose("5.2 ms of 3 sorts, 4 %."), "5.2\u{a0}ms of 3 sorts, 4\u{a0}%.");
}

#[test]
fn numbers_carry_no_digits_that_say_nothing() {
    let cases =
        [(0.0, "0"), (0.25, "0.25"), (1.5, "1.5"), (12.0, "12"), (12.34, "12.3"), (1234.5, "1234"), (-0.05, "-0.05")];
    for (value, text) in cases {
        assert_eq!(plain(value), text);
    }
    assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    assert_eq!(grouped(12), "12");
}

#[test]
fn a_unit_is_the_largest_of_which_there_are_two() {
    assert_eq!(Unit::of(3e9).name, "s");
    assert_eq!(Unit::of(1.5e9).name, "ms");
    assert_eq!(Unit::of(900.0).name, "ns");
}
