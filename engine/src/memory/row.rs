//! What rows say, packed and unpacked.

use crate::digest::{Digest, Shape, Stamp};
use crate::key::Key;
use crate::memory::Last;
use crate::pack::{Packer, Unpacker};
use crate::store::{Artifact, Meant};

/// Where the text of a key lies: in the block of texts that was written with its row, or not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u32,
    pub(super) bytes: u32,
    /// The beginning of the text's BLAKE3.
    pub(super) check: [u8; 8],
}

impl Place {
    pub(super) fn of(at: usize, text: &str) -> Place {
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { at: size(at), bytes: size(text.len()), check: check(text.as_bytes()) }
    }
}

pub(super) fn check(text: &[u8]) -> [u8; 8] {
    blake3::hash(text).as_bytes()[..8].try_into().expect("eight bytes")
}

pub(super) fn pack_file(packer: &mut Packer, path: &[u8], stamp: &Stamp, digest: &Digest) {
    packer.0.extend_from_slice(&stamp.to_bytes());
    packer.digest(digest);
    packer.0.extend_from_slice(path);
}

/// Path, stamp and digest.
pub(super) fn file(content: &[u8]) -> Option<(&[u8], [u8; 36], Digest)> {
    let mut reader = Unpacker::new(content);
    let (stamp, digest) = (reader.array()?, reader.digest()?);
    Some((&content[reader.at()..], stamp, digest))
}

pub(super) fn pack_meaning(packer: &mut Packer, of: &Digest, name: &str, digest: &Digest) {
    packer.digest(of);
    packer.digest(digest);
    packer.0.extend_from_slice(name.as_bytes());
}

/// Of what, by which meaning, and the digest.
pub(super) fn meaning(content: &[u8]) -> Option<(Digest, &str, Digest)> {
    let mut reader = Unpacker::new(content);
    let (of, digest) = (reader.digest()?, reader.digest()?);
    Some((of, std::str::from_utf8(&content[reader.at()..]).ok()?, digest))
}

pub(super) fn pack_stage(packer: &mut Packer, name: &[u8], last: &Last, place: Place) {
    packer.bytes(name);
    packer.u32(place.at);
    packer.u32(place.bytes);
    packer.0.extend_from_slice(&place.check);
    packer.digest(&last.key.0);
    packer.u64(last.wall_ns);
    packer.bytes(std::os::unix::ffi::OsStrExt::as_bytes(last.store.as_os_str()));
    packer.text(&last.from);
    packer.maybe(last.gate.as_deref(), Packer::text);
    packer.count(last.outputs.len());
    for (port, artifact) in &last.outputs {
        packer.text(port);
        packer.digest(&artifact.digest);
        packer.u64(artifact.bytes);
        packer.u8(u8::from(artifact.shape == Shape::Tree));
        packer.maybe(artifact.meaning.as_ref(), |packer, meant| {
            packer.text(&meant.name);
            packer.digest(&meant.digest);
        });
    }
}

/// The name that a stage's row begins with.
pub(super) fn stage_name(content: &[u8]) -> Option<&[u8]> {
    Unpacker::new(content).bytes()
}

/// Where the text of a stage's row lies.
pub(super) fn stage_place(content: &[u8]) -> Option<Place> {
    let mut reader = Unpacker::new(content);
    reader.bytes()?;
    Some(Place { at: reader.u32()?, bytes: reader.u32()?, check: reader.array()? })
}

/// A stage's last.
pub(super) fn stage(content: &[u8]) -> Option<Last> {
    let mut reader = Unpacker::new(content);
    reader.bytes()?;
    reader.take(16)?;
    let key = Key(reader.digest()?);
    let wall_ns = reader.u64()?;
    let store = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(reader.bytes()?).into();
    let from = reader.text()?.to_owned();
    let gate = reader.maybe(|reader| reader.text().map(str::to_owned))?;
    let count = reader.count(45)?;
    let mut outputs = Vec::with_capacity(count);
    for _ in 0..count {
        outputs.push((reader.text()?.to_owned(), artifact(&mut reader)?));
    }
    reader.is_at_end().then_some(Last { key, store, outputs, wall_ns, from, gate })
}

fn artifact(reader: &mut Unpacker<'_>) -> Option<Artifact> {
    let (digest, bytes) = (reader.digest()?, reader.u64()?);
    let shape = if reader.bool()? { Shape::Tree } else { Shape::File };
    let meaning = reader.maybe(|reader| {
        let name = reader.text()?.to_owned();
        Some(Meant { name, digest: reader.digest()? })
    })?;
    Some(Artifact { digest, bytes, shape, meaning, inline: None })
}
