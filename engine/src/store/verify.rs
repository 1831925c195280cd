//! Reads everything: is each blob what its name says, and each record what was written? What is not is moved aside, so
//! that it is computed again and not believed.

use std::path::PathBuf;

use super::gc::shards;
use super::{Record, Store, StoreError, read_patiently};
use crate::digest::{self, Digest, Forgetful};
use crate::key::Key;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records that are good.
    pub records: usize,
    /// Blobs that are good.
    pub blobs: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is no good, and in what way; moved into the trash where that was possible.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Store {
    /// Reads every record and every blob. `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn verify(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Verified, StoreError> {
        let blobs = shards(&self.root.join("blobs"))?;
        let records = shards(&self.root.join("records"))?;
        let all = blobs.len() + records.len();
        let mut verified = Verified::default();
        for (at, path) in blobs.iter().chain(&records).enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_blob = at < blobs.len();
            let trouble = match is_blob {
                // Somebody is writing it just now, or died writing it, which is gc's affair.
                _ if name.starts_with(".tmp") => None,
                true => match name.parse::<Digest>() {
                    Ok(named) => match digest::content(path, &Forgetful) {
                        Ok(content) if content.digest == named => {
                            verified.blobs += 1;
                            verified.bytes += content.bytes;
                            None
                        }
                        Ok(content) => Some(format!("its content is {}", content.digest)),
                        Err(e) => Some(e.to_string()),
                    },
                    Err(e) => Some(e),
                },
                false => {
                    let key = name.get(..64).unwrap_or_default().parse::<Key>();
                    let read = read_patiently(path).map_err(|e| e.to_string());
                    match key.and_then(|key| Record::parse(&read?, key)) {
                        Ok(_) => {
                            verified.records += 1;
                            None
                        }
                        Err(e) => Some(e),
                    }
                }
            };
            if let Some(trouble) = trouble {
                self.set_aside(path);
                verified.damaged.push((path.clone(), trouble));
            }
            progress(at + 1, all);
        }
        Ok(verified)
    }
}
