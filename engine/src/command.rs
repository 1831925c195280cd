//! The engine's own kind, `command`: any program that is not written against this engine.
//!
//! ```toml
//! [stage.counted]
//! kind = "command"
//! in = { words = "data/words.txt" }
//! config = { argv = ["sort", "-o", "{out.lines}", "{in.words}"], outputs = { lines = "lines.txt" } }
//! ```
//! The program runs in its attempt's directory. Its inputs are links: `in/<name>`, or `in/<name>/<n>` where the
//! pipeline file gives a list. Its outputs must be there when it ends, at `out/<path>`. It inherits nothing of the
//! environment but what `env` and `pass_env` name.
//!
//! This module does not spawn anything: the launcher reads a [`Command`] back from its printed form and asks it for
//! words and links. Invariants: what is printed is exactly what may change the result. Needs, and whether a text is
//! shown, are read from the author's text into the contract and not printed, so they enter no key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::exec::Io;
use crate::kind::{Code, Complaint, Contract, Fault, Identity, Kind, Meaning, Needs, Oracle, Port, Resolved, Sort};
use crate::kind::{StageError, StageKind, Wired};
use crate::meaning;
use crate::source::nearest;

mod placeholder;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Output, Text};

/// The word after `kind =`.
pub const NAME: &str = "command";

/// The engine's own kind as data.
pub const KIND: Kind = Kind::of::<Command>();

/// What a `command` stage is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its words. `{in.name}`, `{out.name}` and `{cpus}` are replaced; `{{cpus}}` is `{cpus}` itself.
    pub argv: Vec<Text>,
    /// The environment; values may hold the same placeholders.
    #[serde(default)]
    pub env: BTreeMap<String, Text>,
    /// Names of variables that are taken over from whoever runs the pipeline; their values do not enter the key.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// What it leaves under `out/`, by port.
    pub outputs: BTreeMap<String, Output>,
    /// Programs whose bytes are part of the key; unless given: the program itself, where no probe is given.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
    /// Commands whose output is part of the key: `[["gcc", "--version"]]`.
    #[serde(default)]
    pub probes: Vec<Vec<Text>>,
    /// Whether a result is a computation or a measurement.
    #[serde(default, skip_serializing)]
    sort: Sort,
    #[serde(default = "one", skip_serializing)]
    cpus: u16,
    #[serde(default, skip_serializing)]
    memory_mib: u64,
    #[serde(default, skip_serializing)]
    gpus: u8,
    #[serde(default, skip_serializing)]
    gpu_name: Option<String>,
    #[serde(default, skip_serializing)]
    gpu_memory_mib: u64,
    #[serde(default, skip_serializing)]
    gpu_budget_mib: u64,
    #[serde(default, skip_serializing)]
    quiet: bool,
}

fn one() -> u16 {
    1
}

/// An input port as it is given to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<'a> {
    /// The port.
    pub name: &'a str,
    /// How many sources a list has; `None` where the port takes one source.
    pub list: Option<usize>,
}

impl Given<'_> {
    /// Where the sources lie, from the attempt's directory: one link, or one for each item of a list.
    pub fn links(&self) -> Vec<String> {
        match self.list {
            None => vec![format!("in/{}", self.name)],
            Some(length) => (0..length).map(|at| format!("in/{}/{at}", self.name)).collect(),
        }
    }
}

impl Command {
    /// The identities of the tools it uses; part of its key. A program that comes in by a port is known by its content
    /// already and is not among them.
    pub fn identities(&self) -> Vec<Identity> {
        let tools = match &self.tools {
            Some(tools) => tools.clone(),
            None if !self.probes.is_empty() => Vec::new(),
            None => {
                self.argv.first().map(|word| word.0.clone()).filter(|word| !word.contains('{')).into_iter().collect()
            }
        };
        let probes = self.probes.iter().map(|words| Identity::Probe(words.iter().map(|word| word.0.clone()).collect()));
        tools.into_iter().map(Identity::Executable).chain(probes).collect()
    }

