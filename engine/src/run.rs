//! The states of stages and the one loop that moves them.
//!
//! One thread owns states, pool, memory and reservations; a thread for each running stage waits for it, brings its
//! outputs into the store and sends messages over one channel. Nothing here prints: what happens is told to observers
//! as [`Event`]s. It does not know TOML, nor what its stages compute.
//!
//! Invariants: a state changes in [`Run::set`] and nowhere else; a stage starts only with a lease and a reservation;
//! it is done only when its record is in the store; a stage is looked at once for each thing that happens to it, so
//! the work is linear in stages and wires.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::attempt::{Attempt, Left};
use crate::event::{Event, Observer, State};
use crate::graph::{Feed, Pipeline, Stage, StageId};
use crate::key::Key;
use crate::kind::{Oracle, StageError};
use crate::launch::{Group, Launcher, Order, Said};
use crate::lease::{Ask, Capacity, Lease, Pool, gpu};
use crate::memory::{Last, Memory};
use crate::oracle::Facts;
use crate::store::gc::Root;
use crate::store::{Artifact, Found, Lookup, Made, Purpose, Record, Reserved, Store, StoreError, Who};

mod begin;
mod check;
pub mod journal;
pub mod plan;
mod program;
mod resolve;
mod results;
mod stop;
mod work;

use journal::Journal;
use resolve::{Known, Named, Resolver};
use results::Results;
use work::{Bad, Ending};

pub use stop::Stop;

#[cfg(test)]
mod tests;

/// What is asked of a run.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What the author wrote.
    pub pipeline: &'a Pipeline,
    /// Where results are kept.
    pub store: &'a Store,
    /// How a stage becomes a process.
    pub launcher: &'a dyn Launcher,
    /// What this machine is.
    pub facts: &'a Facts,
    /// Stages wanted, by name, with all they hang on; none = all.
    pub targets: &'a [String],
    /// Stages that are to run although a record answers for them.
    pub again: &'a [String],
    /// Stages for which a record made by other code is taken.
    pub trust_code: &'a [String],
    /// What to do when a stage fails.
    pub on_failure: OnFailure,
    /// Cores to use; `None` = all.
    pub jobs: Option<u16>,
    /// The command line, for the journal.
    pub command: &'a [String],
    /// How somebody stops it.
    pub stop: &'a Stop,
}

