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
    carries: |_| None,
};

fn obeyed(words: &str) -> u8 {
    obey(&PROGRAM, words.split(' ').map(OsString::from).collect())
}

#[test]
fn a_programs_own_verb_gets_all_words_behind_it_and_gives_the_exit_code() {
    assert_eq!(obeyed("pipe export --flat --help out"), 42);
    assert_eq!(obeyed("pipe export"), 1);
}

#[test]
fn what_cannot_be_understood_is_the_authors_mistake() {
    assert_eq!(obeyed("pipe rnu"), Exit::Author as u8);
    assert_eq!(obeyed("pipe run --jobs 0 x"), Exit::Author as u8);
    assert_eq!(obeyed("pipe gc --grace soon"), Exit::Author as u8);
}

#[test]
fn help_and_version_are_results() {
    assert_eq!(obeyed("pipe --version"), 0);
    assert_eq!(obeyed("pipe run --help"), 0);
}

#[test]
fn completions_know_the_programs_own_verbs() {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut command(&PROGRAM), "pipe", &mut script);
    assert!(String::from_utf8_lossy(&script).contains("export"));
}
