//! Making a run and its end, and beginning a stage: the reservation, the attempt's directory, the process.

use super::{
    Attempt, Awaited, BinaryHeap, Duration, Elsewhere, Event, Feed, Found, Halt, HashMap, Instant, Journal, Key, Last,
    Lease, Left, Lookup, Made, Memory, Named, Node, Observer, Order, PathBuf, Record, Request, Reserved, Resolver,
    Results, Root, Run, RunError, Scope, Stage, StageError, State, VecDeque, Who, card, channel, gpu, program, work,
};
use super::{Bad, Capacity, Finished, Pool};
use crate::kind::Sort;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

impl<'a, 'o, 'e> Run<'a, 'o, 'e> {
    pub(super) fn new(
        request: &'a Request<'a>,
        wanted: &[bool],
        observers: &'o mut [&'e mut dyn Observer],
    ) -> Result<Run<'a, 'o, 'e>, RunError> {
        let root = &request.pipeline.root;
        let id = new_id();
        let project = |source| RunError::Project { doing: "write", path: root.join(".pipe"), source };
        let memory = Memory::open(root);
        let resolver = Resolver::new(request, wanted, &memory);
        if let Some(path) = request.pipeline.recalled.then(|| resolver.gone()).flatten() {
            return Err(RunError::Gone { path });
        }
        let results = Results::new(root, &request.pipeline.name, request.store);
        let journal = Journal::create(root, &id).map_err(project)?;
        let (to, from) = channel();
        let me = Who::here(&id, &request.pipeline.name);
        let host = me.host.clone();
        let facts = request.facts.host();
        let cpus = request.jobs.map_or(facts.cores, |jobs| jobs.min(facts.cores)).max(1);
        let memory_mib = if facts.memory_mib == 0 { u64::MAX } else { facts.memory_mib };
        let needs_cards = request.pipeline.stages.iter().zip(wanted).any(|(s, w)| *w && s.contract.needs.gpus > 0);
        let (board, warning) = if needs_cards { board(request, me)? } else { (None, None) };
        let (nodes, starts, takers) = nodes(request, wanted, &memory, &results);
        Ok(Run {
            resolver,
            results,
            pool: Pool::new(Capacity { cpus, memory_mib }, board),
            count: Finished {
                run: id.clone(),
                hits: 0,
                done: 0,
                failed: 0,
                skipped: 0,
                gates: 0,
                stopped: false,
                exit: 0,
            },
            request,
            id,
            host,
            began: Instant::now(),
            observers,
            journal,
            memory,
            nodes,
            takers,
            starts,
            ready: BinaryHeap::new(),
            doomed: Vec::new(),
            leases: HashMap::new(),
            groups: HashMap::new(),
            at_work: HashMap::new(),
            elsewhere: Vec::new(),
            orphans: None,
            spent: Vec::new(),
            to,
            from,
            halt: Halt::Not,
            changed: false,
            beforehand: warning.into_iter().chain(request.store.notes().iter().cloned()).collect(),
            preparing: VecDeque::new(),
            fetching: 0,
            transfers: 0,
        })
    }

    /// Says that the run has begun, and which stages can be looked at.
    pub(super) fn announce(&mut self) {
        let pipeline = self.request.pipeline;
        let wanted: Vec<u32> = (0..).zip(&self.nodes).filter(|(_, node)| node.wanted).map(|(stage, _)| stage).collect();
        let names = wanted.iter().map(|stage| self.stage(*stage));
        let started = Event::RunStarted {
            run: self.id.clone(),
            pipeline: pipeline.name.clone(),
            file: pipeline.file.display().to_string(),
            command: self.request.command.to_vec(),
            started: jiff::Timestamp::now().to_string(),
            host: self.host.clone(),
            stages: names.map(|stage| (stage.name.clone(), stage.kind.name.to_owned())).collect(),
        };
        self.emit(&started);
        for message in std::mem::take(&mut self.beforehand) {
            self.emit(&Event::Warning { stage: None, message });
        }
        for stage in wanted {
            if self.nodes[stage as usize].missing == 0 {
                self.set(stage, State::Ready);
            }
        }
    }

    /// Begins `stage`, which has its lease: reserves its key, makes its attempt, starts its process.
    pub(super) fn begin<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, stage: u32, lease: Lease) {
        let spec = self.stage(stage);
        let key = self.nodes[stage as usize].key.expect("a queued stage has a key");
        if let Some(strangers) = self.in_the_way(stage, &lease) {
            let uuids = lease.cards.iter().map(|card| card.uuid.clone()).collect();
            self.pool.give_back(lease);
            let on = format!("{strangers} to leave, {} s at most", self.request.gpu.wait_s);
            return self.wait_for(stage, key, Awaited::Card { uuids, next: Instant::now() + card::PASSING }, on);
        }
        let who = Who::here(&self.id, &spec.name);
        let reserved = match self.request.store.lookup(key, &who, self.purpose(stage)) {
            Ok((Lookup::Miss(reserved), warning)) => {
                if let Some(warning) = warning {
                    self.warn(stage, warning);
                }
                reserved
            }
            Ok((Lookup::Hit(record), _)) => {
                self.pool.give_back(lease);
                return self.good(stage, &record, State::Hit);
            }
            Ok((Lookup::Busy(other), _)) => {
                self.pool.give_back(lease);
                let on = format!("it is being computed by run {} on {}", other.run, other.host);
                return self.wait_for(stage, key, Awaited::Record, on);
            }
            Err(error) => {
                self.pool.give_back(lease);
                return self.fail(stage, Bad::before(work::told(&error)));
            }
        };
        match self.left(key) {
            Some(Left::Running(attempt)) => {
                self.pool.give_back(lease);
                let on = format!("it still runs in `{}`", attempt.directory.display());
                self.wait_for(stage, key, Awaited::Orphan(attempt.directory), on);
            }
            Some(Left::Finished(attempt, _)) => {
                // Taken once; if that comes to nothing, it is computed.
                self.orphans.as_mut().and_then(|orphans| orphans.remove(&key.0.short()));
                self.watch(scope, stage, lease, attempt, None, reserved);
            }
            Some(Left::Nothing) | None => self.launch(scope, stage, lease, reserved),
        }
    }

    fn launch<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, stage: u32, lease: Lease, reserved: Reserved) {
        let spec = self.stage(stage);
        let started = self.attempt(stage, &lease, reserved.key()).and_then(|attempt| {
            let order = Order {
                attempt: &attempt,
                work: program::work(spec, lease.cpus)?,
                cpus: lease.cpus,
                gpus: lease.cards.iter().map(|card| card.uuid.clone()).collect(),
                locks: lease.cards.iter().flat_map(|card| &card.locks).collect(),
                timeout: spec.policy.timeout_s.and_then(|s| Duration::try_from_secs_f64(s).ok()),
            };
            let child = self.request.launcher.start(&order).map_err(|error| {
                let mut told = StageError::new(error.to_string());
                told.causes.extend(std::error::Error::source(&error).map(ToString::to_string));
                told
            });
            match child {
                Ok(child) => Ok((attempt, child)),
                Err(error) => {
                    attempt.remove();
                    Err(error)
                }
            }
        });
        match started {
            Ok((attempt, child)) => {
                self.groups.insert(stage, child.group());
                self.watch(scope, stage, lease, attempt, Some(child), reserved);
            }
            Err(error) => {
                self.pool.give_back(lease);
                self.fail(stage, Bad::before(error));
            }
        }
    }

    /// Gives a thread to an attempt that runs, or that was found finished (`child` is `None`).
    fn watch<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        stage: u32,
        lease: Lease,
        attempt: Attempt,
        child: Option<Box<dyn crate::launch::Child>>,
        reserved: Reserved,
    ) {
        let spec = self.stage(stage);
        let node = &mut self.nodes[stage as usize];
        node.tries += u32::from(child.is_some());
        let text = node.text.as_deref().unwrap_or_default().to_owned();
        self.set(stage, State::Running);
        self.emit(&Event::StageStarted {
            stage: spec.name.clone(),
            attempt: attempt.directory.display().to_string(),
            gpus: lease.cards.iter().map(|card| card.uuid.clone()).collect(),
            cpus: lease.cpus,
        });
        if child.is_none() {
            let message = format!(
                "an earlier run began this stage and it finished unseen, in `{}`: its outputs are taken",
                attempt.directory.display()
            );
            self.warn(stage, message);
        }
        let facts = self.request.facts;
        let gauge = facts.gauge().filter(|_| child.is_some() && !lease.cards.is_empty());
        let mut cards = gauge.map(|gauge| card::Watch::new(gauge, self.pool.board_of(stage), &lease.cards));
        let on_disturbed = match self.nodes[stage as usize].disturbed < self.request.gpu.retries {
            true => work::OnDisturbed::Discard,
            false => work::OnDisturbed::Mark,
        };
        if let (Some(cards), Some(child)) = (&mut cards, &child) {
            cards.look(child.group().leader());
        }
        // One that is found finished has no process to signal, but is waited for like the others.
        self.groups.entry(stage).or_default();
        self.leases.insert(stage, lease);
        let job = work::Job {
            stage,
            attempt,
            child,
            cards,
            on_disturbed,
            reserved,
            purpose: self.purpose(stage),
            places: program::places(spec),
            files: self.resolver.files_of(spec),
            leaves_outcome: !program::is_command(spec),
            kind: spec.kind.name.to_owned(),
            sort: spec.contract.sort,
            made: Made {
                run: self.id.clone(),
                host: self.host.clone(),
                pipeline: self.request.pipeline.name.clone(),
                stage: spec.name.clone(),
                at: String::new(),
                trusted: None,
            },
            text,
        };
        let (store, to) = (self.request.store, self.to.clone());
        scope.spawn(move || work::see_through(job, store, &to));
    }

    fn wait_for(&mut self, stage: u32, key: Key, awaited: Awaited, on: String) {
        self.emit(&Event::StageBlocked { stage: self.stage(stage).name.clone(), on });
        self.elsewhere.push(Elsewhere { stage, key, awaited });
    }

    /// Who computes on the cards that a measurement was given, as long as it is to wait for them to leave.
    fn in_the_way(&mut self, stage: u32, lease: &Lease) -> Option<String> {
        if self.stage(stage).contract.sort != Sort::Measured || lease.cards.is_empty() {
            return None;
        }
        let uuids: Vec<String> = lease.cards.iter().map(|card| card.uuid.clone()).collect();
        let strangers = card::strangers_on(self.request.facts, &uuids)?;
        let patience = Duration::try_from_secs_f64(self.request.gpu.wait_s).unwrap_or(Duration::ZERO);
        let until = *self.nodes[stage as usize].patient_until.get_or_insert_with(|| Instant::now() + patience);
        (Instant::now() < until).then_some(strangers)
    }

    /// What became of attempts at `key` that other engines began. The scratch directory is listed once a run.
    fn left(&mut self, key: Key) -> Option<Left> {
        let store = self.request.store;
        let orphans = self.orphans.get_or_insert_with(|| {
            let mut orphans: HashMap<String, Vec<PathBuf>> = HashMap::new();
            for entry in std::fs::read_dir(store.attempts()).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some(key) = name.split('~').nth(1) {
                    orphans.entry(key.to_owned()).or_default().push(entry.path());
                }
            }
            orphans
        });
        // Looked at once: if it was no good now, it will not be later.
        let directories = orphans.get(&key.0.short())?.clone();
        let mut running = None;
        for directory in directories {
            match (Attempt { directory }).left(key) {
                Left::Finished(attempt, outcome) => return Some(Left::Finished(attempt, outcome)),
                Left::Running(attempt) => running = Some(Left::Running(attempt)),
                Left::Nothing => {}
            }
        }
        if running.is_none() {
            orphans.remove(&key.0.short());
        }
        running
    }

    /// Whether an older record is taken because its code is trusted to mean the same; then all is done.
    pub(super) fn is_trusted(&mut self, stage: u32, named: &Named<'_>) -> bool {
        let spec = self.stage(stage);
        if !self.request.trust_code.contains(&spec.name) {
            return false;
        }
        let text = named.text(spec);
        let old = self.memory.text(&self.request.pipeline.name, &spec.name);
        let only_code = old.is_some_and(|old| {
            let differences = crate::explain::differences(&old, &text);
            !differences.is_empty() && differences.iter().all(|d| d.name.starts_with("code."))
        });
        let Some(last) = self.last(stage).filter(|_| only_code).map(|last| last.key) else { return false };
        let Ok(Found::Record(older)) = self.request.store.find(last) else { return false };
        let made = Made { trusted: Some(last), ..older.made.clone() };
        let record = Record { key: named.key, text, made, ..*older };
        match self.request.store.adopt(record) {
            Ok(record) => self.good(stage, &record, State::Hit),
            Err(error) => self.fail(stage, Bad::before(work::told(&error))),
        }
        true
    }

    /// Puts an attempt that has given its outputs to those that go when the run ends. ext4 gives no number of a file
    /// away that became free in the last minutes, and looks past all of those for every file that is made: a run that
    /// removes as it goes pays for each of its files with thousands of steps, which was more than the stages themselves.
    pub(super) fn spent(&mut self, attempt: Attempt) {
        /// Each is a few empty directories and small files; more than so many go at once.
        const MOST: usize = 16_384;
        match self.spent.len() < MOST && !attempt.directory.join("scratch").exists() {
            true => self.spent.push(attempt),
            false => attempt.remove(),
        }
    }

    /// The end: texts that are to be shown, where the last results lie, what the project needs from now on.
    pub(super) fn finish(mut self) -> Finished {
        self.bring_what_is_looked_at();
        let stages = &self.request.pipeline.stages;
        for stage in 0..u32::try_from(stages.len()).expect("stages are counted in 32 bits") {
            if matches!(self.nodes[stage as usize].state, State::Hit | State::Done) {
                self.show(stage);
            }
        }
        std::mem::take(&mut self.spent).par_iter().for_each(Attempt::remove);
        if let Err(e) = self.memory.flush() {
            let message = format!("cannot write `.pipe/memory`: {e}; the next run will look at everything anew");
            self.emit(&Event::Warning { stage: None, message });
        }
        if self.changed {
            self.register();
        }
        self.tell_troubles();
        let count = &mut self.count;
        count.exit = match () {
            () if count.stopped => 130,
            () if count.failed > 0 => 3,
            () if count.gates > 0 => 4,
            () => 0,
        };
        let Finished { hits, done, failed, skipped, gates, stopped, exit, .. } = *count;
        self.emit(&Event::RunFinished { hits, done, failed, skipped, gates, stopped, exit });
        self.journal.flush();
        self.count
    }

    fn show(&mut self, stage: u32) {
        let spec = self.stage(stage);
        let is_last = self.starts[stage as usize] == self.starts[stage as usize + 1];
        for port in &spec.contract.outputs {
            if port.shown
                && let Some(text) = self.shown(stage, &port.name)
            {
                let (stage, port) = (spec.name.clone(), port.name.to_string());
                self.emit(&Event::Shown { stage, port, text });
            }
            if is_last {
                let path = self.results.name(spec, &port.name).display().to_string();
                let (stage, port) = (spec.name.clone(), port.name.to_string());
                self.emit(&Event::Linked { stage, port, path });
            }
        }
    }

    /// A shown output's text: its first 64 KiB, if it is a file and can be read.
    fn shown(&self, stage: u32, port: &str) -> Option<String> {
        use std::io::Read;
        const MOST: u64 = 64 << 10;
        let path = self.request.pipeline.root.join(self.results.name(self.stage(stage), port));
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Tells the store which keys this project needs, so that gc keeps them.
    fn register(&mut self) {
        let pipeline = self.request.pipeline;
        let keys =
            pipeline.stages.iter().filter_map(|s| self.memory.last(&pipeline.name, &s.name)).map(|l: Last| l.key);
        let root = Root {
            owner: pipeline.root.display().to_string(),
            host: self.host.clone(),
            pipeline: pipeline.name.clone(),
            keys: keys.collect(),
        };
        if let Err(error) = self.request.store.register(&root) {
            let message = format!("{}; gc may take what this pipeline needs", super::resolve::chain(&error));
            self.emit(&Event::Warning { stage: None, message });
        }
    }
}

