//! The states of stages and the one loop that moves them.
//!
//! One thread owns states, pool, memory and reservations; a thread for each running stage waits for it, brings its
//! outputs into the store and sends messages over one channel. Nothing here prints: what happens is told to observers
//! as [`Event`]s. It does not know TOML, nor what its stages compute.
//!
//! Invariants: a state changes in [`Run::set`] and nowhere else; a stage starts only with a lease and a reservation;
//! it is done only when its record is in the store; a stage is looked at once for each thing that happens to it, so
//! the work is linear in stages and wires.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Observer;
use crate::graph::Pipeline;
use crate::launch::Launcher;
use crate::oracle::Facts;
use crate::store::{Store, StoreError};

pub mod journal;
pub mod plan;
mod stop;

pub use stop::Stop;

/// What is asked of a run.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What the author wrote.
    pub pipeline: &'a Pipeline,
    /// Where results are kept.
    pub store: &'a Store,
    /// How a stage becomes a process.
    pub launcher: &'a dyn Launcher,
    /// What this machine is.
    pub facts: &'a Facts,
    /// Stages wanted, by name, with all they hang on; none = all.
    pub targets: &'a [String],
    /// Stages that are to run although a record answers for them.
    pub again: &'a [String],
    /// Stages for which a record made by other code is taken.
    pub trust_code: &'a [String],
    /// What to do when a stage fails.
    pub on_failure: OnFailure,
    /// Cores to use; `None` = all.
    pub jobs: Option<u16>,
    /// The command line, for the journal.
    pub command: &'a [String],
    /// How somebody stops it.
    pub stop: &'a Stop,
}

/// What to do when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// What does not depend on it goes on.
    #[default]
    GoOn,
    /// Nothing more is started.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The run's id, also the name of its directory in `.pipe/runs`.
    pub run: String,
    /// Stages that were hits.
    pub hits: u32,
    /// Stages that ran well.
    pub done: u32,
    /// Stages that failed.
    pub failed: u32,
    /// Stages that were skipped.
    pub skipped: u32,
    /// Gates that failed.
    pub gates: u32,
    /// Whether somebody stopped it.
    pub stopped: bool,
    /// 0 good, 3 a stage failed, 4 a gate failed, 130 stopped.
    pub exit: u8,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A target, or a word after `--again` or `--trust-code`, names no stage.
    #[error("there is no stage `{name}` in the pipeline `{pipeline}`")]
    NoStage {
        /// As given.
        name: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// A stage declares a card that is not here: the author's mistake, exit code 2.
    #[error("stage `{stage}` declares {declared}; found: {found}")]
    NoCard {
        /// The stage.
        stage: String,
        /// What it declares, in words.
        declared: String,
        /// What is here, in words.
        found: String,
    },
    /// A stage needs more than the machine has: the author's mistake, exit code 2.
    #[error("stage `{stage}` needs {needs}; this machine has {has}")]
    TooLarge {
        /// The stage.
        stage: String,
        /// What it needs, in words.
        needs: String,
        /// What there is.
        has: String,
    },
    /// A stage asks for a launcher that does not exist: the author's mistake, exit code 2.
    #[error("stage `{stage}` asks for the launcher `{launcher}`; there is `local`")]
    NoLauncher {
        /// The stage.
        stage: String,
        /// As written.
        launcher: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The project's own directory cannot be used.
    #[error("cannot {doing} `{}`", path.display())]
    Project {
        /// make, write.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs what `request` asks for and tells `observers` all that happens.
///
/// # Errors
/// When nothing can be run at all; a stage that fails is no error here but counted in [`Finished`].
pub fn run(_request: &Request<'_>, _observers: &mut [&mut dyn Observer]) -> Result<Finished, RunError> {
    unimplemented!()
}

/// What the loop is told.
#[derive(Debug)]
enum Message {
    /// Somebody asks to stop.
    Stop,
}
