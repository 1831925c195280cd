//! For tests only: a toy kind, a way to say small pipelines, a temporary project, and two ways to run stages.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::{Event, Observer, State};
use crate::exec::{self, Io};
use crate::graph::{Feed, Pipeline, Policy, Stage, StageId, Wire};
use crate::kind::{
    Code, Complaint, Contract, Kind, Meaning, Needs, Oracle, Port, Program, Sort, StageError, StageKind, Wired,
};
use crate::launch::{Child, End, Group, LaunchError, Launcher, Local, Order, Said, Status, Work};
use crate::lease::gpu;
use crate::oracle::{Cards, Facts, Host};
use crate::run::{Finished, OnFailure, Request, RunError, Stop, plan, run};
use crate::store::{Settings, Store};

/// How a toy stage behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Behaviour {
    /// Writes what it was given, with its word.
    #[default]
    Good,
    /// Gives an error.
    Fail,
    /// Panics.
    Panic,
    /// Says it is done and has written nothing.
    Lazy,
    /// Fails its gate.
    Gate,
    /// Runs until it is ended.
    Hang,
    /// Leaves a child behind that would write to the output later.
    Orphan,
}

/// What a toy stage writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Size {
    /// A few bytes, which the record holds.
    #[default]
    Small,
    /// 10,000 bytes, which become a blob.
    Large,
    /// A tree of three files.
    Tree,
}

/// A toy stage's configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Toy {
    /// Stands in its output.
    pub(crate) word: String,
    /// Stands in its output.
    pub(crate) number: f64,
    /// Keep only the first so many letters of what it is given: for early cutoff.
    pub(crate) keep: Option<usize>,
    pub(crate) behave: Behaviour,
    pub(crate) size: Size,
    pub(crate) cpus: u16,
    pub(crate) quiet: bool,
    pub(crate) gpus: u8,
    pub(crate) gpu_name: Option<String>,
    /// Asks for the host's facts.
    pub(crate) measured: bool,
    /// Fails until there is a file of this name in the attempts' directory, and makes it.
    pub(crate) fail_once: Option<String>,
}

/// Letters only count: what a JSON file means, for a toy.
pub(crate) const LETTERS: Meaning = Meaning { name: "letters/1", digest: letters };

fn letters(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    Ok(Digest::of(text.split_whitespace().collect::<String>().as_bytes()).0)
}

impl StageKind for Toy {
    type Config = Toy;
    const NAME: &'static str = "toy";
    const ABOUT: &'static str = "says what it was told";
    const CODE: Code = Code { version: 1, modules: &[("toy", "aaaa")] };

    fn contract(config: &Toy, _: &Wired) -> Result<Contract, Complaint> {
        Ok(Contract {
            inputs: vec![
                Port::new("in", "any", "by bytes").many().optional(),
                Port::new("letters", "any", "by meaning").by_meaning(LETTERS).optional(),
            ],
            outputs: vec![Port::new("out", "any", "what it says").shown()],
            needs: Needs {
                cpus: config.cpus.max(1),
                quiet: config.quiet,
                gpus: config.gpus,
                gpu_name: config.gpu_name.clone(),
                ..Needs::default()
            },
            oracles: if config.measured { vec![Oracle::Host] } else { Vec::new() },
            sort: if config.measured { Sort::Measured } else { Sort::Computed },
            tools: Vec::new(),
        })
    }

