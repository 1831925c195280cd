//! The content of a tree: a listing of each directory, sorted by name, hashed from the leaves up.

use std::ffi::OsString;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::{Content, Digest, DigestError, Remember, Shape, Stamp, known};

/// Separates listings from everything else that is hashed.
const LISTING: &str = "pipe 2026 tree listing v1";

/// What stands in a directory.
enum Node {
    File { at: usize, executable: bool },
    Link { text: PathBuf },
    Directory(Vec<(OsString, Node)>),
}

/// A file found on the walk.
struct Found {
    path: PathBuf,
    stamp: Stamp,
}

/// The content of the tree at `root`: one walk, then all files on all cores, then the listings.
pub(super) fn content(root: &Path, memory: &dyn Remember) -> Result<Content, DigestError> {
    let mut files = Vec::new();
    let tree = walk(root, 0, &mut files)?;
    let known = files.par_iter().map(|f| known(&f.path, f.stamp, memory)).collect::<Result<Vec<_>, DigestError>>()?;
    let bytes = known.iter().map(|(stamp, _)| stamp.bytes).sum();
    let digests: Vec<Digest> = known.iter().map(|(_, digest)| *digest).collect();
    // Names and links are covered by the shape of the tree, files also by their stamps.
    let stamps: Vec<Digest> = known.iter().map(|(stamp, _)| Digest::of(&stamp.to_bytes())).collect();
    let glance = listing(&tree, &stamps);
    Ok(Content { digest: listing(&tree, &digests), bytes, shape: Shape::Tree, glance })
}

/// The tree's listing with stamps in the place of contents.
pub(super) fn glance(root: &Path) -> Result<Digest, DigestError> {
    let mut files = Vec::new();
    let tree = walk(root, 0, &mut files)?;
    let stamps: Vec<Digest> = files.iter().map(|f| Digest::of(&f.stamp.to_bytes())).collect();
    Ok(listing(&tree, &stamps))
}

/// Walks `directory`, `depth` levels below the root; files are gathered so that they can be read on all cores.
fn walk(directory: &Path, depth: usize, files: &mut Vec<Found>) -> Result<Vec<(OsString, Node)>, DigestError> {
    let failed = |source| DigestError::Read { path: directory.to_owned(), source };
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let metadata =
            std::fs::symlink_metadata(&path).map_err(|source| DigestError::Read { path: path.clone(), source })?;
        let kind = metadata.file_type();
        let node = if kind.is_dir() {
            Node::Directory(walk(&path, depth + 1, files)?)
        } else if kind.is_symlink() {
            let text = std::fs::read_link(&path).map_err(|source| DigestError::Read { path: path.clone(), source })?;
            if leaves(&text, depth) {
                return Err(DigestError::Leaves { path, target: text });
            }
            Node::Link { text }
        } else if kind.is_file() {
            let stamp = Stamp::of(&metadata);
            files.push(Found { path, stamp });
            Node::File { at: files.len() - 1, executable: stamp.executable() }
        } else {
            return Err(DigestError::Special { path, what: what(kind) });
        };
        nodes.push((entry.file_name(), node));
    }
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(nodes)
}

/// Whether a link with this `text`, `depth` directories below its tree's root, points out of the tree. Read as
/// text: what it names need not exist.
fn leaves(text: &Path, depth: usize) -> bool {
    let mut level = depth;
    for part in text.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => level += 1,
            Component::ParentDir if level > 0 => level -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

fn listing(nodes: &[(OsString, Node)], digests: &[Digest]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(LISTING);
    let mut frame = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (name, node) in nodes {
        frame(name.as_bytes());
        match node {
            Node::File { at, executable } => {
                frame(if *executable { b"x" } else { b"f" });
                frame(&digests[*at].0);
            }
            Node::Link { text } => {
                frame(b"l");
                frame(text.as_os_str().as_bytes());
            }
            Node::Directory(inside) => {
                frame(b"d");
                frame(&listing(inside, digests).0);
            }
        }
    }
    Digest(*hasher.finalize().as_bytes())
}

/// What a thing is that is neither file, directory nor link.
pub(super) fn what(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "named pipe"
    } else if kind.is_block_device() || kind.is_char_device() {
        "device"
    } else {
        "thing of no known sort"
    }
}