/// What to do when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// What does not depend on it goes on.
    #[default]
    GoOn,
    /// Nothing more is started.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The run's id, also the name of its directory in `.pipe/runs`.
    pub run: String,
    /// Stages that were hits.
    pub hits: u32,
    /// Stages that ran well.
    pub done: u32,
    /// Stages that failed.
    pub failed: u32,
    /// Stages that were skipped.
    pub skipped: u32,
    /// Gates that failed.
    pub gates: u32,
    /// Whether somebody stopped it.
    pub stopped: bool,
    /// 0 good, 3 a stage failed, 4 a gate failed, 130 stopped.
    pub exit: u8,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A target, or a word after `--again` or `--trust-code`, names no stage.
    #[error("there is no stage `{name}` in the pipeline `{pipeline}`")]
    NoStage {
        /// As given.
        name: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// A stage declares a card that is not here: the author's mistake, exit code 2.
    #[error("stage `{stage}` declares {declared}; found: {found}")]
    NoCard {
        /// The stage.
        stage: String,
        /// What it declares, in words.
        declared: String,
        /// What is here, in words.
        found: String,
    },
    /// A stage needs more than the machine has: the author's mistake, exit code 2.
    #[error("stage `{stage}` needs {needs}; this machine has {has}")]
    TooLarge {
        /// The stage.
        stage: String,
        /// What it needs, in words.
        needs: String,
        /// What there is.
        has: String,
    },
    /// A stage asks for a launcher that does not exist: the author's mistake, exit code 2.
    #[error("stage `{stage}` asks for the launcher `{launcher}`; there is `local`")]
    NoLauncher {
        /// The stage.
        stage: String,
        /// As written.
        launcher: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The project's own directory cannot be used.
    #[error("cannot {doing} `{}`", path.display())]
    Project {
        /// make, write.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What the loop is told.
#[derive(Debug)]
enum Message {
    /// Somebody asks to stop.
    Stop,
    /// A running stage reports.
    Said { stage: u32, said: Said },
    /// A running stage ended.
    Ended { stage: u32, ending: Ending },
}

/// How far the run has been stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Halt {
    /// It goes on.
    Not,
    /// A stage failed and nothing more is to start.
    Failed,
    /// Somebody asked, and what runs was asked to end.
    Asked,
    /// Somebody asked again, and what runs is killed.
    Killed,
}

/// How often those are looked after that wait for something that sends no message.
const ELSEWHERE: Duration = Duration::from_millis(200);

/// A stage of this run.
#[derive(Debug)]
struct Node {
    state: State,
    wanted: bool,
    /// Producers that are not good yet.
    missing: u32,
    /// Longest remaining path, ns: what is to be started first.
    rank: u64,
    /// Attempts begun.
    tries: u32,
    key: Option<Key>,
    /// In the order of the contract, small ones without their bytes.
    outputs: Vec<(String, Artifact)>,
    /// Its key's text, from the miss until its record has it.
    text: Option<Box<str>>,
    told_blocked: bool,
}

/// Somebody else is at it: another engine, or an orphan of one.
#[derive(Debug)]
struct Elsewhere {
    stage: u32,
    key: Key,
    orphan: Option<PathBuf>,
}

struct Run<'a, 'o, 'e> {
    request: &'a Request<'a>,
    id: String,
    host: String,
    began: Instant,
    observers: &'o mut [&'e mut dyn Observer],
    journal: Journal,
    memory: Memory,
    resolver: Resolver<'a>,
    results: Results<'a>,
    pool: Pool,
    nodes: Vec<Node>,
    /// Stages that take something from a stage: those of stage `i` are `takers[starts[i]..starts[i + 1]]`.
    takers: Vec<u32>,
    starts: Vec<u32>,
    /// Ready, by rank.
    ready: BinaryHeap<(u64, std::cmp::Reverse<u32>)>,
    /// To be skipped, and because of what.
    doomed: Vec<(u32, String)>,
    leases: HashMap<u32, Lease>,
    groups: HashMap<u32, Group>,
    /// Stages that are at a key, each with those that wait for the same.
    at_work: HashMap<Key, Vec<u32>>,
    elsewhere: Vec<Elsewhere>,
    orphans: Option<HashMap<String, Vec<PathBuf>>>,
    to: Sender<Message>,
    from: Receiver<Message>,
    halt: Halt,
    /// Whether something is other than the memory said, so that the store must be told what is needed now.
    changed: bool,
    count: Finished,
}

/// Runs what `request` asks for and tells `observers` all that happens.
///
/// # Errors
/// When nothing can be run at all; a stage that fails is no error here but counted in [`Finished`].
pub fn run(request: &Request<'_>, observers: &mut [&mut dyn Observer]) -> Result<Finished, RunError> {
    let wanted = check::wanted(request)?;
    check::possible(request, &wanted)?;
    let mut run = Run::new(request, &wanted, observers)?;
    run.request.stop.ring_at(run.to.clone());
    run.announce();
    std::thread::scope(|scope| run.work(scope));
    Ok(run.finish())
}

impl Known for Vec<Node> {
    fn outputs(&self, stage: StageId) -> (Key, &[(String, Artifact)]) {
        let node = &self[stage.index()];
        (node.key.expect("a stage that is good has a key"), &node.outputs)
    }
}

