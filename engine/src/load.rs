//! From text to a [`Pipeline`]: a pipeline file, the fragments it uses and the words on the command line become
//! resolved stages, wired.
//!
//! In this order: [`mod@project`] finds the root, [`draft`] reads the pipeline file into stages as written, [`words`] lays
//! the command line over them, [`group`] brings chosen files, [`wire`] tells what feeds what, and [`expand`] goes
//! through the stages in order, resolves each ([`shape`]) at each point of its matrix and wires the points.
//!
//! It does not know keys, stores or processes, and reads nothing but TOML files (of inputs it asks only whether they
//! are there). Invariants: every author's mistake is found here, as many in one go as can be told apart, each with its
//! place; either there is a pipeline or there are mistakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostics, Mistake, Weight};
use crate::graph::{Feed, Pipeline, order};
use crate::kind::Program;
use crate::source::Sources;

mod alternatives;
mod axis;
mod draft;
mod expand;
mod group;
mod kept;
mod policy;
pub mod project;
mod reading;
mod settle;
mod shape;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use alternatives::{Alternative, alternatives};
pub use project::Project;

use reading::Reading;

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct Load {
    /// The pipeline file.
    pub file: PathBuf,
    /// `group=choice` and `stage.field=value`, in the order given; the later wins.
    pub overrides: Vec<String>,
    /// What a stage that runs here may need at most.
    pub machine: Machine,
}

/// How large the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores.
    pub cpus: u16,
    /// Memory, MiB; 0 = not known.
    pub memory_mib: u64,
}

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Stages and wires.
    pub pipeline: Pipeline,
    /// What the project says of itself.
    pub project: Project,
    /// What is worth a look although it runs.
    pub warnings: Diagnostics,
    /// All text that was read.
    pub sources: Arc<Sources>,
    /// What was asked for.
    pub request: Load,
}

/// Loads a pipeline.
///
/// # Errors
/// All mistakes that were found; warnings are among them.
pub fn load(program: &Program, request: &Load) -> Result<Loaded, Diagnostics> {
    let root = project::root(&request.file);
    let mut reading = Reading::new(root);
    let result = read(program, request, &mut reading);
    let Reading { sources, mistakes, looked, .. } = reading;
    let sources = Arc::new(sources);
    if let (Some((pipeline, _)), true) = (&result, mistakes.is_empty()) {
        kept::keep(request, &looked, pipeline);
    }
    let failed = mistakes.iter().any(|mistake| mistake.weight == Weight::Error);
    let diagnostics = Diagnostics::new(mistakes, Arc::clone(&sources));
    match result {
        Some((pipeline, project)) if !failed => {
            Ok(Loaded { pipeline, project, warnings: diagnostics, sources, request: request.clone() })
        }
        _ => Err(diagnostics),
    }
}

/// What [`load`] would give, if that was kept when it was last asked for and nothing of it has changed; no stage is
/// parsed for that. Whether the files that stages take are there, nobody has looked: see [`Loaded::has_its_files`].
pub fn recall(program: &Program, request: &Load) -> Option<Loaded> {
    let root = project::root(&request.file);
    let pipeline = kept::recall(program, request, &root)?;
    let mut reading = Reading::new(root);
    let project = project::read(&mut reading);
    let Reading { sources, mistakes, .. } = reading;
    let sources = Arc::new(sources);
    let nothing = || Diagnostics::new(Vec::new(), Arc::clone(&sources));
    mistakes.is_empty().then(|| {
        let (warnings, request) = (nothing(), request.clone());
        Loaded { pipeline, project, warnings, sources: Arc::clone(&sources), request }
    })
}

impl Loaded {
    /// Whether every file that a stage takes is there.
    pub fn has_its_files(&self) -> bool {
        let feeds = self.pipeline.stages.iter().flat_map(|stage| &stage.inputs).flat_map(|wire| &wire.from);
        let paths = feeds.filter_map(|feed| match feed {
            Feed::File { path, .. } => Some(path),
            Feed::Output { .. } => None,
        });
        let distinct: std::collections::HashSet<_> = paths.map(|path| path.as_os_str()).collect();
        distinct.into_iter().all(|path| Path::new(path).exists())
    }
}

/// What the project at `root` says of itself.
///
/// # Errors
/// All mistakes in its `pipe.toml`; that there is none is no mistake.
pub fn project(root: &Path) -> Result<Project, Diagnostics> {
    let mut reading = Reading::new(root.to_owned());
    let project = project::read(&mut reading);
    let Reading { sources, mistakes, .. } = reading;
    match mistakes.is_empty() {
        true => Ok(project),
        false => Err(Diagnostics::new(mistakes, Arc::new(sources))),
    }
}

/// `None` only where a mistake was noted.
fn read(program: &Program, request: &Load, reading: &mut Reading) -> Option<(Pipeline, Project)> {
    let project = project::read(reading);
    let mut sheet = draft::read(reading, &request.file)?;
    words::apply(reading, &request.overrides, &mut sheet);
    let wires = wire::read(reading, &sheet);
    let ordered = order::order(sheet.drafts.len(), &wires.edges());
    wire::complain_of_cycles(reading, &sheet, &wires, &ordered.cycles);
    let launcher = project.launcher.default.clone();
    let mut expansion = expand::Expansion::new(program, request.machine, launcher, &sheet, &wires);
    for at in &ordered.sequence {
        expansion.build(reading, *at);
    }
    for at in &ordered.held {
        expansion.examine(reading, *at);
    }
    let (stages, used) = expansion.finish();
    complain_of_unused(reading, &sheet, &used);
    let choices = sheet.choose.iter().map(|choice| (choice.group.clone(), choice.choice.clone())).collect();
    let (name, file, root) = (sheet.name, request.file.clone(), reading.root.clone());
    Some((Pipeline { name, file, root, choices, stages, recalled: false }, project))
}

fn complain_of_unused(reading: &mut Reading, sheet: &draft::Sheet, used: &std::collections::HashSet<String>) {
    for choice in sheet.choose.iter().filter(|choice| !used.contains(&choice.group)) {
        let group = &choice.group;
        let help = format!("`use = [\"{group}\"]` lays the chosen file under a stage's settings, `@{group}` wires it");
        reading.note(match choice.overridden {
            true => {
                let message = format!("`{group}={}` changes nothing: no stage uses the group `{group}`", choice.choice);
                Mistake::new("unused-override", message).at(choice.value, "").help(help)
            }
            false => Mistake::new("unused-group", format!("no stage uses the group `{group}`"))
                .at(choice.key, "chosen here")
                .help(help)
                .warning(),
        });
    }
}
