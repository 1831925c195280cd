//! `results/<pipeline>/<stage>/<port>[.<extension>]`: where people and other tools find the outputs of the latest run. Links to blobs;
//! small outputs are files, and so is one that its port gives an extension and that is no large one: a browser goes by the
//! name at the end of a link, and a blob's has no extension. Links are relative where the cache lies in the project, so that both can be moved together.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::digest::{self, Remember, Shape, Stamp};
use crate::fault;
use crate::graph::Stage;
use crate::kind::Port;
use crate::memory::Memory;
use crate::store::{Artifact, Record, Store};

/// Above this an output with an extension is a link all the same, bytes.
const COPIED_MOST: u64 = 16 << 20;

/// The results of one pipeline of a project.
pub(super) struct Results<'a> {
    root: &'a Path,
    pipeline: String,
    store: &'a Store,
    /// The store's directory as links name it: from a stage's results, or absolute.
    to_store: PathBuf,
}

impl<'a> Results<'a> {
    pub(super) fn new(root: &'a Path, pipeline: &str, store: &'a Store) -> Results<'a> {
        let absolute = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let to_store = match store.directory().strip_prefix(&absolute) {
            Ok(inside) => Path::new("../../..").join(inside),
            Err(_) => store.directory().to_owned(),
        };
        Results { root, pipeline: plain(pipeline), store, to_store }
    }

    /// From the project's root: `results/<pipeline>/<stage>/<port>[.<extension>]`.
    pub(super) fn name(&self, stage: &Stage, port: &str) -> PathBuf {
        self.directory(&stage.name).join(file(stage, port))
    }

    fn directory(&self, stage: &str) -> PathBuf {
        Path::new("results").join(&self.pipeline).join(plain(stage))
    }

    /// The text of the link to a blob.
    fn target(&self, artifact: &Artifact) -> PathBuf {
        let blob = self.store.blob(artifact.digest);
        let inside = blob.strip_prefix(self.store.directory()).expect("blobs lie in the store");
        self.to_store.join(inside)
    }

    /// Whether all `outputs` of `stage` are where they belong and what they should be. For a link: its text, and that
    /// the blob is there and of the right size; for a small file: its stamp, or its bytes where that is not known.
    pub(super) fn are_in_place(&self, stage: &Stage, outputs: &[(String, Artifact)], memory: &Memory) -> bool {
        let directory = self.root.join(self.directory(&stage.name));
        outputs.iter().all(|(port, artifact)| {
            let path = directory.join(file(stage, port));
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { return false };
            if is_copied(stage, port, artifact) || !metadata.is_symlink() {
                return is_file_with(&path, &metadata, artifact, memory);
            }
            std::fs::read_link(&path).is_ok_and(|link| link == self.target(artifact))
                && std::fs::metadata(&path).is_ok_and(|m| match artifact.shape {
                    Shape::File => m.is_file() && m.len() == artifact.bytes,
                    Shape::Tree => m.is_dir(),
                })
        })
    }

    /// A small output's bytes from where people look for it, if they are still what they should be.
    pub(super) fn bytes(&self, stage: &Stage, port: &str, artifact: &Artifact) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.root.join(self.name(stage, port))).ok()?;
        (digest::Digest::of(&bytes) == artifact.digest).then_some(bytes)
    }

    /// Puts the outputs in `record` where they belong.
    pub(super) fn place(&self, stage: &Stage, record: &Record) -> std::io::Result<()> {
        let directory = self.root.join(self.directory(&stage.name));
        std::fs::create_dir_all(&directory)?;
        for (port, artifact) in &record.outputs {
            let path = directory.join(file(stage, port));
            let temporary = directory.join(format!(".{}-{}", plain(port), std::process::id()));
            remove(&temporary)?;
            match &artifact.inline {
                Some(inline) => {
                    std::fs::write(&temporary, inline.bytes())?;
                    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o444))?;
                }
                None if is_copied(stage, port, artifact) => {
                    std::fs::copy(self.store.blob(artifact.digest), &temporary)?;
                    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o444))?;
                }
                None => symlink(self.target(artifact), &temporary)?,
            }
            fault::point("results.link");
            if let Err(e) = std::fs::rename(&temporary, &path) {
                // A directory that somebody put there gives way to no link.
                remove(&temporary)?;
                return Err(e);
            }
        }
        self.forget_others(&directory, stage, record)
    }

    /// Removes links of outputs that the stage no longer has; what is no link of ours stays.
    fn forget_others(&self, directory: &Path, stage: &Stage, record: &Record) -> std::io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or(OsStr::new(""));
            let is_output = record.outputs.keys().any(|port| OsStr::new(&file(stage, port)) == name);
            let ours = std::fs::read_link(&path).is_ok_and(|to| to.starts_with(&self.to_store));
            if !is_output && ours {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Whether the output lies under `results` as a file of its own, though the cache holds it as a blob.
fn is_copied(stage: &Stage, port: &str, artifact: &Artifact) -> bool {
    let declared = stage.contract.outputs.iter().find(|p| p.name == port);
    let named = declared.is_some_and(|p| !p.extension.is_empty());
    named && artifact.shape == Shape::File && artifact.bytes <= COPIED_MOST
}

/// What a stage's output is called in its directory.
fn file(stage: &Stage, port: &str) -> String {
    let declared = stage.contract.outputs.iter().find(|p| p.name == port);
    plain(&declared.map_or_else(|| port.to_owned(), Port::file_name))
}

fn is_file_with(path: &Path, metadata: &std::fs::Metadata, artifact: &Artifact, memory: &Memory) -> bool {
    if !metadata.is_file() || metadata.len() != artifact.bytes || artifact.shape != Shape::File {
        return false;
    }
    match memory.recall(path, &Stamp::of(metadata)) {
        Some(digest) => digest == artifact.digest,
        None => digest::content(path, memory).is_ok_and(|content| content.digest == artifact.digest),
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A name as one step of a path: names of stages hold anything that a TOML key may hold.
pub(super) fn plain(name: &str) -> String {
    // Nearly every name there is, without a closer look.
    let simple = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'=' | b',');
    if !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(simple) {
        return name.to_owned();
    }
    let single = Path::new(name).components().count() == 1
        && matches!(Path::new(name).components().next(), Some(Component::Normal(_)));
    if single && !name.contains(['/', '\0']) && !name.starts_with('.') && name.len() <= 200 {
        return name.to_owned();
    }
    let safe: String = name.chars().map(|c| if matches!(c, '/' | '\0') { '_' } else { c }).take(60).collect::<String>();
    // Two names that look alike now must not share a place.
    format!("{}-{}", safe.trim_start_matches('.'), digest::Digest::of(name.as_bytes()).short())
}