    fn run(config: &Toy, io: &mut Io) -> Result<(), StageError> {
        let mut given = Vec::new();
        for port in ["in", "letters"] {
            for source in io.many(port) {
                given.push(read(&source.path));
            }
        }
        let path = io.output("out")?;
        io.progress(1, 2, "half");
        io.metric("given", given.len() as f64, "inputs");
        match config.behave {
            Behaviour::Fail => return Err(StageError::new("it was told to fail").help("do not tell it to")),
            Behaviour::Panic => panic!("told to"),
            Behaviour::Lazy => return Ok(()),
            Behaviour::Gate => io.fail_gate("told to"),
            Behaviour::Hang => {
                // Ready to be ended from now on.
                io.progress(1, 1, "hanging");
                loop {
                    std::thread::park();
                }
            }
            Behaviour::Orphan => {
                // The shell ends at once and leaves a loop behind.
                let late = format!("(while :; do echo late >> '{}'; done) &", path.display());
                std::process::Command::new("sh").args(["-c", &late]).status().unwrap();
            }
            Behaviour::Good => {}
        }
        if let Some(name) = &config.fail_once {
            let mark = io.directory().parent().unwrap().join(name);
            if !mark.exists() {
                std::fs::write(mark, "").unwrap();
                return Err(StageError::new("the first time it fails"));
            }
        }
        io.circumstance("toy", true.into());
        let said = says(config, &given);
        match config.size {
            Size::Small | Size::Large => std::fs::write(path, said).unwrap(),
            Size::Tree => {
                std::fs::create_dir_all(path.join("empty")).unwrap();
                std::fs::create_dir_all(path.join("deep/er")).unwrap();
                std::fs::write(path.join("deep/er/said"), &said).unwrap();
                std::os::unix::fs::symlink("deep/er/said", path.join("link")).unwrap();
                std::fs::write(path.join("large"), said.repeat(10_000 / said.len().max(1) + 1)).unwrap();
            }
        }
        Ok(())
    }
}

/// What a toy with this configuration says when given this: the one rule, for the toy and for those who check it.
pub(crate) fn says(config: &Toy, given: &[String]) -> String {
    let given: Vec<String> = given.iter().map(|text| text.split_whitespace().collect::<String>()).collect();
    let mut said = format!("{}{}({})", config.word, config.number, given.join(","));
    if let Some(keep) = config.keep {
        said = given.concat().chars().take(keep).collect();
    }
    if config.size == Size::Large {
        said = format!("{:10000}", said);
    }
    said
}

fn read(path: &Path) -> String {
    if path.is_dir() {
        return read(&path.join("link"));
    }
    std::fs::read_to_string(path).unwrap()
}

/// The toy, as data.
pub(crate) const TOY: Kind = Kind::of::<Toy>();

/// A program with the toy.
pub(crate) static PROGRAM: Program =
    Program { kinds: &[TOY], meanings: &[LETTERS], verbs: &[], version: "0", tiers: &[], carries: |_| None };

/// A pipeline being said.
#[derive(Debug)]
pub(crate) struct Sketch {
    pub(crate) pipeline: Pipeline,
}

/// Where something comes from, in a sketch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'a> {
    /// A file of the project.
    File(&'a str),
    /// The output of a stage.
    Stage(&'a str),
}

impl Sketch {
    pub(crate) fn new(root: &Path) -> Sketch {
        Sketch {
            pipeline: Pipeline {
                recalled: false,
                name: "sketch".to_owned(),
                file: root.join("sketch.toml"),
                root: root.to_owned(),
                choices: BTreeMap::new(),
                stages: Vec::new(),
            },
        }
    }

    /// Adds a toy stage fed on port `in`.
    pub(crate) fn toy(&mut self, name: &str, config: Toy, from: &[From<'_>]) -> &mut Stage {
        self.on_port(name, config, 0, from)
    }

    /// Adds a toy stage fed on the port with this index.
    pub(crate) fn on_port(&mut self, name: &str, config: Toy, port: usize, from: &[From<'_>]) -> &mut Stage {
        let contract = Toy::contract(&config, &Wired::default()).unwrap();
        let feeds: Vec<Feed> = from
            .iter()
            .map(|from| match from {
                From::File(name) => Feed::File { label: (*name).to_owned(), path: self.pipeline.root.join(name) },
                From::Stage(name) => Feed::Output { stage: self.id(name), port: 0 },
            })
            .collect();
        let inputs = if feeds.is_empty() { Vec::new() } else { vec![Wire { port, from: feeds }] };
        self.pipeline.stages.push(Stage {
            name: name.to_owned(),
            kind: TOY,
            config: serde_json::to_value(&config).unwrap().into(),
            origins: Vec::new().into(),
            contract: contract.into(),
            inputs,
            policy: Policy::default(),
        });
        self.pipeline.stages.last_mut().unwrap()
    }

    pub(crate) fn id(&self, name: &str) -> StageId {
        let at = self.pipeline.stages.iter().position(|stage| stage.name == name).unwrap();
        StageId(u32::try_from(at).unwrap())
    }
}

/// A toy that says `word`.
pub(crate) fn word(word: &str) -> Toy {
    Toy { word: word.to_owned(), ..Toy::default() }
}

/// A temporary project with a cache in it.
#[derive(Debug)]
pub(crate) struct Project {
    /// Removed with it, if it was made by [`Project::new`].
    _temporary: Option<tempfile::TempDir>,
    pub(crate) root: PathBuf,
    pub(crate) cache: PathBuf,
    /// What is unusual about its cache.
    pub(crate) settings: fn(&Path) -> Settings,
}

/// What is unusual about a run.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) targets: &'a [&'a str],
    pub(crate) again: &'a [&'a str],
    pub(crate) trust_code: &'a [&'a str],
    pub(crate) on_failure: OnFailure,
    pub(crate) jobs: Option<u16>,
    pub(crate) gpu: gpu::Policy,
}

