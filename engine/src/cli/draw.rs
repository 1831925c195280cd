//! Pictures of a pipeline: Mermaid, DOT and SVG. A [`Drawing`] holds names and arrows alone; it does not know TOML, keys
//! or runs.
//!
//! Invariant: the same pipeline gives the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{Feed, Pipeline};

mod layout;
mod svg;
#[cfg(test)]
mod tests;

pub(super) use svg::svg;

/// A graph to be drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Drawing {
    /// The pipeline's name.
    pub(super) title: String,
    /// Boxes.
    pub(super) nodes: Vec<Node>,
    /// Arrows between them.
    pub(super) edges: Vec<Edge>,
}

/// A box.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// First line.
    pub(super) name: String,
    /// Second line; empty = none.
    pub(super) note: String,
    /// What it stands for.
    pub(super) shape: Shape,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A stage.
    Stage,
    /// A stage that holds a card while it runs.
    CardStage,
    /// A file of the project.
    File,
}

/// An arrow.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    /// Index of the producer's box.
    pub(super) from: usize,
    /// Index of the consumer's box.
    pub(super) to: usize,
    /// Output and input port: `run → predicted`, or one word where they have the same name.
    pub(super) label: String,
}

impl Drawing {
    /// The stages of a pipeline, the files that they take, and the wires.
    pub(super) fn of(pipeline: &Pipeline) -> Drawing {
        let mut drawing = Drawing { title: pipeline.name.clone(), ..Drawing::default() };
        for stage in &pipeline.stages {
            let shape = if stage.contract.needs.gpus > 0 { Shape::CardStage } else { Shape::Stage };
            let note = if stage.name == stage.kind.name { "" } else { stage.kind.name };
            drawing.nodes.push(Node { name: stage.name.clone(), note: note.to_owned(), shape });
        }
        let mut files: BTreeMap<&str, usize> = BTreeMap::new();
        for (to, stage) in pipeline.stages.iter().enumerate() {
            for wire in &stage.inputs {
                let input = stage.contract.inputs[wire.port].name.as_ref();
                for feed in &wire.from {
                    let (from, output) = match feed {
                        Feed::Output { stage, port } => {
                            let producer = &pipeline.stages[stage.index()];
                            (stage.index(), producer.contract.outputs[*port].name.as_ref())
                        }
                        Feed::File { label, .. } => {
                            let nodes = &mut drawing.nodes;
                            let from = *files.entry(label).or_insert_with(|| {
                                nodes.push(Node { name: label.clone(), note: String::new(), shape: Shape::File });
                                nodes.len() - 1
                            });
                            (from, input)
                        }
                    };
                    let label = if output == input { input.to_owned() } else { format!("{output} → {input}") };
                    drawing.edges.push(Edge { from, to, label });
                }
            }
        }
        drawing
    }

    /// A flowchart for <https://mermaid.js.org>, as code hosts draw it inside Markdown.
    pub(super) fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let mut text = mermaid_text(&node.name);
            if !node.note.is_empty() {
                let _ = write!(text, "<br/><small>{}</small>", mermaid_text(&node.note));
            }
            let (open, close) = match node.shape {
                Shape::Stage => ("[", "]"),
                Shape::CardStage => ("[[", "]]"),
                Shape::File => ("([", "])"),
            };
            let _ = writeln!(out, "    n{i}{open}\"{text}\"{close}");
        }
        for edge in &self.edges {
            let _ = writeln!(out, "    n{} -->|\"{}\"| n{}", edge.from, mermaid_text(&edge.label), edge.to);
        }
        out
    }

    /// A digraph for Graphviz.
    pub(super) fn dot(&self) -> String {
        let mut out = format!("digraph {} {{\n    rankdir = LR;\n", quoted(&self.title));
        out.push_str("    node [shape = box, style = rounded, fontname = \"sans-serif\"];\n");
        out.push_str("    edge [fontname = \"sans-serif\", fontsize = 10];\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let label = if node.note.is_empty() { node.name.clone() } else { format!("{}\n{}", node.name, node.note) };
            let shape = match node.shape {
                Shape::Stage => "",
                Shape::CardStage => ", peripheries = 2",
                Shape::File => ", shape = note, style = solid",
            };
            let _ = writeln!(out, "    n{i} [label = {}{shape}];", quoted(&label));
        }
        for edge in &self.edges {
            let _ = writeln!(out, "    n{} -> n{} [label = {}];", edge.from, edge.to, quoted(&edge.label));
        }
        out.push_str("}\n");
        out
    }
}

/// A DOT string: quotes and backslashes escaped, a line end as `\n`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Text inside Mermaid's quotes: what it or HTML would read is written as entities.
fn mermaid_text(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
