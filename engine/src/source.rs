//! All text that an author wrote and that one load reads, laid end to end, so that a [`Span`] alone knows its file.
//!
//! It does not know what the text means. [`tree`] is the text as TOML, with a span on each key and value; [`nearest`]
//! guesses which word was meant.
//!
//! Invariants: a span lies within one file; a file's text is UTF-8 without a byte-order mark (one at its very start is
//! accepted and dropped); files are one byte apart, so that the end of one is not the start of the next.

use std::fmt;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

pub mod nearest;
pub mod tree;

#[cfg(test)]
mod tests;

/// A stretch of [`Sources`], in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// File, line and column of a span's first character, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// As it is shown to people.
    pub file: &'a str,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Texts laid end to end.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    text: String,
    files: Vec<File>,
}

#[derive(Debug, Clone)]
struct File {
    name: String,
    /// Where it starts in the whole.
    start: usize,
    /// One past its last byte.
    end: usize,
    /// Where each of its lines starts in the whole.
    lines: Vec<usize>,
}

impl Sources {
    /// Adds a file under the name that people will see; gives the offset of its first byte, which is to be added to
    /// every span within it.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> usize {
        let start = self.text.len();
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| start + at + 1);
        let lines = std::iter::once(start).chain(breaks).collect();
        self.text.reserve(text.len() + 1);
        self.text.push_str(text);
        self.text.push('\n');
        self.files.push(File { name: name.into(), start, end: start + text.len(), lines });
        start
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Where a span starts; `None` of the files for a span that is not ours.
    pub fn place(&self, span: Span) -> Place<'_> {
        let Some(file) = self.file(span) else { return Place { file: "?", line: 1, column: 1 } };
        let line = file.lines.partition_point(|start| *start <= span.start);
        let start = file.lines[line - 1];
        let column = self.text.get(start..span.start).map_or(0, |before| before.chars().count()) + 1;
        Place { file: &file.name, line, column }
    }

    /// The whole text of the file that a span is in, up to the span.
    pub fn before(&self, span: Span) -> (Span, &str) {
        let start = self.file(span).map_or(span.start, |file| file.start);
        let all = Span { start, end: span.start };
        (all, self.text(all))
    }

    fn file(&self, span: Span) -> Option<&File> {
        let at = self.files.partition_point(|file| file.start <= span.start);
        self.files[..at].last().filter(|file| span.start <= file.end)
    }
}

impl SourceCode for Sources {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = Span { start: span.offset(), end: span.offset() + span.len() };
        let file = self.file(span).filter(|file| span.end <= file.end).ok_or(MietteError::OutOfBounds)?;
        let text = &self.text[file.start..file.end];
        let within = SourceSpan::from((span.start - file.start, span.end - span.start));
        let found = text.read_span(&within, lines_before, lines_after)?;
        let whole = SourceSpan::from((found.span().offset() + file.start, found.span().len()));
        Ok(Box::new(MietteSpanContents::new_named(
            file.name.clone(),
            found.data(),
            whole,
            found.line(),
            found.column(),
            found.line_count(),
        )))
    }
}
