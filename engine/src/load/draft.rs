//! A pipeline file as it is written: groups chosen and stages drafted, before anything is looked up.

use std::collections::HashMap;
use std::path::Path;

use super::policy::{self, Policy};
use super::reading::Reading;
use crate::error::Mistake;
use crate::source::Span;
use crate::source::nearest;
use crate::source::tree::{Entry, Node, Table, Value};

/// Keys at the top of a pipeline file.
const TOP: [&str; 4] = ["about", "choose", "name", "stage"];

/// Keys of a stage, beside those of its policy.
const STAGE: [&str; 5] = ["config", "in", "kind", "matrix", "use"];

/// Most points along one axis of a matrix.
const POINTS_MAX: usize = 100_000;

/// A pipeline file.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) name: String,
    pub(super) choose: Vec<Choice>,
    /// In the order written.
    pub(super) drafts: Vec<Draft>,
    /// Drafts by name.
    pub(super) by_name: HashMap<String, usize>,
}

/// A chosen group.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) group: String,
    pub(super) key: Span,
    pub(super) choice: String,
    pub(super) value: Span,
    /// Whether the command line chose.
    pub(super) overridden: bool,
}

/// A stage as written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// Where its name stands.
    pub(super) key: Span,
    pub(super) kind: Option<(String, Span)>,
    /// Groups whose chosen files are laid under its configuration.
    pub(super) uses: Vec<(String, Span)>,
    pub(super) inputs: Vec<Input>,
    pub(super) config: Table,
    pub(super) matrix: Vec<Varied>,
    pub(super) policy: Policy,
    /// What the command line lays over its configuration.
    pub(super) over: Table,
}

/// An input port as written.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) port: String,
    pub(super) key: Span,
    /// The whole value.
    pub(super) value: Span,
    pub(super) list: bool,
    pub(super) words: Vec<(String, Span)>,
}

/// A line of a matrix.
#[derive(Debug)]
pub(super) struct Varied {
    /// A path in the configuration, or a group.
    pub(super) name: String,
    pub(super) key: Span,
    pub(super) values: Vec<Node>,
}

impl Sheet {
    pub(super) fn chosen(&self, group: &str) -> Option<&Choice> {
        self.choose.iter().find(|choice| choice.group == group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.choose.iter().map(|choice| choice.group.as_str())
    }

    /// Stage names in the order written.
    pub(super) fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.drafts.iter().map(|draft| draft.name.as_str())
    }
}

/// Reads a pipeline file. `None` if it could not be read at all.
pub(super) fn read(reading: &mut Reading, file: &Path) -> Option<Sheet> {
    let mut table = reading.file(file, None)?;
    let stem = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let name = table.take("name").and_then(|entry| name(reading, &entry)).unwrap_or(stem);
    if let Some(about) = table.take("about") {
        reading.string(&about);
    }
    let choose = table.take("choose").and_then(|entry| reading.table(entry)).unwrap_or_default();
    let choose = choose.into_written_order().into_iter().filter_map(|entry| choice(reading, &entry)).collect();
    let stages = table.take("stage");
    for entry in table.iter() {
        let help = nearest::remedy(&entry.name, "key", TOP);
        let message = format!("a pipeline file has no key `{}`", entry.name);
        reading.note(Mistake::new("unknown-key", message).at(entry.key, "").help(help));
    }
    let stages = stages.and_then(|entry| reading.table(entry)).unwrap_or_default();
    if stages.is_empty() && reading.mistakes.is_empty() {
        let message = format!("`{}` has no stages", reading.shown(file));
        let help = "a stage is a table: `[stage.NAME]` with `kind = \"…\"`; `pipe kinds` lists the kinds";
        reading.note(Mistake::new("no-stages", message).help(help));
    }
    let drafts: Vec<Draft> =
        stages.into_written_order().into_iter().filter_map(|entry| draft(reading, entry)).collect();
    let by_name = drafts.iter().enumerate().map(|(at, draft)| (draft.name.clone(), at)).collect();
    Some(Sheet { name, choose, drafts, by_name })
}

fn name(reading: &mut Reading, entry: &Entry) -> Option<String> {
    let name = reading.string(entry)?;
    if !is_plain(&name) {
        let help = "it names a directory under `results/`: letters, digits, `_`, `-` and `.`, no `.` at its start";
        let message = format!("`{name}` cannot name a pipeline");
        reading.note(Mistake::new("bad-name", message).at(entry.node.span, "").help(help));
    }
    Some(name)
}

