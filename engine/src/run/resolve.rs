//! From a stage and what it takes to its key: contents of files and outputs, digests by meaning, facts of the world.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::Request;
use super::program::Programs;
use super::results::Results;
use crate::digest::{self, Content, Digest};
use crate::graph::{Feed, Stage, StageId};
use crate::key::{self, Inputs, Key, Taken, World};
use crate::kind::{Meaning, StageError};
use crate::memory::Memory;
use crate::store::{Artifact, Found};

/// Outputs that are known, by stage: the stage's key and its outputs in the order of its contract.
pub(super) trait Known {
    /// Of a stage that is a hit or done.
    fn outputs(&self, stage: StageId) -> (Key, &[(String, Artifact)]);
}

/// Finds keys.
pub(super) struct Resolver<'a> {
    request: &'a Request<'a>,
    results: Results<'a>,
    files: HashMap<&'a OsStr, Result<Content, String>>,
    programs: Programs,
}

/// A stage's key and what it was made of.
pub(super) struct Named<'a> {
    pub(super) key: Key,
    inputs: Inputs<'a>,
    world: World,
}

impl Named<'_> {
    /// The key's text; made only when somebody asks.
    pub(super) fn text(&self, stage: &Stage) -> String {
        key::text(stage, &self.inputs, &self.world)
    }
}

