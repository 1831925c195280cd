//! TOML with places: each key and each value remembers its span. Tables can be laid over one another, and a dotted path
//! can be followed back to where it was written.
//!
//! It does not know what keys mean. Invariants: a table's entries are sorted by name; a number is finite.

use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::{Sources, Span};
use crate::error::Mistake;

mod duplicate;
mod path;
#[cfg(test)]
mod tests;

pub use path::{Found, segment};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value itself; for a table with a header, its header.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What TOML can say.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date, a time, or both.
    Datetime(Datetime),
    /// A list.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table; entries sorted by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// Where the key stands.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What sort of value it is, in words.
    pub fn sort(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// As the parser's own type, without places.
    pub fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::String(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Boolean(truth) => toml::Value::Boolean(*truth),
            Value::Datetime(time) => toml::Value::Datetime(*time),
            Value::Array(list) => toml::Value::Array(list.iter().map(Node::to_toml).collect()),
            Value::Table(table) => table.to_toml(),
        }
    }
}

impl Table {
    /// The entry under a name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.position(name).ok().map(|at| &self.entries[at])
    }

    /// Takes the entry under a name out.
    pub fn take(&mut self, name: &str) -> Option<Entry> {
        self.position(name).ok().map(|at| self.entries.remove(at))
    }

    /// Entries by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Entries in the order in which they were written.
    pub fn into_written_order(mut self) -> Vec<Entry> {
        self.entries.sort_by_key(|entry| entry.key.start);
        self.entries
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lays another table over this one: its values win; two tables under one name are laid over each other.
    pub fn overlay(&mut self, over: &Table) {
        for theirs in &over.entries {
            match self.position(&theirs.name) {
                Err(at) => self.entries.insert(at, theirs.clone()),
                Ok(at) => {
                    let mine = &mut self.entries[at];
                    match (&mut mine.node.value, &theirs.node.value) {
                        (Value::Table(mine), Value::Table(theirs)) => mine.overlay(theirs),
                        _ => *mine = theirs.clone(),
                    }
                }
            }
        }
    }

    /// Lays one value over this table, at the end of a path of keys, each with its place.
    pub fn set(&mut self, path: &[(String, Span)], node: Node) {
        let Some(((name, key), rest)) = path.split_first() else { return };
        let node = match rest {
            [] => node,
            _ => {
                let mut inner = Table::default();
                inner.set(rest, node);
                Node { span: *key, value: Value::Table(inner) }
            }
        };
        self.overlay(&Table { entries: vec![Entry { name: name.clone(), key: *key, node }] });
    }

    /// As the parser's own type, without places.
    pub fn to_toml(&self) -> toml::Value {
        let entries = self.entries.iter().map(|entry| (entry.name.clone(), entry.node.to_toml()));
        toml::Value::Table(entries.collect())
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name))
    }
}

/// How much of a text could be read.
#[derive(Debug)]
pub enum Parsed {
    /// All of it, or all but keys that are given twice.
    Whole(Table),
    /// It is not TOML.
    Broken,
}

/// Parses a file's text, which is added to `sources` under `name`. Every syntax error becomes a mistake.
pub fn parse(sources: &mut Sources, name: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Parsed {
    let shift = sources.add(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let twice = duplicate::mistakes(sources, shift, &errors);
    let broken = errors.iter().any(|error| error.message() != duplicate::MESSAGE);
    for error in errors.iter().filter(|error| error.message() != duplicate::MESSAGE) {
        let span = error.span().unwrap_or(0..0);
        let at = Span { start: shift + span.start.min(text.len()), end: shift + span.end.min(text.len()) };
        mistakes.push(Mistake::new("syntax", format!("this is not TOML: {}", lower(error.message()))).at(at, "here"));
    }
    mistakes.extend(twice);
    if broken {
        return Parsed::Broken;
    }
    let mut reader = Reader { shift, mistakes };
    Parsed::Whole(reader.table(document.into_inner()))
}

/// Parses one value at `shift` in the whole text, as on a command line; `None` if it is not TOML.
pub fn parse_value(text: &str, shift: usize, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let span = value.span();
    let mut reader = Reader { shift, mistakes };
    Some(reader.node(span, value.into_inner()))
}

/// Parses a dotted key at `shift` in the whole text, as on a command line; `None` if it is not one.
pub fn parse_key(text: &str, shift: usize) -> Option<Vec<(String, Span)>> {
    let document = format!("{text}=0");
    let mut table = DeTable::parse(&document).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let mut entries = table.into_iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else { return None };
        let span = Span { start: shift + key.span().start, end: shift + key.span().end };
        path.push((key.into_inner().into_owned(), span));
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

fn lower(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

struct Reader<'a> {
    shift: usize,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span { start: self.shift + range.start, end: self.shift + range.end }
    }

    fn table(&mut self, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().map(|(key, value)| {
            let span = value.span();
            let node = self.node(span, value.into_inner());
            Entry { key: self.span(key.span()), name: key.into_inner().into_owned(), node }
        });
        // The parser's map hands its entries out by name.
        Table { entries: entries.collect() }
    }

    fn node(&mut self, range: std::ops::Range<usize>, value: DeValue<'_>) -> Node {
        let span = self.span(range);
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    let message = format!("`{digits}` is beyond what a whole number can hold");
                    let help = format!("whole numbers go from {} to {}", i64::MIN, i64::MAX);
                    self.mistakes.push(Mistake::new("bad-value", message).at(span, "").help(help));
                    Value::Integer(0)
                }
            },
            DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => {
                    let message = format!("`{digits}` is not a finite number");
                    let help = "a result is kept under the values that made it, and these can only be finite numbers";
                    self.mistakes.push(Mistake::new("bad-value", message).at(span, "").help(help));
                    Value::Float(0.0)
                }
            },
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(time) => Value::Datetime(time),
            DeValue::Array(list) => Value::Array(
                list.into_iter()
                    .map(|item| {
                        let span = item.span();
                        self.node(span, item.into_inner())
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { span, value }
    }
}
