//! Text that is safe inside HTML and SVG, and numbers as people read them.

/// The text with everything escaped that could end an element or an attribute. Control characters that XML forbids
/// become a replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escaped, with what stands between two backticks set as code.
pub(crate) fn prose(text: &str) -> String {
    let pieces: Vec<&str> = text.split('`').collect();
    let mut out = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        let closed = at + 1 < pieces.len();
        match at % 2 {
            1 if closed => out.push_str(&format!("<code>{}</code>", escape(piece))),
            1 => out.push_str(&format!("`{}", escape(piece))),
            _ => out.push_str(&escape(&bound(piece))),
        }
    }
    out
}

/// The text with a no-break space between a number and its unit.
fn bound(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(' ') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let number = before.ends_with(|c: char| c.is_ascii_digit());
        let word = after.split(|c: char| !c.is_alphanumeric() && c != '%').next().unwrap_or("");
        out.push_str(before);
        out.push(if number && ["ns", "µs", "ms", "s", "%"].contains(&word) { '\u{a0}' } else { ' ' });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The same with its first letter in upper case, as a sentence begins.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A number for an axis or a table: no digits that say nothing.
pub(crate) fn plain(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// With thin spaces between thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A unit of time that suits values up to a size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    /// Nanoseconds in it.
    pub(crate) ns: f64,
    /// Its sign.
    pub(crate) name: &'static str,
}

impl Unit {
    /// The largest unit of which `ns` is at least two.
    pub(crate) fn of(ns: f64) -> Unit {
        let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
        units
            .into_iter()
            .find(|(size, _)| ns >= 2.0 * size)
            .map_or(Unit { ns: 1.0, name: "ns" }, |(ns, name)| Unit { ns, name })
    }
}

#[cfg(test)]
mod tests;
