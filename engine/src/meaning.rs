//! Digests of what a file means, blind to how it is written. A port that declares one of these is keyed by it, so a
//! reordered or reformatted file stops the wave.
//!
//! | name | blind to | counts |
//! |---|---|---|
//! | `json/1` | order of keys, spaces, how a number is written | order of lists, every value |
//! | `toml/1` | the same, comments, kinds of quotes, where tables are opened | the same |
//! | `csv/1` | quotes, ends of lines, how a number is written | order of rows and of columns, spaces in fields |
//!
//! Numbers are equal where their values are: `1`, `1.0` and `1e0`. A text that only looks like a number (`007`, `+1`,
//! `1.`) is a text. A number with a point or an exponent is taken to the nearest double.
//! This module does not know ports or keys. Invariant: a change of what counts needs a new number after the slash.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::kind::Meaning;

mod csv;
#[cfg(test)]
mod tests;

/// JSON: one value.
pub const JSON: Meaning = Meaning { name: "json/1", digest: json };
/// TOML: one document.
pub const TOML: Meaning = Meaning { name: "toml/1", digest: toml };
/// Comma-separated values (RFC 4180).
pub const CSV: Meaning = Meaning { name: "csv/1", digest: csv_digest };

/// The meaning that an author calls `word`, with its version or without: the engine's own, or one of `more`.
pub fn find(word: &str, more: &[Meaning]) -> Option<Meaning> {
    let is = |meaning: &Meaning| meaning.name == word || meaning.name.split('/').next() == Some(word);
    [JSON, TOML, CSV].into_iter().chain(more.iter().copied()).find(is)
}

/// A walk over canonical content: each value is a tag, and a length where it has one, before its bytes.
struct Canon(blake3::Hasher);

impl Canon {
    fn new(context: &str) -> Canon {
        Canon(blake3::Hasher::new_derive_key(context))
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update(&[tag]);
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        self.tagged(b's', text);
    }

    fn counted(&mut self, tag: u8, length: usize) {
        self.0.update(&[tag]);
        self.0.update(&(length as u64).to_le_bytes());
    }

    fn atom(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn integer(&mut self, number: i128) {
        self.tagged(b'n', number.to_string().as_bytes());
    }

    fn float(&mut self, number: f64) {
        // Up to here every whole double is an i128.
        const EXACT: f64 = 1e38;
        if number.fract() == 0.0 && number.abs() < EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within i128")]
            return self.integer(number as i128);
        }
        self.tagged(b'n', format!("{number:?}").as_bytes());
    }

    fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

fn json(path: &Path) -> Result<[u8; 32], String> {
    let file = File::open(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    let value: serde_json::Value = serde_json::from_reader(BufReader::new(file))
        .map_err(|e| format!("cannot read `{}` as JSON: {e}", path.display()))?;
    let mut canon = Canon::new("pipe 2026 meaning json/1");
    json_value(&value, &mut canon);
    Ok(canon.finish())
}

fn json_value(value: &serde_json::Value, canon: &mut Canon) {
    use serde_json::Value;
    match value {
        Value::Null => canon.atom(b'0'),
        Value::Bool(truth) => canon.atom(if *truth { b't' } else { b'f' }),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => canon.integer(whole.into()),
            (None, Some(whole), _) => canon.integer(whole.into()),
            (None, None, Some(float)) => canon.float(float),
            (None, None, None) => canon.tagged(b'n', number.to_string().as_bytes()),
        },
        Value::String(text) => canon.text(text.as_bytes()),
        Value::Array(list) => {
            canon.counted(b'l', list.len());
            list.iter().for_each(|item| json_value(item, canon));
        }
        Value::Object(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            canon.counted(b'm', entries.len());
            for (name, value) in entries {
                canon.text(name.as_bytes());
                json_value(value, canon);
            }
        }
    }
}

fn toml(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        format!("cannot read `{}` as TOML, line {line}: {}", path.display(), e.message())
    })?;
    let mut canon = Canon::new("pipe 2026 meaning toml/1");
    toml_value(&toml::Value::Table(table), &mut canon);
    Ok(canon.finish())
}

fn toml_value(value: &toml::Value, canon: &mut Canon) {
    use toml::Value;
    match value {
        Value::String(text) => canon.text(text.as_bytes()),
        Value::Integer(number) => canon.integer((*number).into()),
        Value::Float(number) => canon.float(*number),
        Value::Boolean(truth) => canon.atom(if *truth { b't' } else { b'f' }),
        Value::Datetime(time) => canon.tagged(b'd', time.to_string().as_bytes()),
        Value::Array(list) => {
            canon.counted(b'l', list.len());
            list.iter().for_each(|item| toml_value(item, canon));
        }
        Value::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            canon.counted(b'm', entries.len());
            for (name, value) in entries {
                canon.text(name.as_bytes());
                toml_value(value, canon);
            }
        }
    }
}

fn csv_digest(path: &Path) -> Result<[u8; 32], String> {
    let file = File::open(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    let mut canon = Canon::new("pipe 2026 meaning csv/1");
    csv::rows(BufReader::with_capacity(1 << 16, file), |fields| {
        canon.counted(b'r', fields.len());
        fields.iter().for_each(|field| csv_field(field, &mut canon));
    })
    .map_err(|trouble| format!("cannot read `{}` as CSV, {trouble}", path.display()))?;
    Ok(canon.finish())
}

fn csv_field(field: &[u8], canon: &mut Canon) {
    let number = std::str::from_utf8(field).ok().filter(|text| csv::is_number(text));
    match number {
        Some(text) if !text.contains(['.', 'e', 'E']) => match text.parse::<i128>() {
            Ok(whole) => canon.integer(whole),
            // More digits than any count has: an identifier, which counts as it stands.
            Err(_) => canon.text(field),
        },
        Some(text) => match text.parse::<f64>() {
            Ok(float) if float.is_finite() => canon.float(float),
            _ => canon.text(field),
        },
        None => canon.text(field),
    }
}
