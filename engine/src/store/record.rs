//! What came of a key, as it is kept: JSON, then a line with its own digest.
//!
//! Whoever wrote it may be another version, another user or a broken disk, so nothing in it is believed before it was
//! looked at: names of ports become names of files later, sizes become allocations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::INLINE_BYTES;
use super::sign::{self, PublicKey, SecretKey};
use crate::digest::{Digest, Shape};
use crate::event::Usage;
use crate::key::Key;
use crate::kind::Sort;

/// The number of this way of writing records.
pub const FORMAT: u32 = 1;

/// More than any file system holds in one file; a larger size is damage.
const MOST_BYTES: u64 = 1 << 60;

/// What came of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name.
    pub key: Key,
    /// The kind of stage.
    pub kind: String,
    /// `computed` or `measured`.
    #[serde(with = "sort")]
    pub sort: Sort,
    /// Outputs by port.
    pub outputs: BTreeMap<String, Artifact>,
    /// What the process used.
    pub usage: Usage,
    /// By whom, where and when.
    pub made: Made,
    /// What the stage wished to be remembered of the circumstances.
    pub circumstances: BTreeMap<String, Value>,
    /// What does not pass, if the stage's gate failed.
    pub gate: Option<String>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// The key's text, for `explain`.
    pub text: String,
}

/// By whom, where and when a record was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The run.
    pub run: String,
    /// The host.
    pub host: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage's name.
    pub stage: String,
    /// When it ended, RFC 3339, UTC.
    pub at: String,
    /// The key of the record that this one repeats because its code was trusted to mean the same.
    pub trusted: Option<Key>,
}

/// An output as a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Of its content.
    pub digest: Digest,
    /// Of the file, or of all files of the tree together.
    pub bytes: u64,
    /// File or tree.
    pub shape: Shape,
    /// Its digest by the meaning that the output port declares.
    pub meaning: Option<Meant>,
    /// Its bytes, if they are few.
    pub inline: Option<Inline>,
}

/// A digest by meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    /// The meaning's name: `json/1`.
    pub name: String,
    /// What it gave.
    pub digest: Digest,
}

/// A small output's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inline {
    /// They are UTF-8.
    Text(String),
    /// They are not: two hexadecimal digits a byte.
    Hex(String),
}

impl Inline {
    /// As text if possible.
    pub fn of(bytes: &[u8]) -> Inline {
        match std::str::from_utf8(bytes) {
            Ok(text) => Inline::Text(text.to_owned()),
            Err(_) => {
                let digit = |n: u8| char::from_digit(u32::from(n), 16).expect("half a byte is less than 16");
                Inline::Hex(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect())
            }
        }
    }

    /// The bytes. (Digits are looked at when the record is read.)
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Inline::Text(text) => text.as_bytes().to_vec(),
            Inline::Hex(digits) => {
                let digits = digits.as_bytes();
                let value = |b: u8| char::from(b).to_digit(16).map_or(0, |v| v as u8);
                digits.chunks(2).map(|pair| (value(pair[0]) << 4) | pair.get(1).map_or(0, |b| value(*b))).collect()
            }
        }
    }
}

mod sort {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::kind::Sort;

    pub(super) fn serialize<S: Serializer>(sort: &Sort, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match sort {
            Sort::Computed => "computed",
            Sort::Measured => "measured",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sort, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "computed" => Ok(Sort::Computed),
            "measured" => Ok(Sort::Measured),
            other => Err(serde::de::Error::custom(format!("`{other}` is neither computed nor measured"))),
        }
    }
}

impl Record {
    /// As it is kept: JSON, its digest, and a signature if there is a key to sign with.
    pub(super) fn print(&self, key: Option<&SecretKey>) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a record has string keys only");
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(format!("\n{digest}\n").as_bytes());
        if let Some(key) = key {
            bytes.extend_from_slice(key.sign(digest).as_bytes());
        }
        bytes
    }

    /// Reads what [`Record::print`] wrote, believing nothing. Who signed it is another question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], key: Key) -> Result<Record, String> {
        let (json, ..) = parts(bytes)?;
        let record: Record = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        record.check(key)?;
        Ok(record)
    }

    fn check(&self, key: Key) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it has the format {}, and this program knows {FORMAT}", self.format));
        }
        if self.key != key {
            return Err(format!("it is the record of {}", self.key));
        }
        for (port, artifact) in &self.outputs {
            if !names_a_file(port) {
                return Err(format!("`{port}` cannot be the name of an output"));
            }
            if artifact.bytes > MOST_BYTES {
                return Err(format!("the output `{port}` claims {} bytes", artifact.bytes));
            }
            let Some(inline) = &artifact.inline else { continue };
            let bytes = inline.bytes();
            let fits = (bytes.len() as u64) < INLINE_BYTES && bytes.len() as u64 == artifact.bytes;
            if artifact.shape != Shape::File || !fits || Digest::of(&bytes) != artifact.digest {
                return Err(format!("the output `{port}` inside it is not what its digest says"));
            }
        }
        Ok(())
    }
}

/// The JSON of a record, its digest, which was found right, and its signature's line.
fn parts(bytes: &[u8]) -> Result<(&[u8], Digest, Option<&str>), String> {
    const DIGEST_LINE: usize = 65;
    let cut = || "it is cut short".to_owned();
    let body = bytes.strip_suffix(b"\n").ok_or_else(cut)?;
    let last = body.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let signature = body[last..].starts_with(b"ed25519:");
    let (whole, signature) = match signature {
        true => (&bytes[..last], Some(std::str::from_utf8(&bytes[last..]).map_err(|_| cut())?)),
        false => (bytes, None),
    };
    let end = whole.len().checked_sub(DIGEST_LINE + 1).ok_or_else(cut)?;
    let (json, tail) = whole.split_at(end);
    let tail = std::str::from_utf8(tail).map_err(|_| "its last line is no digest")?;
    let told = tail.strip_prefix('\n').and_then(|t| t.strip_suffix('\n')).ok_or_else(cut)?;
    let told: Digest = told.parse().map_err(|_| cut())?;
    match told == Digest::of(json) {
        true => Ok((json, told, signature)),
        false => Err("its bytes are not those that were written".to_owned()),
    }
}

/// Who signed a record; `None` = nobody.
///
/// # Errors
/// When it is damaged, or its signature is not one of it.
pub(super) fn signer(bytes: &[u8]) -> Result<Option<PublicKey>, String> {
    let (_, digest, signature) = parts(bytes)?;
    signature.map(|line| sign::signer(line, digest)).transpose()
}

/// Whether `name` is one plain file name: the names of ports become names in directories.
pub(crate) fn names_a_file(name: &str) -> bool {
    !name.is_empty() && name.len() <= 200 && name != "." && name != ".." && !name.contains(['/', '\0'])
}
