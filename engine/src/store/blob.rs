//! How outputs become blobs: hashed where they lie, then moved under the name of their content.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::{Artifact, INLINE_BYTES, Inline, Meant, Store, StoreError, failed, gc};
use crate::attempt::Output;
use crate::digest::{self, Digest, DigestError, Forgetful, Shape};
use crate::fault;

impl Store {
    /// Keeps one output of an attempt.
    pub(super) fn keep(&self, output: &Output) -> Result<Artifact, StoreError> {
        let path = &output.path;
        let refused = |source| StoreError::Output { port: output.port.clone(), source };
        // A link at the top would be kept as a link to scratch that is about to go.
        let metadata = std::fs::symlink_metadata(path)
            .map_err(|source| refused(DigestError::Read { path: path.clone(), source }))?;
        if metadata.is_symlink() {
            let target = std::fs::read_link(path).unwrap_or_default();
            return Err(refused(DigestError::Leaves { path: path.clone(), target }));
        }
        let content = digest::content(path, &Forgetful).map_err(refused)?;
        let meaning = output
            .meaning
            .map(|meaning| match (meaning.digest)(path) {
                Ok(digest) => Ok(Meant { name: meaning.name.to_owned(), digest: Digest(digest) }),
                Err(message) => Err(StoreError::Meaning { port: output.port.clone(), meaning: meaning.name, message }),
            })
            .transpose()?;
        fault::point("commit.hashed");
        let mut artifact =
            Artifact { digest: content.digest, bytes: content.bytes, shape: content.shape, meaning, inline: None };
        if content.shape == Shape::File && content.bytes < INLINE_BYTES {
            let bytes = std::fs::read(path).map_err(failed("read", path))?;
            if Digest::of(&bytes) != content.digest {
                return Err(refused(DigestError::Moved { path: path.clone() }));
            }
            artifact.inline = Some(Inline::of(&bytes));
        } else {
            self.move_in(path, &artifact)?;
        }
        Ok(artifact)
    }

    /// Brings a file or tree of an attempt under its content's name.
    fn move_in(&self, from: &Path, artifact: &Artifact) -> Result<(), StoreError> {
        seal(from, artifact.shape)?;
        let to = self.blob(artifact.digest);
        let directory = to.parent().expect("a blob lies in a shard");
        if !directory.is_dir() {
            std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
        }
        if to.symlink_metadata().is_ok() {
            if self.blob_trouble(&to, artifact.shape, artifact.bytes).is_none() && young(&to) {
                return Ok(());
            }
            if artifact.shape == Shape::File {
                // Equal bytes, so it makes no difference to readers; but the name is young again, which keeps a
                // sweep that runs now from taking what we are about to name.
                return std::fs::rename(from, &to).map_err(failed("write the blob", &to));
            }
            self.set_aside(&to);
        }
        match artifact.shape {
            Shape::File => self.link(from, &to).map(|_| ()),
            Shape::Tree => match std::fs::rename(from, &to) {
                // Somebody else's tree of the same content came first.
                Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(()),
                other => other.map_err(failed("write the blob", &to)),
            },
        }
    }

    /// What is wrong with the blob at `path`, short of reading it: nothing, or words. One that is wrong is moved aside.
    pub(super) fn blob_trouble(&self, path: &Path, shape: Shape, bytes: u64) -> Option<String> {
        let trouble = match (std::fs::symlink_metadata(path), shape) {
            (Err(e), _) => return Some(format!("is not in the cache: `{}`: {e}", path.display())),
            (Ok(m), Shape::File) if m.is_file() && m.len() == bytes => return None,
            (Ok(m), Shape::Tree) if m.is_dir() => return None,
            (Ok(m), Shape::File) if m.is_file() => format!("has {} bytes instead of {bytes}", m.len()),
            (Ok(_), Shape::File) => "is no file".to_owned(),
            (Ok(_), Shape::Tree) => "is no directory".to_owned(),
        };
        self.set_aside(path);
        Some(format!("{trouble}: `{}`", path.display()))
    }
}

/// Whether no sweep of usual grace will take what is at `path` for long enough to name it in a record.
fn young(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    now < changed + gc::LEAST_GRACE / 2
}

/// Takes the right to write from what an attempt made; it is ours, we started the process that made it.
fn seal(path: &Path, shape: Shape) -> Result<(), StoreError> {
    match shape {
        Shape::File => {
            let mode = std::fs::metadata(path).map_err(failed("look at", path))?.mode() & 0o555 | 0o444;
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("seal", path))
        }
        Shape::Tree => {
            for entry in std::fs::read_dir(path).map_err(failed("read", path))? {
                let entry = entry.map_err(failed("read", path))?;
                let kind = entry.file_type().map_err(failed("look at", path))?;
                if kind.is_dir() {
                    seal(&entry.path(), Shape::Tree)?;
                } else if kind.is_file() {
                    seal(&entry.path(), Shape::File)?;
                }
            }
            Ok(())
        }
    }
}
