//! What an attempt is given: its directory, the inputs in it and the manifest that names them.

use std::os::unix::fs::symlink;

use super::{
    Attempt, BTreeMap, Feed, Found, Key, Lease, Path, PathBuf, Run, Stage, StageError, StageId, StoreError, program,
    results, work,
};
use crate::attempt::{self, Manifest};
use crate::exec::Source;
use crate::store::failed;

impl Run<'_, '_, '_> {
    /// Makes the attempt's directory with its inputs and manifest.
    pub(super) fn attempt(&self, stage: u32, lease: &Lease, key: Key) -> Result<Attempt, StageError> {
        let spec = self.stage(stage);
        let store = self.request.store;
        let name: String = results::plain(&spec.name).replace('~', "_").chars().take(60).collect();
        let name = store.unique(&format!("{name}~{}~", key.0.short()));
        let made = Attempt::make(&store.attempts(), &name, |attempt| {
            let inputs = self.inputs(spec, attempt)?;
            for place in program::places(spec) {
                if let Some(parent) = Path::new(&place.below).parent().filter(|p| !p.as_os_str().is_empty()) {
                    let parent = attempt.directory.join("out").join(parent);
                    std::fs::create_dir_all(&parent).map_err(failed("make", &parent))?;
                }
            }
            Ok(Manifest {
                format: attempt::FORMAT,
                kind: spec.kind.name.to_owned(),
                key,
                run: self.id.clone(),
                pipeline: self.request.pipeline.name.clone(),
                stage: spec.name.clone(),
                config: (*spec.config).clone(),
                inputs,
                outputs: spec.contract.outputs.iter().map(|port| port.name.to_string()).collect(),
                cpus: lease.cpus,
                gpus: lease.cards.iter().map(|card| card.uuid.clone()).collect(),
            })
        });
        made.map_err(|error| work::told(&error))
    }

    /// Lays out a stage's inputs: small ones as files of the attempt, and for a command links to all others.
    fn inputs(&self, spec: &Stage, attempt: &Attempt) -> Result<BTreeMap<String, Vec<Source>>, StoreError> {
        let mut inputs = BTreeMap::new();
        for wire in &spec.inputs {
            let port = &spec.contract.inputs[wire.port];
            let mut sources = Vec::new();
            for (at, feed) in wire.from.iter().enumerate() {
                let inside = attempt.directory.join("in").join(port.name.as_ref());
                let inside = if port.many { inside.join(at.to_string()) } else { inside };
                sources.push(self.source(spec, feed, inside)?);
            }
            inputs.insert(port.name.to_string(), sources);
        }
        Ok(inputs)
    }

    fn source(&self, spec: &Stage, feed: &Feed, inside: PathBuf) -> Result<Source, StoreError> {
        let directory = || {
            let directory = inside.parent().expect("it lies below the attempt");
            std::fs::create_dir_all(directory).map_err(failed("make", directory))
        };
        let (label, path, digest) = match feed {
            Feed::File { label, path } => {
                let digest = self.resolver.digest_of(path).map(|d| d.to_string()).unwrap_or_default();
                (label.clone(), path.clone(), digest)
            }
            Feed::Output { stage, port } => {
                let node = &self.nodes[stage.index()];
                let (name, artifact) = &node.outputs[*port];
                let label = format!("{}.{name}", self.request.pipeline.stages[stage.index()].name);
                let digest = artifact.digest.to_string();
                if let Some(bytes) = self.inline(*stage, name)? {
                    directory()?;
                    std::fs::write(&inside, bytes).map_err(failed("write", &inside))?;
                    return Ok(Source { label, path: inside, digest });
                }
                (label, self.request.store.blob(artifact.digest), digest)
            }
        };
        if program::is_command(spec) {
            directory()?;
            symlink(&path, &inside).map_err(failed("link", &inside))?;
        }
        Ok(Source { label, path, digest })
    }

    /// The bytes of a small output: from `results/`, where they are checked by their digest, or from its record. (A
    /// cache may have been deleted under results that are still good.)
    fn inline(&self, stage: StageId, port: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let node = &self.nodes[stage.index()];
        let (_, artifact) = node.outputs.iter().find(|(name, _)| name == port).expect("the wire was checked");
        if artifact.bytes >= crate::store::INLINE_BYTES || artifact.shape != crate::digest::Shape::File {
            return Ok(None);
        }
        if let Some(bytes) = self.results.bytes(self.stage(stage.0), port, artifact) {
            return Ok(Some(bytes));
        }
        let key = node.key.expect("a stage that is good has a key");
        match self.request.store.find(key)? {
            Found::Record(record) => Ok(record.outputs.get(port).and_then(|a| a.inline.as_ref()).map(|i| i.bytes())),
            Found::Nothing | Found::Damaged(_) => {
                let gone = std::io::Error::new(std::io::ErrorKind::NotFound, "its record is gone from the cache");
                Err(failed("read the output", &self.request.store.blob(artifact.digest))(gone))
            }
        }
    }
}
