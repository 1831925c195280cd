#![expect(clippy::unwrap_used, reason = "a test")]

use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn times_are_a_number_and_a_unit() {
    assert_eq!(time("90m").unwrap().as_secs(), 5400);
    assert_eq!(time("7d").unwrap().as_secs(), 604_800);
    assert_eq!(time("0s").unwrap().as_secs(), 0);
    for wrong in ["", "90", "m", "1.5h", "-1h", "3 h", "99999999999999999999d", "18446744073709551615d"] {
        assert!(time(wrong).is_err(), "{wrong}");
    }
}
