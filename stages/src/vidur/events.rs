//! The queue of events and what each does.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use crate::infer::blocks::Tabled;
use crate::infer::schedule::Scheduler;
use crate::infer::serve::Batch;

use super::account::{Account, RequestMetrics};
use super::case::{Case, CaseError, CaseRequest, GlobalScheduler};
use super::planner::{Plan, plan};
use super::random::PythonRandom;
use super::time::{Clockwork, Load, StageTime};
use super::usage::Series;

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In order of id.
    pub batches: Vec<BatchRecord>,
    /// Those that arrived, in order of id.
    pub requests: Vec<RequestMetrics>,
    /// How it ended.
    pub ended: Ended,
    /// Time of the last event that was handled, s.
    pub end_time: f64,
    /// The last event's id.
    pub events_created: u64,
    /// Events that were not handled.
    pub events_left: usize,
    /// Requests that completed.
    pub completed: usize,
    /// Of all requests.
    pub restarts: u64,
    /// Prefill and decode tokens of each request after its restarts.
    pub last_tokens: Vec<(u32, u32)>,
    /// The replica of each request, if it got one.
    pub assigned: Vec<Option<u32>>,
    /// Blocks still held on each replica.
    pub blocks_held: Vec<u32>,
    /// What followed from the case.
    pub plan: Plan,
    pub(super) memory: Vec<Series>,
    pub(super) stages: Vec<Vec<StageUsage>>,
}

/// How a simulation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was served, or the time was up.
    Ok,
    /// The queue ran dry while requests waited or memory was held.
    NotEmpty,
}

/// A batch from its forming to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRecord {
    /// On which replica.
    pub replica: u32,
    /// When it was formed, s.
    pub scheduled_at: f64,
    /// When it ended; none where the run was cut off.
    pub completed_at: Option<f64>,
    /// Blocks in use on the replica after the event that formed it.
    pub allocated_blocks: u32,
    /// Requests waiting there then.
    pub waiting: usize,
    /// When each stage began with it, s.
    pub stage_starts: Vec<f64>,
    /// How long each took, s.
    pub stage_times: Vec<f64>,
    /// Prefill tokens in it.
    pub prefill_tokens: u64,
    /// Decode tokens in it.
    pub decode_tokens: u64,
    /// Requests in batch order with the tokens each got.
    pub requests: Vec<(u32, u32)>,
}

