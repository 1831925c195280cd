//! What a kind of stage promises: all that `stages/` must know of the engine, together with [`crate::exec::Io`].
//!
//! A [`StageKind`] is written by whoever has work to do; a [`Kind`] is the same as plain data, which the engine
//! keeps in a `static` slice. This module does not know pipelines, keys, stores or processes.
//!
//! Invariants: a configuration printed and parsed again is the same configuration; a configuration holds no path
//! (files come in by ports only); `contract` is pure.

use std::borrow::Cow;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exec::Io;

/// What a kind of stage promises.
pub trait StageKind: 'static {
    /// Everything that can be set. Deny unknown fields; keep defaults here and nowhere else.
    type Config: Serialize + DeserializeOwned;
    /// The word after `kind =` in a pipeline file.
    const NAME: &'static str;
    /// One line for `pipe kinds`.
    const ABOUT: &'static str;
    /// The identity of the code; part of the key.
    const CODE: Code;
    /// A configuration (TOML) that is enough to resolve the kind: what has no default. `pipe kinds KIND` prints it.
    const EXAMPLE: &'static str = "";

    /// Checks a configuration and says what the stage takes, gives and needs. Pure.
    ///
    /// # Errors
    /// A [`Complaint`] names the field at fault; the engine finds its place in the author's text.
    fn contract(config: &Self::Config, wired: &Wired) -> Result<Contract, Complaint>;

    /// Does the work, in a process of its own: reads inputs and writes outputs through `io`.
    ///
    /// # Errors
    /// Whatever kept the stage from writing all its outputs.
    fn run(config: &Self::Config, io: &mut Io) -> Result<(), StageError>;
}

/// The identity of a kind's code.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// Raised by hand when the meaning of results changes.
    pub version: u32,
    /// `(module, digest of its source)`, made by a build script; empty for kinds that need none.
    pub modules: &'static [(&'static str, &'static str)],
}

/// The names of the input ports that the pipeline file wires, sorted.
#[derive(Debug, Clone, Default)]
pub struct Wired {
    /// Names to the left of `=` in the stage's `in` table.
    pub inputs: Vec<String>,
    /// Those of them that are wired to a list, sorted.
    pub lists: Vec<String>,
}

impl Wired {
    /// Whether the pipeline file wires something to the input port `name`.
    pub fn has(&self, name: &str) -> bool {
        self.inputs.iter().any(|n| n == name)
    }

    /// Whether the pipeline file wires a list to the input port `name`.
    pub fn is_list(&self, name: &str) -> bool {
        self.lists.iter().any(|n| n == name)
    }
}

/// What a stage takes, gives and needs.
#[derive(Debug, Clone, Default)]
pub struct Contract {
    /// Named inputs.
    pub inputs: Vec<Port>,
    /// Named outputs; each becomes one file or one tree.
    pub outputs: Vec<Port>,
    /// Resources that must be held while it runs.
    pub needs: Needs,
    /// Facts of the world that enter the key.
    pub oracles: Vec<Oracle>,
    /// Whether a result is a computation or a measurement.
    pub sort: Sort,
    /// Programs of this machine that it calls, whose identities enter the key.
    pub tools: Vec<Identity>,
}

/// What makes a program the same program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The bytes of the executable that this word names: a name to be looked up in `PATH`, or an absolute path.
    Executable(String),
    /// What these words print when run.
    Probe(Vec<String>),
}

/// Whether the same key gives the same bytes everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// Same key, same bytes, on any machine.
    #[default]
    Computed,
    /// A record is one measurement with its circumstances; `repeat` takes more.
    Measured,
}

/// A named input or output.
#[derive(Debug, Clone)]
pub struct Port {
    /// The name in the `in` table, or after the dot in `stage.output`.
    pub name: Cow<'static, str>,
    /// What it carries (`requests`, `run`, `table`…). A wire joins two ports that hold the same, or one that holds `any`.
    pub holds: Cow<'static, str>,
    /// One line for `pipe kinds KIND`.
    pub about: Cow<'static, str>,
    /// Takes a list of sources (inputs only).
    pub many: bool,
    /// May be left unwired (inputs only).
    pub optional: bool,
    /// A small UTF-8 text that is printed at the end of a run, also of a hit (outputs only).
    pub shown: bool,
    /// What its file is called after the dot under `results/`, so that other programs know what it is; empty = nothing
    /// (outputs only). Not part of a key.
    pub extension: Cow<'static, str>,
    /// How to digest it by meaning and not by bytes.
    pub meaning: Option<Meaning>,
}

