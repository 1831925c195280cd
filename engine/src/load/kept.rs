//! A loaded pipeline as it is kept under `.pipe/loaded/`, so that one of ten thousand stages that nobody has edited is
//! not parsed again.
//!
//! It holds the same stages that [`super::load`] made, in a flat form, beside all that they were made of: the digest of
//! every text that was read, the names at which nothing was found, the words of the command line, the machine, and the
//! stamp of this very program. Whatever differs, is torn or was written by somebody else is left alone, and the TOML is
//! loaded. Only a load without any remark is kept: mistakes and warnings need their places.
//!
//! Invariants: what is recalled equals what would be loaded now, but for one thing: nobody has looked whether the files
//! that stages take are there ([`crate::graph::Pipeline::recalled`]). Reading never panics, whatever the bytes are.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Load, Machine};
use crate::command;
use crate::config::{Config, Piece};
use crate::digest::{Digest, Stamp};
use crate::graph::{Feed, Origins, Pipeline, Policy, Shared, Stage, StageId, Wire};
use crate::kind::{Contract, Kind, Program};
use crate::pack::{Packer, Unpacker};

mod contract;
#[cfg(test)]
mod tests;

/// The first line; another number is another form.
const MAGIC: &[u8] = b"pipe loaded 1\n";
/// Fewer stages are parsed as fast as they are recalled.
const LEAST_STAGES: usize = 100;
/// So many loads of a project are kept: words on the command line make other stages.
const MOST_KEPT: usize = 16;

/// What a load looked at: a text with its digest, or a name at which nothing was.
pub(super) type Looked = (PathBuf, Option<Digest>);

/// Keeps `pipeline`, which came of `request` and of what was `looked` at. Best effort: it saves time and nothing else.
pub(super) fn keep(request: &Load, looked: &[Looked], pipeline: &Pipeline) {
    if pipeline.stages.len() < LEAST_STAGES {
        return;
    }
    let Some(payload) = pack(request, looked, pipeline) else { return };
    let path = place(&pipeline.root, request);
    let Some(directory) = path.parent() else { return };
    let temporary = directory.join(format!(".{}", std::process::id()));
    let whole = [MAGIC, &check(&payload).0, &payload].concat();
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&temporary, whole))
        .and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    forget_oldest(directory);
}

/// The pipeline that `request` would load from the project at `root`, if it was kept and nothing has changed.
pub(super) fn recall(program: &Program, request: &Load, root: &Path) -> Option<Pipeline> {
    let whole = Arc::new(std::fs::read(place(root, request)).ok()?);
    let start = MAGIC.len() + 32;
    let payload = whole.get(start..)?;
    if !whole.starts_with(MAGIC) || check(payload).0 != whole[MAGIC.len()..start] {
        return None;
    }
    unpack(program, request, root, &whole, start)
}

fn place(root: &Path, request: &Load) -> PathBuf {
    let mut packer = Packer::default();
    pack_request(&mut packer, request);
    root.join(".pipe/loaded").join(&Digest::of(&packer.0).to_string()[..16])
}

fn check(payload: &[u8]) -> Digest {
    Digest(*blake3::Hasher::new().update_rayon(payload).finalize().as_bytes())
}

fn forget_oldest(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut kept: Vec<_> = entries.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
    kept.sort();
    for (_, path) in kept.iter().rev().skip(MOST_KEPT) {
        let _ = std::fs::remove_file(path);
    }
}

fn pack_request(packer: &mut Packer, request: &Load) {
    packer.bytes(request.file.as_os_str().as_bytes());
    packer.count(request.overrides.len());
    for word in &request.overrides {
        packer.text(word);
    }
    let Machine { cpus, memory_mib } = request.machine;
    packer.u32(cpus.into());
    packer.u64(memory_mib);
}

/// What else a load hangs on: who reads, and from where.
fn pack_reader(packer: &mut Packer, root: &Path) -> Option<()> {
    let program = std::fs::metadata("/proc/self/exe").ok()?;
    packer.bytes(&Stamp::of(&program).to_bytes());
    packer.bytes(root.as_os_str().as_bytes());
    // A relative file is another one from another directory.
    packer.bytes(std::env::current_dir().ok()?.as_os_str().as_bytes());
    Some(())
}

/// `None` where something cannot be said in this form.
fn pack(request: &Load, looked: &[Looked], pipeline: &Pipeline) -> Option<Vec<u8>> {
    let mut packer = Packer::default();
    pack_request(&mut packer, request);
    pack_reader(&mut packer, &pipeline.root)?;
    packer.count(looked.len());
    for (path, digest) in looked {
        packer.bytes(path.as_os_str().as_bytes());
        packer.maybe(digest.as_ref(), Packer::digest);
    }
    packer.text(&pipeline.name);
    packer.count(pipeline.choices.len());
    for (group, choice) in &pipeline.choices {
        packer.text(group);
        packer.text(choice);
    }
    // Contracts that are the same are there once.
    let mut contracts: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut numbers = Vec::with_capacity(pipeline.stages.len());
    let mut distinct = Packer::default();
    for stage in &pipeline.stages {
        let next = contracts.len();
        let packed = contract::pack(&stage.contract);
        numbers.push(*contracts.entry(packed).or_insert_with_key(|packed| {
            distinct.0.extend_from_slice(packed);
            next
        }));
    }
    packer.count(contracts.len());
    packer.0.extend_from_slice(&distinct.0);
    packer.count(pipeline.stages.len());
    for (stage, contract) in pipeline.stages.iter().zip(numbers) {
        packer.count(contract);
        pack_stage(&mut packer, &pipeline.root, stage);
    }
    Some(packer.0)
}

