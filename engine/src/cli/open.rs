//! What verbs need before they can do anything: the words told apart, the pipeline loaded, the cache found.

use std::path::{Path, PathBuf};

use super::here::{self, Sorted};
use super::history;
use super::trouble::Trouble;
use crate::event::Event;
use crate::kind::Program;
use crate::load::{Load, Loaded, Machine, Project};
use crate::oracle::Facts;
use crate::run::journal::Line;
use crate::store::Store;

/// The directory in which the command was typed.
///
/// # Errors
/// When it is gone or cannot be read.
pub(super) fn current_directory() -> Result<PathBuf, Trouble> {
    std::env::current_dir().map_err(|e| Trouble::internal(format!("cannot tell the current directory: {e}")))
}

/// A pipeline that was loaded for a verb, and the stages that were named.
pub(super) struct Opened {
    pub(super) asked: Load,
    pub(super) loaded: Loaded,
    pub(super) stages: Vec<String>,
}

/// Loads the pipeline that `words` name, or else the one of the latest run. Its warnings go to stderr.
///
/// # Errors
/// When no pipeline is meant, or the author made a mistake.
pub(super) fn pipeline(program: &Program, words: &[String], facts: &Facts) -> Result<Opened, Trouble> {
    let root = here::root(&current_directory()?);
    let Sorted { file, stages, overrides } = here::sort(words, &root);
    let file = match file {
        Some(file) => file,
        None => latest(&root).ok_or_else(|| none_meant(&root, stages.first()))?,
    };
    let host = facts.host();
    let machine = Machine { cpus: host.cores, memory_mib: host.memory_mib };
    let asked = Load { file, overrides, machine };
    let loaded = crate::load::load(program, &asked)?;
    super::trouble::warn(&loaded.warnings);
    Ok(Opened { asked, loaded, stages })
}

/// The pipeline file of the project's latest run, if it is still there.
fn latest(root: &Path) -> Option<PathBuf> {
    let outline = history::outlines(root, 1).pop()?;
    let Some(Line { what: Event::RunStarted { file, .. }, .. }) = outline.first else { return None };
    [PathBuf::from(&file), root.join(&file)].into_iter().find(|f| f.is_file())
}

fn none_meant(root: &Path, word: Option<&String>) -> Trouble {
    let names: Vec<String> = here::pipelines(root).into_iter().map(|l| l.name).collect();
    let message = match word {
        Some(word) => format!("`{word}` is no pipeline, and there is no run yet whose stage it could be"),
        None => "no pipeline was named, and there is no run yet".to_owned(),
    };
    let help = match names.as_slice() {
        [] => format!("there is none in `{}`; `pipe init` writes a starter", root.join("pipelines").display()),
        names => format!("here are: {}", names.join(", ")),
    };
    Trouble::mistake(message).help(help)
}

/// Opens the cache.
///
/// # Errors
/// When it cannot be opened or made.
pub(super) fn store(option: Option<&Path>, project: &Project) -> Result<Store, Trouble> {
    Ok(Store::open(&cache_directory(option, project))?)
}

/// Where the cache lies: `--cache`, else `PIPE_CACHE`, else what the project says.
pub(super) fn cache_directory(option: Option<&Path>, project: &Project) -> PathBuf {
    let wished = || std::env::var_os("PIPE_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
    option.map(Path::to_owned).or_else(wished).unwrap_or_else(|| project.cache.directory.clone())
}