impl Port {
    /// A required port that takes one source and is keyed by its bytes.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        holds: impl Into<Cow<'static, str>>,
        about: impl Into<Cow<'static, str>>,
    ) -> Port {
        Port {
            name: name.into(),
            holds: holds.into(),
            about: about.into(),
            many: false,
            optional: false,
            shown: false,
            extension: Cow::Borrowed(""),
            meaning: None,
        }
    }

    /// The same port, which may be left unwired.
    #[must_use]
    pub fn optional(mut self) -> Port {
        self.optional = true;
        self
    }

    /// The same port, taking a list.
    #[must_use]
    pub fn many(mut self) -> Port {
        self.many = true;
        self
    }

    /// The same output, printed at the end of a run.
    #[must_use]
    pub fn shown(mut self) -> Port {
        self.shown = true;
        self
    }

    /// The same output, a file that is called `<port>.<extension>` under `results/`.
    #[must_use]
    pub fn as_file(mut self, extension: impl Into<Cow<'static, str>>) -> Port {
        self.extension = extension.into();
        self
    }

    /// What the output is called under `results/`: its name and, if it has one, its extension.
    pub fn file_name(&self) -> String {
        match self.extension.as_ref() {
            "" => self.name.to_string(),
            extension => format!("{}.{extension}", self.name),
        }
    }

    /// The same port, digested by meaning.
    #[must_use]
    pub fn by_meaning(mut self, meaning: Meaning) -> Port {
        self.meaning = Some(meaning);
        self
    }
}

/// A digest of what a file means, blind to how it is written (order of keys, comments, row groups, compression).
#[derive(Clone, Copy)]
pub struct Meaning {
    /// Stands in keys beside the digest, with a version: `toml/1`, `table/1`.
    pub name: &'static str,
    /// BLAKE3 of the canonical content of the file or tree at this path; an error where it cannot be read as such.
    pub digest: fn(&Path) -> Result<[u8; 32], String>,
}

impl std::fmt::Debug for Meaning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Resources that a stage holds while it runs. Taken whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Cores.
    pub cpus: u16,
    /// Memory, MiB; 0 = not counted.
    pub memory_mib: u64,
    /// Cards.
    pub gpus: u8,
    /// The declared card: every word of it must occur in the device's own name (`H100 80GB`), case aside. `None` = any.
    pub gpu_name: Option<String>,
    /// Least memory of each card, MiB; 0 = any.
    pub gpu_memory_mib: u64,
    /// Most memory of each card that it will use, MiB; then a computed stage shares its cards with others whose
    /// budgets fit beside. 0 = it has them alone, as every measured stage has.
    pub gpu_budget_mib: u64,
    /// Alone on the machine within this engine.
    pub quiet: bool,
}

impl Default for Needs {
    fn default() -> Needs {
        Needs { cpus: 1, memory_mib: 0, gpus: 0, gpu_name: None, gpu_memory_mib: 0, gpu_budget_mib: 0, quiet: false }
    }
}

/// A fact of the world that enters the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oracle {
    /// The processor's name and the number of its cores.
    Host,
    /// The names and memory of the cards the stage would get.
    Gpu,
    /// The version of the card's driver.
    Driver,
}

/// What an author must change in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Dotted path of the field, from the stage's configuration: `scheduler.max_batched`.
    pub field: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Complaint {
    /// A complaint about `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Complaint {
        Complaint { field: field.into(), message: message.into(), help: None }
    }

    /// The same complaint with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Complaint {
        self.help = Some(help.into());
        self
    }
}

/// Why a stage did not end well.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StageError {
    /// What was attempted on what and went wrong: lower case, no full stop; names file, row and column where it can.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The chain of causes, outermost first.
    pub causes: Vec<String>,
}