impl<'a> Resolver<'a> {
    /// Looks at every file that a wanted stage takes, once, on all cores.
    pub(super) fn new(request: &'a Request<'a>, wanted: &[bool], memory: &Memory) -> Resolver<'a> {
        let stages = request.pipeline.stages.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(stage, _)| stage);
        let paths = stages.flat_map(|stage| &stage.inputs).flat_map(|wire| &wire.from).filter_map(|feed| match feed {
            Feed::File { path, .. } => Some(path.as_os_str()),
            Feed::Output { .. } => None,
        });
        let mut distinct = HashSet::new();
        let paths: Vec<&OsStr> = paths.filter(|path| distinct.insert(*path)).collect();
        let look = |path: &OsStr| digest::content(Path::new(path), memory).map_err(|e| chain(&e));
        let seen: Vec<_> = paths.par_iter().map(|path| look(path)).collect();
        let files = paths.into_iter().zip(seen).collect();
        let results = Results::new(&request.pipeline.root, &request.pipeline.name, request.store);
        Resolver { request, results, files, programs: Programs::default() }
    }

    /// The key of `stage`, all of whose producers are `known`.
    pub(super) fn name<'s>(
        &mut self,
        stage: &'s Stage,
        known: &dyn Known,
        memory: &Memory,
    ) -> Result<Named<'s>, StageError> {
        let mut inputs = Inputs::default();
        for wire in &stage.inputs {
            let port = &stage.contract.inputs[wire.port];
            let taken = wire
                .from
                .iter()
                .map(|feed| self.taken(feed, port.meaning, known, memory))
                .collect::<Result<Vec<_>, _>>()?;
            inputs.ports.push((port.name.as_ref(), taken));
        }
        let contract = &stage.contract;
        let oracles =
            self.request.facts.ask(&contract.oracles, &contract.needs).map_err(|absent| {
                StageError::new(format!("it declares {}; found: {}", absent.declared, absent.found))
            })?;
        let tools = self.programs.tools(stage, memory)?;
        let world = World { oracles, tools, salt: self.request.store.salt().to_owned() };
        Ok(Named { key: key::key(stage, &inputs, &world), inputs, world })
    }

    /// What one feed gives to the key. The meaning that the input asks for counts, else the one that the output
    /// declares, else bytes.
    fn taken(
        &self,
        feed: &Feed,
        asked: Option<Meaning>,
        known: &dyn Known,
        memory: &Memory,
    ) -> Result<Taken, StageError> {
        match feed {
            Feed::File { label, path } => {
                let content = self.file(label, path)?;
                match asked {
                    None => Ok(Taken { digest: content.digest, meaning: None }),
                    Some(meaning) => by_meaning(meaning, label, content.digest, path, memory),
                }
            }
            Feed::Output { stage, port } => {
                let producer = &self.request.pipeline.stages[stage.index()];
                let (key, outputs) = known.outputs(*stage);
                let (name, artifact) = &outputs[*port];
                let Some(meaning) = asked.or(producer.contract.outputs[*port].meaning) else {
                    return Ok(Taken { digest: artifact.digest, meaning: None });
                };
                if let Some(meant) = artifact.meaning.as_ref().filter(|meant| meant.name == meaning.name) {
                    return Ok(Taken { digest: meant.digest, meaning: Some(meaning.name) });
                }
                let label = format!("{}.{name}", producer.name);
                let blob = self.request.store.blob(artifact.digest);
                if memory.meaning(artifact.digest, meaning.name).is_none() && !self.request.store.has(artifact) {
                    // Where it cannot be had, that is told below.
                    let _ = self.request.store.bring(artifact, &|_| {});
                }
                if blob.exists() || memory.meaning(artifact.digest, meaning.name).is_some() {
                    return by_meaning(meaning, &label, artifact.digest, &blob, memory);
                }
                let file = self.inline_file(key, producer, (name, artifact))?;
                by_meaning(meaning, &label, artifact.digest, file.path(), memory)
            }
        }
    }

    /// A small output as a file, for as long as somebody reads it.
    fn inline_file(
        &self,
        key: Key,
        stage: &Stage,
        (port, artifact): (&str, &Artifact),
    ) -> Result<tempfile::NamedTempFile, StageError> {
        let failed =
            |e: &dyn std::error::Error| StageError::new(format!("cannot read `{}.{port}`", stage.name)).because(e);
        let bytes = match self.results.bytes(stage, port, artifact) {
            Some(bytes) => bytes,
            None => {
                let Found::Record(record) = self.request.store.find(key).map_err(|e| failed(&e))? else {
                    let message = format!("cannot read `{}.{port}`: its record is gone from the cache", stage.name);
                    return Err(StageError::new(message));
                };
                let inline = record.outputs.get(port).and_then(|a| a.inline.as_ref()).map(|inline| inline.bytes());
                inline
                    .ok_or_else(|| StageError::new(format!("cannot read `{}.{port}`: its blob is gone", stage.name)))?
            }
        };
        let mut file = tempfile::NamedTempFile::new().map_err(|e| failed(&e))?;
        std::io::Write::write_all(&mut file, &bytes).map_err(|e| failed(&e))?;
        Ok(file)
    }

    /// A file that is not there.
    pub(super) fn gone(&self) -> Option<PathBuf> {
        let troubled = self.files.iter().filter(|(_, content)| content.is_err()).map(|(path, _)| Path::new(path));
        troubled.filter(|path| !path.exists()).min().map(Path::to_owned)
    }

    fn file(&self, label: &str, path: &Path) -> Result<Content, StageError> {
        match self.files.get(path.as_os_str()) {
            Some(Ok(content)) => Ok(*content),
            Some(Err(trouble)) => Err(StageError::new(format!("the input `{label}` cannot be used: {trouble}"))),
            None => unreachable!("every file of a wanted stage was looked at"),
        }
    }

    /// The files that `stage` takes, with the glance they had when they entered its key.
    pub(super) fn files_of(&self, stage: &Stage) -> Vec<(String, PathBuf, Digest)> {
        let feeds = stage.inputs.iter().flat_map(|wire| &wire.from);
        feeds
            .filter_map(|feed| match feed {
                Feed::File { label, path } => {
                    let content = self.file(label, path).ok()?;
                    Some((label.clone(), path.clone(), content.glance))
                }
                Feed::Output { .. } => None,
            })
            .collect()
    }

    /// The content of a file that was looked at.
    pub(super) fn digest_of(&self, path: &Path) -> Option<Digest> {
        self.files.get(path.as_os_str())?.as_ref().ok().map(|content| content.digest)
    }
}

fn by_meaning(meaning: Meaning, label: &str, of: Digest, path: &Path, memory: &Memory) -> Result<Taken, StageError> {
    let digest = match memory.meaning(of, meaning.name) {
        Some(digest) => digest,
        None => {
            let digest = (meaning.digest)(path).map(Digest).map_err(|message| {
                StageError::new(format!("`{label}` cannot be read as {}: {message}", meaning.name))
            })?;
            memory.keep_meaning(of, meaning.name, digest);
            digest
        }
    };
    Ok(Taken { digest, meaning: Some(meaning.name) })
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