    /// The words to run, with every placeholder replaced. A word that is nothing but the placeholder of a list becomes
    /// one word for each of its items; within a longer word the items are joined by spaces.
    pub fn words(&self, given: &[Given<'_>], cpus: u16) -> Vec<String> {
        let fill = self.fill(given, cpus);
        let whole = |word: &str| {
            let name = word.strip_prefix("{in.").and_then(|rest| rest.strip_suffix('}'));
            name.and_then(|name| given.iter().find(|port| port.name == name)).filter(|port| port.list.is_some())
        };
        self.argv
            .iter()
            .flat_map(|word| match whole(&word.0) {
                Some(port) => port.links(),
                None => vec![placeholder::replace(&word.0, &fill)],
            })
            .collect()
    }

    /// The declared environment, with every placeholder replaced.
    pub fn environment(&self, given: &[Given<'_>], cpus: u16) -> BTreeMap<String, String> {
        let fill = self.fill(given, cpus);
        self.env.iter().map(|(name, text)| (name.clone(), placeholder::replace(&text.0, &fill))).collect()
    }

    fn fill<'a>(&'a self, given: &'a [Given<'_>], cpus: u16) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| match name.split_once('.') {
            None => (name == "cpus").then(|| cpus.to_string()),
            Some(("in", port)) => given.iter().find(|g| g.name == port).map(|g| g.links().join(" ")),
            Some(("out", port)) => self.outputs.get(port).map(|output| format!("out/{}", output.path)),
            Some(_) => None,
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            gpus: self.gpus,
            gpu_name: self.gpu_name.clone(),
            gpu_memory_mib: self.gpu_memory_mib,
            gpu_budget_mib: self.gpu_budget_mib,
            quiet: self.quiet,
        }
    }

    fn check(&self, wired: &Wired) -> Result<(), Complaint> {
        let Some(program) = self.argv.first() else {
            return Err(Complaint::new("argv", "there is no program to run").help("argv = [\"program\", \"word\", …]"));
        };
        let relative = |word: &str| word.contains('/') && !word.starts_with(['/', '{']);
        let by_port = "files come in by ports: `in = { tool = \"./path\" }`, then `{in.tool}`";
        if relative(&program.0) {
            return Err(Complaint::new("argv[0]", format!("`{}` is a path of the project", program.0)).help(by_port));
        }
        for (at, tool) in self.tools.iter().flatten().enumerate() {
            if relative(tool) || tool.is_empty() {
                let message = format!("`{tool}` names no program");
                return Err(Complaint::new(format!("tools[{at}]"), message).help(by_port));
            }
        }
        for (at, probe) in self.probes.iter().enumerate() {
            if probe.is_empty() {
                return Err(Complaint::new(format!("probes[{at}]"), "there is no program to run"));
            }
        }
        for (at, word) in self.argv.iter().enumerate() {
            self.check_placeholders(&word.0, &format!("argv[{at}]"), wired)?;
        }
        for (name, text) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Complaint::new(format!("env.{name}"), format!("`{name}` cannot name a variable")));
            }
            self.check_placeholders(&text.0, &format!("env.{name}"), wired)?;
        }
        self.check_outputs()
    }

    fn check_placeholders(&self, text: &str, field: &str, wired: &Wired) -> Result<(), Complaint> {
        for name in placeholder::names(text) {
            let known = match name.split_once('.') {
                None => name == "cpus",
                Some(("in", port)) => wired.has(port),
                Some(("out", port)) => self.outputs.contains_key(port),
                Some(_) => false,
            };
            if !known {
                let inputs = wired.inputs.iter().map(|port| format!("in.{port}"));
                let outputs = self.outputs.keys().map(|port| format!("out.{port}"));
                let names: Vec<String> = inputs.chain(outputs).chain(["cpus".to_owned()]).collect();
                let remedy = nearest::remedy(name, "placeholder", names.iter().map(String::as_str));
                let help = format!("{remedy}; for the braces themselves write `{{{{{name}}}}}`");
                return Err(Complaint::new(field, format!("nothing is called `{{{name}}}` here")).help(help));
            }
        }
        Ok(())
    }

    fn check_outputs(&self) -> Result<(), Complaint> {
        if self.outputs.is_empty() {
            let help = "a stage is known by what it makes; a program that only checks can write its findings to a file";
            return Err(Complaint::new("outputs", "a stage without outputs cannot be remembered").help(help));
        }
        let mut paths: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (name, output) in &self.outputs {
            let field = format!("outputs.{name}");
            if !settings::is_port_name(name) {
                let message = format!("`{name}` cannot name an output");
                return Err(Complaint::new(field, message).help("use letters, digits, `_` and `-`"));
            }
            let steps: Vec<&str> = output.path.split('/').collect();
            if steps.iter().any(|step| matches!(*step, "" | "." | "..")) || output.path.contains('\0') {
                let message = format!("`{}` is no path below `out/`", output.path);
                return Err(Complaint::new(field, message).help("write it without `.`, `..` and a leading `/`"));
            }
            let other = paths.iter().find(|other| other.starts_with(&steps) || steps.starts_with(other));
            if let Some(other) = other {
                let message = format!("`out/{}` lies within the output `out/{}`", output.path, other.join("/"));
                return Err(Complaint::new(field, message).help("two outputs cannot share a path"));
            }
            paths.insert(steps);
        }
        Ok(())
    }
}

