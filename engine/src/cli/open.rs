//! What verbs need before they can do anything: the words told apart, the pipeline loaded, the cache found.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::here::{self, Sorted};
use super::history;
use super::trouble::Trouble;
use crate::event::Event;
use crate::graph::Pipeline;
use crate::kind::Program;
use crate::load::{self, Load, Loaded, Machine, Project};
use crate::oracle::Facts;
use crate::run::journal::Line;
use crate::source::nearest::nearest;
use crate::store::sign::SecretKey;
use crate::store::tier::{Directory, Tier};
use crate::store::{Settings, Store};

/// The directory in which the command was typed.
///
/// # Errors
/// When it is gone or cannot be read.
pub(super) fn current_directory() -> Result<PathBuf, Trouble> {
    std::env::current_dir().map_err(|e| Trouble::internal(format!("cannot tell the current directory: {e}")))
}

/// A pipeline that was loaded for a verb, and the stages that were named.
pub(super) struct Opened {
    pub(super) program: &'static Program,
    pub(super) loaded: Loaded,
    pub(super) stages: Vec<String>,
}

/// Loads the pipeline that `words` name, or else the one of the latest run. Its warnings go to stderr.
///
/// # Errors
/// When no pipeline is meant, or the author made a mistake.
pub(super) fn pipeline(program: &'static Program, words: &[String], facts: &Facts) -> Result<Opened, Trouble> {
    pipeline_by(program, words, facts, &|request| match load::recall(program, request).filter(Loaded::has_its_files) {
        Some(recalled) => Ok(recalled),
        None => Ok(load::load(program, request)?),
    })
}

/// How a pipeline comes to be.
type Loading<'a> = dyn Fn(&Load) -> Result<Loaded, Trouble> + 'a;

/// The same for a run, which looks at every file itself: a recalled pipeline is given although a file may be missing,
/// and then [`crate::run::RunError::Gone`] asks for `anew`.
///
/// # Errors
/// As [`pipeline`].
pub(super) fn for_run(
    program: &'static Program,
    words: &[String],
    facts: &Facts,
    anew: Anew,
) -> Result<Opened, Trouble> {
    pipeline_by(program, words, facts, &|request| match (anew, load::recall(program, request)) {
        (Anew::IfChanged, Some(recalled)) => Ok(recalled),
        _ => Ok(load::load(program, request)?),
    })
}

/// When a pipeline's text is parsed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    /// When something of it has changed.
    IfChanged,
    /// Now.
    Now,
}

fn pipeline_by(
    program: &'static Program,
    words: &[String],
    facts: &Facts,
    loading: &Loading<'_>,
) -> Result<Opened, Trouble> {
    let root = here::root(&current_directory()?);
    let Sorted { file, stages, overrides } = here::sort(words, &root);
    let named = file.is_some();
    let file = match file {
        Some(file) => file,
        None => latest(&root).ok_or_else(|| none_meant(&root, stages.first()))?,
    };
    let host = facts.host();
    let machine = Machine { cpus: host.cores, memory_mib: host.memory_mib };
    let loaded = loading(&Load { file, overrides, machine })?;
    super::trouble::warn(&loaded.warnings);
    let first = stages.first().cloned();
    let stages = points(&loaded.pipeline, &stages).map_err(|trouble| match named {
        true => trouble,
        // The first word may have been meant as a pipeline.
        false => trouble.and_help(&pipelines_here(&root, first.as_ref())),
    })?;
    Ok(Opened { program, loaded, stages })
}

/// The stages that `words` name: a stage, or all points of a matrix.
///
/// # Errors
/// When a word names none.
pub(super) fn points(pipeline: &Pipeline, words: &[String]) -> Result<Vec<String>, Trouble> {
    let mut names = Vec::new();
    for word in words {
        let found = pipeline.named(word);
        if found.is_empty() {
            let known: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
            let message = format!("there is no stage `{word}` in the pipeline `{}`", pipeline.name);
            return Err(Trouble::mistake(message).help(match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has: {}", known.iter().take(20).copied().collect::<Vec<_>>().join(", ")),
            }));
        }
        names.extend(found.into_iter().map(|id| pipeline.stages[id.index()].name.clone()));
    }
    Ok(names)
}

/// The pipeline file of the project's latest run, if it is still there.
fn latest(root: &Path) -> Option<PathBuf> {
    let outline = history::outlines(root, 1).pop()?;
    let Some(Line { what: Event::RunStarted { file, .. }, .. }) = outline.first else { return None };
    [PathBuf::from(&file), root.join(&file)].into_iter().find(|f| f.is_file())
}

