//! What a parser's message says, taken apart.

/// A message, by what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phrase {
    /// There is no such field.
    Unknown {
        /// The field's own name.
        name: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// A field is not there.
    Missing {
        /// The field's own name.
        name: String,
    },
    /// A word that is none of those that there are.
    Variant {
        /// The word.
        given: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// A value of another sort, in words.
    Type {
        /// What stands there.
        given: String,
        /// What should.
        wanted: String,
    },
    /// Something else.
    Other {
        /// As it is.
        words: String,
    },
}

impl Phrase {
    /// Takes apart what serde's derived code says.
    pub(super) fn of(message: &str) -> Phrase {
        let words = message.trim();
        if let Some(rest) = words.strip_prefix("unknown field ") {
            let (name, names) = named(rest);
            return Phrase::Unknown { name, names };
        }
        if let Some(rest) = words.strip_prefix("missing field ") {
            return Phrase::Missing { name: named(rest).0 };
        }
        if let Some(rest) = words.strip_prefix("unknown variant ") {
            let (given, names) = named(rest);
            return Phrase::Variant { given, names };
        }
        let typed = ["invalid type: ", "invalid value: "].iter().find_map(|start| words.strip_prefix(start));
        if let Some((given, wanted)) = typed.and_then(|rest| rest.rsplit_once(", expected ")) {
            return Phrase::Type { given: given_words(given), wanted: wanted_words(wanted) };
        }
        if let Some((length, wanted)) =
            words.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "))
        {
            return Phrase::Type { given: format!("{length} of them"), wanted: wanted_words(wanted) };
        }
        Phrase::Other { words: words.to_owned() }
    }

    /// The whole path of the field that is meant, where the parser was at `path`.
    pub(super) fn field(&self, path: &str) -> String {
        let join = |name: &str| match path {
            "" => name.to_owned(),
            _ => format!("{path}.{name}"),
        };
        match self {
            Phrase::Missing { name } => join(name),
            // The parser's path ends with the unknown key already, unless it had to buffer the table first.
            Phrase::Unknown { name, .. } if path != name && !path.ends_with(&format!(".{name}")) => join(name),
            _ => path.to_owned(),
        }
    }
}

/// The first name in backticks, and all behind it.
fn named(text: &str) -> (String, Vec<String>) {
    let mut names = text.split('`').skip(1).step_by(2).map(str::to_owned);
    (names.next().unwrap_or_default(), names.collect())
}

fn given_words(given: &str) -> String {
    match given {
        "map" => return "a table".to_owned(),
        "sequence" => return "a list".to_owned(),
        _ => {}
    }
    let quoted = ["integer ", "floating point ", "boolean "].iter().find_map(|start| given.strip_prefix(start));
    match quoted {
        Some(quoted) => quoted.to_owned(),
        None if given.starts_with("string ") => format!("the {given}"),
        None => given.to_owned(),
    }
}

fn wanted_words(wanted: &str) -> String {
    let (least, bare) = match wanted.strip_prefix("a nonzero ") {
        Some(bare) => ("1", bare),
        None => ("0", wanted),
    };
    let most = match bare {
        "u8" => u8::MAX.to_string(),
        "u16" => u16::MAX.to_string(),
        "u32" => u32::MAX.to_string(),
        "u64" | "u128" | "usize" => return format!("a whole number, {least} or more"),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => return "a whole number".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        "a boolean" => return "`true` or `false`".to_owned(),
        "a sequence" => return "a list".to_owned(),
        "a map" => return "a table".to_owned(),
        _ if bare.starts_with("struct ") => return "a table".to_owned(),
        _ => return wanted.to_owned(),
    };
    format!("a whole number from {least} to {most}")
}
