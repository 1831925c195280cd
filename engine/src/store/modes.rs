//! Permissions in a cache: those of its own directory, whatever the umask of whoever writes. A directory with mode 2775
//! and a group makes a cache for that group; one with 700 a cache for one person.
//!
//! Only what was just made here, or belongs to this user, is ever given other permissions.

use std::fs::{File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The bits of a directory that those below it get too: who may do what, and that the group is inherited.
const BITS: u32 = 0o2777;

/// Permissions of a cache, taken from its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    directory: u32,
}

impl Modes {
    /// Those of the cache at `root`.
    pub(super) fn of(root: &Path) -> std::io::Result<Modes> {
        Ok(Modes { directory: std::fs::metadata(root)?.mode() & BITS })
    }

    /// For a file that nobody changes: it may be read by whoever may look into the cache.
    pub(super) fn content(self) -> u32 {
        0o444 & self.readers()
    }

    /// For a file that its owner writes again.
    pub(super) fn hint(self) -> u32 {
        0o644 & (self.readers() | 0o200)
    }

    /// For a sealed file that had this mode: who may read it may execute it, if its owner may.
    pub(super) fn sealed(self, mode: u32) -> u32 {
        let execute = if mode & 0o100 != 0 { self.readers() >> 2 & 0o111 } else { 0 };
        self.content() | execute
    }

    /// The classes that may read, as bits to read.
    fn readers(self) -> u32 {
        self.directory & 0o444
    }

    /// Gives a file that was just made here its mode, which the umask may have cut.
    pub(super) fn set(file: &File, mode: u32) -> std::io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode))
    }

    /// Makes the directory `path` and what is missing above it.
    pub(super) fn make(self, path: &Path) -> std::io::Result<()> {
        match std::fs::create_dir(path) {
            Ok(()) => self.give(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let above = path.parent().ok_or(e)?;
                self.make(above)?;
                self.make(path)
            }
            Err(e) => Err(e),
        }
    }

    /// Gives a directory of this user's the permissions of the cache.
    pub(super) fn give(self, path: &Path) -> std::io::Result<()> {
        let metadata = std::fs::symlink_metadata(path)?;
        if metadata.is_dir() && is_ours(&metadata) && metadata.mode() & BITS != self.directory {
            std::fs::set_permissions(path, Permissions::from_mode(self.directory))?;
        }
        Ok(())
    }
}

/// Makes the directory `path` below `like`, with the permissions of that.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_like(path: &Path, like: &Path) -> std::io::Result<()> {
    Modes::of(like)?.make(path)
}

/// Whether what has this `metadata` belongs to this process's user.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}
