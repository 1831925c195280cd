//! What each verb does: opens what it needs, calls the room that does the work, hands its words to stdout.

use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::{Diff, Format, Gc, Graph, Init, Kinds, Plan, Run, Runs, Show, Why};
use super::cards::Standing;
use super::doctor::{Check, Finding};
use super::draw::Drawing;
use super::screen::Telling;
use super::trouble::Trouble;
use super::{cards, doctor, draw, here, history, init, kinds, open, plan, say, screen, show, why};
use crate::error::Exit;
use crate::event::Observer;
use crate::explain;
use crate::graph::Stage;
use crate::kind::{Kind, Program};
use crate::launch::Local;
use crate::lease::gpu::Board;
use crate::load;
use crate::memory::Memory;
use crate::oracle::{Card, Facts};
use crate::report::paint::Paint;
use crate::report::{bytes, count, counted};
use crate::run::plan::{Answer, Planned};
use crate::run::{self, OnFailure, RunError, Stop, journal};
use crate::store::{Found, Record, Store, Who};

type Done = Result<ExitCode, Trouble>;

fn paint() -> Paint {
    Paint::of(&stdout())
}

/// `pipe`: lists the pipelines that are here.
pub(super) fn pipelines() -> Done {
    let root = here::root(&open::current_directory()?);
    let listed = here::pipelines(&root);
    if listed.is_empty() {
        let folder = root.join("pipelines");
        return Err(Trouble::mistake(format!("there is no pipeline in `{}`", folder.display()))
            .help("`pipe init` writes a starter project; `pipe --help` lists the verbs"));
    }
    let width = listed.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
    for one in listed {
        let name = paint().bold(&format!("{:width$}", one.name));
        say(&format!("{}\n", format!("{name}  {}", one.about).trim_end()));
    }
    let _ = writeln!(stderr(), "\n`pipe run NAME` runs one, `pipe plan NAME` says what that would do");
    Ok(Exit::Good.into())
}

/// `pipe run`.
pub(super) fn run(program: &'static Program, cache: Option<&Path>, options: &Run) -> Done {
    run_by(program, cache, options, open::Anew::IfChanged)
}

fn run_by(program: &'static Program, cache: Option<&Path>, options: &Run, anew: open::Anew) -> Done {
    if options.words.words.is_empty() {
        return pipelines();
    }
    if options.dry_run {
        let plan = Plan { words: options.words.clone(), jobs: options.jobs, json: options.json };
        return self::plan(program, cache, &plan);
    }
    let facts = Facts::here();
    let opened = open::for_run(program, &options.words.words, &facts, anew)?;
    let ready = Ready::new(cache, &opened, facts)?;
    let telling = match (options.json, options.quiet) {
        (true, _) => Telling::Json,
        (false, true) => Telling::Results,
        (false, false) => Telling::Words,
    };
    let mut live = screen::live(telling, options.trace.as_deref()).map_err(|e| {
        let path = options.trace.as_deref().unwrap_or(Path::new(""));
        Trouble::internal(format!("cannot make the trace `{}`: {e}", path.display()))
    })?;
    ready.stop.on_signals().map_err(|e| Trouble::internal(format!("cannot catch signals: {e}")))?;
    let command: Vec<String> = std::env::args().collect();
    let again = open::points(&opened.loaded.pipeline, &options.again)?;
    let trust_code = open::points(&opened.loaded.pipeline, &options.trust_code)?;
    let request = run::Request {
        again: &again,
        trust_code: &trust_code,
        on_failure: if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn },
        jobs: options.jobs,
        command: &command,
        ..ready.request(&opened)
    };
    let mut told: Vec<&mut dyn Observer> = live.observers.iter_mut().map(|o| &mut **o as &mut dyn Observer).collect();
    match run::run(&request, &mut told) {
        Ok(finished) => Ok(ExitCode::from(finished.exit)),
        // Nothing was begun yet.
        Err(RunError::Gone { .. }) if anew == open::Anew::IfChanged => run_by(program, cache, options, open::Anew::Now),
        Err(e) => Err(not_here(program, &opened, options, e)),
    }
}

/// What a run and a plan have in common: all that `opened` names, here, with nothing out of the ordinary.
struct Ready {
    store: Store,
    launcher: Local,
    facts: Facts,
    stop: Arc<Stop>,
}

impl Ready {
    fn new(cache: Option<&Path>, opened: &open::Opened, facts: Facts) -> Result<Ready, Trouble> {
        let launcher = Local::this_program()
            .map_err(|e| Trouble::internal(format!("cannot find this program's own file: {e}")))?;
        let store = open::store_with_tier(opened.program, cache, &opened.loaded.project)?;
        Ok(Ready { store, launcher, facts, stop: Arc::new(Stop::new()) })
    }

