//! The command line as a person types it: Markdown cases, each with the project it starts from (`.in`) and what must lie
//! there afterwards (`.out`).

#[test]
fn commands_print_and_leave_what_is_written_in_the_cases() {
    trycmd::TestCases::new().env("NO_COLOR", "1").env("TERM", "dumb").case("tests/cli/*.md");
}
