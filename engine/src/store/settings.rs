//! What a project says of its cache, besides where it lies.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::sign::{PublicKey, SecretKey};
use super::tier::Tier;

/// How a store is to be opened.
#[derive(Debug, Default)]
pub struct Settings {
    /// Part of every key.
    pub salt: String,
    /// Where results are kept if the cache cannot be written; without one that is an error.
    pub local: Option<PathBuf>,
    /// A second tier, asked on a miss.
    pub tier: Option<Arc<dyn Tier>>,
    /// What goes into the second tier.
    pub push: Push,
    /// When the bytes of a blob are looked at.
    pub check: Option<Check>,
    /// Whose records are believed; empty = everybody's.
    pub trust: Vec<PublicKey>,
    /// What new records are signed with.
    pub key: Option<SecretKey>,
    /// What is to be told of all this when a run begins.
    pub notes: Vec<String>,
}

/// Which new results go into the second tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Push {
    /// All.
    #[default]
    All,
    /// Measurements: nobody else can compute them.
    Measured,
    /// None.
    None,
}

/// When the bytes of a blob are looked at, besides `pipe verify` and whenever they come from another tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Never; its size is, on every hit.
    Size,
    /// Before a stage of this project first reads it.
    FirstUse,
}
