//! The command line: reads words, calls the room that can do what they ask, prints what comes of it.
//!
//! Nothing is opened, asked or started before the words are understood, so `--version` and `--help` cost a parse. It
//! knows no kind of stage; a program's own verbs are called with the words behind them.
//!
//! Invariant: what a verb was asked for goes to stdout, everything else to stderr; the exit code is an [`Exit`].

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::error::Exit;
use crate::kind::Program;
use arguments::{Arguments, StageVerb, Verb};

mod arguments;
mod cards;
mod doctor;
mod draw;
mod here;
mod history;
mod init;
mod kinds;
mod open;
mod plan;
mod screen;
mod sharing;
mod show;
mod sweep;
mod trouble;
mod verbs;
mod why;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

/// Does what the process's command line asks.
pub fn main(program: &'static Program) -> ExitCode {
    let code = obey(program, std::env::args_os().collect());
    let _ = stdout().flush();
    code
}

/// Does what `words` ask (the first is the program's own name); gives the exit code.
fn obey(program: &'static Program, words: Vec<OsString>) -> ExitCode {
    let parsed = command(program).try_get_matches_from(words).and_then(|matches| match own_verb(program, &matches) {
        Some(code) => Ok(code),
        None => Arguments::from_arg_matches(&matches).map(|arguments| dispatch(program, &arguments)),
    });
    parsed.unwrap_or_else(|e| {
        // Asked for help or the version: that is a result. Else clap says what is wrong, on stderr.
        let _ = e.print();
        if e.use_stderr() { Exit::Author.into() } else { Exit::Good.into() }
    })
}

/// The command line's definition, the program's own verbs included.
fn command(program: &Program) -> Command {
    let mut command = Arguments::command().version(program.version);
    for verb in program.verbs {
        let rest = Arg::new("words")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
            .action(ArgAction::Append)
            .value_parser(clap::value_parser!(OsString));
        command = command.subcommand(Command::new(verb.name).about(verb.about).disable_help_flag(true).arg(rest));
    }
    command
}

fn own_verb(program: &Program, matches: &clap::ArgMatches) -> Option<ExitCode> {
    let (name, rest) = matches.subcommand()?;
    let verb = program.verbs.iter().find(|v| v.name == name)?;
    let words: Vec<OsString> = rest.get_many::<OsString>("words").into_iter().flatten().cloned().collect();
    Some(ExitCode::from((verb.run)(&words)))
}

fn dispatch(program: &'static Program, arguments: &Arguments) -> ExitCode {
    let cache = arguments.cache.as_deref();
    let done = match &arguments.verb {
        None => verbs::pipelines(),
        Some(Verb::Run(options)) => verbs::run(program, cache, options),
        Some(Verb::Plan(options)) => verbs::plan(program, cache, options),
        Some(Verb::Why(options)) => verbs::why(program, cache, options),
        Some(Verb::Diff(options)) => verbs::diff(cache, options),
        Some(Verb::Show(options)) => verbs::show(program, cache, options),
        Some(Verb::Graph(options)) => verbs::graph(program, options),
        Some(Verb::Runs(options)) => verbs::runs(options),
        Some(Verb::Verify) => verbs::verify(cache),
        Some(Verb::Gc(options)) if options.shared => sharing::gc(program, options),
        Some(Verb::Gc(options)) => verbs::gc(cache, options),
        Some(Verb::Kinds(options)) => verbs::kinds(program, options),
        Some(Verb::Init(options)) => verbs::init(options),
        Some(Verb::Doctor) => verbs::doctor(cache),
        Some(Verb::Gpu) => verbs::gpu(),
        Some(Verb::Key(options)) => sharing::key(options.verb),
        Some(Verb::Completions(options)) => {
            clap_complete::generate(options.shell, &mut command(program), "pipe", &mut stdout());
            Ok(Exit::Good.into())
        }
        Some(Verb::Stage(stage)) => match &stage.verb {
            StageVerb::Exec { manifest } => return crate::exec::main(program, manifest),
        },
    };
    match done {
        Ok(code) => code,
        Err(trouble) => {
            let _ = trouble.print(&mut stderr());
            trouble.exit.into()
        }
    }
}

/// Prints a verb's result. A reader that has gone away is no error of ours.
fn say(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}
