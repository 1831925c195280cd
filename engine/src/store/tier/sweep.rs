//! What nobody needs of a tier, found by listing it: records that no root names, blobs that no kept record names, both
//! only when older than a grace. Records go first, so that none ever names a blob that was taken before it.

use std::collections::HashSet;

use super::super::gc::Root;
use super::super::{MOST_RECORD_BYTES, Record};
use super::{Listed, Name, Tier, TierError};
use crate::digest::Digest;
use crate::key::Key;

/// What a sweep of a tier would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierSweep {
    /// In the order in which it is to go.
    pub goes: Vec<Listed>,
    /// Things that stay.
    pub kept: usize,
    /// Bytes that stay.
    pub kept_bytes: u64,
}

/// What would go of all that was put there before this second since 1970.
///
/// # Errors
/// When the tier cannot be listed, or a root or a record that is kept cannot be read.
pub fn sweep(tier: &dyn Tier, before: i64) -> Result<TierSweep, TierError> {
    let listed = tier.list()?;
    let mut needed: HashSet<Key> = HashSet::new();
    for Listed { name, .. } in &listed {
        if let Name::Root(_) = name
            && let Some(bytes) = tier.get(name, u64::from(u32::MAX))?
        {
            let root: Root = serde_json::from_slice(&bytes).map_err(|e| format!("the root {}: {e}", name.path()))?;
            needed.extend(root.keys);
        }
    }
    let mut named: HashSet<Digest> = HashSet::new();
    let mut sweep = TierSweep::default();
    let mut blobs = Vec::new();
    for item in listed {
        match &item.name {
            Name::Record(key) if needed.contains(key) || item.at >= before => {
                let bytes = tier.get(&item.name, MOST_RECORD_BYTES)?.unwrap_or_default();
                // One that cannot be read names nothing and answers for nothing.
                if let Ok(record) = Record::parse(&bytes, *key) {
                    named.extend(record.outputs.values().map(|artifact| artifact.digest));
                }
                sweep.keep(&item);
            }
            Name::Record(_) => sweep.goes.push(item),
            Name::Blob(_) => blobs.push(item),
            Name::Root(_) => sweep.keep(&item),
        }
    }
    for item in blobs {
        match item.name {
            Name::Blob(digest) if item.at < before && !named.contains(&digest) => sweep.goes.push(item),
            _ => sweep.keep(&item),
        }
    }
    Ok(sweep)
}

impl TierSweep {
    fn keep(&mut self, item: &Listed) {
        self.kept += 1;
        self.kept_bytes += item.bytes;
    }
}

/// Carries a sweep out.
///
/// # Errors
/// At the first thing that cannot be taken away.
pub fn carry_out(tier: &dyn Tier, sweep: &TierSweep) -> Result<(), TierError> {
    sweep.goes.iter().try_for_each(|item| tier.delete(&item.name))
}