fn none_meant(root: &Path, word: Option<&String>) -> Trouble {
    let message = match word {
        Some(word) => format!("`{word}` is no pipeline, and there is no run yet whose stage it could be"),
        None => "no pipeline was named, and there is no run yet".to_owned(),
    };
    Trouble::mistake(message).help(pipelines_here(root, word))
}

fn pipelines_here(root: &Path, word: Option<&String>) -> String {
    let names: Vec<String> = here::pipelines(root).into_iter().map(|l| l.name).collect();
    match names.as_slice() {
        [] => format!("there is no pipeline in `{}`; `pipe init` writes a starter", root.join("pipelines").display()),
        names => {
            let near = word.and_then(|word| nearest(word, names.iter().map(String::as_str)));
            let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            format!("pipelines here: {}{near}", names.join(", "))
        }
    }
}

/// Opens the cache alone.
///
/// # Errors
/// When it cannot be opened or made.
pub(super) fn store(option: Option<&Path>, project: &Project) -> Result<Store, Trouble> {
    Ok(Store::open_with(&cache_directory(option, project), settings(project)?)?)
}

/// Opens the cache with the shared tier behind it, if the project names one. A tier that cannot be opened is told when
/// the run begins, and the run goes on without.
///
/// # Errors
/// When the cache cannot be opened or made, or the address of the tier is none.
pub(super) fn store_with_tier(program: &Program, option: Option<&Path>, project: &Project) -> Result<Store, Trouble> {
    let mut settings = settings(project)?;
    if let Some(address) = &project.cache.shared {
        match tier(program, address, project)? {
            Ok(tier) => settings.tier = Some(tier),
            Err(trouble) => {
                settings.notes.push(format!("the shared tier `{}` is not used: {trouble}", without_secrets(address)));
            }
        }
    }
    Ok(Store::open_with(&cache_directory(option, project), settings)?)
}

fn settings(project: &Project) -> Result<Settings, Trouble> {
    // A home that cannot be looked into (a service, a container) is no mistake of the author: records are not signed then.
    let usual = SecretKey::usual().filter(|path| !SecretKey::is_out_of_sight(path));
    let key = usual.map(|path| SecretKey::read(&path)).transpose().map_err(Trouble::mistake)?.flatten();
    Ok(Settings {
        salt: project.cache.salt.clone(),
        local: Some(project.root.join(".pipe/cache")),
        push: project.cache.push,
        check: project.cache.check,
        trust: project.cache.trust.clone(),
        key,
        ..Settings::default()
    })
}

/// Opens the tier at `address`.
///
/// # Errors
/// When no such sort of tier is known; what is wrong with this one is inside.
pub(super) fn tier(
    program: &Program,
    address: &str,
    project: &Project,
) -> Result<Result<Arc<dyn Tier>, String>, Trouble> {
    /// A directory on a server that does not answer would hang the run.
    const PATIENCE: Duration = Duration::from_secs(20);
    let open: Box<dyn FnOnce() -> Result<Arc<dyn Tier>, String> + Send> = match address.split_once("://") {
        None => {
            let directory = project.root.join(address);
            Box::new(move || match Directory::open(&directory) {
                Ok(tier) => Ok(Arc::new(tier)),
                Err(e) => Err(super::trouble::chain(&e)),
            })
        }
        Some((scheme, _)) => {
            let Some(known) = program.tiers.iter().find(|known| known.name == scheme) else {
                let names: Vec<&str> = program.tiers.iter().map(|known| known.name).collect();
                let message = format!("`{scheme}://` is no place for shared results");
                return Err(Trouble::mistake(message)
                    .help(format!("[cache] shared: a directory, or one of: {}", names.join(", "))));
            };
            let (open, address) = (known.open, address.to_owned());
            Box::new(move || open(&address))
        }
    };
    let (to, from) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || drop(to.send(open())));
    Ok(from.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(format!("no answer for {} s", PATIENCE.as_secs()))))
}

/// An address as it may be shown: without what stands before `@` or after `?`.
fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let rest = rest.split('?').next().unwrap_or_default();
    let rest = if scheme.is_empty() { address } else { rest.rsplit('@').next().unwrap_or_default() };
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

/// Where the cache lies: `--cache`, else `PIPE_CACHE`, else what the project says.
pub(super) fn cache_directory(option: Option<&Path>, project: &Project) -> PathBuf {
    let wished = || std::env::var_os("PIPE_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
    option.map(Path::to_owned).or_else(wished).unwrap_or_else(|| project.cache.directory.clone())
}