fn pack_stage(packer: &mut Packer, root: &Path, stage: &Stage) {
    packer.text(&stage.name);
    packer.text(stage.kind.name);
    packer.bytes(&stage.config.json());
    packer.bytes(&stage.config.walk());
    packer.bytes(stage.origins.bytes());
    packer.u32(stage.policy.sample);
    packer.u32(stage.policy.retries);
    packer.maybe(stage.policy.timeout_s, |packer, seconds| packer.u64(seconds.to_bits()));
    packer.text(&stage.policy.launcher);
    packer.count(stage.inputs.len());
    for wire in &stage.inputs {
        packer.count(wire.port);
        packer.count(wire.from.len());
        for feed in &wire.from {
            match feed {
                Feed::File { label, path } => {
                    packer.u8(0);
                    let inside = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
                    packer.bytes(inside);
                    packer.maybe((label.as_bytes() != inside).then_some(label.as_str()), Packer::text);
                }
                Feed::Output { stage, port } => {
                    packer.u8(1);
                    packer.u32(stage.0);
                    packer.count(*port);
                }
            }
        }
    }
}

fn unpack(program: &Program, request: &Load, root: &Path, whole: &Arc<Vec<u8>>, start: usize) -> Option<Pipeline> {
    let mut expected = Packer::default();
    pack_request(&mut expected, request);
    pack_reader(&mut expected, root)?;
    let mut reader = Unpacker::new(whole.get(start..)?);
    if reader.take(expected.0.len())? != expected.0 {
        return None;
    }
    for _ in 0..reader.count(5)? {
        let path = Path::new(OsStr::from_bytes(reader.bytes()?));
        let is_as_before = match reader.maybe(Unpacker::digest)? {
            Some(digest) => std::fs::read(path).is_ok_and(|bytes| Digest::of(&bytes) == digest),
            None => !path.is_file(),
        };
        if !is_as_before {
            return None;
        }
    }
    let name = reader.text()?.to_owned();
    let mut choices = BTreeMap::new();
    for _ in 0..reader.count(8)? {
        choices.insert(reader.text()?.to_owned(), reader.text()?.to_owned());
    }
    let mut contracts: Vec<Shared<Contract>> = Vec::new();
    for _ in 0..reader.count(1)? {
        contracts.push(contract::unpack(&mut reader, program)?.into());
    }
    let count = reader.count(1)?;
    let mut unpacking =
        Unpacking { program, root, whole, start, stages: Vec::with_capacity(count), kind: command::KIND };
    for _ in 0..count {
        let contract = contracts.get(reader.u32()? as usize)?.clone();
        let stage = unpacking.stage(&mut reader, contract)?;
        unpacking.stages.push(stage);
    }
    let stages = unpacking.stages;
    let (file, root) = (request.file.clone(), root.to_owned());
    reader.is_at_end().then_some(Pipeline { name, file, root, choices, stages, recalled: true })
}

/// Stages as far as they were made.
struct Unpacking<'a> {
    program: &'a Program,
    root: &'a Path,
    whole: &'a Arc<Vec<u8>>,
    /// Where the reader's first byte lies in the whole.
    start: usize,
    stages: Vec<Stage>,
    /// The last stage's: most are followed by one of the same.
    kind: Kind,
}

impl Unpacking<'_> {
    fn stage(&mut self, reader: &mut Unpacker<'_>, contract: Shared<Contract>) -> Option<Stage> {
        let name = reader.text()?.to_owned();
        let kind = reader.text()?;
        if kind != self.kind.name {
            self.kind = *self.program.kinds.iter().chain([&command::KIND]).find(|k| k.name == kind)?;
        }
        let config = Config::kept(self.piece(reader)?, self.piece(reader)?);
        let origins = Origins::kept(self.piece(reader)?);
        let (sample, retries) = (reader.u32()?, reader.u32()?);
        let timeout_s = reader.maybe(Unpacker::u64)?.map(f64::from_bits);
        let policy = Policy { sample, retries, timeout_s, launcher: reader.text()?.to_owned() };
        let count = reader.count(8)?;
        let mut inputs = Vec::with_capacity(count);
        for _ in 0..count {
            let port = reader.u32()? as usize;
            contract.inputs.get(port)?;
            let count = reader.count(6)?;
            let mut from = Vec::with_capacity(count);
            for _ in 0..count {
                from.push(self.feed(reader)?);
            }
            inputs.push(Wire { port, from });
        }
        Some(Stage { name, kind: self.kind, config, origins, contract, inputs, policy })
    }

    fn piece(&self, reader: &mut Unpacker<'_>) -> Option<Piece> {
        let length = reader.bytes()?.len();
        let end = self.start + reader.at();
        Some(Piece::within(self.whole, end - length, end))
    }

    fn feed(&self, reader: &mut Unpacker<'_>) -> Option<Feed> {
        match reader.u8()? {
            0 => {
                let inside = OsStr::from_bytes(reader.bytes()?);
                let label = match reader.maybe(Unpacker::text)? {
                    Some(label) => label.to_owned(),
                    None => inside.to_str()?.to_owned(),
                };
                Some(Feed::File { label, path: self.root.join(inside) })
            }
            1 => {
                let (stage, port) = (StageId(reader.u32()?), reader.u32()? as usize);
                // Every stage stands behind what it takes.
                self.stages.get(stage.index())?.contract.outputs.get(port)?;
                Some(Feed::Output { stage, port })
            }
            _ => None,
        }
    }
}
