//! A tier that is a directory laid out as a cache: another disk, a server's file system, or a cache that this user may
//! only read.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::gc::{Age, shards};
use super::super::{Artifact, Store, StoreError, read_patiently};
use super::{Blob, Listed, Moved, Name, Tier, TierError};
use crate::digest::Shape;

/// Copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A directory laid out as a cache.
#[derive(Debug)]
pub struct Directory {
    store: Store,
}

impl Directory {
    /// The cache at `root`, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or is of another format.
    pub fn open(root: &Path) -> Result<Directory, StoreError> {
        Ok(Directory { store: Store::open(root)? })
    }

    /// The cache at `root`, which is only read.
    pub(in super::super) fn of(store: Store) -> Directory {
        Directory { store }
    }

    fn at(&self, name: &Name) -> PathBuf {
        self.store.root.join(name.path())
    }
}

fn told(error: &StoreError) -> TierError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

impl Tier for Directory {
    fn name(&self) -> String {
        format!("`{}`", self.store.root.display())
    }

    fn get(&self, name: &Name, most: u64) -> Result<Option<Vec<u8>>, TierError> {
        let path = self.at(name);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > most => return Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => return absent(&self.store.root),
            _ => {}
        }
        match read_patiently(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => absent(&self.store.root),
            Err(e) => Err(format!("`{}`: {e}", path.display())),
        }
    }

    fn put_if_absent(&self, name: &Name, bytes: &[u8]) -> Result<bool, TierError> {
        self.store.publish(&self.at(name), bytes).map_err(|e| told(&e))
    }

    fn put(&self, name: &Name, bytes: &[u8]) -> Result<(), TierError> {
        self.store.replace(&self.at(name), bytes).map_err(|e| told(&e))
    }

    fn fetch(&self, blob: &Blob, to: &Path, moved: Moved<'_>) -> Result<bool, TierError> {
        let from = self.store.blob(blob.digest);
        match std::fs::symlink_metadata(&from) {
            Err(e) if e.kind() == ErrorKind::NotFound => return absent(&self.store.root).map(|_: Option<()>| false),
            Err(e) => return Err(format!("`{}`: {e}", from.display())),
            // It is of another sort than its record says: no good, which is as if it were not there.
            Ok(metadata) if metadata.is_dir() != (blob.shape == Shape::Tree) => return Ok(false),
            Ok(_) => {}
        }
        copy(&from, to, &mut { blob.bytes }, moved).map(|()| true)
    }

    fn push(&self, blob: &Blob, from: &Path, moved: Moved<'_>) -> Result<(), TierError> {
        let artifact =
            Artifact { digest: blob.digest, bytes: blob.bytes, shape: blob.shape, meaning: None, inline: None };
        if self.store.has(&artifact) && super::super::blob::young(&self.store.blob(blob.digest)) {
            return Ok(());
        }
        let scratch = self.store.attempts().join(self.store.unique("push"));
        let result = copy(from, &scratch, &mut { blob.bytes }, moved)
            .and_then(|()| self.store.move_in(&scratch, &artifact, u64::MAX).map_err(|e| told(&e)));
        remove(&scratch);
        result
    }

    fn list(&self) -> Result<Vec<Listed>, TierError> {
        let mut listed = Vec::new();
        for folder in ["records", "blobs", "roots"] {
            let directory = self.store.root.join(folder);
            let paths = if folder == "roots" {
                super::super::gc::files(&directory).map(|files| files.into_iter().collect())
            } else {
                shards(&directory)
            };
            for path in paths.map_err(|e| told(&e))? {
                let below = path.strip_prefix(&self.store.root).map(|p| p.to_string_lossy().into_owned());
                if let Some(name) = below.ok().and_then(|below| Name::parse(&below)) {
                    let age = Age::of(&path);
                    listed.push(Listed { name, bytes: age.bytes, at: age.changed });
                }
            }
        }
        Ok(listed)
    }

    fn delete(&self, name: &Name) -> Result<(), TierError> {
        let path = self.at(name);
        let trash = self.store.root.join("trash").join(self.store.unique("swept"));
        match std::fs::rename(&path, trash) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(format!("`{}`: {e}", path.display())),
            _ => Ok(()),
        }
    }
}

/// Nothing is there, if the directory itself is: one whose disk was taken away answers for nothing.
fn absent<T>(root: &Path) -> Result<Option<T>, TierError> {
    match root.join("format").metadata() {
        Ok(_) => Ok(None),
        Err(e) => Err(format!("`{}`: {e}", root.display())),
    }
}

/// Copies a file or tree; of all files together no more than `left` bytes. A link is copied as its text, and looked at
/// by who digests the copy.
pub(in super::super) fn copy(from: &Path, to: &Path, left: &mut u64, moved: Moved<'_>) -> Result<(), TierError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("`{path}`: {e}")
    };
    let metadata = std::fs::symlink_metadata(from).map_err(failed(from))?;
    if metadata.is_symlink() {
        let text = std::fs::read_link(from).map_err(failed(from))?;
        return symlink(text, to).map_err(failed(to));
    }
    if metadata.is_dir() {
        std::fs::create_dir(to).map_err(failed(to))?;
        for entry in std::fs::read_dir(from).map_err(failed(from))? {
            let entry = entry.map_err(failed(from))?;
            copy(&entry.path(), &to.join(entry.file_name()), left, moved)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(format!("`{}` is neither file, directory nor link", from.display()));
    }
    let mut source = std::fs::File::open(from).map_err(failed(from))?;
    let mut target = std::fs::File::create_new(to).map_err(failed(to))?;
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(*left).unwrap_or(usize::MAX).saturating_add(1))];
    loop {
        let read = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed(from)(e)),
        };
        *left =
            left.checked_sub(read as u64).ok_or_else(|| format!("`{}` is larger than it should be", from.display()))?;
        target.write_all(&chunk[..read]).map_err(failed(to))?;
        moved(read as u64);
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777 | 0o600;
    target.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed(to))
}

/// Removes a file or tree that we made.
pub(in super::super) fn remove(path: &Path) {
    if path.is_dir() {
        let _ = std::fs::remove_dir_all(path);
    } else {
        let _ = std::fs::remove_file(path);
    }
}