impl<'a> Run<'a, '_, '_> {
    /// The loop: as long as something can still happen, look at what is ready, start what can be started, and wait for
    /// the next message.
    fn work<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) {
        loop {
            self.skip_doomed();
            while let Some((_, std::cmp::Reverse(stage))) = self.ready.pop() {
                self.look_up(stage);
                self.skip_doomed();
            }
            self.start_what_can(scope);
            if !self.ready.is_empty() || !self.doomed.is_empty() {
                continue;
            }
            if self.groups.is_empty() && self.elsewhere.is_empty() && !self.pool.waits_for_cards() {
                // Nothing runs that could give anything back: whoever still waits would wait for ever.
                for (stage, lacks) in self.pool.lacking().to_vec() {
                    self.pool.withdraw(stage);
                    self.fail(stage, Bad::before(StageError::new(format!("it cannot have {lacks}"))));
                }
                if self.pool.waiting() == 0 && self.ready.is_empty() && self.doomed.is_empty() {
                    return;
                }
                continue;
            }
            self.journal.flush();
            let message = if self.elsewhere.is_empty() && !self.pool.waits_for_cards() {
                self.from.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.from.recv_timeout(ELSEWHERE)
            };
            match message {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the run itself holds a sender"),
            }
            self.look_elsewhere();
        }
    }

    /// Moves a stage. All that hangs on a state is kept up here and nowhere else.
    fn set(&mut self, stage: u32, state: State) {
        let node = &mut self.nodes[stage as usize];
        debug_assert!(follows(node.state, state), "{:?} cannot become {state:?}", node.state);
        node.state = state;
        match state {
            State::Hit => self.count.hits += 1,
            State::Done => self.count.done += 1,
            State::Failed => self.count.failed += 1,
            State::Skipped => self.count.skipped += 1,
            State::Waiting | State::Ready | State::Queued | State::Running => {}
        }
        let name = &self.request.pipeline.stages[stage as usize].name;
        self.emit(&Event::StageMoved { stage: name.clone(), state });
        let takers = self.starts[stage as usize] as usize..self.starts[stage as usize + 1] as usize;
        match state {
            State::Ready => self.ready.push((self.nodes[stage as usize].rank, std::cmp::Reverse(stage))),
            State::Hit | State::Done => {
                for at in takers {
                    let taker = self.takers[at];
                    let node = &mut self.nodes[taker as usize];
                    node.missing -= 1;
                    if node.missing == 0 && node.state == State::Waiting && self.halt == Halt::Not {
                        self.set(taker, State::Ready);
                    }
                }
            }
            State::Failed | State::Skipped => {
                for at in takers {
                    let because = format!("`{name}` {}", if state == State::Failed { "failed" } else { "was skipped" });
                    self.doomed.push((self.takers[at], because));
                }
            }
            State::Waiting | State::Queued | State::Running => {}
        }
    }

    fn skip_doomed(&mut self) {
        while let Some((stage, because)) = self.doomed.pop() {
            let state = self.nodes[stage as usize].state;
            if matches!(state, State::Waiting | State::Ready | State::Queued) {
                self.pool.withdraw(stage);
                self.emit(&Event::StageSkipped { stage: self.stage(stage).name.clone(), because });
                self.set(stage, State::Skipped);
            }
        }
    }

    /// A ready stage: its key, and what is known of it.
    fn look_up(&mut self, stage: u32) {
        if self.nodes[stage as usize].state != State::Ready {
            return;
        }
        let spec = self.stage(stage);
        let named = match self.resolver.name(spec, &self.nodes, &self.memory) {
            Ok(named) => named,
            Err(error) => return self.fail(stage, Bad::before(error)),
        };
        let key = named.key;
        self.nodes[stage as usize].key = Some(key);
        self.emit(&Event::StageKeyed { stage: spec.name.clone(), key: key.to_string() });
        if self.purpose(stage) == Purpose::Answer {
            if self.is_remembered(stage, key) {
                return self.hit_from_memory(stage);
            }
            match self.request.store.find(key) {
                Ok(Found::Record(record)) if has_all_ports(spec, &record) => {
                    return self.good(stage, &record, State::Hit);
                }
                Ok(Found::Damaged(trouble)) => self.warn(stage, format!("{trouble}; it is computed again")),
                Ok(Found::Record(_) | Found::Nothing) => {}
                Err(error) => return self.fail(stage, Bad::before(work::told(&error))),
            }
            if self.is_trusted(stage, &named) {
                return;
            }
        }
        self.queue(stage, &named);
    }

    /// A miss: say why, and wait for resources, or for another stage of this run that is at the same key.
    fn queue(&mut self, stage: u32, named: &Named<'_>) {
        let spec = self.stage(stage);
        let text = named.text(spec);
        let old = self.memory.text(&self.request.pipeline.name, &spec.name);
        let reason = reason(self.purpose(stage), old.as_deref(), &text);
        let expected_ns = self.last(stage).map_or(0, |last| last.wall_ns);
        self.nodes[stage as usize].text = Some(text.into());
        self.emit(&Event::StageMissed { stage: spec.name.clone(), reason, expected_ns });
        if let Some(twins) = self.at_work.get_mut(&named.key) {
            twins.push(stage);
            self.set(stage, State::Queued);
            let on = "another stage of this run that does the same".to_owned();
            return self.emit(&Event::StageBlocked { stage: spec.name.clone(), on });
        }
        let needs = &spec.contract.needs;
        let cards = match self.request.facts.eligible(needs) {
            Ok(cards) => cards.iter().map(|card| card.uuid.clone()).collect(),
            Err(absent) => {
                let message = format!("it declares {}; found: {}", absent.declared, absent.found);
                return self.fail(stage, Bad::before(StageError::new(message)));
            }
        };
        self.at_work.insert(named.key, Vec::new());
        self.set(stage, State::Queued);
        let ask = Ask::of(needs, cards, self.pool.capacity());
        self.pool.ask(stage, self.nodes[stage as usize].rank, ask);
    }

    /// Starts whatever the pool grants.
    fn start_what_can<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) {
        while self.halt == Halt::Not {
            let Some((stage, lease)) = self.pool.grant() else { break };
            self.begin(scope, stage, lease);
        }
        for (stage, lacks) in self.pool.lacking().to_vec() {
            if !std::mem::replace(&mut self.nodes[stage as usize].told_blocked, true) {
                self.emit(&Event::StageBlocked { stage: self.stage(stage).name.clone(), on: lacks });
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Stop => self.stop(),
            Message::Said { stage, said } => {
                let stage = self.stage(stage).name.clone();
                self.emit(&match said {
                    Said::Progress { done, total, note } => Event::StageProgress { stage, done, total, note },
                    Said::Metric { name, value, unit } => Event::StageMetric { stage, name, value, unit },
                    Said::Warning(message) => Event::Warning { stage: Some(stage), message },
                });
            }
            Message::Ended { stage, ending } => {
                self.groups.remove(&stage);
                if let Some(lease) = self.leases.remove(&stage) {
                    self.pool.give_back(lease);
                }
                match ending {
                    Ending::Good(record) => self.good(stage, &record, State::Done),
                    Ending::Bad(bad) => self.ended_badly(stage, bad),
                }
            }
        }
    }

    /// A stage whose record is in the store: what it gave is known from here on.
    fn good(&mut self, stage: u32, record: &Record, state: State) {
        let spec = self.stage(stage);
        if !has_all_ports(spec, record) {
            let error = StageError::new("the record in the cache lacks an output that the stage declares");
            return self.fail(stage, Bad::before(error.help(format!("run it with `--again {}`", spec.name))));
        }
        let port = |name: &str| {
            let artifact = Artifact { inline: None, ..record.outputs[name].clone() };
            (name.to_owned(), artifact)
        };
        let outputs: Vec<_> = spec.contract.outputs.iter().map(|p| port(p.name.as_ref())).collect();
        let from = format!("{} on {}", record.made.run, record.made.host);
        let last = Last {
            key: record.key,
            store: self.request.store.directory().to_owned(),
            outputs: outputs.clone(),
            wall_ns: record.usage.wall_ns,
            from: from.clone(),
            gate: record.gate.clone(),
        };
        self.memory.remember(&self.request.pipeline.name, &spec.name, last, &record.text);
        self.changed = true;
        if let Err(e) = self.results.place(&spec.name, record) {
            self.warn(stage, format!("cannot put its outputs in `results/`: {e}"));
        }
        let node = &mut self.nodes[stage as usize];
        node.outputs = outputs;
        node.text = None;
        self.emit(&match state {
            State::Hit => Event::StageHit { stage: spec.name.clone(), saved_ns: record.usage.wall_ns, from },
            _ => {
                let outputs = record.outputs.iter();
                let outputs = outputs.map(|(port, a)| (port.clone(), a.digest.to_string(), a.bytes)).collect();
                Event::StageDone { stage: spec.name.clone(), usage: record.usage, outputs }
            }
        });
        self.concluded(stage, state, record.gate.as_deref());
    }

    fn hit_from_memory(&mut self, stage: u32) {
        let last = self.last(stage).expect("it is remembered").clone();
        self.nodes[stage as usize].outputs = last.outputs;
        let name = self.stage(stage).name.clone();
        self.emit(&Event::StageHit { stage: name, saved_ns: last.wall_ns, from: last.from });
        self.concluded(stage, State::Hit, last.gate.as_deref());
    }

    /// The last step of a good stage, whichever way it came.
    fn concluded(&mut self, stage: u32, state: State, gate: Option<&str>) {
        if let Some(message) = gate {
            self.count.gates += 1;
            self.emit(&Event::GateFailed { stage: self.stage(stage).name.clone(), message: message.to_owned() });
        }
        self.set(stage, state);
        self.wake_twins(stage);
    }

    /// Stages that waited for the same key look again.
    fn wake_twins(&mut self, stage: u32) {
        let Some(key) = self.nodes[stage as usize].key else { return };
        for twin in self.at_work.remove(&key).unwrap_or_default() {
            if twin != stage && self.nodes[twin as usize].state == State::Queued && self.halt == Halt::Not {
                self.set(twin, State::Ready);
            }
        }
    }

    fn ended_badly(&mut self, stage: u32, bad: Bad) {
        if self.halt >= Halt::Asked && bad.signalled {
            let because = "the run was stopped".to_owned();
            self.emit(&Event::StageSkipped { stage: self.stage(stage).name.clone(), because });
            return self.set(stage, State::Skipped);
        }
        let spec = self.stage(stage);
        let another = bad.adopted || self.nodes[stage as usize].tries <= spec.policy.retries;
        if another && self.halt == Halt::Not {
            self.warn(stage, format!("{}; it is tried again", bad.error));
            self.set(stage, State::Queued);
            return self.ask_again(stage);
        }
        self.fail(stage, bad);
    }

    fn fail(&mut self, stage: u32, bad: Bad) {
        let name = self.stage(stage).name.clone();
        self.emit(&Event::StageFailed {
            stage: name,
            message: bad.error.to_string(),
            help: bad.error.help,
            attempt: bad.attempt.display().to_string(),
            tail: bad.tail,
        });
        self.set(stage, State::Failed);
        self.wake_twins(stage);
        if self.request.on_failure == OnFailure::Stop && self.halt == Halt::Not {
            self.halt = Halt::Failed;
            self.skip_all("a stage failed");
        }
    }

    fn stop(&mut self) {
        let killing = self.halt >= Halt::Asked;
        self.emit(&Event::Stopping { killing });
        self.halt = if killing { Halt::Killed } else { Halt::Asked };
        for group in self.groups.values() {
            if killing { group.kill() } else { group.end() }
        }
        self.count.stopped = true;
        self.skip_all("the run was stopped");
    }

    fn skip_all(&mut self, because: &str) {
        self.elsewhere.clear();
        self.ready.clear();
        for (stage, node) in self.nodes.iter().enumerate() {
            if node.wanted && matches!(node.state, State::Waiting | State::Ready | State::Queued) {
                self.doomed.push((u32::try_from(stage).expect("stages are counted in 32 bits"), because.to_owned()));
            }
        }
    }

    /// Those that somebody else is at: is there news?
    fn look_elsewhere(&mut self) {
        for at in (0..self.elsewhere.len()).rev() {
            let Elsewhere { key, orphan, .. } = &self.elsewhere[at];
            let over = match orphan {
                Some(directory) => !crate::attempt::is_running(directory),
                None => self.request.store.has_record(*key) || !self.request.store.is_reserved(*key),
            };
            if over {
                let stage = self.elsewhere.swap_remove(at).stage;
                // Whatever it is, it is found when the stage is about to start.
                self.ask_again(stage);
            }
        }
    }

    fn ask_again(&mut self, stage: u32) {
        let spec = self.stage(stage);
        let cards = self.request.facts.eligible(&spec.contract.needs).unwrap_or_default();
        let cards = cards.iter().map(|card| card.uuid.clone()).collect();
        let ask = Ask::of(&spec.contract.needs, cards, self.pool.capacity());
        self.pool.ask(stage, self.nodes[stage as usize].rank, ask);
    }

    fn stage(&self, stage: u32) -> &'a Stage {
        &self.request.pipeline.stages[stage as usize]
    }

    fn last(&self, stage: u32) -> Option<&Last> {
        self.memory.last(&self.request.pipeline.name, &self.stage(stage).name)
    }

    /// Whether this project remembers a result for `key`, and all of it is where people look for it.
    fn is_remembered(&self, stage: u32, key: Key) -> bool {
        self.last(stage).is_some_and(|last| {
            last.key == key
                && last.store == self.request.store.directory()
                && self.results.are_in_place(&self.stage(stage).name, &last.outputs, &self.memory)
        })
    }

    fn purpose(&self, stage: u32) -> Purpose {
        let name = &self.stage(stage).name;
        if self.request.again.contains(name) { Purpose::Another } else { Purpose::Answer }
    }

    fn warn(&mut self, stage: u32, message: String) {
        let stage = Some(self.stage(stage).name.clone());
        self.emit(&Event::Warning { stage, message });
    }

    fn emit(&mut self, event: &Event) {
        let at = self.began.elapsed();
        self.journal.on(at, event);
        for observer in self.observers.iter_mut() {
            observer.on(at, event);
        }
    }
}