    fn request<'a>(&'a self, opened: &'a open::Opened) -> run::Request<'a> {
        run::Request {
            pipeline: &opened.loaded.pipeline,
            store: &self.store,
            launcher: &self.launcher,
            facts: &self.facts,
            targets: &opened.stages,
            again: &[],
            trust_code: &[],
            on_failure: OnFailure::GoOn,
            jobs: None,
            command: &[],
            stop: &self.stop,
            gpu: opened.loaded.project.gpu,
        }
    }
}

/// A declared card that is not here: which choices of which group would run here instead.
fn not_here(program: &Program, opened: &open::Opened, options: &Run, error: RunError) -> Trouble {
    let RunError::NoCard { stage, .. } = &error else { return error.into() };
    let facts = Facts::here();
    let mut fitting: Vec<String> = load::alternatives(program, &opened.loaded, stage)
        .into_iter()
        .filter(|other| facts.eligible(&other.needs).is_ok())
        .map(|other| format!("{}={}", other.group, other.choice))
        .collect();
    fitting.sort();
    fitting.dedup();
    let help = match fitting.as_slice() {
        [] => "no other choice of a group that it uses would run here".to_owned(),
        [first, ..] => {
            let group = first.split_once('=').map_or(first.as_str(), |(group, _)| group);
            let chosen = |word: &&str| word.split_once('=').is_some_and(|(key, _)| key == group);
            let words: Vec<&str> = options.words.words.iter().map(String::as_str).filter(|w| !chosen(w)).collect();
            let command = format!("pipe run {} {first}", words.join(" "));
            format!("would run here: {}; for example `{command}`", fitting.join(", "))
        }
    };
    Trouble::from(error).help(help)
}

/// `pipe plan`.
pub(super) fn plan(program: &'static Program, cache: Option<&Path>, options: &Plan) -> Done {
    let facts = Facts::here();
    let opened = open::pipeline(program, &options.words.words, &facts)?;
    let pipeline = &opened.loaded.pipeline;
    let ready = Ready::new(cache, &opened, facts)?;
    let plan = run::plan::plan(&run::Request { jobs: options.jobs, ..ready.request(&opened) })?;
    if options.json {
        say(&format!("{}\n", plan::json(&plan)));
    } else {
        let cpus = options.jobs.unwrap_or(ready.facts.host().cores);
        say(&plan::tell(pipeline, &plan, cpus, paint()));
    }
    Ok(Exit::Good.into())
}

/// `pipe why`.
pub(super) fn why(program: &'static Program, cache: Option<&Path>, options: &Why) -> Done {
    let facts = Facts::here();
    let opened = open::pipeline(program, &options.words.words, &facts)?;
    let pipeline = &opened.loaded.pipeline;
    let ready = Ready::new(cache, &opened, facts)?;
    let plan = run::plan::plan(&ready.request(&opened))?;
    let memory = Memory::open(&pipeline.root);
    // Without a stage: whatever keeps the pipeline from being all known.
    let asked: Vec<&str> = if opened.stages.is_empty() {
        let open = |p: &&Planned| matches!(p.answer, Answer::Run { .. } | Answer::Blocked { .. });
        plan.stages.iter().filter(open).map(|p| p.stage.as_str()).collect()
    } else {
        opened.stages.iter().map(String::as_str).collect()
    };
    if asked.is_empty() {
        say(&format!(
            "nothing would run: {} of `{}` are known\n",
            counted(plan.stages.len() as u64, "stage"),
            pipeline.name
        ));
    }
    let mut told = std::collections::BTreeSet::new();
    let mut left: Vec<&str> = asked.into_iter().rev().collect();
    // What a stage depends on is explained below it, each once.
    while let Some(name) = left.pop() {
        if !told.insert(name) {
            continue;
        }
        let Some((planned, stage)) = find(&opened, &plan, name) else { continue };
        if let Answer::Depends { on } = &planned.answer {
            left.extend(on.iter().rev().map(String::as_str));
        }
        let old = memory.text(&pipeline.name, name);
        say(&why::tell(pipeline, stage, planned, old.as_deref(), paint()));
    }
    Ok(Exit::Good.into())
}

fn find<'a>(opened: &'a open::Opened, plan: &'a run::plan::Plan, name: &str) -> Option<(&'a Planned, &'a Stage)> {
    let planned = plan.stages.iter().find(|p| p.stage == name)?;
    let stage = opened.loaded.pipeline.stages.iter().find(|s| s.name == name)?;
    Some((planned, stage))
}

