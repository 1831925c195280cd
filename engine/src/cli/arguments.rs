//! What can be typed: verbs, options, and the words after them. It knows no stage and reads no file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

#[cfg(test)]
mod tests;

/// Runs experiments that are written down: skips what is known, runs the rest, says why.
#[derive(Debug, Parser)]
#[command(name = "pipe", disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Arguments {
    /// Cache directory, instead of the project's own (also PIPE_CACHE)
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// What to do; without one, the pipelines that are here are listed
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a pipeline; without one, list the pipelines that are here
    Run(Run),
    /// Say what a run would do: hit, run, or depends on what comes before
    Plan(Plan),
    /// Say why a stage would run, or why not, with the exact difference
    Why(Why),
    /// Compare two runs, stage by stage
    Diff(Diff),
    /// Show a pipeline, one of its stages, or a run
    Show(Show),
    /// Draw a pipeline
    Graph(Graph),
    /// List the runs of this project, the latest first
    Runs(Runs),
    /// Read every record and blob of the cache and check it against its name
    Verify,
    /// Move what no run needs to the trash, and empty the trash after its grace
    Gc(Gc),
    /// List the kinds of stage, or tell one's ports and settings
    Kinds(Kinds),
    /// Write a commented starter project
    Init(Init),
    /// Try out what a run relies on here: the cache directory, locks, cards
    Doctor,
    /// List cards with what they do, who holds them and who waits
    Gpu,
    /// Make or show the key that signs your records
    Key(Key),
    /// Print a completion script for a shell
    Completions(Completions),
    /// The inside of a run
    #[command(hide = true)]
    Stage(Stage),
}

/// Which pipeline, and what of it.
#[derive(Debug, Clone, Args, Default)]
pub(super) struct Words {
    /// A pipeline (a file, or its name in pipelines/), then stages, `group=choice` and `stage.field=value`
    #[arg(value_name = "PIPELINE | STAGE | KEY=VALUE")]
    pub(super) words: Vec<String>,
}

/// `pipe run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// What to run, and what to change in it.
    #[command(flatten)]
    pub(super) words: Words,
    /// Cores to use
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Say what would happen and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Run this stage although its result is known (a measurement: take one more)
    #[arg(long, value_name = "STAGE")]
    pub(super) again: Vec<String>,
    /// Accept an older result of this stage although its code has changed since
    #[arg(long, value_name = "STAGE")]
    pub(super) trust_code: Vec<String>,
    /// Stop launching at the first failure
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Print events as JSON lines instead of words
    #[arg(long, conflicts_with = "quiet")]
    pub(super) json: bool,
    /// Print results and failures only
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write a trace of the run for Chrome's or Perfetto's viewer
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
}

/// `pipe plan`.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// What to plan, and what to change in it.
    #[command(flatten)]
    pub(super) words: Words,
    /// Cores to reckon with
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `pipe why`.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// Stages, with their pipeline before them or the one of the latest run, and overrides; no stage: all that would run.
    #[command(flatten)]
    pub(super) words: Words,
}

/// `pipe diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// A run's id, the beginning of one, or `last`
    pub(super) old: String,
    /// Another
    pub(super) new: String,
}

/// `pipe show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// A pipeline, a stage of it, or a run.
    #[command(flatten)]
    pub(super) words: Words,
    /// Print the settings after defaults, with the place where each was written
    #[arg(long)]
    pub(super) resolved: bool,
}

/// `pipe graph`.
#[derive(Debug, Args)]
pub(super) struct Graph {
    /// What to draw, and what to change in it.
    #[command(flatten)]
    pub(super) words: Words,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    pub(super) format: Format,
}

/// Ways to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A flowchart for Markdown
    Mermaid,
    /// A digraph for Graphviz
    Dot,
    /// A picture
    Svg,
}

/// `pipe runs`.
#[derive(Debug, Args)]
pub(super) struct Runs {
    /// How many
    #[arg(long, short, default_value_t = 20, value_name = "N")]
    pub(super) number: usize,
}

/// `pipe gc`.
#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Say what would go and do nothing
    #[arg(long)]
    pub(super) plan: bool,
    /// Sweep the shared tier that pipe.toml names, and not the cache; what goes there is deleted
    #[arg(long)]
    pub(super) shared: bool,
    /// How long what was swept stays in the trash, and how young a file must be to be spared: `90m`, `36h`, `7d`
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = time)]
    pub(super) grace: std::time::Duration,
}

/// `pipe key`.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// What of it.
    #[command(subcommand)]
    pub(super) verb: KeyVerb,
}

/// What is done with a key.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum KeyVerb {
    /// Make one, in a file that only you can read (PIPE_KEY, or ~/.config/pipe/key), and print its public half
    New,
    /// Print its public half, for `[cache] trust` in pipe.toml
    Show,
}

/// `pipe kinds`.
#[derive(Debug, Args)]
pub(super) struct Kinds {
    /// One of them
    pub(super) kind: Option<String>,
}

/// `pipe init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where; made if it is not there
    #[arg(default_value = ".")]
    pub(super) directory: PathBuf,
}

/// `pipe completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Whose
    pub(super) shell: Shell,
}

/// `pipe stage`.
#[derive(Debug, Args)]
pub(super) struct Stage {
    /// What of it.
    #[command(subcommand)]
    pub(super) verb: StageVerb,
}

/// What is done to a single stage.
#[derive(Debug, Subcommand)]
pub(super) enum StageVerb {
    /// Does the work that a manifest orders, in this process
    Exec {
        /// `manifest.json` of an attempt
        manifest: PathBuf,
    },
}

/// A time in a person's words: a number and one of `s`, `m`, `h`, `d`.
fn time(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("`{text}` is not a time; write a number and a unit, like `90m`, `36h` or `7d`");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(wrong)
}
