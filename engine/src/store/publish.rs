//! How a file appears whole under its name: a temporary file in the same directory, then a link.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Modes, Store, StoreError, durable, failed};
use crate::fault;

impl Store {
    /// Writes `bytes` under the name `path`, unless something is there already. Whether it was ours that came first.
    pub(super) fn publish(&self, path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
        self.publish_as(path, bytes, self.modes.content(), 0)
    }

    /// The same, on the disk before it returns if it is of something that took long to make.
    pub(super) fn publish_lasting(&self, path: &Path, bytes: &[u8], wall_ns: u64) -> Result<bool, StoreError> {
        self.publish_as(path, bytes, self.modes.content(), wall_ns)
    }

    /// The same with a `mode` of its own.
    pub(super) fn publish_as(&self, path: &Path, bytes: &[u8], mode: u32, wall_ns: u64) -> Result<bool, StoreError> {
        let temporary = self.temporary(path, bytes, mode)?;
        fault::point("publish.temporary");
        let lasting = durable::took_long(wall_ns);
        let flushed = if lasting { durable::file(&temporary).map_err(failed("flush", path)) } else { Ok(()) };
        let won = flushed.and_then(|()| self.link(&temporary, path));
        let _ = std::fs::remove_file(&temporary);
        if lasting && let Some(directory) = path.parent() {
            durable::file(directory).map_err(failed("flush", directory))?;
        }
        won
    }

    /// Writes `bytes` under the name `path`, whatever is there.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.temporary(path, bytes, self.modes.content())?;
        std::fs::rename(&temporary, path).map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            failed("write", path)(e)
        })
    }

    /// A new file beside `path` with these bytes.
    fn temporary(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, StoreError> {
        let directory = path.parent().expect("every path in the store is below its root");
        let temporary = directory.join(self.unique(".tmp"));
        let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let mut file = match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.modes.make(directory).map_err(failed("make", directory))?;
                open()
            }
            other => other,
        }
        .map_err(failed("write in", directory))?;
        file.write_all(bytes).and_then(|()| Modes::set(&file, mode)).map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            failed("write", path)(e)
        })?;
        Ok(temporary)
    }

    /// Gives the file `from` the name `to` as well, unless something is there. Whether it was ours that came first.
    pub(super) fn link(&self, from: &Path, to: &Path) -> Result<bool, StoreError> {
        let Err(e) = std::fs::hard_link(from, to) else { return Ok(true) };
        // The reply to a link that worked can be lost on a network: then our file has a name more than it had.
        let same = |a: &Path, b: &Path| match (std::fs::symlink_metadata(a), std::fs::symlink_metadata(b)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        };
        match e.kind() {
            _ if same(from, to) => Ok(true),
            ErrorKind::AlreadyExists => Ok(false),
            // A file system without hard links: a rename is atomic too, only the last one wins.
            ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::CrossesDevices if !to.exists() => {
                std::fs::rename(from, to).map_err(failed("write", to)).map(|()| true)
            }
            _ => Err(failed("write", to)(e)),
        }
    }
}
