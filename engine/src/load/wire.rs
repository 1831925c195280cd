//! What the `in` tables name: outputs of stages, files of the project, chosen files and what these name.
//!
//! | written | means |
//! |---|---|
//! | `"sim.run"` | the output `run` of the stage `sim` |
//! | `"@words"` | the chosen file of the group `words` |
//! | `"@words.list"` | what that file names `list` under `[files]`, from its own directory |
//! | `"data/a.csv"`, `"./a.csv"` | a file or directory, from the project's root |

use std::path::PathBuf;

use super::draft::{Draft, Input, Sheet};
use super::reading::Reading;
use crate::error::Mistake;
use crate::source::Span;
use crate::source::nearest;

/// What one word of an `in` table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file or tree; absolute.
    File(PathBuf),
    /// The chosen file of a group, or what it names.
    Group { group: String, name: Option<String> },
    /// An output of a stage; empty where none was named.
    Output { stage: usize, output: String },
    /// Nothing; a mistake is noted.
    Nothing,
}

/// A wire between two stages as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The word that makes it.
    pub(super) word: Span,
}

/// What all `in` tables name: by stage, by input, by word.
#[derive(Debug, Default)]
pub(super) struct Wires {
    pub(super) sources: Vec<Vec<Vec<Source>>>,
    all: Vec<Edge>,
}

impl Wires {
    /// `(producer, consumer)`, numbered as the edges of a cycle are.
    pub(super) fn edges(&self) -> Vec<(usize, usize)> {
        self.all.iter().map(|edge| (edge.from, edge.to)).collect()
    }
}

/// Reads the words of all `in` tables.
pub(super) fn read(reading: &mut Reading, sheet: &Sheet) -> Wires {
    let mut wires = Wires::default();
    for (to, draft) in sheet.drafts.iter().enumerate() {
        let mut inputs = Vec::with_capacity(draft.inputs.len());
        for input in &draft.inputs {
            let mut sources = Vec::with_capacity(input.words.len());
            for (word, span) in &input.words {
                let found = source(reading, sheet, word).map_err(|mistake| mistake.at(*span, ""));
                let found = found.unwrap_or_else(|mistake| {
                    reading.note(mistake);
                    Source::Nothing
                });
                if let Source::Output { stage: from, .. } = found {
                    wires.all.push(Edge { from, to, word: *span });
                }
                sources.push(found);
            }
            inputs.push(sources);
        }
        wires.sources.push(inputs);
    }
    wires
}

fn source(reading: &Reading, sheet: &Sheet, word: &str) -> Result<Source, Mistake> {
    if let Some(rest) = word.strip_prefix('@') {
        let (group, name) = match rest.split_once('.') {
            Some((group, name)) => (group, Some(name.to_owned())),
            None => (rest, None),
        };
        return Ok(Source::Group { group: group.to_owned(), name });
    }
    if word.is_empty() || word.contains('\0') {
        return Err(Mistake::new("bad-value", "this text cannot name anything"));
    }
    if word.contains('/') {
        // Rebuilt from its parts, so that `./a` and `a` are one path.
        return Ok(Source::File(reading.root.join(word).components().collect()));
    }
    let (stage, output) = word.split_once('.').map_or((word, None), |(stage, output)| (stage, Some(output)));
    let is_file = reading.root.join(word).exists();
    match (sheet.by_name.get(stage), output) {
        (Some(at), Some(output)) if !output.is_empty() => Ok(Source::Output { stage: *at, output: output.to_owned() }),
        _ if is_file => {
            let help = format!("to name the file, write `./{word}`");
            Err(Mistake::new("unknown-stage", format!("`{word}` is no output of a stage")).help(help))
        }
        // Which outputs there are is known when the stage is.
        (Some(at), _) => Ok(Source::Output { stage: *at, output: String::new() }),
        (None, Some(_)) => {
            let help = nearest::remedy(stage, "stage", sheet.stage_names());
            Err(Mistake::new("unknown-stage", format!("there is no stage `{stage}`")).help(help))
        }
        (None, None) if sheet.chosen(word).is_some() => {
            let help = format!("write `@{word}` for the chosen file of the group");
            Err(Mistake::new("unknown-stage", format!("`{word}` is a group")).help(help))
        }
        (None, None) => {
            let help = "write `stage.output`, `@group`, `@group.name`, or a path with a slash (`./name`)";
            Err(Mistake::new("unknown-stage", format!("`{word}` names nothing that can be wired")).help(help))
        }
    }
}

/// Notes each cycle with the words that make it.
pub(super) fn complain_of_cycles(reading: &mut Reading, sheet: &Sheet, wires: &Wires, cycles: &[Vec<usize>]) {
    let name = |at: usize| sheet.drafts[at].name.as_str();
    for cycle in cycles {
        let edges: Vec<&Edge> = cycle.iter().map(|number| &wires.all[*number]).collect();
        let Some(first) = edges.first() else { continue };
        let names: Vec<&str> = edges.iter().map(|edge| name(edge.from)).chain([name(first.from)]).collect();
        let message = match edges.len() {
            1 => format!("the stage `{}` takes its own output", name(first.from)),
            _ => format!("these stages wait for one another: {}", names.join(" → ")),
        };
        let mut mistake = Mistake::new("cycle", message).help("take one of these wires away");
        for edge in edges {
            mistake = mistake.at(edge.word, format!("`{}` waits for `{}`", name(edge.to), name(edge.from)));
        }
        reading.note(mistake);
    }
}

/// The mistake of a wire to an input that the kind does not have.
pub(super) fn unknown_port<'a>(draft: &Draft, input: &Input, ports: impl Iterator<Item = &'a str>) -> Mistake {
    let kind = draft.kind.as_ref().map_or("?", |(kind, _)| kind);
    let help = nearest::remedy(&input.port, "input", ports);
    let message = format!("the kind `{kind}` has no input `{}`", input.port);
    Mistake::new("unknown-port", message).at(input.key, "").help(help)
}
