//! What a store does with other tiers: finds records there, brings blobs when somebody is about to read them, gives
//! what is new. It knows no tier but by [`super::tier::Tier`]'s words.

use super::settings::{Check, Push};
use super::tier::directory_remove as remove;
use super::tier::{Blob, Moved, Name, Remote};
use super::{Artifact, Found, INLINE_BYTES, MOST_RECORD_BYTES, Record, Store, gc};
use crate::digest::{self, Digest, Forgetful, Shape};
use crate::key::Key;
use crate::kind::Sort;

impl Store {
    /// Whether blobs may lie elsewhere and not here.
    pub fn has_tier(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// What the other tiers are called.
    pub fn tier_names(&self) -> Vec<String> {
        self.remotes.iter().map(Remote::name).collect()
    }

    /// What is to be told to people of the other tiers, once.
    pub fn troubles(&self) -> Vec<String> {
        self.remotes.iter().flat_map(Remote::troubles).collect()
    }

    /// Whether the bytes of blobs are looked at before they are first used.
    pub fn checks_first_use(&self) -> bool {
        self.check == Check::FirstUse
    }

    /// A record of `key` in another tier. It is written down here, without its blobs; `trouble` is what was wrong with
    /// the one that was here.
    pub(super) fn find_elsewhere(&self, key: Key, trouble: Option<String>) -> Found {
        let disowned = self.disowned.lock().expect("nothing panics while it holds this lock").contains(&key);
        for remote in self.remotes.iter().filter(|_| !disowned) {
            let asked = remote.ask("read a record from", move |tier| tier.get(&Name::Record(key), MOST_RECORD_BYTES));
            let Some(bytes) = asked.flatten() else { continue };
            let record = Record::parse(&bytes, key).and_then(|record| self.untrusted(&bytes).map_or(Ok(record), Err));
            match record {
                Err(wrong) => {
                    remote.note(format!("the record {} in {} is not used: {wrong}", key.0.short(), remote.name()))
                }
                Ok(record) => {
                    for artifact in record.outputs.values().filter(|a| !is_small(a) && !self.has(a)) {
                        // Without the note it is asked for again, which costs only time.
                        let _ = self.publish(&self.note_of(artifact.digest), b"");
                    }
                    let _ = self.publish(&self.record_path(key), &bytes);
                    if let Some(trouble) = trouble {
                        remote.note(format!("{trouble}; {} has it", remote.name()));
                    }
                    return Found::Record(Box::new(record));
                }
            }
        }
        trouble.map_or(Found::Nothing, Found::Damaged)
    }

    /// Where it is noted that another tier had this blob when its record came from there.
    pub(super) fn note_of(&self, digest: Digest) -> std::path::PathBuf {
        let name = digest.to_string();
        self.root.join("elsewhere").join(&name[..2]).join(name)
    }

    /// Whether a blob lies here, with the right size.
    pub fn has(&self, artifact: &Artifact) -> bool {
        match std::fs::symlink_metadata(self.blob(artifact.digest)) {
            Ok(metadata) if artifact.shape == Shape::File => metadata.is_file() && metadata.len() == artifact.bytes,
            Ok(metadata) => metadata.is_dir(),
            Err(_) => false,
        }
    }

    /// Moves the record of `key` aside, as what it names cannot be had, and takes none of another tier for it any more.
    pub fn disown(&self, key: Key) {
        self.disowned.lock().expect("nothing panics while it holds this lock").insert(key);
        self.set_aside(&self.record_path(key));
    }

    /// Sees to it that the bytes of `artifact` are here and, where that is the policy, what their name says: from here,
    /// else from another tier. May take long.
    ///
    /// # Errors
    /// When they are nowhere to be had, in words.
    pub fn bring(&self, artifact: &Artifact, moved: Moved<'_>) -> Result<(), String> {
        if is_small(artifact) {
            return Ok(());
        }
        let path = self.blob(artifact.digest);
        let mut trouble = format!("the blob {} is not in the cache", artifact.digest.short());
        if self.has(artifact) {
            match digest::content(&path, &Forgetful) {
                _ if self.check == Check::Size => return Ok(()),
                Ok(content) if content.digest == artifact.digest => return Ok(()),
                Ok(_) => trouble = format!("the bytes of the blob `{}` are not what its name says", path.display()),
                Err(e) => trouble = e.to_string(),
            }
            self.set_aside(&path);
        }
        for remote in self.remotes.iter().filter(|remote| !remote.is_broken()) {
            match self.fetch(remote, artifact, moved) {
                Ok(()) => return Ok(()),
                Err(wrong) => trouble = format!("{trouble}, and {wrong}"),
            }
        }
        Err(trouble)
    }

    fn fetch(&self, remote: &Remote, artifact: &Artifact, moved: Moved<'_>) -> Result<(), String> {
        let Artifact { digest, bytes, shape, .. } = *artifact;
        let scratch = self.attempts().join(self.unique("fetch"));
        let result = match remote.tier().fetch(&Blob { digest, bytes, shape }, &scratch, moved) {
            Err(error) => {
                remote.broke("fetch from", &error);
                Err(format!("{}: {error}", remote.name()))
            }
            Ok(false) => Err(format!("it is not in {}", remote.name())),
            Ok(true) => match digest::content(&scratch, &Forgetful) {
                Ok(content) if (content.digest, content.shape) == (digest, shape) => {
                    self.move_in(&scratch, artifact, 0).map_err(|e| e.to_string())
                }
                Ok(_) => Err(format!("what {} gave for it is something else", remote.name())),
                Err(e) => Err(format!("what {} gave for it cannot be used: {e}", remote.name())),
            },
        };
        remove(&scratch);
        if result.is_ok() {
            let _ = std::fs::remove_file(self.note_of(digest));
        }
        result
    }

    /// Whether a new record of this sort goes into another tier.
    pub fn pushes(&self, sort: Sort) -> bool {
        let wanted = match self.push {
            Push::All => true,
            Push::Measured => sort == Sort::Measured,
            Push::None => false,
        };
        wanted && self.remotes.iter().any(|remote| remote.is_given() && !remote.is_broken())
    }

    /// Puts a new record with its blobs into the other tier: the blobs first. What goes wrong is among
    /// [`Store::troubles`]; may take long.
    pub fn push(&self, record: &Record) {
        for remote in self.remotes.iter().filter(|remote| remote.is_given() && !remote.is_broken()) {
            let pushed = record.outputs.values().filter(|artifact| !is_small(artifact)).try_for_each(|artifact| {
                let Artifact { digest, bytes, shape, .. } = *artifact;
                remote.tier().push(&Blob { digest, bytes, shape }, &self.blob(digest), &|_| {})
            });
            let bytes = std::fs::read(self.record_path(record.key)).unwrap_or_else(|_| self.printed(record));
            let put = pushed.and_then(|()| remote.tier().put_if_absent(&Name::Record(record.key), &bytes));
            if let Err(error) = put {
                remote.broke("write to", &error);
            }
        }
    }

    /// Tells the other tier, too, which keys a project needs.
    pub(super) fn register_elsewhere(&self, word: &str, root: &gc::Root) {
        for remote in self.remotes.iter().filter(|remote| remote.is_given() && self.push != Push::None) {
            let (name, bytes) = (Name::Root(word.to_owned()), serde_json::to_vec(root));
            let bytes = bytes.expect("a root has string keys only");
            remote.ask("write to", move |tier| tier.put(&name, &bytes));
        }
    }
}

/// Whether an output is inside its record.
fn is_small(artifact: &Artifact) -> bool {
    artifact.inline.is_some() || (artifact.shape == Shape::File && artifact.bytes < INLINE_BYTES)
}
