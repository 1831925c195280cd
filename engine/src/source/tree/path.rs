//! Dotted paths: from a name like `batch.sizes[2]` back to the place where it was written, and from each value to its
//! name.

use super::{Node, Span, Table, Value};

/// What was found of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The key that leads to it, if a key does.
    pub key: Option<Span>,
    /// The value.
    pub value: Span,
}

impl Table {
    /// Follows a dotted path (`batch.sizes[2]`); the second is whether it could be followed to its end, else the
    /// deepest value on the way is given. A key that holds a dot itself is found too. `None` if not even the first
    /// step is there.
    pub fn locate(&self, path: &str) -> Option<(Found, bool)> {
        let mut found = None;
        let mut rest = path;
        let mut table = self;
        loop {
            let Some(entry) = table.iter().filter(|e| leads(rest, &e.name)).max_by_key(|e| e.name.len()) else {
                return found.map(|found| (found, false));
            };
            found = Some(Found { key: Some(entry.key), value: entry.node.span });
            rest = &rest[entry.name.len()..];
            let mut node = &entry.node;
            while let Some((index, after)) = index(rest) {
                let Value::Array(list) = &node.value else { return found.map(|found| (found, false)) };
                let Some(item) = list.get(index) else { return found.map(|found| (found, false)) };
                found = Some(Found { key: None, value: item.span });
                (node, rest) = (item, after);
            }
            if rest.is_empty() {
                return found.map(|found| (found, true));
            }
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let Value::Table(inner) = &node.value else { return found.map(|found| (found, false)) };
            table = inner;
        }
    }

    /// Every value that is not a table (and every empty table) with its dotted path; a list is one value.
    pub fn leaves(&self, each: &mut impl FnMut(&str, &Node)) {
        self.leaves_below(&mut String::new(), each);
    }

    fn leaves_below(&self, path: &mut String, each: &mut impl FnMut(&str, &Node)) {
        for entry in self.iter() {
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(&segment(&entry.name));
            match &entry.node.value {
                Value::Table(table) if !table.is_empty() => table.leaves_below(path, each),
                _ => each(path, &entry.node),
            }
            path.truncate(length);
        }
    }
}

/// One step of a dotted path; what TOML would not take as a bare key is put in quotes.
pub fn segment(name: &str) -> std::borrow::Cow<'_, str> {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match bare {
        true => name.into(),
        false => format!("{name:?}").into(),
    }
}

/// Whether the path begins with this key, whole.
fn leads(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `[2]` at the beginning, and what is behind it.
fn index(path: &str) -> Option<(usize, &str)> {
    let (digits, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, rest))
}
