//! Frames of the log: `length u32, sort u8, check u32, payload`, little-endian. The check is the beginning of the
//! payload's BLAKE3, so that a torn or overwritten frame is not taken for one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Stamp};

/// A file's stamp and digest.
pub(super) const FILE: u8 = 1;
/// A stage's last.
pub(super) const STAGE: u8 = 2;
/// The text of a stage's last key.
pub(super) const TEXT: u8 = 3;
/// A digest by meaning.
pub(super) const MEANING: u8 = 4;

const HEAD: usize = 9;

/// A frame as it lies in the log.
pub(super) struct Frame<'a> {
    pub(super) sort: u8,
    pub(super) payload: &'a [u8],
}

/// Walks over frames, giving the place of each payload; ends at the first that is no good.
pub(super) struct Frames<'a> {
    log: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(log: &'a [u8]) -> Frames<'a> {
        Frames { log, at: 0 }
    }

    /// Whether every byte was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.log.len()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = (usize, Frame<'a>);

    fn next(&mut self) -> Option<(usize, Frame<'a>)> {
        let head = self.log.get(self.at..self.at + HEAD)?;
        let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let begin = self.at + HEAD;
        let payload = self.log.get(begin..begin.checked_add(length)?)?;
        if head[5..] != check(&[payload]) {
            return None;
        }
        self.at = begin + length;
        Some((begin, Frame { sort: head[4], payload }))
    }
}

fn check(parts: &[&[u8]]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().as_bytes()[..4].try_into().expect("four bytes")
}

/// Appends a frame of these parts. One too large for its length to be written is left out: it is advice.
pub(super) fn push(log: &mut Vec<u8>, sort: u8, parts: &[&[u8]]) {
    let Ok(length) = u32::try_from(parts.iter().map(|p| p.len()).sum::<usize>()) else { return };
    log.extend_from_slice(&length.to_le_bytes());
    log.push(sort);
    log.extend_from_slice(&check(parts));
    for part in parts {
        log.extend_from_slice(part);
    }
}

pub(super) fn push_file(log: &mut Vec<u8>, path: &Path, stamp: &Stamp, digest: Digest) {
    push(log, FILE, &[&stamp.to_bytes(), &digest.0, path.as_os_str().as_bytes()]);
}

pub(super) fn parse_file(payload: &[u8]) -> Option<(PathBuf, Stamp, Digest)> {
    let (numbers, rest) = payload.split_at_checked(36)?;
    let (digest, path) = rest.split_at_checked(32)?;
    let stamp = Stamp::from_bytes(numbers.try_into().expect("36 bytes"));
    Some((PathBuf::from(OsStr::from_bytes(path)), stamp, Digest(digest.try_into().expect("32 bytes"))))
}

pub(super) fn parse_meaning(payload: &[u8]) -> Option<(Digest, String, Digest)> {
    let (of, rest) = payload.split_at_checked(32)?;
    let (digest, name) = rest.split_at_checked(32)?;
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some((Digest(of.try_into().expect("32 bytes")), name, Digest(digest.try_into().expect("32 bytes"))))
}

/// The stage's name, and where in the payload the text begins.
pub(super) fn parse_text(payload: &[u8]) -> Option<(&str, usize)> {
    // The name is `pipeline\0stage`, and a zero byte ends it.
    let first = payload.iter().position(|b| *b == 0)?;
    let end = first + 1 + payload[first + 1..].iter().position(|b| *b == 0)?;
    Some((std::str::from_utf8(&payload[..end]).ok()?, end + 1))
}
