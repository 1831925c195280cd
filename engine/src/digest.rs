//! What bytes are called: [`Digest`], BLAKE3 of a file or of a tree, and the [`Stamp`] by which a file is known to be
//! unchanged without being read again.
//!
//! It does not know keys, stores or stages; where stamps are kept is `memory`'s affair.
//!
//! Invariants: the digest of a file is plain BLAKE3 of its bytes (what `b3sum` prints); the digest of a tree covers
//! names, bytes, the executable bit, the text of symbolic links and empty directories, and nothing else; a digest is
//! given only when the file stood still while it was read.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod tree;

#[cfg(test)]
mod tests;

/// BLAKE3 of something, 32 bytes; printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        // Upper case would give one digest two names.
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("`{text}` is not 64 lower-case hexadecimal digits"));
        }
        blake3::Hash::from_hex(text).map(|h| Digest(*h.as_bytes())).map_err(|e| format!("`{text}`: {e}"))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why something has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It moved while it was read.
    #[error("`{}` changed while it was read", path.display())]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// A tree may hold files, directories and links, and this is none of them.
    #[error("`{}` is a {what}; only files, directories and symbolic links can be kept", path.display())]
    Special {
        /// Where it lies.
        path: PathBuf,
        /// Socket, device, pipe.
        what: &'static str,
    },
    /// A symbolic link in a tree that points out of it: what it names would not be kept.
    #[error("the link `{}` leaves its tree: it points to `{}`", path.display(), target.display())]
    Leaves {
        /// The link.
        path: PathBuf,
        /// Its text.
        target: PathBuf,
    },
}

/// What of a file's metadata moves when its content does. `ctime` is what makes it safe: `touch -d`, `cp -p`,
/// `rsync -t` and `tar` forge `mtime`, and none can set `ctime` back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The file's number in its file system.
    pub inode: u64,
    /// Its size, bytes.
    pub bytes: u64,
    /// Last change of content, ns since 1970.
    pub mtime_ns: i64,
    /// Last change of anything, ns since 1970.
    pub ctime_ns: i64,
    /// Type and permissions.
    pub mode: u32,
}

impl Stamp {
    /// The stamp in `metadata`.
    pub fn of(metadata: &Metadata) -> Stamp {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Stamp {
            inode: metadata.ino(),
            bytes: metadata.len(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        }
    }

    /// As 36 bytes, little-endian, in the order of the fields.
    pub fn to_bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.mtime_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.ctime_ns.to_le_bytes());
        bytes[32..].copy_from_slice(&self.mode.to_le_bytes());
        bytes
    }

    /// What [`Stamp::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; 36]) -> Stamp {
        let eight = |at: usize| -> [u8; 8] { bytes[at..at + 8].try_into().expect("eight bytes") };
        Stamp {
            inode: u64::from_le_bytes(eight(0)),
            bytes: u64::from_le_bytes(eight(8)),
            mtime_ns: i64::from_le_bytes(eight(16)),
            ctime_ns: i64::from_le_bytes(eight(24)),
            mode: u32::from_le_bytes(bytes[32..].try_into().expect("four bytes")),
        }
    }

    /// Whether the owner may execute it; the one permission that a tree's digest covers.
    pub fn executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether the file may still have changed, at `now_ns` by its own file system's clock, without its stamp showing
    /// it: clocks of file systems tick, and a second write within the tick leaves the same time. 20 ms covers the
    /// ticks of older systems; 2 s file systems that count in seconds (their times have no fraction).
    pub fn racy_at(&self, now_ns: i64) -> bool {
        let latest = self.mtime_ns.max(self.ctime_ns);
        let whole_seconds = latest % 1_000_000_000 == 0;
        let window = if whole_seconds { 2_000_000_000 } else { 20_000_000 };
        now_ns < latest.saturating_add(window)
    }
}

/// Whether a path is one file or a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One file.
    File,
    /// A directory with all that is in it.
    Tree,
}

