//! A reader of comma-separated values as RFC 4180 has them: quotes double inside quotes, lines end with LF or CRLF, and
//! a byte-order mark at the start is dropped. It holds one row at a time.

use std::io::BufRead;

/// Where the reader is within a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// At the start of a field.
    Start,
    /// In a field without quotes.
    Bare,
    /// Between quotes.
    Quoted,
    /// Behind a quote within quotes: it ends the field, or is the first of two.
    Ending,
}

/// Calls `each` with the fields of every row. A row may span lines where a quoted field does.
///
/// # Errors
/// In words with the line, when the file cannot be read, a quote is never closed, or something follows a closed one.
pub(super) fn rows(mut from: impl BufRead, mut each: impl FnMut(&[Vec<u8>])) -> Result<(), String> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut field = Vec::new();
    let mut state = In::Start;
    let (mut line, mut opened) = (Vec::new(), 0);
    for number in 1.. {
        line.clear();
        let read = from.read_until(b'\n', &mut line).map_err(|e| format!("line {number}: {e}"))?;
        if read == 0 {
            break;
        }
        if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        let end = match line.as_slice() {
            [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] => rest.len(),
            all => all.len(),
        };
        for byte in &line[..end] {
            state = match (state, byte) {
                (In::Start, b'"') => {
                    opened = number;
                    In::Quoted
                }
                (In::Quoted, b'"') => In::Ending,
                (In::Ending, b'"') => {
                    field.push(b'"');
                    In::Quoted
                }
                (In::Start | In::Bare | In::Ending, b',') => {
                    fields.push(std::mem::take(&mut field));
                    In::Start
                }
                (In::Ending, _) => return Err(format!("line {number}: something follows a closed quote")),
                (In::Quoted, _) => {
                    field.push(*byte);
                    In::Quoted
                }
                (In::Start | In::Bare, _) => {
                    field.push(*byte);
                    In::Bare
                }
            };
        }
        if state == In::Quoted {
            field.extend_from_slice(&line[end..]);
            continue;
        }
        fields.push(std::mem::take(&mut field));
        each(&fields);
        fields.clear();
        state = In::Start;
    }
    match state {
        In::Quoted => Err(format!("line {opened}: a quote is never closed")),
        _ => Ok(()),
    }
}

/// Whether a text is a number as JSON writes it: `-0.5e3`, but not `007`, `+1`, `.5` or `1.`.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.starts_with('0')) {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let after = after.strip_prefix(['+', '-']).unwrap_or(after);
        let exponent = digits(after);
        return exponent > 0 && exponent == after.len();
    }
    rest.is_empty()
}
