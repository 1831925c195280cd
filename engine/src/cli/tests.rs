use super::*;
use crate::kind::Verb as OwnVerb;

static PROGRAM: Program = Program {
    kinds: &[],
    meanings: &[],
    verbs: &[OwnVerb {
        name: "export",
        about: "writes things elsewhere",
        run: |words| if words == ["--flat", "--help", "out"] { 42 } else { 1 },
    }],
    version: "1.2.3",
    tiers: &[],
    carries: |_| None,
};

fn obeyed(words: &str) -> ExitCode {
    obey(&PROGRAM, words.split(' ').map(OsString::from).collect())
}

#[test]
fn a_programs_own_verb_gets_all_words_behind_it_and_gives_the_exit_code() {
    assert_eq!(obeyed("pipe export --flat --help out"), ExitCode::from(42));
    assert_eq!(obeyed("pipe export"), ExitCode::from(1));
}

#[test]
fn what_cannot_be_understood_is_the_authors_mistake() {
    assert_eq!(obeyed("pipe rnu"), ExitCode::from(2));
    assert_eq!(obeyed("pipe run --jobs 0 x"), ExitCode::from(2));
    assert_eq!(obeyed("pipe gc --grace soon"), ExitCode::from(2));
}

#[test]
fn help_and_version_are_results() {
    assert_eq!(obeyed("pipe --version"), ExitCode::SUCCESS);
    assert_eq!(obeyed("pipe run --help"), ExitCode::SUCCESS);
}

#[test]
fn completions_know_the_programs_own_verbs() {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut command(&PROGRAM), "pipe", &mut script);
    assert!(String::from_utf8_lossy(&script).contains("export"));
}
