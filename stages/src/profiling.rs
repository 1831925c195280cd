//! The kind `profiling-root`: reads the tables of a Vidur profiling root and makes a profile of them that `sim` can use.
//!
//! ```text
//! ROOT/data/profiling/compute/<device>/<org>/<model>/{mlp,attention}.csv
//! ROOT/data/profiling/network/<network_device>/all_reduce.csv
//! ROOT/data/profiling/cpu_overhead/<network_device>/<org>/<model>/cpu_overheads.csv
//! ```
//!
//! Every operation's timings are cleared of what cannot be true, fitted (`fit`), and written at the places that were
//! measured. Values that are missing or broken are left out and told by file and line, never taken for 0; a table in
//! which many are is refused unless told otherwise. What Vidur's tables do not hold (output projection, choice of a
//! token, the host) is derived or given, and said so in the notes.
//!
//! It does not know scheduling or serving.

mod convert;
mod source;

use std::path::Path;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::model::card;
use crate::tables::{self, OPS};

pub use convert::{Converted, convert};
pub use source::{Op, Points, Selection, Source};

/// Configuration: which of the root's tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder under `compute/`.
    pub device: String,
    /// `<org>/<model>`, as the folders are called.
    pub model: String,
    /// Folder under `network/` and `cpu_overhead/`; needed for more than one card, and for the host's table.
    #[serde(default)]
    pub network_device: Option<String>,
    /// Cards that share a layer.
    #[serde(default = "one")]
    pub tensor_parallel: u32,
    /// Positions of a KV block, as profiled.
    #[serde(default = "sixteen")]
    pub block_tokens: u32,
    /// Microseconds of the host between iterations, where the root has no table of them.
    #[serde(default)]
    pub host_us: Option<f64>,
    /// Most of an operation's rows that may be missing or broken, as a share.
    #[serde(default = "tenth")]
    pub broken_at_most: f64,
}

fn one() -> u32 {
    1
}

fn sixteen() -> u32 {
    16
}

fn tenth() -> f64 {
    0.1
}

/// The kind.
#[derive(Debug)]
pub struct ProfilingRoot;

impl StageKind for ProfilingRoot {
    type Config = Config;
    const NAME: &'static str = "profiling-root";
    const ABOUT: &'static str = "makes a profile from the tables of a Vidur profiling root";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::PROFILING_ROOT };
    const EXAMPLE: &'static str = "device = \"a100\"\nmodel = \"meta-llama/Llama-2-7b-hf\"\nhost_us = 200.0";

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        for (field, name) in [("device", Some(&config.device)), ("network_device", config.network_device.as_ref())] {
            if name.is_some_and(|n| n.is_empty() || n.contains('/') || n.starts_with('.')) {
                return Err(Complaint::new(field, "the name of one folder of the root"));
            }
        }
        let parts: Vec<&str> = config.model.split('/').collect();
        if parts.len() != 2 || parts.iter().any(|p| p.is_empty() || p.starts_with('.')) {
            return Err(Complaint::new("model", "a model of a root is called `org/name`, as its folders are"));
        }
        if config.tensor_parallel == 0 {
            return Err(Complaint::new("tensor_parallel", "at least one card"));
        }
        if config.tensor_parallel > 1 && config.network_device.is_none() {
            return Err(Complaint::new("network_device", "cards that share a layer exchange sums: name their network"));
        }
        if config.host_us.is_some_and(|us| !us.is_finite() || us <= 0.0) {
            return Err(Complaint::new("host_us", "a time above 0"));
        }
        if !(0.0..1.0).contains(&config.broken_at_most) {
            return Err(Complaint::new("broken_at_most", "a share, at least 0 and below 1"));
        }
        Ok(Contract {
            inputs: vec![
                Port::new("root", "profiling-root", "directory that holds `data/profiling`"),
                Port::new("model", "model", "the model's card").by_meaning(card::MEANING),
            ],
            outputs: vec![Port::new(
                "ops",
                "ops",
                "directory with table `ops`, and `meta.json` with what was left out",
            )],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let converted = convert(&io.input("root")?.path, config, &card)?;
        for note in &converted.notes {
            io.warn(note);
        }
        let directory = io.output("ops")?;
        std::fs::create_dir_all(&directory)
            .map_err(|e| StageError::new(format!("cannot make `{}`", directory.display())).because(&e))?;
        tables::write(&directory.join(format!("{}.parquet", OPS.name)), &[], &converted.rows)?;
        write_meta(&directory, config, &converted)
    }
}

fn write_meta(directory: &Path, config: &Config, converted: &Converted) -> Result<(), StageError> {
    let meta = serde_json::json!({
        "format": 1,
        "kind": ProfilingRoot::NAME,
        "config": config,
        "notes": converted.notes,
        "fits": converted.fits,
    });
    let path = directory.join("meta.json");
    let text = serde_json::to_string_pretty(&meta).expect("plain data") + "\n";
    std::fs::write(&path, text).map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

#[cfg(test)]
mod tests;