/// A path's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Of the file, or of the tree.
    pub digest: Digest,
    /// Of the file, or of all files in the tree together.
    pub bytes: u64,
    /// Which of the two.
    pub shape: Shape,
    /// A digest of the stamps of all that was read: as long as [`glance`] gives the same, nothing was touched.
    pub glance: Digest,
}

/// Remembers digests of files by their stamps.
pub trait Remember: Sync {
    /// The digest of the file at `path`, if it was read before when it had this very `stamp`.
    fn recall(&self, path: &Path, stamp: &Stamp) -> Option<Digest>;
    /// The file at `path` had this `digest` when it had this `stamp`, and the two are known to belong together.
    fn keep(&self, path: &Path, stamp: &Stamp, digest: Digest);
}

/// Remembers nothing: every byte is read.
#[derive(Debug, Clone, Copy)]
pub struct Forgetful;

impl Remember for Forgetful {
    fn recall(&self, _: &Path, _: &Stamp) -> Option<Digest> {
        None
    }
    fn keep(&self, _: &Path, _: &Stamp, _: Digest) {}
}

/// The content of the file or tree at `path` (a link there is followed).
///
/// # Errors
/// When something cannot be read, moves while it is read, or is nothing that can be kept.
pub fn content(path: &Path, memory: &dyn Remember) -> Result<Content, DigestError> {
    let metadata = std::fs::metadata(path).map_err(|source| DigestError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return tree::content(path, memory);
    }
    if !metadata.is_file() {
        return Err(DigestError::Special { path: path.to_owned(), what: tree::what(metadata.file_type()) });
    }
    let (stamp, digest) = known(path, Stamp::of(&metadata), memory)?;
    Ok(Content { digest, bytes: stamp.bytes, shape: Shape::File, glance: Digest::of(&stamp.to_bytes()) })
}

/// What [`Content::glance`] is now for what lies at `path`; nothing is read but metadata.
///
/// # Errors
/// When something is gone or is nothing that can be kept.
pub fn glance(path: &Path) -> Result<Digest, DigestError> {
    let metadata = std::fs::metadata(path).map_err(|source| DigestError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() { tree::glance(path) } else { Ok(Digest::of(&Stamp::of(&metadata).to_bytes())) }
}

/// The digest of the file at `path`, which was just seen to have `stamp`; read only where memory does not know it.
/// The stamp given back is the one that belongs to the digest.
fn known(path: &Path, stamp: Stamp, memory: &dyn Remember) -> Result<(Stamp, Digest), DigestError> {
    if let Some(digest) = memory.recall(path, &stamp) {
        return Ok((stamp, digest));
    }
    let (stamp, digest) = file(path)?;
    memory.keep(path, &stamp, digest);
    Ok((stamp, digest))
}

/// Reads the file at `path` whole: its digest, and the stamp it had before and after.
///
/// # Errors
/// When it cannot be read or did not stand still.
pub fn file(path: &Path) -> Result<(Stamp, Digest), DigestError> {
    let failed = |source| DigestError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let before = Stamp::of(&file.metadata().map_err(failed)?);
    let digest = read(&mut file, before.bytes).map_err(failed)?;
    let after = Stamp::of(&file.metadata().map_err(failed)?);
    if before != after {
        return Err(DigestError::Moved { path: path.to_owned() });
    }
    Ok((before, digest))
}

/// From this size on several cores hash a file: below, waking them costs more than they save.
const SEVERAL_CORES_BYTES: usize = 128 << 10;
/// Read and hashed at a time. A mapping would spare the copy, but a file that is cut short under a mapping kills the
/// process, and on a network file system so does any read error.
const CHUNK_BYTES: usize = 4 << 20;

fn read(file: &mut File, bytes: u64) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    // One byte more than the file has shows its end without a further read.
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(1).min(CHUNK_BYTES);
    let mut chunk = vec![0; wanted];
    loop {
        let mut filled = 0;
        while filled < chunk.len() {
            match file.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if filled >= SEVERAL_CORES_BYTES {
            hasher.update_rayon(&chunk[..filled]);
        } else {
            hasher.update(&chunk[..filled]);
        }
        if filled < chunk.len() {
            return Ok(Digest(*hasher.finalize().as_bytes()));
        }
    }
}