/// A run as it was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) finished: Finished,
    pub(crate) events: Vec<Event>,
}

impl Observer for Vec<Event> {
    fn on(&mut self, _: Duration, event: &Event) {
        self.push(event.clone());
    }
}

impl Seen {
    /// The stages that ended up in this state, in the order in which they came there.
    pub(crate) fn all(&self, wanted: State) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::StageMoved { stage, state } if *state == wanted => Some(stage.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The stages that were started.
    pub(crate) fn started(&self) -> Vec<&str> {
        self.all(State::Running)
    }

    /// The first word on why `stage` missed.
    pub(crate) fn reason(&self, wanted: &str) -> &str {
        let reason = self.events.iter().find_map(|event| match event {
            Event::StageMissed { stage, reason, .. } if stage == wanted => Some(reason.as_str()),
            _ => None,
        });
        reason.unwrap_or("no miss")
    }

    /// The words on how `stage` failed.
    pub(crate) fn failure(&self, wanted: &str) -> &str {
        let failure = self.events.iter().find_map(|event| match event {
            Event::StageFailed { stage, message, .. } if stage == wanted => Some(message.as_str()),
            _ => None,
        });
        failure.unwrap_or("no failure")
    }

    /// All warnings.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Warning { message, .. } => Some(message.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The key of a stage.
    pub(crate) fn key(&self, wanted: &str) -> crate::key::Key {
        let key = self.events.iter().find_map(|event| match event {
            Event::StageKeyed { stage, key } if stage == wanted => Some(key),
            _ => None,
        });
        key.unwrap().parse().unwrap()
    }
}

/// Eight cores and no card, whatever the machine.
pub(crate) fn facts() -> Facts {
    facts_with(&[])
}

/// Eight cores and these cards.
pub(crate) fn facts_with(cards: &[crate::oracle::Card]) -> Facts {
    let host = Host { processor: "Toy 1".to_owned(), cores: 8, memory_mib: 1 << 20 };
    let cards = Cards { cards: cards.to_vec(), driver: "1.0".to_owned(), trouble: None };
    Facts::given(host, cards)
}

impl Project {
    pub(crate) fn new() -> Project {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        let cache = root.join("cache");
        Project { _temporary: Some(temporary), root, cache, settings: |_| Settings::default() }
    }

    /// With a cache that is opened so.
    pub(crate) fn with(settings: fn(&Path) -> Settings) -> Project {
        Project { settings, ..Project::new() }
    }

    /// Of another process, which removes it.
    pub(crate) fn at(root: &Path) -> Project {
        Project {
            _temporary: None,
            root: root.to_owned(),
            cache: root.join("cache"),
            settings: |_| Settings::default(),
        }
    }

    pub(crate) fn sketch(&self) -> Sketch {
        Sketch::new(&self.root)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_with(&self.cache, (self.settings)(&self.root)).unwrap()
    }

    /// Runs everything in this very process.
    pub(crate) fn run(&self, sketch: &Sketch) -> Seen {
        self.run_asked(sketch, &Asked::default())
    }

    pub(crate) fn run_asked(&self, sketch: &Sketch, asked: &Asked<'_>) -> Seen {
        self.run_with(sketch, asked, &facts(), &InProcess, &Stop::new()).unwrap()
    }