impl StageKind for Command {
    type Config = Command;
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "runs any program with declared inputs, outputs and environment";
    const CODE: Code = Code { version: 1, modules: &[] };
    const EXAMPLE: &'static str = "argv = [\"sh\", \"-c\", \"date > {out.text}\"]\noutputs = { text = \"text.txt\" }";

    fn contract(config: &Command, wired: &Wired) -> Result<Contract, Complaint> {
        config.check(wired)?;
        let input = |name: &String| {
            let port = Port::new(name.clone(), "any", "whatever the pipeline file wires to it");
            if wired.is_list(name) { port.many() } else { port }
        };
        let outputs = config.outputs.iter().map(|(name, output)| output.port(name)).collect::<Result<_, _>>()?;
        let oracles = match config.sort {
            Sort::Computed => Vec::new(),
            Sort::Measured if config.gpus > 0 => vec![Oracle::Host, Oracle::Gpu, Oracle::Driver],
            Sort::Measured => vec![Oracle::Host],
        };
        let inputs = wired.inputs.iter().map(input).collect();
        let tools = config.identities();
        Ok(Contract { inputs, outputs, needs: config.needs(), oracles, sort: config.sort, tools })
    }

    fn run(config: &Command, io: &mut Io) -> Result<(), StageError> {
        let words: Vec<&str> = config.argv.iter().map(|word| word.0.as_str()).collect();
        let help = format!("run it in `{}`: {}", io.directory().display(), words.join(" "));
        Err(StageError::new("a program is started by the launcher and not by a stage's own process").help(help))
    }
}

/// Resolves a `command` stage, whose outputs may ask for the program's own ways to digest by meaning: each is written
/// out by its full name, with its version, before the kind sees it.
///
/// # Errors
/// As [`Kind::resolve`], and for a meaning that nobody brings.
pub fn resolve(mut config: toml::Value, wired: &Wired, meanings: &[Meaning]) -> Result<Resolved, Fault> {
    let mut theirs = BTreeMap::new();
    let outputs = config.get_mut("outputs").and_then(toml::Value::as_table_mut);
    for (name, output) in outputs.into_iter().flat_map(toml::map::Map::iter_mut) {
        let Some(table) = output.as_table_mut() else { continue };
        let Some(word) = table.get("meaning").and_then(toml::Value::as_str) else { continue };
        if let Some(found) = meaning::find(word, meanings) {
            theirs.insert(name.clone(), (found, table.remove("meaning")));
        }
    }
    let mut resolved = (KIND.resolve)(config, wired)?;
    for port in &mut resolved.contract.outputs {
        if let Some((found, _)) = theirs.get(port.name.as_ref()) {
            port.meaning = Some(*found);
            resolved.config["outputs"][port.name.as_ref()]["meaning"] = found.name.into();
        }
    }
    Ok(resolved)
}
