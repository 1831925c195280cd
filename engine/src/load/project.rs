//! `pipe.toml` at the project's root: what is the project's and not an experiment's. All of it may be left out, and so
//! may the file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reading::Reading;
use super::shape;
use crate::lease::gpu::Policy;
use crate::source::Span;
use crate::store::settings::{Check, Push};
use crate::store::sign::PublicKey;

/// The file that marks a project's root.
pub const FILE: &str = "pipe.toml";

/// What the project says of itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    /// Where results are kept.
    pub cache: Cache,
    /// How stages are started.
    pub launcher: Launchers,
    /// How cards are shared on this host.
    pub gpu: Policy,
    /// The project's directory.
    #[serde(skip)]
    pub root: PathBuf,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The cache directory; from the root, if relative.
    pub directory: PathBuf,
    /// A second tier that is shared with others: a directory, from the root if relative, or `scheme://…`.
    pub shared: Option<String>,
    /// Which new results go there.
    pub push: Push,
    /// When the bytes of blobs are looked at; unless given, before their first use where `trust` names keys.
    pub check: Option<Check>,
    /// Whose records are believed, by their public keys; empty = everybody's.
    pub trust: Vec<PublicKey>,
    /// Part of every key: change it to disown every record at once.
    pub salt: String,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            directory: PathBuf::from("cache"),
            shared: None,
            push: Push::All,
            check: None,
            trust: Vec::new(),
            salt: String::new(),
        }
    }
}

/// `[launcher]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Launchers {
    /// The launcher of stages that name none.
    pub default: String,
    /// What the launcher `slurm` is told.
    pub slurm: Slurm,
}

impl Default for Launchers {
    fn default() -> Launchers {
        Launchers { default: "local".to_owned(), slurm: Slurm::default() }
    }
}

/// `[launcher.slurm]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slurm {
    /// Words put before those made from a stage's needs: `["--partition=short"]`.
    pub arguments: Vec<String>,
}

/// The project's root: the nearest directory above the pipeline file that holds `pipe.toml`, else the current one.
pub fn root(file: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let above = file.ancestors().skip(1).find(|directory| directory.join(FILE).is_file());
    let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    above.map_or_else(here, Path::to_path_buf)
}

/// Reads the project's own file, if there is one; what is wrong with it is noted.
pub(super) fn read(reading: &mut Reading) -> Project {
    let file = reading.root.join(FILE);
    let table = match file.is_file() {
        true => reading.file(&file, None).unwrap_or_default(),
        false => {
            reading.looked.push((file, None));
            return rooted(Project::default(), reading);
        }
    };
    let subject = shape::Subject { whole: format!("`{FILE}`"), place: Span::default() };
    let project = shape::settle(reading, &table, &subject, &mut |value| {
        serde_path_to_error::deserialize::<_, Project>(value).map_err(|error| shape::fault(&error))
    });
    let project = project.unwrap_or_default();
    if let Some(mistake) = super::policy::unknown_launcher(&project.launcher.default) {
        let place = table.locate("launcher.default").map_or(Span::default(), |(found, _)| found.value);
        reading.note(mistake.at(place, ""));
    }
    rooted(project, reading)
}

fn rooted(mut project: Project, reading: &Reading) -> Project {
    project.root.clone_from(&reading.root);
    project.cache.directory = reading.root.join(&project.cache.directory);
    project
}
