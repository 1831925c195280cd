//! The `pipe` program: the engine's command line with the kinds of `stages`.

use std::process::ExitCode;

use engine::kind::Program;

static PROGRAM: Program = Program {
    kinds: stages::kinds::KINDS,
    meanings: &[stages::tables::meaning::TABLE, stages::model::card::MEANING],
    verbs: &[stages::export::VERB, stages::vidur::VERB],
    version: env!("CARGO_PKG_VERSION"),
    tiers: &[],
    carries: stages::kinds::carries,
};

fn main() -> ExitCode {
    engine::cli::main(&PROGRAM)
}
