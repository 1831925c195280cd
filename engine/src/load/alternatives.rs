//! What else could have been chosen, for a stage that cannot run as it was.

use super::{Loaded, group, load};
use crate::graph::Pipeline;
use crate::kind::{Needs, Program};

/// Another choice with which a stage resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The group.
    pub group: String,
    /// The choice; `group=choice` on the command line takes it.
    pub choice: String,
    /// What the stage would need then.
    pub needs: Needs,
}

/// The other choices of each group of a pipeline with which it loads and which change what `stage` needs; by group and
/// choice. A stage of a matrix goes by the name in the file, and what its first point needs counts.
pub fn alternatives(program: &Program, loaded: &Loaded, stage: &str) -> Vec<Alternative> {
    let written = stage.split('[').next().unwrap_or(stage);
    let needs_of = |pipeline: &Pipeline| {
        let stage = pipeline.stages.iter().find(|stage| stage.written_name() == written);
        stage.map(|stage| stage.contract.needs.clone())
    };
    let now = needs_of(&loaded.pipeline);
    let mut found = Vec::new();
    for (name, chosen) in &loaded.pipeline.choices {
        for choice in group::choices(&loaded.pipeline.root, name).into_iter().filter(|choice| choice != chosen) {
            let mut other = loaded.request.clone();
            other.overrides.push(format!("{name}={choice}"));
            let Ok(loaded) = load(program, &other) else { continue };
            let needs = needs_of(&loaded.pipeline).filter(|needs| Some(needs) != now.as_ref());
            found.extend(needs.map(|needs| Alternative { group: name.clone(), choice, needs }));
        }
    }
    found
}