    pub(crate) fn run_with(
        &self,
        sketch: &Sketch,
        asked: &Asked<'_>,
        facts: &Facts,
        launcher: &dyn Launcher,
        stop: &Stop,
    ) -> Result<Seen, RunError> {
        let mut events: Vec<Event> = Vec::new();
        let finished = self.observed(sketch, asked, facts, launcher, stop, &mut events)?;
        Ok(Seen { finished, events })
    }

    pub(crate) fn observed(
        &self,
        sketch: &Sketch,
        asked: &Asked<'_>,
        facts: &Facts,
        launcher: &dyn Launcher,
        stop: &Stop,
        observer: &mut dyn Observer,
    ) -> Result<Finished, RunError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let (targets, again, trust) = (owned(asked.targets), owned(asked.again), owned(asked.trust_code));
        let store = self.store();
        let request = Request {
            pipeline: &sketch.pipeline,
            store: &store,
            launcher,
            facts,
            targets: &targets,
            again: &again,
            trust_code: &trust,
            on_failure: asked.on_failure,
            jobs: asked.jobs,
            command: &[],
            stop,
            gpu: asked.gpu,
        };
        run(&request, &mut [observer])
    }

    pub(crate) fn plan(&self, sketch: &Sketch) -> plan::Plan {
        let (store, facts, stop) = (self.store(), facts(), Stop::new());
        let request = Request {
            pipeline: &sketch.pipeline,
            store: &store,
            launcher: &InProcess,
            facts: &facts,
            targets: &[],
            again: &[],
            trust_code: &[],
            on_failure: OnFailure::GoOn,
            jobs: None,
            command: &[],
            stop: &stop,
            gpu: gpu::Policy::default(),
        };
        plan::plan(&request).unwrap()
    }

    /// What lies in `results/` for a stage.
    pub(crate) fn result(&self, stage: &str) -> String {
        read(&self.root.join("results/sketch").join(stage).join("out"))
    }

    /// Every file below a directory of the cache.
    pub(crate) fn cached(&self, directory: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.cache.join(directory)];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        files
    }
}

/// Runs kinds in the engine's own process: fast, and nothing can be ended or killed.
#[derive(Debug)]
pub(crate) struct InProcess;

struct Here {
    manifest: PathBuf,
}

impl Launcher for InProcess {
    fn start(&self, order: &Order<'_>) -> Result<Box<dyn Child>, LaunchError> {
        match &order.work {
            Work::Kind => Ok(Box::new(Here { manifest: order.attempt.manifest_path() })),
            Work::Command { .. } => processes().start(order),
        }
    }
}

impl Child for Here {
    fn group(&self) -> Group {
        Group::default()
    }

    fn wait(self: Box<Self>, _: &mut dyn FnMut(Option<Said>)) -> End {
        let ended = exec::perform(&[TOY], &self.manifest);
        let code = i32::from(ended != Ok(crate::attempt::Ended::Good));
        End { status: Status::Exited(code), usage: crate::event::Usage { wall_ns: 1000, ..Default::default() } }
    }
}

/// Runs kinds as real processes: this very test binary, told to run the test [`child`] alone.
pub(crate) fn processes() -> Local {
    let words = ["testing::child", "--exact", "--nocapture", "--quiet"];
    Local::new(std::env::current_exe().unwrap(), words.iter().map(Into::into).collect())
}

/// Not a test but the child's side of [`processes`]: the last word on the command line is a manifest.
#[test]
fn child() {
    if let Some(manifest) = std::env::args().next_back().filter(|word| word.ends_with("/manifest.json")) {
        exec::main(&PROGRAM, Path::new(&manifest));
    }
}

/// Runs one test of this binary in a process of another user, as root is refused nothing. Says so and does nothing where
/// that cannot be done.
pub(crate) fn as_another_user(test: &str) {
    // Where anybody may go.
    let directory = tempfile::Builder::new().prefix("pipe-test-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let binary = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).args([test, "--exact"]);
    command.env("TMPDIR", directory.path()).env("HOME", directory.path()).current_dir("/");
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(e) => eprintln!("not run: `setpriv`: {e}"),
    }
}
