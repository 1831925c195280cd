//! A stage's configuration after defaults, as it is kept in memory: printed, beside the walk over its leaves that
//! enters the stage's key. It becomes a value when somebody asks for a part of it, which is when the stage runs; so ten
//! thousand stages that are known cost no more than their text.
//!
//! It does not know kinds or keys. Invariants: the walk is that of the value; a configuration enters sorted by us, a value
//! a field, every field framed (lengths before bytes), so two different walks never give the same bytes.

use std::fmt;
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

/// A piece of bytes that several may share.
#[derive(Clone)]
pub(crate) struct Piece {
    whole: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Piece {
    pub(crate) fn of(bytes: Vec<u8>) -> Piece {
        Piece { start: 0, end: bytes.len(), whole: Arc::new(bytes) }
    }

    /// The bytes `start..end` of `whole`, which must have them.
    pub(crate) fn within(whole: &Arc<Vec<u8>>, start: usize, end: usize) -> Piece {
        debug_assert!(start <= end && end <= whole.len());
        Piece { whole: Arc::clone(whole), start, end }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.whole[self.start..self.end]
    }
}

/// A configuration after defaults. Reads as the value that it is.
#[derive(Clone)]
pub struct Config {
    /// As JSON, and the walk; none once the value was changed.
    kept: Option<(Piece, Piece)>,
    value: OnceLock<Value>,
}

impl Config {
    /// What was printed before as `json`, with the `walk` that belongs to it.
    pub(crate) fn kept(json: Piece, walk: Piece) -> Config {
        Config { kept: Some((json, walk)), value: OnceLock::new() }
    }

    /// The walk over its leaves, each `name length, name, value length, value`.
    pub fn walk(&self) -> std::borrow::Cow<'_, [u8]> {
        match &self.kept {
            Some((_, walk)) => walk.bytes().into(),
            None => walk(self).into(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> std::borrow::Cow<'_, [u8]> {
        match &self.kept {
            Some((json, _)) => json.bytes().into(),
            None => self.deref().to_string().into_bytes().into(),
        }
    }
}

impl From<Value> for Config {
    fn from(value: Value) -> Config {
        let kept = (Piece::of(value.to_string().into_bytes()), Piece::of(walk(&value)));
        Config { kept: Some(kept), value: OnceLock::new() }
    }
}

impl Deref for Config {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value.get_or_init(|| {
            let json = self.kept.as_ref().map_or(&b"null"[..], |(json, _)| json.bytes());
            // What was printed reads back; whoever forged it gets a stage that cannot be told anything.
            serde_json::from_slice(json).unwrap_or(Value::Null)
        })
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut Value {
        let _: &Value = self;
        self.kept = None;
        self.value.get_mut().expect("it was made just now")
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        **self == **other
    }
}

impl PartialEq<Value> for Config {
    fn eq(&self, other: &Value) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// Puts a frame at the end of a walk.
pub(crate) fn frame(walk: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        walk.extend_from_slice(&(part.len() as u64).to_le_bytes());
        walk.extend_from_slice(part);
    }
}

/// The fields of a walk; ends at what is none.
pub(crate) fn fields(walk: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut rest = walk;
    let mut part = move || -> Option<&[u8]> {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let (part, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(part)
    };
    std::iter::from_fn(move || Some((std::str::from_utf8(part()?).ok()?, part()?)))
}

fn walk(value: &Value) -> Vec<u8> {
    let mut frames = Vec::new();
    leaves(&mut "config".to_owned(), value, &mut frames);
    frames
}

/// A configuration, a leaf a field. `path` is the dotted name so far and is left as it was found.
fn leaves(path: &mut String, value: &Value, frames: &mut Vec<u8>) {
    let length = path.len();
    match value {
        Value::Object(table) if !table.is_empty() => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            for (name, value) in entries {
                path.push('.');
                segment(path, name);
                leaves(path, value, frames);
                path.truncate(length);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                let _ = write!(path, ".{at}");
                leaves(path, value, frames);
                path.truncate(length);
            }
            // Without the length, a list and a table with the names 0, 1, 2 would be one.
            let _ = write!(path, ".len");
            frame(frames, path.as_bytes(), format!("[{}]", list.len()).as_bytes());
            path.truncate(length);
        }
        Value::Number(number) => frame(frames, path.as_bytes(), canonical(number).as_bytes()),
        // Null, booleans, strings, the empty table and the empty list print in one way only.
        other => frame(frames, path.as_bytes(), other.to_string().as_bytes()),
    }
}

/// One step of a dotted name. What could be mistaken for another path is put in quotes.
fn segment(path: &mut String, name: &str) {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain {
        path.push_str(name);
    } else {
        path.push_str(&Value::from(name).to_string());
    }
}

/// A number by its value: every float of one value is written the same, with a point or an exponent, so that it is
/// never mistaken for an integer; both zeros are one.
fn canonical(number: &serde_json::Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    match number.as_f64() {
        Some(0.0) => "0.0".to_owned(),
        Some(float) => format!("{float:?}"),
        None => number.to_string(),
    }
}