impl Bad {
    /// A stage of which nothing was begun.
    fn before(error: StageError) -> Bad {
        Bad { error, attempt: PathBuf::new(), tail: Vec::new(), signalled: false, adopted: false }
    }
}

/// Whether the states allow it.
fn follows(from: State, to: State) -> bool {
    use State::{Done, Failed, Hit, Queued, Ready, Running, Skipped, Waiting};
    matches!(
        (from, to),
        (Waiting, Ready | Skipped)
            | (Ready, Hit | Queued | Failed | Skipped)
            // To `Ready` when a stage of the same key is over; to `Hit` when somebody else's record came first.
            | (Queued, Running | Ready | Hit | Failed | Skipped)
            // To `Queued` for a further try.
            | (Running, Done | Failed | Skipped | Queued)
    )
}

/// Whether `record` answers for every output that `stage` declares.
fn has_all_ports(stage: &Stage, record: &Record) -> bool {
    stage.contract.outputs.iter().all(|port| record.outputs.contains_key(port.name.as_ref()))
}

/// Why a stage runs, in a line: the first difference between its key's text when it was last good and now.
fn reason(purpose: Purpose, old: Option<&str>, new: &str) -> String {
    match old {
        _ if purpose == Purpose::Another => "asked for again".to_owned(),
        None => "first run".to_owned(),
        Some(old) => crate::explain::first_difference(old, new)
            .unwrap_or_else(|| "its result is no longer in the cache".to_owned()),
    }
}
