//! `command` stages: which tools enter the key, and what is run in the end.

use std::collections::HashMap;
use std::process::{Command as Process, Stdio};

use crate::attempt::Place;
use crate::command::{self, Command, Given};
use crate::digest;
use crate::graph::Stage;
use crate::key::Tool;
use crate::kind::{Identity, Port, StageError};
use crate::launch::Work;
use crate::memory::Memory;

/// A probe that says more is cut: it goes into every key and record.
const LONGEST_ANSWER: usize = 4096;

/// Identities of programs that were asked for, each once in a run.
#[derive(Debug, Default)]
pub(super) struct Programs {
    known: HashMap<Identity, Tool>,
}

impl Programs {
    /// The tools of `stage` as they enter its key.
    pub(super) fn tools(&mut self, stage: &Stage, memory: &Memory) -> Result<Vec<Tool>, StageError> {
        stage.contract.tools.iter().map(|identity| self.tool(identity, memory)).collect()
    }

    fn tool(&mut self, identity: &Identity, memory: &Memory) -> Result<Tool, StageError> {
        if let Some(tool) = self.known.get(identity) {
            return Ok(tool.clone());
        }
        let tool = match identity {
            Identity::Executable(word) => executable(word, memory)?,
            Identity::Probe(words) => probe(words)?,
        };
        self.known.insert(identity.clone(), tool.clone());
        Ok(tool)
    }
}

/// The bytes of the program that `word` names.
fn executable(word: &str, memory: &Memory) -> Result<Tool, StageError> {
    let path = crate::launch::find(word).ok_or_else(|| {
        StageError::new(format!("there is no program `{word}`")).help("install it, or see that it is in `PATH`")
    })?;
    let content = digest::content(&path, memory)
        .map_err(|e| StageError::new(format!("cannot read the program `{word}`")).because(&e))?;
    Ok(Tool::Executable(word.to_owned(), content.digest))
}

/// What a program says of itself.
fn probe(words: &[String]) -> Result<Tool, StageError> {
    let name = words.join(" ");
    let failed = |e: &dyn std::error::Error| StageError::new(format!("the probe `{name}` cannot be run")).because(e);
    let mut process = Process::new(words.first().map_or("", String::as_str));
    let output = process.args(words.iter().skip(1)).stdin(Stdio::null()).output().map_err(|e| failed(&e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(StageError::new(format!("the probe `{name}` ended with {}: {said}", output.status)));
    }
    let mut said = output.stdout;
    // Many programs tell their version on standard error.
    said.extend(output.stderr);
    said.truncate(LONGEST_ANSWER);
    Ok(Tool::Probe(name, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// Whether `stage` is another program and not a kind of this one.
pub(super) fn is_command(stage: &Stage) -> bool {
    stage.kind.name == command::NAME
}

/// The command of a `command` stage.
fn read(stage: &Stage) -> Result<Option<Command>, StageError> {
    if !is_command(stage) {
        return Ok(None);
    }
    let read = serde::Deserialize::deserialize(&*stage.config);
    read.map(Some).map_err(|e: serde_json::Error| StageError::new("cannot read the command back").because(&e))
}

/// What runs for `stage`.
pub(super) fn work(stage: &Stage, cpus: u16) -> Result<Work, StageError> {
    let Some(command) = read(stage)? else { return Ok(Work::Kind) };
    let given: Vec<Given<'_>> = stage
        .inputs
        .iter()
        .map(|wire| {
            let port = &stage.contract.inputs[wire.port];
            Given { name: &port.name, list: port.many.then_some(wire.from.len()) }
        })
        .collect();
    let mut environment = command.environment(&given, cpus);
    for name in &command.pass_env {
        // What is declared by value counts more than what is passed on by name.
        if let (false, Ok(value)) = (environment.contains_key(name), std::env::var(name)) {
            environment.insert(name.clone(), value);
        }
    }
    Ok(Work::Command { argv: command.words(&given, cpus), environment })
}

/// Where the outputs of `stage` are to appear.
pub(super) fn places(stage: &Stage) -> Vec<Place> {
    let command = read(stage).ok().flatten();
    let below = |port: &Port| {
        let output = command.as_ref().and_then(|command| command.outputs.get(port.name.as_ref()));
        output.map_or_else(|| port.name.to_string(), |output| output.path.clone())
    };
    let place = |port: &Port| Place { port: port.name.to_string(), below: below(port), meaning: port.meaning };
    stage.contract.outputs.iter().map(place).collect()
}
