//! The name of what is about to be done: one walk over everything that may change a stage's result, read by a
//! hasher and by a writer, so that what is explained is what was hashed.
//!
//! It does not know stores, processes or why anybody asks. Not ingredients: names of stages and pipelines, paths,
//! needs, where and when it runs, who runs it, comments, the order of keys in a file.
//!
//! Invariants: every field is framed (lengths before bytes), so two different walks never hash the same bytes; a
//! configuration enters sorted by us, a value a field; the golden keys in the tests change only with [`FORMAT`].

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::config;
use crate::digest::Digest;
use crate::graph::Stage;

#[cfg(test)]
mod tests;

/// The number of this way of making keys; raised when the walk changes.
pub const FORMAT: u32 = 1;

/// Separates keys from everything else that is hashed.
const CONTEXT: &str = "pipe 2026 stage key v1";

/// The name of a stage's result: BLAKE3 of all its ingredients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Key(pub Digest);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        text.parse().map(Key)
    }
}

/// The content on one input port, as it enters the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// BLAKE3 of the bytes, or of what they mean.
    pub digest: Digest,
    /// By which meaning the digest was made; `None` = by bytes.
    pub meaning: Option<&'static str>,
}

/// What a stage takes: for each wired port its name and its sources, in the order of the pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs<'a> {
    /// Ports; any order.
    pub ports: Vec<(&'a str, Vec<Taken>)>,
}

/// Everything of the world that enters a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Facts that the contract asks for: `(host | gpu | driver, text)`.
    pub oracles: Vec<(String, String)>,
    /// Programs that a `command` stage names: `(name, digest)`, and the words that its probes said: `(command, text)`.
    pub tools: Vec<Tool>,
    /// The store's salt: change it to disown every record at once.
    pub salt: String,
}

/// The identity of a program that a stage calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// The bytes of the executable found under this name.
    Executable(String, Digest),
    /// What the program said of itself when run with these words.
    Probe(String, String),
}

/// Reads a walk over the ingredients of a key.
pub trait Sink {
    /// The next ingredient. `name` is dotted: `config.batch.most`, `input.requests.0`, `code.module.sim`.
    fn field(&mut self, name: &str, value: &[u8]);

    /// The next ingredients, framed as a hasher reads them: a stage's configuration, walked over when it was loaded.
    fn fields(&mut self, walk: &[u8]) {
        for (name, value) in config::fields(walk) {
            self.field(name, value);
        }
    }
}

/// Hashes a walk.
#[derive(Debug)]
pub struct KeyHasher(blake3::Hasher);

impl Default for KeyHasher {
    fn default() -> KeyHasher {
        KeyHasher(blake3::Hasher::new_derive_key(CONTEXT))
    }
}

impl KeyHasher {
    /// The key of everything that was walked over.
    pub fn finish(&self) -> Key {
        Key(Digest(*self.0.finalize().as_bytes()))
    }
}

impl Sink for KeyHasher {
    fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn fields(&mut self, walk: &[u8]) {
        self.0.update(walk);
    }
}

/// Writes a walk down: a line an ingredient, its name, a tab, its value, both escaped. `explain` reads it.
#[derive(Debug, Default)]
pub struct KeyText(pub String);

impl Sink for KeyText {
    fn field(&mut self, name: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        let (name, value) = (crate::explain::escape(name), crate::explain::escape(&value));
        let _ = writeln!(self.0, "{name}\t{value}");
    }
}

/// The key of a stage.
pub fn key(stage: &Stage, inputs: &Inputs<'_>, world: &World) -> Key {
    let mut hasher = KeyHasher::default();
    describe(stage, inputs, world, &mut hasher);
    hasher.finish()
}

/// The text of a stage's key: what `explain` compares.
pub fn text(stage: &Stage, inputs: &Inputs<'_>, world: &World) -> String {
    let mut text = KeyText::default();
    describe(stage, inputs, world, &mut text);
    text.0
}

/// The walk: every ingredient of a stage's key, in an order of ours.
pub fn describe(stage: &Stage, inputs: &Inputs<'_>, world: &World, sink: &mut impl Sink) {
    sink.field("format", FORMAT.to_string().as_bytes());
    sink.field("kind", stage.kind.name.as_bytes());
    sink.field("code.version", stage.kind.code.version.to_string().as_bytes());
    let mut modules: Vec<_> = stage.kind.code.modules.iter().collect();
    modules.sort();
    for (module, fingerprint) in modules {
        sink.field(&format!("code.module.{module}"), fingerprint.as_bytes());
    }
    sink.fields(&stage.config.walk());
    let mut ports: Vec<_> = inputs.ports.iter().collect();
    ports.sort_by_key(|(name, _)| *name);
    let mut field = String::new();
    for (name, sources) in ports {
        for (at, source) in sources.iter().enumerate() {
            field.clear();
            let _ = write!(field, "input.{name}.{at}");
            let hex = blake3::Hash::from_bytes(source.digest.0).to_hex();
            match source.meaning {
                Some(meaning) => sink.field(&field, format!("{meaning} {hex}").as_bytes()),
                None => sink.field(&field, hex.as_bytes()),
            }
        }
    }
    for (name, fact) in &world.oracles {
        sink.field(&format!("oracle.{name}"), fact.as_bytes());
    }
    for tool in &world.tools {
        match tool {
            Tool::Executable(name, digest) => sink.field(&format!("tool.{name}"), digest.to_string().as_bytes()),
            Tool::Probe(command, said) => sink.field(&format!("probe.{command}"), said.as_bytes()),
        }
    }
    if stage.policy.sample != 0 {
        sink.field("sample", stage.policy.sample.to_string().as_bytes());
    }
    if !world.salt.is_empty() {
        sink.field("salt", world.salt.as_bytes());
    }
}
