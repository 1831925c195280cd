//! The pieces of a `command` stage's configuration that can be written in more than one way, and are printed in one.

use std::fmt;
use std::path::Path;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::kind::{Complaint, Port};
use crate::meaning;

/// A word for a program. A number or a boolean may be written without quotes; it is kept as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                match text.contains('\0') {
                    true => Err(E::custom("a program's words cannot hold a NUL character")),
                    false => Ok(Text(text.to_owned())),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(format!("{number:?}")))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Text, E> {
                Ok(Text(truth.to_string()))
            }
        }
        from.deserialize_any(Words)
    }
}

/// What a program leaves under `out/`: in the author's text a path, or a table with the path and more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// From `out/`: a file, or a directory with all in it.
    pub path: String,
    /// How to digest it by meaning: `json`, `csv`, `toml`, or what the program brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What it carries.
    #[serde(skip_serializing)]
    holds: String,
    /// Whether it is a text to be printed at the end of a run.
    #[serde(skip_serializing)]
    shown: bool,
    /// One line about it.
    #[serde(skip_serializing)]
    about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputTable {
    path: String,
    #[serde(default)]
    meaning: Option<String>,
    #[serde(default = "any")]
    holds: String,
    #[serde(default)]
    shown: bool,
    #[serde(default)]
    about: String,
}

fn any() -> String {
    "any".to_owned()
}

impl Output {
    /// The output port under this name.
    pub(super) fn port(&self, name: &str) -> Result<Port, Complaint> {
        let mut port = Port::new(name.to_owned(), self.holds.clone(), self.about.clone());
        port.shown = self.shown;
        // The author's own file name says best what other programs should take it for.
        if let Some(extension) = Path::new(&self.path).extension().and_then(|e| e.to_str()) {
            port = port.as_file(extension.to_owned());
        }
        if let Some(word) = &self.meaning {
            let found = meaning::find(word, &[]).ok_or_else(|| {
                let message = format!("nothing is known of a meaning called `{word}`");
                Complaint::new(format!("outputs.{name}.meaning"), message).help("there are `json`, `csv` and `toml`")
            })?;
            port.meaning = Some(found);
        }
        Ok(port)
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Output, D::Error> {
        struct PathOrTable;
        impl<'de> Visitor<'de> for PathOrTable {
            type Value = Output;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path below `out/`, or a table with `path`")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Output, E> {
                let (path, about) = (path.to_owned(), String::new());
                Ok(Output { path, meaning: None, holds: any(), shown: false, about })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Output, M::Error> {
                let OutputTable { path, meaning, holds, shown, about } =
                    OutputTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Output { path, meaning, holds, shown, about })
            }
        }
        from.deserialize_any(PathOrTable)
    }
}

/// Whether a word can name a port: letters, digits, `_` and `-`.
pub(super) fn is_port_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
