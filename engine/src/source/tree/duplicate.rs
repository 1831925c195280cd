//! A key that is given twice is the parser's error; here it becomes a mistake that shows both places, and a table that
//! is opened twice becomes one mistake and not one for each key in it.

use super::super::{Sources, Span};
use crate::error::Mistake;

/// The parser's words.
pub(super) const MESSAGE: &str = "duplicate key";

/// One mistake for each key or table given twice, in the file that starts at `shift`.
pub(super) fn mistakes(sources: &Sources, shift: usize, errors: &[toml::de::Error]) -> Vec<Mistake> {
    let mut out = Vec::new();
    let mut inside: Option<Span> = None;
    for error in errors.iter().filter(|error| error.message() == MESSAGE) {
        let Some(range) = error.span() else { continue };
        let span = Span { start: shift + range.start, end: shift + range.end };
        // What stands in a table that was opened twice is at odds with the first one only because of that.
        if inside.is_some_and(|table| span.start > table.start && !opens_table(sources, table.end, span)) {
            continue;
        }
        let header = header(sources, span);
        inside = header.is_some().then_some(span);
        out.push(mistake(sources, span, header));
    }
    out
}

fn mistake(sources: &Sources, span: Span, header: Option<Span>) -> Mistake {
    let key = sources.text(span).trim_matches(['"', '\'']);
    let first = match header {
        Some(header) => line_like(sources, header, |line| {
            line.trim().split('#').next().is_some_and(|line| line.trim_end() == sources.text(header))
        }),
        None => same_key(sources, span),
    };
    let stage = header.map(|header| sources.text(header)).is_some_and(|text| text.starts_with("[stage."));
    let (code, message, help) = match (stage, header) {
        (true, _) => ("duplicate-stage", format!("two stages are called `{key}`"), "give one of them another name"),
        (false, Some(_)) => ("duplicate-key", format!("the table `{key}` is opened twice"), "put both into one"),
        (false, None) => ("duplicate-key", format!("`{key}` is given twice"), "leave one of them out"),
    };
    let mistake = Mistake::new(code, message).at(span, "again here").help(help);
    match first {
        Some(first) => mistake.at(first, "first here"),
        None => mistake,
    }
}

/// The `[header]` that the span is in, if its line is one.
fn header(sources: &Sources, span: Span) -> Option<Span> {
    let (file, before) = sources.before(span);
    let start = file.start + before.rfind('\n').map_or(0, |at| at + 1);
    let line = sources.text(Span { start, end: span.end });
    let indent = line.len() - line.trim_start().len();
    line.trim_start().starts_with('[').then_some(Span { start: start + indent, end: span.end + 1 })
}

/// Whether a line between `from` and the span opens a table.
fn opens_table(sources: &Sources, from: usize, span: Span) -> bool {
    sources.text(Span { start: from, end: span.end }).lines().skip(1).any(|line| line.trim_start().starts_with('['))
}

/// The last place before the span, in the same table, where its key is given a value.
fn same_key(sources: &Sources, span: Span) -> Option<Span> {
    let (file, before) = sources.before(span);
    let key = sources.text(span);
    let table = before.rfind("\n[").unwrap_or(0);
    let gives = |at: &usize| {
        let starts = !before[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        starts && before[at + key.len()..].trim_start().starts_with(['=', '.'])
    };
    let at = before.match_indices(key).map(|(at, _)| at).filter(|at| *at >= table).filter(gives).last()?;
    Some(Span { start: file.start + at, end: file.start + at + key.len() })
}

/// The last line before the span, in the same file, that `like` accepts: the one that was there first.
fn line_like(sources: &Sources, span: Span, like: impl Fn(&str) -> bool) -> Option<Span> {
    let (file, before) = sources.before(span);
    let mut end = file.end - before.rsplit('\n').next().map_or(0, str::len);
    for line in before.split('\n').rev().skip(1) {
        end -= 1;
        let start = end - line.len();
        if like(line) {
            let indent = line.len() - line.trim_start().len();
            return Some(Span { start: start + indent, end: start + line.trim_end().len() });
        }
        end = start;
    }
    None
}