impl StageError {
    /// An error that says what went wrong.
    pub fn new(message: impl Into<String>) -> StageError {
        StageError { message: message.into(), help: None, causes: Vec::new() }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> StageError {
        self.help = Some(help.into());
        self
    }

    /// The same error with the error that caused it, and that one's own causes.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> StageError {
        let mut next = Some(cause);
        while let Some(c) = next {
            self.causes.push(c.to_string());
            next = c.source();
        }
        self
    }
}

impl std::fmt::Display for StageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StageError {}

/// A kind of stage as data.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The word after `kind =`.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// The identity of its code.
    pub code: Code,
    /// A configuration (TOML) that is enough to resolve it.
    pub example: &'static str,
    /// Parses a configuration, fills in defaults, checks it.
    pub resolve: fn(toml::Value, &Wired) -> Result<Resolved, Fault>,
    /// Parses the printed configuration (JSON) and does the work.
    pub run: fn(&str, &mut Io) -> Result<(), StageError>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A configuration after defaults, and what follows from it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration as it crosses the process border and as it enters the key (key.rs sorts and frames it).
    pub config: serde_json::Value,
    /// What it takes, gives and needs.
    pub contract: Contract,
}

/// What is wrong with a configuration, before its place in the text is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The text does not fit the type: the parser's message and the dotted path at which it stopped (empty = the whole).
    Shape {
        /// Dotted path of the value (for an unknown key: of that key).
        field: String,
        /// The parser's own words.
        message: String,
    },
    /// It fits and cannot be meant.
    Complaint(Complaint),
}

impl Kind {
    /// The data of a kind.
    pub const fn of<K: StageKind>() -> Kind {
        Kind {
            name: K::NAME,
            about: K::ABOUT,
            code: K::CODE,
            example: K::EXAMPLE,
            resolve: resolve::<K>,
            run: run::<K>,
        }
    }
}

fn resolve<K: StageKind>(config: toml::Value, wired: &Wired) -> Result<Resolved, Fault> {
    let config: K::Config = serde_path_to_error::deserialize(config)
        .map_err(|e| Fault::Shape { field: e.path().to_string(), message: e.inner().message().to_owned() })?;
    let contract = K::contract(&config, wired).map_err(Fault::Complaint)?;
    let config =
        serde_json::to_value(&config).map_err(|e| Fault::Shape { field: String::new(), message: e.to_string() })?;
    Ok(Resolved { config, contract })
}

fn run<K: StageKind>(config: &str, io: &mut Io) -> Result<(), StageError> {
    let config: K::Config = serde_json::from_str(config)
        .map_err(|e| StageError::new("cannot read the configuration back from the manifest").because(&e))?;
    K::run(&config, io)
}

/// What a program made with this engine brings: its kinds, its ways to digest by meaning, its own verbs.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The kinds of stage, besides the engine's own `command`.
    pub kinds: &'static [Kind],
    /// Meanings that a `command` stage may ask for by name, besides the engine's own `json`, `csv` and `toml`.
    pub meanings: &'static [Meaning],
    /// Verbs beside the engine's own.
    pub verbs: &'static [Verb],
    /// The version that `--version` prints.
    pub version: &'static str,
    /// Places for shared results besides directories, by the scheme of their address: `[cache] shared = "s3://…"`.
    pub tiers: &'static [TierScheme],
    /// What a port that holds this word carries (a table's columns), in lines for `pipe kinds KIND`.
    pub carries: fn(&str) -> Option<String>,
}

/// A sort of place for shared results.
#[derive(Clone, Copy)]
pub struct TierScheme {
    /// What stands before `://`.
    pub name: &'static str,
    /// Opens the tier at an address. Errors in words that hold no credentials.
    pub open: fn(&str) -> Result<std::sync::Arc<dyn crate::store::tier::Tier>, String>,
}

impl std::fmt::Debug for TierScheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A verb that the program adds to the command line.
#[derive(Clone, Copy)]
pub struct Verb {
    /// The word on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Takes the words after the verb; prints its own output; gives the exit code.
    pub run: fn(&[std::ffi::OsString]) -> u8,
}

impl std::fmt::Debug for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
