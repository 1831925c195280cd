//! What must be on the disk before what, so that after a power cut the cache tells the truth and has lost little.
//!
//! The record is what is believed, and it carries its own digest: torn, it is a miss. What it names must not be less
//! than it says. File systems that write in order never show a file of its full size without its bytes, so for a file
//! the size on a hit is enough; what is large, or took long to make, is flushed before it gets its name all the same,
//! because losing it costs more than a flush. Of a tree the sizes are not looked at on a hit, so trees always are.

use std::fs::File;
use std::io::Result;
use std::path::Path;
use std::time::Duration;

use crate::digest::Shape;
use crate::fault;

/// From this size on a file is flushed.
const LARGE_BYTES: u64 = 1 << 20;
/// What took so long to make is flushed: it is worth some milliseconds.
const LONG: Duration = Duration::from_secs(1);
/// A tree of more files is flushed with the whole file system.
const MANY_FILES: usize = 64;

/// Whether something that took `wall_ns` to make is worth a flush whatever its size.
pub(super) fn took_long(wall_ns: u64) -> bool {
    Duration::from_nanos(wall_ns) >= LONG
}

/// Whether a file of this size, made in this time, is worth a flush.
pub(super) fn is_worth_it(bytes: u64, wall_ns: u64) -> bool {
    bytes >= LARGE_BYTES || took_long(wall_ns)
}

/// Flushes what lies at `path`, with all that is in it.
pub(super) fn flush(path: &Path, shape: Shape) -> Result<()> {
    if shape == Shape::File {
        return file(path);
    }
    let mut files = Vec::new();
    let mut directories = vec![path.to_owned()];
    let mut at = 0;
    while let Some(directory) = directories.get(at).cloned() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
        at += 1;
    }
    if files.len() > MANY_FILES {
        rustix::fs::syncfs(File::open(path)?)?;
        return files.iter().try_for_each(|path| File::open(path).map(|file| fault::flushed(&file)));
    }
    files.iter().chain(&directories).try_for_each(|path| file(path))
}

/// Flushes one file, or the names in one directory.
pub(super) fn file(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    fault::flushed(&file);
    Ok(())
}