#[derive(Debug, Clone)]
pub(super) struct StageUsage {
    pub(super) busy: Series,
    pub(super) mfu: Series,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Arrival(u32),
    Route,
    Schedule { replica: u32 },
    BatchArrives { batch: u32, stage: u32 },
    StageSchedule { replica: u32, stage: u32 },
    StageEnds { batch: u32, stage: u32 },
    BatchEnds { batch: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Event {
    at: f64,
    id: u64,
    kind: Kind,
}

impl Ord for Event {
    /// The earliest, then the first created, is the greatest: the heap gives it first.
    fn cmp(&self, other: &Event) -> Ordering {
        other.at.total_cmp(&self.at).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

#[derive(Debug, Clone, Default)]
struct Stage {
    queue: VecDeque<u32>,
    is_busy: bool,
}

#[derive(Debug, Clone)]
struct Replica {
    scheduler: Scheduler,
    in_flight: usize,
    stages: Vec<Stage>,
}

/// What a batch carries while it is in flight.
#[derive(Debug, Clone, Default)]
struct Flight {
    batch: Batch,
    load: Load,
    time: StageTime,
}

struct Simulation<'a> {
    case: &'a Case,
    plan: &'a Plan,
    clockwork: Clockwork<'a>,
    queue: BinaryHeap<Event>,
    events_created: u64,
    now: f64,
    arrived: usize,
    unrouted: Vec<u32>,
    routed: u32,
    random: PythonRandom,
    replicas: Vec<Replica>,
    accounts: Vec<Account>,
    assigned: Vec<Option<u32>>,
    batches: Vec<BatchRecord>,
    flights: Vec<Flight>,
    spare: Vec<Batch>,
    complete: Vec<u32>,
    memory: Vec<Series>,
    stages: Vec<Vec<StageUsage>>,
}

/// Runs a case to its end.
///
/// # Errors
/// When the case's model, device or memory cannot be.
pub fn run(case: &Case, requests: &[CaseRequest]) -> Result<Outcome, CaseError> {
    let plan = plan(case)?;
    let mut simulation = Simulation::new(case, &plan, requests);
    let cut_off = simulation.run();
    Ok(simulation.close(cut_off, plan.clone()))
}

impl<'a> Simulation<'a> {
    fn new(case: &'a Case, plan: &'a Plan, requests: &[CaseRequest]) -> Simulation<'a> {
        let replica = || Replica {
            scheduler: Scheduler::with_limits(plan.policy, plan.limits, Tabled::Counted),
            in_flight: 0,
            stages: vec![Stage::default(); plan.stages],
        };
        let usage = || StageUsage { busy: Series::by_time(), mfu: Series::by_time() };
        let replicas = case.num_replicas as usize;
        let mut simulation = Simulation {
            case,
            plan,
            clockwork: Clockwork::new(&case.predictor, plan),
            queue: BinaryHeap::with_capacity(requests.len() + 64),
            events_created: 0,
            now: 0.0,
            arrived: 0,
            unrouted: Vec::new(),
            routed: 0,
            random: PythonRandom::seeded(case.seed),
            replicas: (0..replicas).map(|_| replica()).collect(),
            accounts: requests.iter().map(Account::of).collect(),
            assigned: vec![None; requests.len()],
            batches: Vec::new(),
            flights: Vec::new(),
            spare: Vec::new(),
            complete: Vec::new(),
            memory: (0..replicas).map(|_| Series::plain()).collect(),
            stages: (0..replicas).map(|_| (0..plan.stages).map(|_| usage()).collect()).collect(),
        };
        for (id, request) in (0..).zip(requests) {
            simulation.create(request.arrived_at, Kind::Arrival(id));
        }
        simulation
    }

    /// Says whether the time limit cut it off.
    fn run(&mut self) -> bool {
        while let Some(event) = self.queue.pop() {
            self.now = event.at;
            self.handle(event.kind);
            if self.case.time_limit > 0.0 && self.now > self.case.time_limit {
                return true;
            }
        }
        false
    }

    fn create(&mut self, at: f64, kind: Kind) {
        self.events_created += 1;
        self.queue.push(Event { at, id: self.events_created, kind });
    }

    fn handle(&mut self, kind: Kind) {
        match kind {
            Kind::Arrival(request) => {
                self.arrived += 1;
                self.unrouted.push(request);
                self.create(self.now, Kind::Route);
            }
            Kind::Route => self.route(),
            Kind::Schedule { replica } => self.schedule(replica),
            Kind::BatchArrives { batch, stage } => {
                let replica = self.batches[batch as usize].replica;
                self.replicas[replica as usize].stages[stage as usize].queue.push_back(batch);
                self.create(self.now, Kind::StageSchedule { replica, stage });
            }
            Kind::StageSchedule { replica, stage } => self.start_stage(replica, stage),
            Kind::StageEnds { batch, stage } => self.end_stage(batch, stage),
            Kind::BatchEnds { batch } => self.end_batch(batch),
        }
    }

    fn route(&mut self) {
        let mut unrouted = std::mem::take(&mut self.unrouted);
        unrouted.sort_by(|a, b| self.accounts[*a as usize].arrived.total_cmp(&self.accounts[*b as usize].arrived));
        let replicas = self.case.num_replicas;
        let mut receivers = vec![false; replicas as usize];
        for request in unrouted.drain(..) {
            let replica = match self.case.global_scheduler {
                GlobalScheduler::RoundRobin => self.routed % replicas,
                GlobalScheduler::Random => self.random.below(replicas),
                GlobalScheduler::Lor => {
                    let waiting = |r: &u32| self.replicas[*r as usize].scheduler.waiting();
                    (0..replicas).min_by_key(waiting).expect("there is a replica")
                }
            };
            self.routed = self.routed.wrapping_add(1);
            self.assigned[request as usize] = Some(replica);
            receivers[replica as usize] = true;
            let account = &self.accounts[request as usize];
            // The bits of doubles that are not negative are ordered as the doubles are.
            let arrival = account.arrived.to_bits();
            let scheduler = &mut self.replicas[replica as usize].scheduler;
            scheduler.admit_unchecked(request, arrival, account.prefill, account.decode);
        }
        self.unrouted = unrouted;
        for (replica, _) in (0..).zip(receivers).filter(|(_, receives)| *receives) {
            self.create(self.now, Kind::Schedule { replica });
        }
    }

    fn schedule(&mut self, replica: u32) {
        let first = self.batches.len();
        while self.replicas[replica as usize].in_flight < self.plan.stages {
            let mut batch = self.spare.pop().unwrap_or_default();
            let scheduler = &mut self.replicas[replica as usize].scheduler;
            if scheduler.next(&mut batch).is_none() {
                self.spare.push(batch);
                break;
            }
            self.replicas[replica as usize].in_flight += 1;
            self.take_off(replica, batch);
        }
        let scheduler = &self.replicas[replica as usize].scheduler;
        let (used, waiting) = (scheduler.blocks_used(), scheduler.waiting());
        for batch in &mut self.batches[first..] {
            (batch.allocated_blocks, batch.waiting) = (used, waiting);
        }
        if self.batches.len() > first {
            self.sample_memory(replica);
        }
        for batch in first..self.batches.len() {
            self.create(self.now, Kind::BatchArrives { batch: batch as u32, stage: 0 });
        }
    }

    /// A batch that was just formed is in flight.
    fn take_off(&mut self, replica: u32, batch: Batch) {
        let scheduler = &self.replicas[replica as usize].scheduler;
        let granularity = self.clockwork.granularity();
        let mut load = Load::default();
        for slice in &batch.slices {
            load.add(slice, scheduler.sequence(slice.seq).is_prefilled(), granularity);
            self.accounts[slice.seq as usize].scheduled.get_or_insert(self.now);
        }
        self.batches.push(BatchRecord {
            replica,
            scheduled_at: self.now,
            completed_at: None,
            allocated_blocks: 0,
            waiting: 0,
            stage_starts: Vec::with_capacity(self.plan.stages),
            stage_times: Vec::with_capacity(self.plan.stages),
            prefill_tokens: load.prefill_tokens,
            decode_tokens: load.tokens - load.prefill_tokens,
            requests: batch.slices.iter().map(|s| (s.seq, s.tokens)).collect(),
        });
        self.flights.push(Flight { batch, load, time: StageTime::default() });
    }

    fn start_stage(&mut self, replica: u32, stage: u32) {
        let at = &mut self.replicas[replica as usize].stages[stage as usize];
        if at.is_busy {
            return;
        }
        let Some(batch) = at.queue.pop_front() else { return };
        at.is_busy = true;
        let flight = &mut self.flights[batch as usize];
        flight.time = self.clockwork.stage_time(&flight.load, stage as usize + 1 == self.plan.stages);
        for slice in &flight.batch.slices {
            self.accounts[slice.seq as usize].stage_starts(self.now);
        }
        let total = flight.time.total;
        let record = &mut self.batches[batch as usize];
        record.stage_starts.push(self.now);
        record.stage_times.push(total);
        let mfu = self.mfu(&self.flights[batch as usize]);
        let usage = &mut self.stages[replica as usize][stage as usize];
        usage.busy.put(self.now, 100.0);
        usage.mfu.put(self.now, mfu);
        self.create(self.now + total, Kind::StageEnds { batch, stage });
    }

    /// Achieved over peak FLOP/s, in percent, as Vidur counts both.
    fn mfu(&self, flight: &Flight) -> f64 {
        let plan = self.plan;
        let head = plan.shape.hidden / plan.shape.q_heads;
        let attention = 4 * plan.layers_per_stage * (plan.shape.q_heads / plan.tp) * head * flight.load.attended;
        let flops = 2 * flight.load.tokens * plan.parameters_per_device + attention;
        let per_second = flops as f64 / flight.time.total;
        per_second * 100.0 / (plan.tflops * 2f64.powi(40))
    }

    fn end_stage(&mut self, batch: u32, stage: u32) {
        let replica = self.batches[batch as usize].replica;
        self.replicas[replica as usize].stages[stage as usize].is_busy = false;
        let flight = &self.flights[batch as usize];
        for slice in &flight.batch.slices {
            self.accounts[slice.seq as usize].stage_ends(self.now, flight.time.total, flight.time.model);
        }
        let usage = &mut self.stages[replica as usize][stage as usize];
        usage.busy.put(self.now, 0.0);
        usage.mfu.put(self.now, 0.0);
        self.create(self.now, Kind::StageSchedule { replica, stage });
        if stage as usize + 1 == self.plan.stages {
            self.create(self.now, Kind::BatchEnds { batch });
        } else {
            self.create(self.now, Kind::BatchArrives { batch, stage: stage + 1 });
        }
    }

    fn end_batch(&mut self, batch: u32) {
        let replica = self.batches[batch as usize].replica;
        self.batches[batch as usize].completed_at = Some(self.now);
        let ended = std::mem::take(&mut self.flights[batch as usize].batch);
        let at = &mut self.replicas[replica as usize];
        at.in_flight -= 1;
        self.complete.clear();
        at.scheduler.finish(&ended, &mut self.complete);
        for slice in &ended.slices {
            if at.scheduler.sequence(slice.seq).is_prefilled() {
                self.accounts[slice.seq as usize].prefill_completed.get_or_insert(self.now);
            }
        }
        for seq in &self.complete {
            self.accounts[*seq as usize].completed = Some(self.now);
        }
        self.spare.push(ended);
        self.sample_memory(replica);
        self.create(self.now, Kind::Schedule { replica });
    }

    fn sample_memory(&mut self, replica: u32) {
        let used = u64::from(self.replicas[replica as usize].scheduler.blocks_used());
        let percent = (used * 100) as f64 / f64::from(self.plan.limits.kv_blocks);
        self.memory[replica as usize].put(self.now, percent);
    }

    fn close(mut self, cut_off: bool, plan: Plan) -> Outcome {
        for (replica, (seq, account)) in self.assigned.iter().zip((0..).zip(&mut self.accounts)) {
            if let Some(replica) = replica {
                let s = self.replicas[*replica as usize].scheduler.sequence(seq);
                (account.last_prefill, account.last_decode) = (s.prefill, s.total - s.prefill);
                account.restarts = s.restarts;
            }
        }
        let idle = self.replicas.iter().all(|r| r.scheduler.is_idle());
        let before = std::iter::once(None).chain(self.accounts.iter().map(Some));
        Outcome {
            requests: self
                .accounts
                .iter()
                .zip(before)
                .take(self.arrived)
                .map(|(account, before)| account.metrics(before))
                .collect(),
            ended: if cut_off || idle { Ended::Ok } else { Ended::NotEmpty },
            end_time: self.now,
            events_created: self.events_created,
            events_left: self.queue.len(),
            completed: self.accounts.iter().filter(|a| a.completed.is_some()).count(),
            restarts: self.accounts.iter().map(|a| u64::from(a.restarts)).sum(),
            last_tokens: self.accounts.iter().map(|a| (a.last_prefill, a.last_decode)).collect(),
            assigned: self.assigned,
            blocks_held: self.replicas.iter().map(|r| r.scheduler.blocks_used()).collect(),
            plan,
            memory: self.memory,
            stages: self.stages,
            batches: self.batches,
        }
    }
}
