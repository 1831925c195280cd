//! A resolved pipeline: stages and the wires between them. Order, cycles and reachability live here (the only user
//! of petgraph). This module does not know TOML, keys or processes; `load` makes what it holds.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::config::Config;
use crate::kind::{Contract, Kind};

pub mod order;
mod origin;
mod shared;
#[cfg(test)]
mod tests;

pub use origin::{Origin, Origins};
pub use shared::Shared;

/// A stage's place in [`Pipeline::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub u32);

impl StageId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Everything that a run needs to know of what the author wrote.
#[derive(Debug)]
pub struct Pipeline {
    /// `name =` in the file.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The project's root: where relative paths begin, and where `.pipe/` and `results/` lie.
    pub root: PathBuf,
    /// Chosen config groups, after the command line.
    pub choices: BTreeMap<String, String>,
    /// Stages, in an order in which every stage stands behind what it takes.
    pub stages: Vec<Stage>,
    /// Whether it was recalled from an earlier load, and nobody has looked whether the files that it takes are there.
    pub recalled: bool,
}

impl Pipeline {
    /// The stages by name.
    pub fn by_name(&self) -> HashMap<&str, StageId> {
        self.stages.iter().zip(0..).map(|(stage, at)| (stage.name.as_str(), StageId(at))).collect()
    }

    /// The stages that a word means: the one of that name, or all points of the stage that was written under it.
    pub fn named(&self, word: &str) -> Vec<StageId> {
        let ids = |is: &dyn Fn(&Stage) -> bool| -> Vec<StageId> {
            self.stages.iter().zip(0..).filter(|(stage, _)| is(stage)).map(|(_, at)| StageId(at)).collect()
        };
        let exact = ids(&|stage| stage.name == word);
        if exact.is_empty() { ids(&|stage| stage.written_name() == word) } else { exact }
    }

    /// `(producer, consumer)` for every source that is a stage; twice where a stage takes two outputs of another.
    pub fn edges(&self) -> Vec<(StageId, StageId)> {
        let consumers = self.stages.iter().zip(0..);
        consumers.flat_map(|(stage, at)| stage.producers().map(move |producer| (producer, StageId(at)))).collect()
    }

    /// For each stage, the stages that take something of it, each once, in order.
    pub fn dependents(&self) -> Vec<Vec<StageId>> {
        let mut dependents = vec![Vec::new(); self.stages.len()];
        for (producer, consumer) in self.edges() {
            let list: &mut Vec<StageId> = &mut dependents[producer.index()];
            // Edges come by consumer, so a repeated one is the last.
            if list.last() != Some(&consumer) {
                list.push(consumer);
            }
        }
        dependents
    }

    /// For each stage, whether one of `targets` is it or hangs on it.
    pub fn needed_for(&self, targets: &[StageId]) -> Vec<bool> {
        let backwards: Vec<_> = self.edges().iter().map(|(from, to)| (to.index(), from.index())).collect();
        let targets: Vec<_> = targets.iter().map(|id| id.index()).collect();
        order::reach(self.stages.len(), &backwards, &targets)
    }

    /// For each stage, whether it is one of `sources` or hangs on one.
    pub fn behind(&self, sources: &[StageId]) -> Vec<bool> {
        let forwards: Vec<_> = self.edges().iter().map(|(from, to)| (from.index(), to.index())).collect();
        let sources: Vec<_> = sources.iter().map(|id| id.index()).collect();
        order::reach(self.stages.len(), &forwards, &sources)
    }
}

impl Stage {
    /// The name in the pipeline file: of `sim[rate=8]`, `sim`.
    pub fn written_name(&self) -> &str {
        self.name.split('[').next().unwrap_or(&self.name)
    }

    /// The stages whose outputs it takes, in the order of its wires.
    pub fn producers(&self) -> impl Iterator<Item = StageId> {
        self.inputs.iter().flat_map(|wire| &wire.from).filter_map(|feed| match feed {
            Feed::Output { stage, .. } => Some(*stage),
            Feed::File { .. } => None,
        })
    }
}

/// A node of the graph.
#[derive(Debug)]
pub struct Stage {
    /// Its name; points of a matrix carry theirs in brackets: `sim[max_batched=256]`.
    pub name: String,
    /// What sort of node.
    pub kind: Kind,
    /// The configuration after defaults.
    pub config: Config,
    /// Where each value of the configuration was written (defaults have no entry).
    pub origins: Origins,
    /// What it takes, gives and needs.
    pub contract: Shared<Contract>,
    /// One for each wired input port, in the order of `contract.inputs`.
    pub inputs: Vec<Wire>,
    /// How it is run; none of it enters the key but `repeat`.
    pub policy: Policy,
}

/// What feeds one input port.
#[derive(Debug)]
pub struct Wire {
    /// Index in `contract.inputs`.
    pub port: usize,
    /// Sources, in the order written (more than one only where the port is `many`).
    pub from: Vec<Feed>,
}

/// One source of a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// A file or tree of the project.
    File {
        /// As written, or as the group's file names it; for people.
        label: String,
        /// Absolute.
        path: PathBuf,
    },
    /// An output of another stage.
    Output {
        /// The producer.
        stage: StageId,
        /// Index in the producer's `contract.outputs`.
        port: usize,
    },
}

/// How a stage is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Which measurement of several this is, from 0; enters the key when it is not 0.
    pub sample: u32,
    /// Further tries after a failure.
    pub retries: u32,
    /// Killed after so many seconds.
    pub timeout_s: Option<f64>,
    /// The launcher: `local`, `slurm`.
    pub launcher: String,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { sample: 0, retries: 0, timeout_s: None, launcher: "local".to_owned() }
    }
}
