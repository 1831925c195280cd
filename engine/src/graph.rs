//! A resolved pipeline: stages and the wires between them. Order, cycles and reachability live here (the only user
//! of petgraph). This module does not know TOML, keys or processes; `load` makes what it holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::kind::{Contract, Kind};

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
}

/// A node of the graph.
#[derive(Debug)]
pub struct Stage {
    /// Its name; points of a matrix carry theirs in brackets: `sim[max_batched=256]`.
    pub name: String,
    /// What sort of node.
    pub kind: Kind,
    /// The configuration after defaults.
    pub config: serde_json::Value,
    /// Where each value of the configuration was written (defaults have no entry).
    pub origins: Vec<Origin>,
    /// What it takes, gives and needs.
    pub contract: Contract,
    /// One for each wired input port, in the order of `contract.inputs`.
    pub inputs: Vec<Wire>,
    /// How it is run; none of it enters the key but `repeat`.
    pub policy: Policy,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Dotted path in the configuration.
    pub field: String,
    /// File and line, or the word on the command line.
    pub place: String,
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
