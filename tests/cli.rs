//! The command line as a person types it: Markdown cases, each with the project it starts from (`.in`) and what must lie
//! there afterwards (`.out`).

#[test]
fn commands_print_and_leave_what_is_written_in_the_cases() {
    trycmd::TestCases::new()
        .register_bin("sh", std::path::Path::new("/bin/sh"))
        .env("NO_COLOR", "1")
        .env("PIPE_NVML", "no-such-library")
        .case("tests/cli/*.md");
}
