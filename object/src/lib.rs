//! A shared tier in object storage: `[cache] shared = "s3://bucket/prefix"`, or `file:///directory` for objects as plain
//! files. It alone in this program is asynchronous, inside each call.
//!
//! It knows names and bytes, not what they mean; what it brings is looked at by who asked. Invariants: a record is put
//! only where there is none; no credential is in any name or error of ours; nothing is brought beyond the size that was
//! announced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::digest::Shape;
use engine::kind::TierScheme;
use engine::store::tier::{Blob, Listed, Moved, Name, Tier, TierError};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

mod address;
mod pack;

/// Addresses that this crate understands.
pub static SCHEMES: &[TierScheme] =
    &[TierScheme { name: "s3", open: address::s3 }, TierScheme { name: "file", open: address::file }];

/// A blob is moved in parts of this size, several at once.
const PART_BYTES: u64 = 8 << 20;
/// So many parts of one blob are on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// How often a part is asked for before the blob is given up; the store's client tries on its own besides.
const TRIES: u32 = 3;
/// How much longer than its files a packed tree may be: names and lengths.
const MOST_NAMES_BYTES: u64 = 64 << 20;

/// Objects under a prefix.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    name: String,
    runtime: Runtime,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Objects {
    /// The objects of `store` under `prefix`, which people call `name`.
    ///
    /// # Errors
    /// When no threads can be had.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, name: String) -> Result<Objects, TierError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| format!("no threads: {e}"))?;
        Ok(Objects { store, prefix: Key::from(prefix), name, runtime })
    }

    fn key(&self, name: &Name) -> Key {
        let path = name.path();
        let parts = path.split('/').map(object_store::path::PathPart::from);
        Key::from_iter(self.prefix.parts().chain(parts))
    }

    /// The size of an object; `None` = there is none.
    async fn size(&self, key: &Key) -> Result<Option<u64>, TierError> {
        match self.store.head(key).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(told(&e)),
        }
    }

    /// One part of an object, asked for again if it fails.
    async fn part(&self, key: &Key, from: u64, to: u64) -> Result<bytes_of::Bytes, TierError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.get_range(key, from..to).await {
                Ok(bytes) if bytes.len() as u64 == to - from => return Ok(bytes),
                Ok(bytes) if tries == TRIES => {
                    return Err(format!("{} bytes came instead of {}", bytes.len(), to - from));
                }
                Err(e) if tries == TRIES => return Err(told(&e)),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(200) * tries).await,
            }
        }
    }

    /// Brings an object of `size` bytes into a new file, in parts.
    async fn bring(&self, key: &Key, size: u64, to: &Path, moved: Moved<'_>) -> Result<(), TierError> {
        let file = File::create_new(to).map_err(|e| format!("`{}`: {e}", to.display()))?;
        let starts = (0..size.div_ceil(PART_BYTES)).map(|at| at * PART_BYTES);
        let parts = stream::iter(starts).map(|from| async move {
            let until = size.min(from + PART_BYTES);
            self.part(key, from, until).await.map(|bytes| (from, bytes))
        });
        let mut parts = parts.buffer_unordered(PARTS_AT_ONCE);
        while let Some((from, bytes)) = parts.try_next().await? {
            file.write_all_at(&bytes, from).map_err(|e| format!("`{}`: {e}", to.display()))?;
            moved(bytes.len() as u64);
        }
        Ok(())
    }

    /// Puts a file, in parts if it is large.
    async fn send(&self, key: &Key, from: &Path, moved: Moved<'_>) -> Result<(), TierError> {
        let failed = |e: std::io::Error| format!("`{}`: {e}", from.display());
        let file = File::open(from).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let read = |at: u64| {
            let mut bytes = vec![0; usize::try_from(PART_BYTES.min(size - at)).expect("a part fits in memory")];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        };
        if size <= PART_BYTES {
            let bytes = read(0).map_err(failed)?;
            self.store.put(key, PutPayload::from(bytes)).await.map_err(|e| told(&e))?;
            moved(size);
            return Ok(());
        }
        let mut upload = self.store.put_multipart(key).await.map_err(|e| told(&e))?;
        let mut on_their_way = stream::FuturesUnordered::new();
        let mut result = Ok(());
        for at in (0..size.div_ceil(PART_BYTES)).map(|at| at * PART_BYTES) {
            match read(at) {
                Ok(bytes) => {
                    let length = bytes.len() as u64;
                    let part = upload.put_part(PutPayload::from(bytes));
                    on_their_way.push(async move { part.await.map(|()| length) });
                }
                Err(e) => result = Err(failed(e)),
            }
            while result.is_ok() && on_their_way.len() >= PARTS_AT_ONCE {
                result =
                    on_their_way.next().await.transpose().map(|done| moved(done.unwrap_or(0))).map_err(|e| told(&e));
            }
        }
        while let Some(done) = on_their_way.next().await {
            result = result.and(done.map(moved).map_err(|e| told(&e)));
        }
        if let Err(error) = result {
            // What was sent is litter there, which costs somebody money.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.complete().await.map(|_| ()).map_err(|e| told(&e))
    }
}

