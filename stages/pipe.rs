//! The `pipe` program: the engine's command line with the kinds of `stages`.

use std::fmt::Write as _;
use std::process::ExitCode;

use engine::kind::Program;
use stages::tables::{BATCHES, OPS, REQUESTS, RUN_REQUESTS, TOKENS, Table};

static PROGRAM: Program = Program {
    kinds: stages::kinds::KINDS,
    meanings: &[],
    verbs: &[stages::export::VERB],
    version: env!("CARGO_PKG_VERSION"),
    carries,
};

fn main() -> ExitCode {
    engine::cli::main(&PROGRAM)
}

/// The tables that a port carries which holds `word`.
fn carries(word: &str) -> Option<String> {
    let tables: &[Table] = match word {
        "requests" => &[REQUESTS],
        "ops" => &[OPS],
        "run" => &[RUN_REQUESTS, TOKENS, BATCHES],
        _ => return None,
    };
    let mut out = String::new();
    for table in tables {
        let width = table.columns.iter().map(|c| c.name.len()).max().unwrap_or(0);
        let _ = writeln!(out, "{}.parquet (format {})", table.name, table.format);
        for column in table.columns {
            let holds = format!("{:?}{}", column.holds, if column.nullable { "?" } else { "" });
            let _ = writeln!(out, "  {:width$}  {holds:8}  {}", column.name, column.about);
        }
    }
    Some(out)
}
