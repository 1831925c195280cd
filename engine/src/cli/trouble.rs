//! Why a verb did not do what it was asked: printed to stderr, with the exit code that says whose fault it is.

use std::io::Write;

use miette::{GraphicalReportHandler, GraphicalTheme, MietteDiagnostic, ThemeCharacters, ThemeStyles};

use crate::error::{Diagnostics, Exit, Look};
use crate::report::paint::Paint;
use crate::run::RunError;
use crate::store::StoreError;

/// What went wrong before, or instead of, a run.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whose fault it is.
    pub(super) exit: Exit,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Mistakes in what an author wrote, each with its place.
    Mistakes(Box<Diagnostics>),
    /// Anything else.
    Plain(Box<MietteDiagnostic>),
}

impl Trouble {
    /// Somebody asked for what is not there or cannot be.
    pub(super) fn mistake(message: impl Into<String>) -> Trouble {
        Trouble::plain(Exit::Author, message)
    }

    /// The world or this program failed.
    pub(super) fn internal(message: impl Into<String>) -> Trouble {
        Trouble::plain(Exit::Internal, message)
    }

    fn plain(exit: Exit, message: impl Into<String>) -> Trouble {
        Trouble { exit, what: What::Plain(Box::new(MietteDiagnostic::new(message))) }
    }

    /// The same trouble with a remedy.
    pub(super) fn help(mut self, help: impl Into<String>) -> Trouble {
        if let What::Plain(diagnostic) = &mut self.what {
            diagnostic.help = Some(help.into());
        }
        self
    }

    /// The same trouble with a further remedy.
    pub(super) fn and_help(self, more: &str) -> Trouble {
        let help = match &self.what {
            What::Plain(diagnostic) => {
                diagnostic.help.as_ref().map_or(more.to_owned(), |help| format!("{help}; {more}"))
            }
            What::Mistakes(_) => return self,
        };
        self.help(help)
    }

    /// As text, as wide as the terminal on stderr and coloured only on one.
    fn text(&self) -> String {
        let (look, width) = (look(), width());
        match &self.what {
            What::Mistakes(mistakes) => mistakes.render(look, width),
            What::Plain(diagnostic) => {
                let theme = match look {
                    Look::Colour => GraphicalTheme::unicode(),
                    Look::Unicode | Look::Ascii => {
                        GraphicalTheme { characters: ThemeCharacters::unicode(), styles: ThemeStyles::none() }
                    }
                };
                let mut text = String::new();
                GraphicalReportHandler::new_themed(theme)
                    .with_width(width)
                    .with_break_words(false)
                    .render_report(&mut text, diagnostic.as_ref())
                    .expect("writing to a string does not fail");
                text
            }
        }
    }

    /// Prints it.
    pub(super) fn print(&self, to: &mut impl Write) -> std::io::Result<()> {
        to.write_all(self.text().as_bytes())
    }
}

/// Prints warnings to stderr, if there are any.
pub(super) fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        // A reader that has gone away is no error of ours.
        let _ = std::io::stderr().write_all(warnings.render(look(), width()).as_bytes());
    }
}

/// How diagnostics look on stderr as it is now.
fn look() -> Look {
    match Paint::of(&std::io::stderr()) {
        Paint::Colour => Look::Colour,
        Paint::Bare => Look::Unicode,
    }
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(100, |size| usize::from(size.ws_col).clamp(40, 120))
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl From<Diagnostics> for Trouble {
    fn from(mistakes: Diagnostics) -> Trouble {
        Trouble { exit: Exit::Author, what: What::Mistakes(Box::new(mistakes)) }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        let trouble = Trouble::internal(chain(&error));
        match error.help() {
            Some(help) => trouble.help(help),
            None => trouble,
        }
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Trouble {
        match error {
            RunError::Store(error) => error.into(),
            RunError::Project { .. } => Trouble::internal(chain(&error)),
            RunError::NoBoard { .. } => Trouble::internal(error.to_string()).help(
                "two stages on one card would spoil each other's figures; name a directory of this host that all its \
                 users can write with `PIPE_GPU_BOARD`, or set `without_lock = \"warn\"` under `[gpu]` in pipe.toml",
            ),
            RunError::NoStage { .. } => {
                Trouble::mistake(error.to_string()).help("`pipe show PIPELINE` lists the stages of a pipeline")
            }
            RunError::Gone { .. }
            | RunError::NoCard { .. }
            | RunError::TooLarge { .. }
            | RunError::NoLauncher { .. } => Trouble::mistake(error.to_string()),
        }
    }
}
