//! A table in words, for `pipe kinds KIND`.

use std::fmt::Write as _;

use super::{BATCHES, CONFIGURATIONS, Holds, OPS, PROBES, REQUESTS, RUN_REQUESTS, TOKENS, Table};

/// What a port that holds this word carries, table by table; `None` where the word names no tables.
pub fn carries(word: &str) -> Option<String> {
    let tables: &[Table] = match word {
        "requests" => &[REQUESTS],
        "ops" => &[OPS],
        "run" => &[RUN_REQUESTS, TOKENS, BATCHES],
        "probes" => &[PROBES],
        "configurations" => &[CONFIGURATIONS],
        _ => return None,
    };
    let mut out: Vec<String> = tables.iter().map(describe).collect();
    if word == "run" {
        out.push("meta.json: what ran, on what, with which knobs\n".to_owned());
    }
    Some(out.join("\n"))
}

/// The table's name, format and columns, one a line: name, type, meaning.
pub fn describe(table: &Table) -> String {
    let width = table.columns.iter().map(|c| c.name.len()).max().unwrap_or(0);
    let mut out = format!("table {} (format {}), Parquet\n", table.name, table.format);
    for column in table.columns {
        let mut of = word(column.holds).to_owned();
        if column.nullable {
            of.push('?');
        }
        let _ = writeln!(out, "  {:width$}  {of:9}  {}", column.name, column.about);
    }
    out
}

fn word(holds: Holds) -> &'static str {
    match holds {
        Holds::U32 => "u32",
        Holds::U64 => "u64",
        Holds::I32 => "i32",
        Holds::F64 => "f64",
        Holds::Text => "text",
        Holds::U32List => "[u32]",
        Holds::U64List => "[u64]",
    }
}
