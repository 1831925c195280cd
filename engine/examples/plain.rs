//! The least program that this engine makes: no kinds of its own, so every stage is a `command`.

use std::process::ExitCode;

use engine::kind::Program;

static PROGRAM: Program = Program {
    kinds: &[],
    meanings: &[],
    verbs: &[],
    tiers: &[],
    version: env!("CARGO_PKG_VERSION"),
    carries: |_| None,
};

fn main() -> ExitCode {
    engine::cli::main(&PROGRAM)
}
