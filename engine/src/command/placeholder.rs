//! `{name}` and `{name.name}` in a program's words. Braces around anything else are left alone, and so is `${NAME}`,
//! so that shell, awk and JSON can be written as they are; `{{name}}` stands for `{name}` itself.

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    /// As it stands.
    Plain(&'a str),
    /// The name between braces.
    Name(&'a str),
}

/// The names of all placeholders in a text.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Plain(_) => None,
    })
}

/// The text with each placeholder replaced by what `fill` says of its name; one that it does not know stays.
pub(super) fn replace(text: &str, fill: &impl Fn(&str) -> Option<String>) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Plain(plain) => plain.to_owned(),
            Piece::Name(name) => fill(name).unwrap_or_else(|| format!("{{{name}}}")),
        })
        .collect()
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|found| at + found) {
        at = open + 1;
        let Some(name) = name(&text[at..]) else { continue };
        let close = at + name.len();
        if text[..open].ends_with('$') {
            at = close + 1;
        } else if text[..open].ends_with('{') && text[close + 1..].starts_with('}') {
            // Of `{{name}}` the inner braces stay.
            pieces.push(Piece::Plain(&text[plain..open - 1]));
            pieces.push(Piece::Plain(&text[open..=close]));
            (plain, at) = (close + 2, close + 2);
        } else {
            pieces.push(Piece::Plain(&text[plain..open]));
            pieces.push(Piece::Name(name));
            (plain, at) = (close + 1, close + 1);
        }
    }
    pieces.push(Piece::Plain(&text[plain..]));
    pieces.retain(|piece| *piece != Piece::Plain(""));
    pieces
}

/// The name at the beginning, if a closing brace follows it: a word, or two words with a dot between.
fn name(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match name.split_once('.') {
        None => word(name),
        Some((left, right)) => word(left) && super::settings::is_port_name(right),
    }
    .then_some(name)
}
