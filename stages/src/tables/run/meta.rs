//! `meta.json` of a run: what was served with which knobs, where.
//!
//! A simulation's meta holds nothing of the machine or the hour it was made on: same key, same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TableError;

/// What ran, on what, with which knobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunMeta {
    /// Of this file: 1.
    pub format: u32,
    /// The kind of stage that made it: `sim`, `bench`, `client`, or `import` for somebody else's tables.
    pub kind: String,
    /// What served: `virtual`, `paged`, `candle`, `http`, or the importer's word.
    pub backend: String,
    /// The scheduler's knobs as they were used (`infer::schedule::Knobs` as JSON); `null` where nobody knows them.
    #[serde(default)]
    pub knobs: serde_json::Value,
    /// The stage's whole configuration.
    #[serde(default)]
    pub config: serde_json::Value,
    /// The model, with the digest of its card ([`Card::digest`](crate::model::card::Card::digest)).
    #[serde(default)]
    pub model: Named,
    /// The workload, with its digest by meaning ([`meaning::hex`](crate::tables::meaning::hex)).
    #[serde(default)]
    pub requests: Named,
    /// The profile that predicted it, with its digest by meaning; only in a simulation.
    #[serde(default)]
    pub ops: Option<Named>,
    /// Where it ran; `None` in a simulation.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// Versions of what matters: `pipe`, `candle`, `cuda`, `driver`…
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Facts of the run with their units in their names (`wall_ns`, `warmup_ns`, `peak_memory_bytes`…).
    #[serde(default)]
    pub facts: BTreeMap<String, serde_json::Value>,
    /// What a reader should know: extrapolation, throttling, strangers on the machine.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Something by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// What people call it.
    pub name: String,
    /// 64 hexadecimal digits; empty where nobody knows it.
    pub digest: String,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// `cpu` or `cuda`.
    pub device: String,
    /// The device's own name: `NVIDIA H100 80GB HBM3`, or the processor's model.
    pub name: String,
    /// Threads that computed.
    pub threads: u32,
    /// Memory that the model and its cache may use, bytes; 0 = unknown.
    pub memory_bytes: u64,
    /// What else is known: clocks, power limit, UUID.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

impl RunMeta {
    /// A meta that knows only what made it.
    pub fn new(kind: impl Into<String>, backend: impl Into<String>) -> RunMeta {
        RunMeta {
            format: 1,
            kind: kind.into(),
            backend: backend.into(),
            knobs: serde_json::Value::Null,
            config: serde_json::Value::Null,
            model: Named::default(),
            requests: Named::default(),
            ops: None,
            hardware: None,
            versions: BTreeMap::new(),
            facts: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Writes it as JSON, two spaces deep, with a newline at the end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TableError> {
        let mut text = serde_json::to_string_pretty(self).expect("its maps have text keys");
        text.push('\n');
        std::fs::write(path, text).map_err(|source| TableError::Io {
            doing: "write",
            table: "meta",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When the file cannot be read, has another shape, or another format.
    pub fn read(path: &Path) -> Result<RunMeta, TableError> {
        let text = std::fs::read(path).map_err(|source| TableError::Io {
            doing: "read",
            table: "meta",
            path: path.to_owned(),
            source,
        })?;
        let meta: RunMeta =
            serde_json::from_slice(&text).map_err(|source| TableError::Json { path: path.to_owned(), source })?;
        if meta.format != 1 {
            return Err(TableError::Other {
                path: path.to_owned(),
                wanted: "meta/1".to_owned(),
                found: format!("meta/{}", meta.format),
            });
        }
        Ok(meta)
    }
}
