//! What a person did wrong in what they wrote: [`Mistake`]s with places, gathered into [`Diagnostics`]; and the exit
//! codes, which are API.
//!
//! It does not know what may be written, nor a terminal: whoever prints chooses the [`Look`] and the width.
//! Invariants: a mistake's message is lower case without a full stop; a remedy stands in `help`; the same words about
//! the same place are said once, however many points of a sweep they concern.

use std::collections::HashSet;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode, ThemeCharacters, ThemeStyles};

use crate::source::{Sources, Span};

#[cfg(test)]
mod tests;

/// How many mistakes are shown in full; the rest is counted.
const SHOWN: usize = 20;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Good = 0,
    /// Our fault, or the world's: a bug, a full disk.
    Internal = 1,
    /// What the author wrote cannot be meant.
    Author = 2,
    /// A stage failed.
    StageFailed = 3,
    /// A gate failed.
    GateFailed = 4,
    /// Somebody stopped it.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// How grave a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Nothing can be run.
    Error,
    /// Worth a look; things go on.
    Warning,
}

/// A place in the text and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// A few words; may be empty.
    pub text: String,
}

/// One thing that is wrong with what an author wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mistake {
    /// A name for this sort of mistake: `unknown-kind`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where; the first is the place of the mistake itself.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// Error or warning.
    pub weight: Weight,
}

impl Mistake {
    /// A mistake without a place yet.
    pub fn new(code: &'static str, message: impl Into<String>) -> Mistake {
        Mistake { code, message: message.into(), labels: Vec::new(), help: None, weight: Weight::Error }
    }

    /// The same mistake with a further place.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Mistake {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// The same mistake with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Mistake {
        self.help = Some(help.into());
        self
    }

    /// The same mistake with a remedy, where there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Mistake {
        self.help = help.or(self.help);
        self
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Mistake {
        self.weight = Weight::Warning;
        self
    }
}

/// How diagnostics look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// ASCII, no colour.
    Ascii,
    /// Box-drawing characters, no colour.
    Unicode,
    /// Box-drawing characters and colours.
    Colour,
}

/// Mistakes and the text that they point into.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    list: Vec<Mistake>,
    sources: Arc<Sources>,
}

impl Diagnostics {
    /// Puts mistakes in the order of their places (those without a place first) and says the same thing once.
    pub fn new(mut list: Vec<Mistake>, sources: Arc<Sources>) -> Diagnostics {
        list.sort_by_key(|m| (m.weight, m.labels.first().map_or((0, 0), |l| (l.span.start + 1, l.span.end))));
        let mut said = HashSet::new();
        list.retain(|mistake| said.insert((mistake.code, mistake.message.clone(), mistake.labels.clone())));
        Diagnostics { list, sources }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The mistakes, in the order of their places.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.list
    }

    /// The text that the mistakes point into.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// All of it for a person, `width` columns wide; at most twenty in full, the rest counted.
    pub fn render(&self, look: Look, width: usize) -> String {
        let theme = match look {
            Look::Ascii => GraphicalTheme::none(),
            Look::Unicode => GraphicalTheme { characters: ThemeCharacters::unicode(), styles: ThemeStyles::none() },
            Look::Colour => GraphicalTheme::unicode(),
        };
        // A word is never cut: paths and names are copied from here.
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_break_words(false);
        let mut out = String::new();
        for mistake in self.list.iter().take(SHOWN) {
            if !out.is_empty() {
                out.push('\n');
            }
            handler
                .render_report(&mut out, &Placed { mistake, sources: &self.sources })
                .expect("writing to a string does not fail");
        }
        if self.list.len() > SHOWN {
            out.push_str(&format!("\nand {} more\n", self.list.len() - SHOWN));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            if let Some(label) = mistake.labels.first() {
                write!(f, "{}: ", self.sources.place(label.span))?;
            }
            f.write_str(&mistake.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A mistake together with the text, as miette wants it.
#[derive(Debug)]
struct Placed<'a> {
    mistake: &'a Mistake,
    sources: &'a Sources,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.message)
    }
}

impl std::error::Error for Placed<'_> {}

impl miette::Diagnostic for Placed<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.mistake.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.mistake.weight {
            Weight::Error => miette::Severity::Error,
            Weight::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.mistake.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.sources)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.mistake.labels.iter().enumerate().map(|(at, label)| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            let span = (label.span.start, label.span.end - label.span.start);
            match at {
                0 => LabeledSpan::new_primary_with_span(text, span),
                _ => LabeledSpan::new_with_span(text, span),
            }
        })))
    }
}
