//! How the memory lies on disk: a line that says what it is, then blocks, each `length u32, sort u8, check 8 bytes,
//! payload`, little-endian. The check is the beginning of the BLAKE3 of sort and payload, so that a torn or overwritten
//! block is not taken for one. A write is one block of texts and one of rows, which name their texts by the place in the
//! block before them; whoever opens the log reads rows and steps over texts.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::pack::{Packer, Unpacker};

/// The first line. Another number is another program's log, and is not read.
pub(super) const MAGIC: &[u8] = b"pipe memory 2\n";
/// Rows.
const ROWS: u8 = 1;
/// Texts of keys.
const TEXTS: u8 = 2;

const HEAD: usize = 13;

/// A row that gives a file's stamp and digest.
pub(super) const FILE: u8 = 1;
/// A row that gives a digest by meaning.
pub(super) const MEANING: u8 = 2;
/// A row that gives a stage's last.
pub(super) const STAGE: u8 = 3;

/// What of a log could be read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The payloads of all blocks of rows, end to end.
    pub(super) rows: Vec<u8>,
    /// For each of these blocks, where it ends in `rows` and where the texts that it names begin in the log.
    pub(super) blocks: Vec<(usize, u64)>,
    /// How long the log is.
    pub(super) bytes: u64,
    /// Whether it ends in something that is no block.
    pub(super) torn: bool,
}

/// Reads all rows of a log, up to the first block that is no good.
pub(super) fn read(file: &File) -> std::io::Result<Read> {
    let bytes = file.metadata()?.len();
    let mut read = Read { bytes, ..Read::default() };
    let mut magic = [0; MAGIC.len()];
    if bytes < MAGIC.len() as u64 || file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
        read.torn = bytes > 0;
        return Ok(read);
    }
    let mut at = MAGIC.len() as u64;
    let mut texts = 0;
    while at < bytes {
        let mut head = [0; HEAD];
        let whole = bytes - at >= HEAD as u64 && file.read_exact_at(&mut head, at).is_ok();
        let length = u64::from(u32::from_le_bytes(head[..4].try_into().expect("four bytes")));
        let payload = at + HEAD as u64;
        if !whole || length > bytes - payload {
            read.torn = true;
            return Ok(read);
        }
        at = payload + length;
        match head[4] {
            TEXTS => texts = payload,
            ROWS => {
                let start = read.rows.len();
                read.rows.resize(start + usize::try_from(length).unwrap_or(usize::MAX), 0);
                if file.read_exact_at(&mut read.rows[start..], payload).is_err()
                    || head[5..] != check(ROWS, &read.rows[start..])
                {
                    read.rows.truncate(start);
                    read.torn = true;
                    return Ok(read);
                }
                read.blocks.push((read.rows.len(), texts));
            }
            _ => {
                read.torn = true;
                return Ok(read);
            }
        }
    }
    Ok(read)
}

/// What is written in one go: these texts, then these rows. The second is where the texts begin in it.
pub(super) fn blocks(texts: &[u8], rows: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut written = Vec::with_capacity(texts.len() + rows.len() + 2 * HEAD);
    let mut block = |sort: u8, payload: &[u8]| -> Option<usize> {
        written.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
        written.push(sort);
        written.extend_from_slice(&check(sort, payload));
        let start = written.len();
        written.extend_from_slice(payload);
        Some(start)
    };
    let start = block(TEXTS, texts)?;
    block(ROWS, rows)?;
    Some((written, start))
}

fn check(sort: u8, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[sort]);
    hasher.update_rayon(payload);
    hasher.finalize().as_bytes()[..8].try_into().expect("eight bytes")
}

/// Appends a row.
pub(super) fn push(rows: &mut Vec<u8>, sort: u8, fill: impl FnOnce(&mut Packer)) -> usize {
    let start = rows.len();
    let mut packer = Packer(std::mem::take(rows));
    packer.u32(0);
    packer.u8(sort);
    fill(&mut packer);
    *rows = packer.0;
    let length = u32::try_from(rows.len() - start - 4).expect("a row is far shorter than that");
    rows[start..start + 4].copy_from_slice(&length.to_le_bytes());
    start
}

/// The row at `at`: its sort, its content, and where the next one begins.
pub(super) fn row(rows: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let mut reader = Unpacker::new(rows.get(at..)?);
    let (sort, content) = reader.bytes()?.split_first()?;
    Some((*sort, content, at + reader.at()))
}
