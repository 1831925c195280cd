//! Changes to a table so that a parser gets past a fault that is noted already.

use toml::Value;

use super::phrase::Phrase;

/// What a value of unknown sort is tried as, in this order.
fn candidates() -> [Value; 6] {
    [
        Value::Integer(1),
        Value::String("x".to_owned()),
        Value::Float(1.0),
        Value::Boolean(false),
        Value::Array(Vec::new()),
        Value::Table(toml::Table::new()),
    ]
}

/// Changes by path, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Patches(Vec<Patch>);

#[derive(Debug)]
struct Patch {
    path: String,
    /// What to put there; nothing = take it out.
    put: Option<Value>,
    /// How many candidates were tried.
    tried: usize,
}

impl Patches {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a fault at `path` is about something that was put there or above.
    pub(super) fn concerns(&self, path: &str) -> bool {
        self.0.iter().any(|patch| is_at_or_below(path, &patch.path))
    }

    /// One more change, or the next candidate where the last one did not help; `false` when nothing is left to try.
    pub(super) fn add(&mut self, path: &str, phrase: &Phrase) -> bool {
        let Some(patch) = self.0.iter_mut().find(|patch| is_at_or_below(path, &patch.path)) else {
            let put = match phrase {
                Phrase::Unknown { .. } => None,
                Phrase::Variant { names, .. } => names.first().cloned().map(Value::String),
                _ => Some(Value::Integer(1)),
            };
            self.0.push(Patch { path: path.to_owned(), put, tried: 1 });
            return !path.is_empty();
        };
        // Somewhere below what was put: that is of no use, but the parser now says what it wants instead.
        if let (Phrase::Variant { names, .. }, true) = (phrase, patch.path == path && patch.tried < candidates().len())
        {
            patch.put = names.first().cloned().map(Value::String);
            patch.tried = candidates().len();
            return patch.put.is_some();
        }
        let next = candidates().into_iter().nth(patch.tried);
        patch.tried += 1;
        patch.put.is_some() && next.is_some_and(|next| patch.put.replace(next).is_some())
    }

    /// Makes the changes.
    pub(super) fn apply(&self, value: &mut Value) {
        self.0.iter().for_each(|patch| apply(value, &patch.path, patch.put.as_ref()));
    }
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Puts a value at a dotted path, or takes it out. A path that leads nowhere changes nothing, but for its last step.
fn apply(value: &mut Value, path: &str, put: Option<&Value>) {
    match value {
        Value::Table(table) => {
            let next = table.keys().filter(|name| is_at_or_below(path, name)).max_by_key(|name| name.len()).cloned();
            match (next, put) {
                (Some(name), None) if name == path => {
                    table.remove(&name);
                }
                (Some(name), Some(put)) if name == path => {
                    table.insert(name, put.clone());
                }
                (Some(name), _) => {
                    let rest = path[name.len()..].trim_start_matches('.');
                    apply(&mut table[&name], rest, put);
                }
                (None, Some(put)) if !path.contains(['.', '[']) => {
                    table.insert(path.to_owned(), put.clone());
                }
                (None, _) => {}
            }
        }
        Value::Array(list) => {
            let Some((index, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else { return };
            let Some(item) = index.parse().ok().and_then(|index: usize| list.get_mut(index)) else { return };
            match (rest.trim_start_matches('.'), put) {
                ("", Some(put)) => *item = put.clone(),
                // A list keeps its length, so that later places still hold.
                ("", None) => {}
                (rest, put) => apply(item, rest, put),
            }
        }
        _ => {}
    }
}
