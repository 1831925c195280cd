//! `command` stages: which tools enter the key, and what is run in the end.

use std::collections::HashMap;

use crate::attempt::Place;
use crate::graph::Stage;
use crate::key::Tool;
use crate::kind::{Port, StageError};
use crate::launch::Work;
use crate::memory::Memory;

/// Identities of programs that were asked for, each once in a run.
#[derive(Default)]
pub(super) struct Programs {
    known: HashMap<Vec<String>, Tool>,
}

impl Programs {
    pub(super) fn tools(&mut self, _stage: &Stage, _memory: &Memory) -> Result<Vec<Tool>, StageError> {
        let _ = &self.known;
        Ok(Vec::new())
    }
}

pub(super) fn is_command(_stage: &Stage) -> bool {
    false
}

pub(super) fn work(_stage: &Stage, _cpus: u16) -> Result<Work, StageError> {
    Ok(Work::Kind)
}

/// Where the outputs of `stage` are to appear.
pub(super) fn places(stage: &Stage) -> Vec<Place> {
    let place =
        |port: &Port| Place { port: port.name.to_string(), below: port.name.to_string(), meaning: port.meaning };
    stage.contract.outputs.iter().map(place).collect()
}