/// `pipe diff`.
pub(super) fn diff(cache: Option<&Path>, options: &Diff) -> Done {
    let root = here::root(&open::current_directory()?);
    let store = open::store(cache, &load::project(&root)?)?;
    let (old, new) = (recorded(&root, &options.old)?, recorded(&root, &options.new)?);
    let reason =
        |_: &str, old: &str, new: &str| explain::first_difference(&text_of(&store, old)?, &text_of(&store, new)?);
    say(&history::diff(&history::ends(&old), &history::ends(&new), &reason, paint()));
    Ok(Exit::Good.into())
}

fn text_of(store: &Store, key: &str) -> Option<String> {
    Some(record_of(store, key)?.text)
}

fn record_of(store: &Store, key: &str) -> Option<Record> {
    match store.find(key.parse().ok()?) {
        Ok(Found::Record(record)) => Some(*record),
        Ok(Found::Nothing | Found::Damaged(_)) | Err(_) => None,
    }
}

fn recorded(root: &Path, word: &str) -> Result<Vec<journal::Line>, Trouble> {
    let id = history::find(root, word).map_err(Trouble::mistake)?;
    let (lines, _) = journal::read(root, &id)
        .map_err(|e| Trouble::internal(format!("cannot read the journal of run `{id}`: {e}")))?;
    Ok(lines)
}

/// `pipe show`.
pub(super) fn show(program: &'static Program, cache: Option<&Path>, options: &Show) -> Done {
    let root = here::root(&open::current_directory()?);
    if let [word] = options.words.words.as_slice()
        && here::sort(&options.words.words, &root).file.is_none()
        && let Ok(id) = history::find(&root, word)
    {
        return replay(&root, &id);
    }
    let facts = Facts::here();
    let opened = open::pipeline(program, &options.words.words, &facts)?;
    let pipeline = &opened.loaded.pipeline;
    let named: Vec<&Stage> = pipeline.stages.iter().filter(|s| opened.stages.contains(&s.name)).collect();
    if options.resolved {
        let all: Vec<&Stage> = if named.is_empty() { pipeline.stages.iter().collect() } else { named };
        let told: Vec<String> = all.into_iter().map(|s| show::resolved(s, paint())).collect();
        say(&told.join("\n"));
        return Ok(Exit::Good.into());
    }
    if named.is_empty() {
        say(&show::pipeline(pipeline, paint()));
        return Ok(Exit::Good.into());
    }
    let ready = Ready::new(cache, &opened, facts)?;
    let plan = run::plan::plan(&ready.request(&opened))?;
    for stage in named {
        let record = match plan.stages.iter().find(|p| p.stage == stage.name).map(|p| &p.answer) {
            Some(Answer::Hit { key, .. }) => record_of(&ready.store, key),
            _ => None,
        };
        say(&show::stage(pipeline, stage, record.as_ref(), paint()));
        say(&shown_texts(&ready.store, stage, record.as_ref()));
    }
    Ok(Exit::Good.into())
}

/// The texts among a stage's outputs that are meant to be shown.
fn shown_texts(store: &Store, stage: &Stage, record: Option<&Record>) -> String {
    let mut out = String::new();
    for port in stage.contract.outputs.iter().filter(|p| p.shown) {
        let artifact = record.and_then(|r| r.outputs.get(port.name.as_ref()));
        if let Some(bytes) = artifact.and_then(|a| store.read(a).ok()) {
            out.push_str(&format!("\n{}\n{}\n", paint().bold(&port.name), String::from_utf8_lossy(&bytes).trim_end()));
        }
    }
    out
}

fn replay(root: &Path, id: &str) -> Done {
    let (lines, unread) = journal::read(root, id)
        .map_err(|e| Trouble::internal(format!("cannot read the journal of run `{id}`: {e}")))?;
    let mut observers = screen::replay();
    for line in &lines {
        for observer in &mut observers {
            observer.on(Duration::from_nanos(line.at_ns), &line.what);
        }
    }
    if unread > 0 {
        let _ = writeln!(stderr(), "{} of the journal cannot be read", counted(unread as u64, "line"));
    }
    Ok(Exit::Good.into())
}

/// `pipe graph`.
pub(super) fn graph(program: &'static Program, options: &Graph) -> Done {
    let opened = open::pipeline(program, &options.words.words, &Facts::here())?;
    let drawing = Drawing::of(&opened.loaded.pipeline);
    say(&match options.format {
        Format::Mermaid => drawing.mermaid(),
        Format::Dot => drawing.dot(),
        Format::Svg => draw::svg(&drawing),
    });
    Ok(Exit::Good.into())
}

