//! How outputs become blobs: hashed where they lie, then moved under the name of their content.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::modes::is_ours;
use super::tier::{copy, directory_remove};
use super::{Artifact, INLINE_BYTES, Inline, Meant, Store, StoreError, durable, failed, gc};
use crate::attempt::Output;
use crate::digest::{self, Digest, DigestError, Forgetful, Shape};
use crate::fault;

impl Store {
    /// Keeps one output of an attempt.
    pub(super) fn keep(&self, output: &Output, wall_ns: u64) -> Result<Artifact, StoreError> {
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
            self.move_in(path, &artifact, wall_ns)?;
        }
        Ok(artifact)
    }

    /// Brings a file or tree of an attempt, which took `wall_ns` to make, under its content's name.
    pub(super) fn move_in(&self, from: &Path, artifact: &Artifact, wall_ns: u64) -> Result<(), StoreError> {
        if has_other_names(from, artifact.shape).map_err(failed("look at", from))? {
            // Somebody could change it by another name, and it is not for us to take their right to write.
            let own = from.with_file_name(self.unique("own"));
            let copied = copy(from, &own, &mut { u64::MAX }, &|_| {});
            copied.map_err(|e| failed("copy", from)(std::io::Error::other(e)))?;
            let result = self.move_in(&own, artifact, wall_ns);
            directory_remove(&own);
            return result;
        }
        self.seal(from, artifact.shape)?;
        if artifact.shape == Shape::Tree || durable::is_worth_it(artifact.bytes, wall_ns) {
            durable::flush(from, artifact.shape).map_err(failed("flush", from))?;
        }
        let to = self.blob(artifact.digest);
        let directory = to.parent().expect("a blob lies in a shard");
        if !directory.is_dir() {
            self.modes.make(directory).map_err(failed("make", directory))?;
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
pub(super) fn young(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    now < changed + gc::LEAST_GRACE / 2
}

/// Whether a file, or one in a tree, can be reached by another name as well.
fn has_other_names(path: &Path, shape: Shape) -> std::io::Result<bool> {
    let metadata = std::fs::symlink_metadata(path)?;
    if shape == Shape::File {
        return Ok(metadata.is_file() && metadata.nlink() > 1);
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let shape = if kind.is_dir() { Shape::Tree } else { Shape::File };
        if !kind.is_symlink() && has_other_names(&entry.path(), shape)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Store {
    /// Takes the right to write from what an attempt made, and gives it the permissions of the cache. What belongs to
    /// somebody else (a teammate's attempt is being taken) stays as they left it.
    fn seal(&self, path: &Path, shape: Shape) -> Result<(), StoreError> {
        let metadata = std::fs::symlink_metadata(path).map_err(failed("look at", path))?;
        if shape == Shape::Tree {
            for entry in std::fs::read_dir(path).map_err(failed("read", path))? {
                let entry = entry.map_err(failed("read", path))?;
                let kind = entry.file_type().map_err(failed("look at", path))?;
                if kind.is_dir() {
                    self.seal(&entry.path(), Shape::Tree)?;
                } else if kind.is_file() {
                    self.seal(&entry.path(), Shape::File)?;
                }
            }
            return self.modes.give(path).map_err(failed("seal", path));
        }
        let mode = self.modes.sealed(metadata.mode());
        if is_ours(&metadata) && metadata.mode() & 0o7777 != mode {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("seal", path))?;
        }
        Ok(())
    }
}