/// The board of this host's cards. Where it cannot be used, that is an error, or by choice one of this project alone and
/// a warning.
fn board(request: &Request<'_>, who: Who) -> Result<(Option<gpu::Board>, Option<String>), RunError> {
    let path = gpu::Board::usual();
    let error = match gpu::Board::open(&path, who.clone()) {
        Ok(board) => return Ok((Some(board), None)),
        Err(error) => error,
    };
    if request.gpu.without_lock == gpu::WithoutLock::Error {
        return Err(RunError::NoBoard { path, source: error });
    }
    let own = request.pipeline.root.join(".pipe/gpu");
    let board = gpu::Board::open(&own, who).map_err(|source| RunError::NoBoard { path: own, source })?;
    let warning = format!(
        "cards cannot be locked for all of this host: `{}`: {error}; only the runs of this project keep off each \
         other's cards, anybody else's may disturb them",
        path.display()
    );
    Ok((Some(board), Some(warning)))
}

/// The nodes of a run, and who takes from whom: `takers[starts[i]..starts[i + 1]]` take from stage `i`.
fn nodes(
    request: &Request<'_>,
    wanted: &[bool],
    memory: &Memory,
    results: &Results<'_>,
) -> (Vec<Node>, Vec<u32>, Vec<u32>) {
    let stages = &request.pipeline.stages;
    // On all cores: with files and results by the ten thousand, looking at them is what a run without work does.
    let recalled: Vec<(Option<Last>, bool)> = stages
        .par_iter()
        .zip(wanted)
        .map(|(stage, wanted)| {
            let last = wanted.then(|| memory.last(&request.pipeline.name, &stage.name)).flatten();
            let in_place = last.as_ref().is_some_and(|last| {
                last.store == request.store.directory() && results.are_in_place(stage, &last.outputs, memory)
            });
            (last, in_place)
        })
        .collect();
    let producers = |stage: &Stage| {
        let feeds = stage.inputs.iter().flat_map(|wire| &wire.from);
        let mut from: Vec<u32> = feeds
            .filter_map(|feed| match feed {
                Feed::Output { stage, .. } => Some(stage.0),
                Feed::File { .. } => None,
            })
            .collect();
        from.sort_unstable();
        from.dedup();
        from
    };
    let mut wires: Vec<(u32, u32)> = Vec::new();
    let mut nodes: Vec<Node> = Vec::with_capacity(stages.len());
    for ((at, stage), (last, in_place)) in (0..).zip(stages).zip(recalled) {
        let wanted = wanted[at as usize];
        let from = if wanted { producers(stage) } else { Vec::new() };
        wires.extend(from.iter().map(|producer| (*producer, at)));
        nodes.push(Node {
            state: State::Waiting,
            wanted,
            missing: u32::try_from(from.len()).expect("stages are counted in 32 bits"),
            rank: 0,
            last,
            in_place,
            tries: 0,
            disturbed: 0,
            losses: 0,
            patient_until: None,
            key: None,
            outputs: Vec::new(),
            text: None,
            told_blocked: false,
        });
    }
    wires.sort_unstable();
    let mut starts = vec![0u32; stages.len() + 1];
    for (producer, _) in &wires {
        starts[*producer as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let takers: Vec<u32> = wires.into_iter().map(|(_, taker)| taker).collect();
    for at in (0..stages.len()).rev() {
        let after = takers[starts[at] as usize..starts[at + 1] as usize].iter();
        let after = after.map(|taker| nodes[*taker as usize].rank).max().unwrap_or(0);
        // A stage of which nothing is known counts a second.
        let own = nodes[at].last.as_ref().map_or(1_000_000_000, |l| l.wall_ns.max(1));
        nodes[at].rank = after.saturating_add(own);
    }
    for (node, stage) in nodes.iter_mut().zip(stages) {
        node.rank = in_turn(node.rank, stage.policy.sample);
    }
    (nodes, starts, takers)
}

/// What is to be started first: the first samples of all stages before any second one, then the longest remaining path.
/// So stages that are measured over and over take turns, and a drift of the machine hits all of them alike.
fn in_turn(rank: u64, sample: u32) -> u64 {
    const SAMPLE_BITS: u32 = 6;
    let last = (1 << SAMPLE_BITS) - 1;
    let turn = last - u64::from(sample).min(last);
    turn << (u64::BITS - SAMPLE_BITS) | rank >> SAMPLE_BITS
}

/// A run's id: when it began, and something that no other run of that second has.
fn new_id() -> String {
    let now = jiff::Timestamp::now();
    let random = crate::digest::Digest::of(format!("{}-{}", now.as_nanosecond(), std::process::id()).as_bytes());
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), &random.short()[..4])
}