/// `pipe runs`.
pub(super) fn runs(options: &Runs) -> Done {
    let root = here::root(&open::current_directory()?);
    say(&history::list(&history::outlines(&root, options.number), paint()));
    Ok(Exit::Good.into())
}

/// `pipe verify`.
pub(super) fn verify(cache: Option<&Path>) -> Done {
    let root = here::root(&open::current_directory()?);
    let store = open::store(cache, &load::project(&root)?)?;
    let verified = store.verify(&mut |_, _| {})?;
    for (path, trouble) in &verified.damaged {
        say(&format!("{} {}: {trouble}\n", paint().bad("damaged"), path.display()));
    }
    say(&format!(
        "{} and {} are good ({}), {} damaged\n",
        counted(verified.records as u64, "record"),
        counted(verified.blobs as u64, "blob"),
        bytes(verified.bytes),
        count(verified.damaged.len() as u64),
    ));
    if verified.damaged.is_empty() {
        return Ok(Exit::Good.into());
    }
    let _ = writeln!(stderr(), "what is damaged was moved to the trash and will be computed again");
    Ok(Exit::Internal.into())
}

/// `pipe gc`.
pub(super) fn gc(cache: Option<&Path>, options: &Gc) -> Done {
    let root = here::root(&open::current_directory()?);
    let store = open::store(cache, &load::project(&root)?)?;
    let sweep = store.sweep(options.grace)?;
    say(&super::sweep::tell(&sweep, paint()));
    if options.plan {
        return Ok(Exit::Good.into());
    }
    let stayed = store.carry_out(&sweep);
    for (path, error) in &stayed {
        let _ = writeln!(stderr(), "cannot move `{}`: {error}", path.display());
    }
    Ok(if stayed.is_empty() { Exit::Good.into() } else { Exit::Internal.into() })
}

/// `pipe kinds`.
pub(super) fn kinds(program: &'static Program, options: &Kinds) -> Done {
    let all: Vec<&Kind> = program.kinds.iter().chain([&crate::command::KIND]).collect();
    let Some(name) = &options.kind else {
        say(&kinds::list(&all, paint()));
        return Ok(Exit::Good.into());
    };
    let Some(kind) = all.iter().find(|k| k.name == name) else {
        let names: Vec<&str> = all.iter().map(|k| k.name).collect();
        return Err(
            Trouble::mistake(format!("there is no kind `{name}`")).help(format!("there are: {}", names.join(", ")))
        );
    };
    say(&kinds::tell(kind, program.carries, paint()).map_err(Trouble::internal)?);
    Ok(Exit::Good.into())
}

/// `pipe init`.
pub(super) fn init(options: &Init) -> Done {
    for path in init::init(&options.directory).map_err(Trouble::mistake)? {
        say(&format!("{}\n", path.display()));
    }
    let into = if options.directory == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", options.directory.display())
    };
    let _ = writeln!(stderr(), "\nnow try `{into}pipe run hello`");
    Ok(Exit::Good.into())
}

/// `pipe doctor`.
pub(super) fn doctor(cache: Option<&Path>) -> Done {
    let root = here::root(&open::current_directory()?);
    let directory = open::cache_directory(cache, &load::project(&root)?);
    let facts = Facts::here();
    let mut checks = doctor::cache(&directory);
    checks.push(doctor::host(&facts));
    checks.push(doctor::cards(&facts));
    let width = checks.iter().map(|c| c.what.len()).max().unwrap_or(0);
    for Check { finding, what, found } in &checks {
        let word = match finding {
            Finding::Good => paint().good("good"),
            Finding::Weak => paint().warn("weak"),
            Finding::Bad => paint().bad("bad "),
        };
        say(&format!("{word}  {what:width$}  {found}\n"));
    }
    let bad = checks.iter().any(|c| c.finding == Finding::Bad);
    Ok(if bad { Exit::Internal.into() } else { Exit::Good.into() })
}

/// `pipe gpu`.
pub(super) fn gpu() -> Done {
    let directory = Board::usual();
    let board = Board::open(&directory, Who::here("", "pipe gpu"))
        .map_err(|e| Trouble::internal(format!("cannot use `{}`: {e}", directory.display())))?;
    let waiting =
        board.tickets().map_err(|e| Trouble::internal(format!("cannot list `{}`: {e}", directory.display())))?;
    let facts = Facts::here();
    let standing = |card: &Card| Standing {
        holders: board.holders(&card.uuid),
        now: facts.gauge().map(|gauge| gauge.read(&card.uuid, 0)),
    };
    say(&cards::tell(facts.cards(), &standing, &waiting, paint()));
    Ok(Exit::Good.into())
}
