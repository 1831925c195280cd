//! The command line laid over a pipeline file: `group=choice` and `stage.field=value`.
//!
//! A value is TOML (`8`, `0.5`, `true`, `[1, 2]`, `{ a = 1 }`, `"text"`); what is not is a text as it stands. What the
//! command line says wins over everything, also over a line of a matrix, which is then no longer varied.

use super::draft::Sheet;
use super::policy;
use super::reading::Reading;
use crate::error::Mistake;
use crate::source::Span;
use crate::source::nearest;
use crate::source::tree::{self, Entry, Node, Value};

/// The name under which the words are shown.
pub(super) const COMMAND_LINE: &str = "command line";

/// Keys of a stage that a word cannot change.
const FIXED: [&str; 4] = ["in", "kind", "matrix", "use"];

type Path = Vec<(String, Span)>;

/// Lays words over the sheet, in order; what cannot be meant is noted.
pub(super) fn apply(reading: &mut Reading, words: &[String], sheet: &mut Sheet) {
    if words.is_empty() {
        return;
    }
    let mut start = reading.sources.add(COMMAND_LINE, &words.join("\n"));
    for word in words {
        let span = Span { start, end: start + word.len() };
        start = span.end + 1;
        if let Err(mistake) = one(reading, word, span, sheet) {
            reading.note(mistake);
        }
    }
}

fn one(reading: &mut Reading, word: &str, span: Span, sheet: &mut Sheet) -> Result<(), Mistake> {
    let bad = |message: String, help: String| Mistake::new("bad-override", message).at(span, "").help(help);
    let forms = || "write `group=choice` or `stage.field=value`".to_owned();
    let Some((key, value)) = word.split_once('=') else {
        return Err(bad(format!("`{word}` sets nothing"), forms()));
    };
    let key_span = Span { start: span.start, end: span.start + key.len() };
    let value_span = Span { start: key_span.end + 1, end: span.end };
    if key.contains('[') {
        let help = "settings are given to the stage as written, and so to all its points".to_owned();
        return Err(bad(format!("`{word}` would set one point of a matrix alone"), help));
    }
    let Some(path) = tree::parse_key(key, span.start) else {
        return Err(bad(format!("`{key}` is no dotted name"), forms()));
    };
    if value.is_empty() {
        return Err(bad(format!("`{word}` gives no value"), format!("for the empty text write `{key}='\"\"'`")));
    }
    let node = value_of(reading, value, value_span)?;
    match path.as_slice() {
        [(group, _)] => choose(sheet, group, key_span, &node, value),
        [(stage, _), rest @ ..] => set(reading, sheet, (stage, key_span), rest.to_vec(), node),
        [] => Err(bad(format!("`{word}` sets nothing"), forms())),
    }
}

/// The value as TOML, else as text; one that begins as TOML and is not is a mistake.
fn value_of(reading: &mut Reading, value: &str, span: Span) -> Result<Node, Mistake> {
    if let Some(node) = tree::parse_value(value, span.start, &mut reading.mistakes) {
        return Ok(node);
    }
    if value.starts_with(['"', '\'', '[', '{']) {
        let message = format!("`{value}` begins like TOML and is not");
        return Err(Mistake::new("bad-override", message).at(span, "").help("mind what the shell does with quotes"));
    }
    Ok(Node { span, value: Value::String(value.to_owned()) })
}

fn choose(sheet: &mut Sheet, group: &str, key: Span, node: &Node, raw: &str) -> Result<(), Mistake> {
    let Some(choice) = sheet.choose.iter_mut().find(|choice| choice.group == group) else {
        let message = format!("this pipeline does not choose a group `{group}`");
        let help = match sheet.by_name.contains_key(group) {
            true => format!("`{group}` is a stage: write `{group}.field=value`"),
            false => nearest::remedy(group, "group", sheet.groups()),
        };
        return Err(Mistake::new("unknown-group", message).at(key, "").help(help));
    };
    choice.choice = node.as_str().unwrap_or(raw).to_owned();
    choice.value = node.span;
    choice.overridden = true;
    for draft in &mut sheet.drafts {
        draft.matrix.retain(|line| line.name != group);
    }
    Ok(())
}

fn set(
    reading: &mut Reading,
    sheet: &mut Sheet,
    (stage, key): (&str, Span),
    path: Path,
    node: Node,
) -> Result<(), Mistake> {
    let Some(at) = sheet.by_name.get(stage).copied() else {
        return Err(unknown_stage(sheet, stage, key));
    };
    let draft = &mut sheet.drafts[at];
    let path = match path.as_slice() {
        [(field, _), ..] if FIXED.contains(&field.as_str()) => {
            let message = format!("`{field}` of a stage cannot be changed from the command line");
            return Err(Mistake::new("bad-override", message).at(key, "").help("edit the pipeline file"));
        }
        [(field, place)] if policy::KEYS.contains(&field.as_str()) => {
            let entry = Entry { name: field.clone(), key: *place, node };
            draft.policy.read(reading, &entry);
            return Ok(());
        }
        [(field, _), rest @ ..] if field == "config" && !rest.is_empty() => rest.to_vec(),
        _ => path,
    };
    let dotted: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).collect();
    let dotted = dotted.join(".");
    draft.matrix.retain(|line| line.name != dotted);
    draft.over.set(&path, node);
    Ok(())
}

fn unknown_stage(sheet: &Sheet, stage: &str, key: Span) -> Mistake {
    let users = sheet.drafts.iter().filter(|draft| draft.uses.iter().any(|(group, _)| group == stage));
    let users: Vec<&str> = users.map(|draft| draft.name.as_str()).collect();
    let help = match sheet.chosen(stage) {
        Some(_) if !users.is_empty() => {
            format!("`{stage}` is a group; give the setting to each stage that uses it: {}", nearest::list(&users))
        }
        _ => nearest::remedy(stage, "stage", sheet.stage_names()),
    };
    Mistake::new("unknown-stage", format!("there is no stage `{stage}`")).at(key, "").help(help)
}
