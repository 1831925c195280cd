//! What lies where the command was typed: the project's root and its pipelines, and which of the words on the command
//! line names one of them.

use std::path::{Path, PathBuf};

use crate::report::clip;

#[cfg(test)]
mod tests;

/// A pipeline file with the first line of its first comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) about: String,
}

/// Words on the command line, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// The pipeline's file, if one was named.
    pub(super) file: Option<PathBuf>,
    /// Stages.
    pub(super) stages: Vec<String>,
    /// `key=value`.
    pub(super) overrides: Vec<String>,
}

/// The nearest directory at or above `start` that holds `pipe.toml`, else `start`.
pub(super) fn root(start: &Path) -> PathBuf {
    start.ancestors().find(|a| a.join("pipe.toml").is_file()).unwrap_or(start).to_owned()
}

/// The pipelines of the project at `root`, by name.
pub(super) fn pipelines(root: &Path) -> Vec<Listed> {
    let Ok(entries) = std::fs::read_dir(root.join("pipelines")) else { return Vec::new() };
    let mut out: Vec<Listed> = entries
        .flatten()
        .filter_map(|entry| {
            let file = entry.path();
            let name = file.file_stem()?.to_str()?.to_owned();
            if file.extension()? != "toml" || !file.is_file() {
                return None;
            }
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            Some(Listed { name, about: first_comment(&text), file })
        })
        .collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn first_comment(text: &str) -> String {
    let comment = text.lines().find_map(|line| line.trim_start().strip_prefix('#'));
    clip(comment.unwrap_or_default().trim(), 100)
}

/// Tells a pipeline, stages and overrides apart: a word with `=` is an override, the first other word is a pipeline if it
/// ends in `.toml` or is the name of one, and what is left are stages.
pub(super) fn sort(words: &[String], root: &Path) -> Sorted {
    let mut sorted = Sorted::default();
    let mut first = true;
    for word in words {
        // A stage of a matrix has `=` inside its brackets only: `sim[rate=8]`.
        let bare = word.split('[').next().unwrap_or_default();
        if bare.contains('=') || (word.contains('=') && !word.ends_with(']')) {
            sorted.overrides.push(word.clone());
            continue;
        }
        let named = root.join("pipelines").join(format!("{word}.toml"));
        if first && word.ends_with(".toml") {
            sorted.file = Some(PathBuf::from(word));
        } else if first && named.is_file() {
            sorted.file = Some(shortest(named));
        } else {
            sorted.stages.push(word.clone());
        }
        first = false;
    }
    sorted
}

/// A path as seen from the current directory, if it lies below it.
fn shortest(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(path)
}
