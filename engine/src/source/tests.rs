#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

/// A text with everything that moves columns and lines.
fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("([a-z =é\t]|\r\n|\n|漢){0,40}").unwrap()
}

proptest! {
    #[test]
    fn a_span_knows_its_file_its_line_and_its_column(texts in proptest::collection::vec(text(), 1..6)) {
        let mut sources = Sources::default();
        let starts: Vec<usize> =
            texts.iter().enumerate().map(|(at, text)| sources.add(format!("file {at}"), text)).collect();
        for (number, (text, start)) in texts.iter().zip(&starts).enumerate() {
            // Every place within the file, its end among them.
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let span = Span { start: start + at, end: start + at };
                let place = sources.place(span);
                let before = &text[..at];
                let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
                prop_assert_eq!(place.file, format!("file {number}"));
                prop_assert_eq!(place.line, 1 + before.matches('\n').count());
                prop_assert_eq!(place.column, 1 + before[line_start..].chars().count());
                prop_assert_eq!(sources.before(span).1, before);
                let contents = sources.read_span(&SourceSpan::from((span.start, 0)), 1, 1).unwrap();
                prop_assert_eq!(contents.name(), Some(place.file));
            }
            let whole = Span { start: *start, end: start + text.len() };
            prop_assert_eq!(sources.text(whole), text);
        }
    }
}

#[test]
fn a_span_over_two_files_cannot_be_shown() {
    let mut sources = Sources::default();
    let first = sources.add("a", "one\ntwo\n");
    let second = sources.add("b", "three\n");
    let over = SourceSpan::from((first + 4, second - first));
    assert!(matches!(sources.read_span(&over, 1, 1), Err(MietteError::OutOfBounds)));
}

#[test]
fn the_lines_around_a_span_come_from_its_file_alone() {
    let mut sources = Sources::default();
    sources.add("a", "one");
    let start = sources.add("b", "two");
    sources.add("c", "three");
    let shown = sources.read_span(&SourceSpan::from((start, 3)), 2, 2).unwrap();
    assert_eq!(std::str::from_utf8(shown.data()).unwrap(), "two");
    assert_eq!((shown.line(), shown.column()), (0, 0));
}
