//! What one load has read so far, and what was wrong with it.

use std::path::{Path, PathBuf};

use super::kept::Looked;
use crate::digest::Digest;
use crate::error::Mistake;
use crate::source::tree::{self, Entry, Node, Parsed, Table, Value};
use crate::source::{Sources, Span};

/// Texts and mistakes of one load.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) sources: Sources,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) root: PathBuf,
    /// Every text that was read, and every name at which nothing was found and something would have counted.
    pub(super) looked: Vec<Looked>,
}

impl Reading {
    pub(super) fn new(root: PathBuf) -> Reading {
        Reading { sources: Sources::default(), mistakes: Vec::new(), root, looked: Vec::new() }
    }

    pub(super) fn note(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// A path as people see it: from the root, if it lies below it.
    pub(super) fn shown(&self, path: &Path) -> String {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        absolute.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Reads a TOML file. What keeps it from being read is noted, at the place that names the file, if one does.
    pub(super) fn file(&mut self, path: &Path, named_at: Option<Span>) -> Option<Table> {
        let shown = self.shown(path);
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read `{shown}`: {}", reason(&error));
                let mistake = Mistake::new("unreadable-file", message);
                self.note(match named_at {
                    Some(span) => mistake.at(span, "named here"),
                    None => mistake,
                });
                return None;
            }
        };
        self.looked.push((path.to_owned(), Some(Digest::of(&bytes))));
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                // Shown as far as it can be: the first bad byte becomes U+FFFD, three bytes long.
                let shift = self.sources.add(shown.as_str(), &String::from_utf8_lossy(bytes));
                let start = shift + error.valid_up_to();
                let byte = bytes[error.valid_up_to()];
                let message = format!("`{shown}` is not UTF-8: byte 0x{byte:02X} cannot stand here");
                let help = "save it as UTF-8";
                let span = Span { start, end: start + '\u{fffd}'.len_utf8() };
                self.note(Mistake::new("not-utf8", message).at(span, "").help(help));
                return None;
            }
        };
        match tree::parse(&mut self.sources, &shown, text, &mut self.mistakes) {
            Parsed::Whole(table) => Some(table),
            Parsed::Broken => None,
        }
    }

    /// Notes that a value is of the wrong sort.
    pub(super) fn wrong_sort(&mut self, name: &str, node: &Node, wanted: &str) {
        let message = format!("`{name}` takes {wanted}, not {}", node.sort());
        self.note(Mistake::new("wrong-type", message).at(node.span, ""));
    }

    /// The text of an entry, or a note that it is none.
    pub(super) fn string(&mut self, entry: &Entry) -> Option<String> {
        match &entry.node.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong_sort(&entry.name, &entry.node, "a string");
                None
            }
        }
    }

    /// The table of an entry, or a note that it is none.
    pub(super) fn table(&mut self, entry: Entry) -> Option<Table> {
        match entry.node.value {
            Value::Table(table) => Some(table),
            _ => {
                self.wrong_sort(&entry.name, &entry.node, "a table");
                None
            }
        }
    }

    /// The texts of an entry that holds one or a list of them; the second says whether it is a list.
    pub(super) fn strings(&mut self, entry: &Entry) -> (Vec<(String, Span)>, bool) {
        match &entry.node.value {
            Value::String(text) => (vec![(text.clone(), entry.node.span)], false),
            Value::Array(list) => {
                let mut texts = Vec::with_capacity(list.len());
                for item in list {
                    match item.as_str() {
                        Some(text) => texts.push((text.to_owned(), item.span)),
                        None => self.wrong_sort(&entry.name, item, "a list of strings"),
                    }
                }
                (texts, true)
            }
            _ => {
                self.wrong_sort(&entry.name, &entry.node, "a string or a list of strings");
                (Vec::new(), false)
            }
        }
    }
}

/// Why a file could not be read, in few words.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
