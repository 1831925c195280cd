//! Colour for a terminal, or none. It does not know what it colours.

use std::io::IsTerminal;

/// Puts colour around text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// No colour.
    Bare,
    /// The sixteen colours of every terminal.
    Colour,
}

impl Paint {
    /// Colour where `stream` is a terminal that can, and `NO_COLOR` is not set (<https://no-color.org>).
    pub fn of(stream: &impl IsTerminal) -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        if stream.is_terminal() && !refused && !dumb { Paint::Colour } else { Paint::Bare }
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Paint::Bare => text.to_owned(),
            Paint::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    /// What went well.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What did not.
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What wants attention.
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What was known before.
    pub fn known(self, text: &str) -> String {
        self.with("36", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What is looked for first.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}
