//! Why a stage ran: readers of the text that the key's walk writes beside the hash.
//!
//! The text of a key has a line for each ingredient: its name, a tab, its value (tabs, line ends and backslashes
//! escaped). This module compares two such texts and says the difference in words. It does not know stores, runs or
//! files, and it never makes a key.
//!
//! Invariant: it reads what the hasher read, so it cannot name a cause that is none. Two texts without a
//! difference have equal keys.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// An ingredient that is not the same in two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The ingredient's name as the key's walk gives it: `config.scheduler.max_batch`, `input.ops.0`.
    pub name: String,
    /// Its value in the older key; `None` where the older key lacks it.
    pub old: Option<String>,
    /// Its value in the newer key; `None` where the newer key lacks it.
    pub new: Option<String>,
}

/// What an ingredient is about; the order is the order in which differences are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What sort of stage it is.
    Kind,
    /// A setting.
    Config,
    /// What a port was fed.
    Input,
    /// A program that the stage calls.
    Tool,
    /// The code of the kind.
    Code,
    /// A fact of the world.
    Oracle,
    /// Anything else: the format of keys, the store's salt, the number of a sample.
    Other,
}

impl Difference {
    /// What it is about.
    pub fn topic(&self) -> Topic {
        match self.name.split('.').next().unwrap_or_default() {
            "kind" => Topic::Kind,
            "config" => Topic::Config,
            "input" => Topic::Input,
            "tool" | "probe" => Topic::Tool,
            "code" => Topic::Code,
            "oracle" => Topic::Oracle,
            _ => Topic::Other,
        }
    }

    /// One line that says it. `producer` names what feeds an input port (`port`, index) where that is known.
    pub fn say(&self, producer: &dyn Fn(&str, usize) -> Option<String>) -> String {
        let rest = self.name.split_once('.').map_or("", |(_, rest)| rest);
        match self.topic() {
            Topic::Kind => format!("kind {}", self.change()),
            Topic::Config => format!("config {rest}: {}", self.change()),
            Topic::Input => self.say_input(rest, producer),
            Topic::Tool => format!("tool {rest}: {}", self.change()),
            Topic::Code if rest == "version" => format!("version of the kind's code {}", self.change()),
            Topic::Code => {
                let module = rest.strip_prefix("module.").unwrap_or(rest);
                match (&self.old, &self.new) {
                    (None, _) => format!("code: `{module}` came in"),
                    (_, None) => format!("code: `{module}` went out"),
                    _ => format!("code of `{module}` changed"),
                }
            }
            Topic::Oracle => format!("{rest}: {}", self.change()),
            Topic::Other => format!("{}: {}", self.name, self.change()),
        }
    }

    fn say_input(&self, rest: &str, producer: &dyn Fn(&str, usize) -> Option<String>) -> String {
        let mut parts = rest.splitn(3, '.');
        let port = parts.next().unwrap_or_default();
        let index = parts.next().and_then(|i| i.parse().ok()).unwrap_or(0);
        let source = producer(port, index).map(|label| format!(" (`{label}`)")).unwrap_or_default();
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                format!("input {port}{source} changed: {} → {}", digest(old), digest(new))
            }
            (None, _) => format!("input {port}{source} is new"),
            (_, None) => format!("input {port} has one source less"),
        }
    }

    fn change(&self) -> String {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => format!("{} → {}", clip(old), clip(new)),
            (None, Some(new)) => format!("new, {}", clip(new)),
            (Some(old), None) => format!("gone, was {}", clip(old)),
            (None, None) => String::new(),
        }
    }
}

/// Every difference between two keys' texts, the most telling first.
pub fn differences(old: &str, new: &str) -> Vec<Difference> {
    let (old, new) = (fields(old), fields(new));
    let mut out: Vec<Difference> = Vec::new();
    for (name, value) in &new {
        if old.get(name) != Some(value) && !is_filled(name, value, &old) {
            out.push(Difference { name: name.clone(), old: old.get(name).cloned(), new: Some(value.clone()) });
        }
    }
    for (name, value) in &old {
        if !new.contains_key(name) && !is_filled(name, value, &new) {
            out.push(Difference { name: name.clone(), old: Some(value.clone()), new: None });
        }
    }
    out.sort_by(|a, b| (a.topic(), &a.name).cmp(&(b.topic(), &b.name)));
    out
}

/// Whether an empty table of one text has fields in the `other`: those fields say it all.
fn is_filled(name: &str, value: &str, other: &BTreeMap<String, String>) -> bool {
    let below = format!("{name}.");
    matches!(value, "{}" | "[]") && other.range(below.clone()..).next().is_some_and(|(n, _)| n.starts_with(&below))
}

/// The most telling difference between two keys' texts in one line, with the number of further ones; `None` where
/// there is none.
pub fn first_difference(old: &str, new: &str) -> Option<String> {
    let all = differences(old, new);
    let first = all.first()?.say(&|_, _| None);
    Some(match all.len() - 1 {
        0 => first,
        more => format!("{first} (and {more} more)"),
    })
}

/// The ingredients of a key's text by name, values unescaped.
pub fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once('\t').unwrap_or((line, ""));
            (unescape(name), unescape(value))
        })
        .collect()
}

/// A name or value of a key's text with tabs, line ends and backslashes escaped; what [`fields`] undoes.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// The first eight digits of each digest in an input's value; a meaning's name stays.
fn digest(value: &str) -> String {
    value
        .split(' ')
        .map(|word| if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) { &word[..8] } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A value short enough for a line.
fn clip(value: &str) -> String {
    const MOST: usize = 60;
    let value = value.replace('\n', "⏎");
    if value.chars().count() <= MOST {
        return value;
    }
    let mut short: String = value.chars().take(MOST - 1).collect();
    short.push('…');
    short
}