/// A type of the store's own, by a name.
mod bytes_of {
    pub(super) type Bytes = <super::PutPayload as IntoIterator>::Item;
}

impl Tier for Objects {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn get(&self, name: &Name, most: u64) -> Result<Option<Vec<u8>>, TierError> {
        let key = self.key(name);
        self.runtime.block_on(async {
            match self.store.get(&key).await {
                Ok(found) if found.meta.size > most => Ok(None),
                Ok(found) => found.bytes().await.map(|bytes| Some(bytes.to_vec())).map_err(|e| told(&e)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(told(&e)),
            }
        })
    }

    fn put_if_absent(&self, name: &Name, bytes: &[u8]) -> Result<bool, TierError> {
        let (key, payload) = (self.key(name), PutPayload::from(bytes.to_vec()));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.runtime.block_on(self.store.put_opts(&key, payload, options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(told(&e)),
        }
    }

    fn put(&self, name: &Name, bytes: &[u8]) -> Result<(), TierError> {
        let (key, payload) = (self.key(name), PutPayload::from(bytes.to_vec()));
        self.runtime.block_on(self.store.put(&key, payload)).map(|_| ()).map_err(|e| told(&e))
    }

    fn fetch(&self, blob: &Blob, to: &Path, moved: Moved<'_>) -> Result<bool, TierError> {
        let key = self.key(&Name::Blob(blob.digest));
        self.runtime.block_on(async {
            let Some(size) = self.size(&key).await? else { return Ok(false) };
            match blob.shape {
                // Of another size it cannot be what was asked for.
                Shape::File if size != blob.bytes => Ok(false),
                Shape::File => self.bring(&key, size, to, moved).await.map(|()| true),
                Shape::Tree if size > blob.bytes.saturating_add(MOST_NAMES_BYTES) => Ok(false),
                Shape::Tree => {
                    let packed = to.with_extension("pack");
                    let result = self.bring(&key, size, &packed, moved).await;
                    let result = result.and_then(|()| pack::unpack(&packed, to, blob.bytes));
                    let _ = std::fs::remove_file(&packed);
                    result.map(|()| true)
                }
            }
        })
    }

    fn push(&self, blob: &Blob, from: &Path, moved: Moved<'_>) -> Result<(), TierError> {
        let key = self.key(&Name::Blob(blob.digest));
        let there = self.runtime.block_on(self.size(&key))?;
        match blob.shape {
            Shape::File if there == Some(blob.bytes) => Ok(()),
            Shape::File => self.runtime.block_on(self.send(&key, from, moved)),
            Shape::Tree if there.is_some() => Ok(()),
            Shape::Tree => {
                let packed = std::env::temp_dir().join(format!("pipe-pack-{}-{}", std::process::id(), blob.digest));
                let result =
                    pack::pack(from, &packed).and_then(|()| self.runtime.block_on(self.send(&key, &packed, moved)));
                let _ = std::fs::remove_file(&packed);
                result
            }
        }
    }

    fn list(&self) -> Result<Vec<Listed>, TierError> {
        let beginning = if self.prefix.as_ref().is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let all = self.runtime.block_on(self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>());
        let all = all.map_err(|e| told(&e))?;
        let listed = all.into_iter().filter_map(|meta| {
            let name = Name::parse(meta.location.as_ref().strip_prefix(&beginning)?)?;
            Some(Listed { name, bytes: meta.size, at: meta.last_modified.timestamp() })
        });
        Ok(listed.collect())
    }

    fn delete(&self, name: &Name) -> Result<(), TierError> {
        match self.runtime.block_on(self.store.delete(&self.key(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(told(&e)),
        }
    }
}

/// An error and its causes in words. The client's own may hold an address with what was signed: what follows a `?` is
/// left out.
fn told(error: &object_store::Error) -> TierError {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((before, _)) if before.contains("://") => format!("{before}?…"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
