//! The states of stages and the one loop that moves them.
//!
//! One thread owns states, pool, memory and reservations; a thread for each running stage waits for it, brings its
//! outputs into the store and sends messages over one channel. Nothing here prints: what happens is told to observers
//! as [`Event`]s. It does not know TOML, nor what its stages compute.
//!
//! Invariants: a state changes in [`Run::set`] and nowhere else; a stage starts only with a lease and a reservation;
//! it is done only when its record is in the store; a stage is looked at once for each thing that happens to it, so
//! the work is linear in stages and wires.

use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
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
use crate::oracle::{Card, Facts};
use crate::store::gc::Root;
use crate::store::{Artifact, Found, Lookup, Made, Record, Reserved, Store, StoreError, Who};

mod begin;
mod card;
mod check;
mod end;
mod give;
pub mod journal;
mod look;
pub mod plan;
mod prepare;
mod program;
mod resolve;
mod results;
mod stop;
mod work;

use journal::Journal;
use prepare::{Prepared, Preparing};
use resolve::{Known, Named, Resolver};
use results::Results;
use work::{After, Bad, Ending};

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
    /// What is done where cards cannot be had to oneself.
    pub gpu: gpu::Policy,
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
    /// The pipeline was recalled from an earlier load, and a file that it takes is no longer there: whoever loads it
    /// anew is told where it is named.
    #[error("there is no file `{}`", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
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
    /// The directory of the cards' locks cannot be used.
    #[error("cannot lock cards in `{}`: {source}", path.display())]
    NoBoard {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
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
    /// The process of a running stage is over; what is left to do needs no card.
    Left { stage: u32 },
    /// What a stage takes is here, or cannot be had.
    Prepared { stage: u32, prepared: Prepared },
    /// What a stage gave is in the other tier, or will not be.
    Pushed,
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
    /// What this project remembers of it from before this run.
    last: Option<Last>,
    /// Whether all of that is where people look for it.
    in_place: bool,
    /// Attempts begun, those aside that were thrown away because they were disturbed.
    tries: u32,
    /// Measurements that were thrown away because they were disturbed.
    disturbed: u32,
    /// How often what it gave was found lost.
    losses: u32,
    /// Until when it waits for others to leave its cards, once it does.
    patient_until: Option<Instant>,
    key: Option<Key>,
    /// In the order of the contract, small ones without their bytes.
    outputs: Vec<(String, Artifact)>,
    /// Its key's text, from the miss until its record has it.
    text: Option<Box<str>>,
    told_blocked: bool,
}

/// Somebody else is at it, or in its way.
#[derive(Debug)]
struct Elsewhere {
    stage: u32,
    key: Key,
    awaited: Awaited,
}

/// What must come first.
#[derive(Debug)]
enum Awaited {
    /// Another engine's record, or the end of its reservation.
    Record,
    /// The end of an orphan of another engine, in this attempt.
    Orphan(PathBuf),
    /// The end of others' processes on these cards, looked at next at that time.
    Card { uuids: Vec<String>, next: Instant },
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
    /// Attempts that have given their outputs and are to be removed.
    spent: Vec<Attempt>,
    to: Sender<Message>,
    from: Receiver<Message>,
    halt: Halt,
    /// Whether something is other than the memory said, so that the store must be told what is needed now.
    changed: bool,
    /// To be told as soon as the run has begun.
    beforehand: Vec<String>,
    /// Stages whose inputs are to be brought, in order.
    preparing: VecDeque<Preparing>,
    /// How many are being brought.
    fetching: usize,
    /// Threads that bring or send blobs.
    transfers: usize,
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
            self.prepare_what_can(scope);
            self.start_what_can(scope);
            self.tell_troubles();
            if !self.ready.is_empty() || !self.doomed.is_empty() {
                continue;
            }
            if self.groups.is_empty()
                && self.elsewhere.is_empty()
                && self.transfers == 0
                && !self.pool.waits_for_cards()
            {
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
            Message::Prepared { stage, prepared } => self.prepared(stage, prepared),
            Message::Pushed => self.transfers -= 1,
            Message::Left { stage } => {
                if let Some(lease) = self.leases.get_mut(&stage) {
                    self.pool.give_back_cards(lease);
                }
            }
            Message::Ended { stage, ending } => {
                self.groups.remove(&stage);
                if let Some(lease) = self.leases.remove(&stage) {
                    self.pool.give_back(lease);
                }
                match ending {
                    Ending::Good(record, attempt, after) => {
                        self.spent(attempt);
                        // Its thread goes on and says when it is done.
                        self.transfers += usize::from(after == After::Push);
                        self.good(stage, &record, State::Done);
                    }
                    Ending::Bad(bad) => self.ended_badly(stage, bad),
                }
            }
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
        self.preparing.clear();
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
            let store = self.request.store;
            let Elsewhere { stage, key, awaited } = &mut self.elsewhere[at];
            let over = match awaited {
                Awaited::Orphan(directory) => !crate::attempt::is_running(directory),
                Awaited::Record => store.has_record(*key) || !store.is_reserved(*key),
                Awaited::Card { uuids, next } => {
                    let now = Instant::now();
                    let patient = self.nodes[*stage as usize].patient_until.is_some_and(|until| now < until);
                    let look = now >= *next;
                    if look {
                        *next = now + card::PASSING;
                    }
                    !patient || (look && card::strangers_on(self.request.facts, uuids).is_none())
                }
            };
            if over {
                let stage = self.elsewhere.swap_remove(at).stage;
                // Whatever it is, it is found when the stage is about to start.
                self.ask_again(stage);
            }
        }
    }

    fn ask_again(&mut self, stage: u32) {
        let cards = self.request.facts.eligible(&self.stage(stage).contract.needs).unwrap_or_default();
        self.ask_for(stage, &cards);
    }

    /// Puts a stage in its place among those who wait for resources.
    fn ask_for(&mut self, stage: u32, cards: &[&Card]) {
        let spec = self.stage(stage);
        let ask = Ask::of(&spec.contract.needs, spec.contract.sort, cards, self.pool.capacity());
        if ask.gpus > 0 {
            self.pool.name(stage, &spec.name);
        }
        self.pool.ask(stage, self.nodes[stage as usize].rank, ask);
    }

    fn stage(&self, stage: u32) -> &'a Stage {
        &self.request.pipeline.stages[stage as usize]
    }

    fn last(&self, stage: u32) -> Option<Last> {
        self.memory.last(&self.request.pipeline.name, &self.stage(stage).name)
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

/// Whether the states allow it.
fn follows(from: State, to: State) -> bool {
    use State::{Done, Failed, Hit, Queued, Ready, Running, Skipped, Waiting};
    matches!(
        (from, to),
        (Waiting, Ready | Skipped)
            | (Ready, Hit | Queued | Failed | Skipped)
            // To `Ready` when a stage of the same key is over; to `Hit` when somebody else's record came first.
            // To `Waiting` when what it takes is lost and is computed again.
            | (Queued, Running | Ready | Hit | Failed | Skipped | Waiting)
            // What it gave is lost.
            | (Hit | Done, Ready)
            // To `Queued` for a further try.
            | (Running, Done | Failed | Skipped | Queued)
    )
}