fn choice(reading: &mut Reading, entry: &Entry) -> Option<Choice> {
    let choice = reading.string(entry)?;
    let (group, key, value) = (entry.name.clone(), entry.key, entry.node.span);
    Some(Choice { group, key, choice, value, overridden: false })
}

fn draft(reading: &mut Reading, entry: Entry) -> Option<Draft> {
    let mut draft = Draft { name: entry.name.clone(), key: entry.key, ..Draft::default() };
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if draft.name.is_empty() || !draft.name.bytes().all(bare) {
        let message = format!("`{}` cannot name a stage", draft.name);
        let help = "use letters, digits, `_` and `-`";
        reading.note(Mistake::new("bad-name", message).at(draft.key, "").help(help));
    }
    if !matches!(entry.node.value, Value::Table(_)) {
        let help = format!("stages are tables: `[stage.{}]`", entry.name);
        let message = format!("`stage.{}` takes a table, not {}", entry.name, entry.node.sort());
        reading.note(Mistake::new("wrong-type", message).at(entry.node.span, "").help(help));
        return None;
    }
    let mut kind_given = false;
    for entry in reading.table(entry)?.into_written_order() {
        match entry.name.as_str() {
            "kind" => {
                kind_given = true;
                draft.kind = reading.string(&entry).map(|kind| (kind, entry.node.span));
            }
            "use" => draft.uses = reading.strings(&entry).0,
            "in" => draft.inputs = inputs(reading, entry),
            "config" => draft.config = reading.table(entry).unwrap_or_default(),
            "matrix" => draft.matrix = matrix(reading, entry),
            _ if draft.policy.read(reading, &entry) => {}
            _ => unknown_key(reading, &draft, &entry),
        }
    }
    if !kind_given {
        let message = format!("the stage `{}` does not say of which kind it is", draft.name);
        let help = "add `kind = \"…\"`; `pipe kinds` lists them";
        reading.note(Mistake::new("missing-field", message).at(draft.key, "").help(help));
    }
    Some(draft)
}

fn unknown_key(reading: &mut Reading, draft: &Draft, entry: &Entry) {
    let keys = STAGE.into_iter().chain(policy::KEYS);
    let near = nearest::nearest(&entry.name, keys.clone()).map(|near| format!("did you mean `{near}`? "));
    let help = format!(
        "{}what the kind can be told goes into `config`; beside it stand {}",
        near.unwrap_or_default(),
        nearest::list(&keys.collect::<Vec<_>>())
    );
    let message = format!("the stage `{}` has no key `{}`", draft.name, entry.name);
    reading.note(Mistake::new("unknown-key", message).at(entry.key, "").help(help));
}

fn inputs(reading: &mut Reading, entry: Entry) -> Vec<Input> {
    let table = reading.table(entry).unwrap_or_default();
    let entries = table.into_written_order();
    entries
        .into_iter()
        .map(|entry| {
            let (words, list) = reading.strings(&entry);
            Input { port: entry.name, key: entry.key, value: entry.node.span, list, words }
        })
        .collect()
}

fn matrix(reading: &mut Reading, entry: Entry) -> Vec<Varied> {
    let mut lines = Vec::new();
    let table = reading.table(entry).unwrap_or_default();
    matrix_lines(reading, String::new(), table, &mut lines);
    lines
}

/// Lines of a matrix; a path may be one key in quotes or dotted keys.
fn matrix_lines(reading: &mut Reading, above: String, table: Table, lines: &mut Vec<Varied>) {
    for entry in table.into_written_order() {
        let (key, node) = (entry.key, entry.node);
        let name = format!("{above}{}", entry.name);
        match node.value {
            Value::Table(below) => matrix_lines(reading, format!("{name}."), below, lines),
            Value::Array(values) if values.is_empty() => {
                let message = format!("the matrix has no values for `{name}`");
                reading.note(Mistake::new("bad-value", message).at(node.span, "a list with at least one value"));
            }
            Value::Array(values) if values.len() > POINTS_MAX => {
                let message = format!("the matrix has {} values for `{name}`", values.len());
                let help = format!("{POINTS_MAX} are the most");
                reading.note(Mistake::new("bad-value", message).at(key, "").help(help));
            }
            Value::Array(values) => lines.push(Varied { name, key, values }),
            _ => reading.wrong_sort(&name, &node, "a list of values"),
        }
    }
}

/// Whether a word can name a file or directory of ours.
pub(super) fn is_plain(word: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+');
    !word.is_empty() && !word.starts_with('.') && word.bytes().all(fine)
}
