//! Several replicas behind a router, on one virtual clock.
//!
//! Each replica is the serving loop itself with a machine of its own; what lives here is who gets a request, when a
//! client sends the next, and how long keys and values travel from a replica that prefills to one that decodes. It does
//! not know where predictors come from, and draws no numbers itself.
//!
//! Order of time: the replica that is behind goes first, and none begins an iteration at or after the next thing that
//! is to be handed out; so whoever is handed a request has not yet decided anything that it could have changed.
//!
//! Invariants: a request is on one replica at a time; every replica is held against the laws of [`serve`](super::serve);
//! equal arguments give equal runs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::blocks::Tabled;
use super::machine::{Machine, Predict};
use super::metrics::Summary;
use super::record::RequestRow;
use super::request::Request;
use super::schedule::Knobs;
use super::serve::{ServeError, Served, Serving, Step};
use super::tally::{Gaps, Iterations, Tally};
use super::time::Nanos;

mod joined;
mod route;

use route::Router;
pub use route::Routing;

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Whole requests.
    #[default]
    Whole,
    /// Prompts, up to the first output token.
    Prefill,
    /// What comes after the first token, with keys and values from elsewhere.
    Decode,
}

/// A replica.
#[derive(Debug, Clone)]
pub struct Replica<P> {
    /// What it does.
    pub role: Role,
    /// Its scheduler; checked.
    pub knobs: Knobs,
    /// The time of its iterations.
    pub predictor: P,
}

/// Who sends when: `None` in [`Plan`] = as the workload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    /// How many there are; each has one request under way at most.
    pub count: u32,
    /// From the end of a request to the next turn of the same session.
    pub think: Nanos,
    /// Consecutive rows of the workload that make a session; a client goes on to the next session at once.
    pub turns: u32,
}

/// The way of keys and values from one replica to another. Transfers do not slow each other down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transfer {
    /// Of every transfer.
    pub latency: Nanos,
    /// Bytes of one token.
    pub bytes_per_token: u64,
    /// Bytes a second.
    pub bytes_per_s: f64,
}

impl Transfer {
    /// How long `tokens` travel.
    pub fn time(&self, tokens: u32) -> Nanos {
        let bytes = u64::from(tokens) * self.bytes_per_token;
        self.latency + Nanos::from_secs_f64(bytes as f64 / self.bytes_per_s)
    }
}

/// How requests reach replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Who gets a request.
    pub routing: Routing,
    /// Who sends when, if not the workload says.
    pub clients: Option<Clients>,
    /// Between prefill and decode.
    pub transfer: Transfer,
}

/// What came of a fleet's run.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetRun {
    /// Every request, in order of id; its arrival is when it was sent.
    pub requests: Vec<RequestRow>,
    /// The replica that each request was on first, and the one that decoded it where that is another.
    pub replicas: Vec<(Option<u32>, Option<u32>)>,
    /// Gaps between tokens, that of a handover among them.
    pub gaps: Gaps,
    /// Each replica's account and sums.
    pub members: Vec<(Served, Iterations)>,
}

impl FleetRun {
    /// All replicas' sums.
    pub fn iterations(&self) -> Iterations {
        self.members.iter().fold(Iterations::default(), |all, (_, one)| all.and(one))
    }

    /// The figures of the gaps between tokens, ns.
    pub fn tbt(&self) -> Option<Summary> {
        self.gaps.summary()
    }
}

/// What is to be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request is sent.
    Sent(u32),
    /// Keys and values of a request have arrived, for the decode.
    Handed(u32),
    /// A replica may have room for who waits in the shared queue.
    Room,
}

/// A request on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    replica: u32,
    /// Its id there.
    local: u32,
}

/// A request's way.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    sent: Nanos,
    first: Option<Place>,
    second: Option<Place>,
}

struct Member<P: Predict> {
    role: Role,
    max_sequences: usize,
    serving: Serving<'static, Machine<P>, Tally>,
    /// The request behind each id of the replica.
    requests: Vec<u32>,
    is_busy: bool,
    /// Completions and refusals that have been taken note of.
    seen: (usize, usize),
}

struct Fleet<'a, P: Predict> {
    requests: &'a [Request],
    plan: Plan,
    members: Vec<Member<P>>,
    router: Router<'a>,
    due: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    /// Orders what is due at one time by when that became known.
    known: u64,
    queue: VecDeque<u32>,
    ways: Vec<Way>,
    /// The next session that no client has begun, by its first row.
    next_session: usize,
}

/// Serves `requests` on `replicas`. `draw(n)` draws a number below n, for routings that draw.
///
/// # Errors
/// As [`serve`](super::serve::serve); the iteration is counted on its replica.
///
/// # Panics
/// When nobody is there for a role that is needed: the caller has checked.
pub fn serve_fleet<P: Predict>(
    requests: &[Request],
    replicas: Vec<Replica<P>>,
    plan: &Plan,
    draw: &mut dyn FnMut(u32) -> u32,
) -> Result<FleetRun, ServeError<P::Error>> {
    super::serve::check_requests(requests)?;
    let members: Vec<Member<P>> = replicas.into_iter().map(Member::new).collect();
    let mut fleet = Fleet {
        requests,
        plan: *plan,
        router: Router::new(plan.routing, members.len(), draw),
        members,
        due: BinaryHeap::with_capacity(requests.len() + 16),
        known: 0,
        queue: VecDeque::new(),
        ways: vec![Way::default(); requests.len()],
        next_session: 0,
    };
    fleet.begin();
    fleet.run()?;
    Ok(joined::join(requests, fleet.members.into_iter().map(|m| m.serving.close()).collect(), &fleet.ways))
}

impl<P: Predict> Member<P> {
    fn new(replica: Replica<P>) -> Member<P> {
        let Replica { role, knobs, predictor } = replica;
        let machine = Machine::new(predictor);
        let serving = Serving::new(Cow::Owned(Vec::new()), &knobs, Tabled::Counted, machine, Tally::default());
        Member {
            role,
            max_sequences: knobs.max_sequences as usize,
            serving,
            requests: Vec::new(),
            is_busy: false,
            seen: (0, 0),
        }
    }
}

impl<P: Predict> Fleet<'_, P> {
    fn begin(&mut self) {
        match self.plan.clients {
            None => {
                for request in self.requests {
                    self.put(request.arrival, Due::Sent(request.id));
                }
            }
            Some(clients) => (0..clients.count).for_each(|_| self.begin_session(Nanos::default())),
        }
    }

    fn put(&mut self, at: Nanos, due: Due) {
        self.due.push(Reverse((at, self.known, due)));
        self.known += 1;
    }

    fn begin_session(&mut self, at: Nanos) {
        let Some(clients) = self.plan.clients else { return };
        if self.next_session < self.requests.len() {
            self.put(at, Due::Sent(self.next_session as u32));
            self.next_session += clients.turns as usize;
        }
    }

    /// Whether what a replica does can bring something to be handed out before what is known.
    fn is_coupled(&self) -> bool {
        self.plan.clients.is_some()
            || self.plan.routing == Routing::Queue
            || self.members.iter().any(|m| m.role != Role::Whole)
    }

    fn run(&mut self) -> Result<(), ServeError<P::Error>> {
        let coupled = self.is_coupled();
        loop {
            let next = self.due.peek().map(|Reverse((at, ..))| *at);
            let bound = next.unwrap_or(Nanos(u64::MAX));
            let clocks = self.members.iter().enumerate().filter(|(_, m)| m.is_busy).map(|(i, m)| (i, m.serving.now()));
            let mut clocks = clocks.filter(|(_, now)| *now < bound);
            // Where nobody depends on another, each goes on in turn up to what is next.
            let mover = if coupled { clocks.min_by_key(|(i, now)| (*now, *i)) } else { clocks.next() };
            match (mover, next) {
                (Some((index, now)), _) => self.advance(index, now, bound, coupled)?,
                (None, Some(at)) => self.hand_out(at),
                (None, None) => return Ok(()),
            }
        }
    }

    /// One step of a replica, and what follows from what it completed.
    fn advance(&mut self, index: usize, now: Nanos, bound: Nanos, coupled: bool) -> Result<(), ServeError<P::Error>> {
        let mut until = bound;
        if coupled {
            let others = self.members.iter().enumerate().filter(|(i, m)| *i != index && m.is_busy);
            let least = others.map(|(_, m)| m.serving.now()).min().unwrap_or(bound);
            until = until.min(least).max(Nanos(now.0 + 1));
        }
        let member = &mut self.members[index];
        if member.serving.step(until)? == Step::Idle {
            member.is_busy = false;
        }
        self.take_note(index);
        Ok(())
    }

    fn take_note(&mut self, index: usize) {
        let member = &self.members[index];
        let (ids, ends) = member.serving.completed();
        let refused = member.serving.refused();
        let (from, refused_from) = member.seen;
        let mut done: Vec<(Nanos, u32)> =
            ends[from..].iter().zip(&ids[from..]).map(|(end, id)| (*end, member.requests[*id as usize])).collect();
        let now = member.serving.now();
        let turned_away = refused[refused_from..].iter().map(|(id, _)| (now, member.requests[*id as usize]));
        let (role, refusals) = (member.role, refused.len() - refused_from);
        let completions = done.len();
        done.extend(turned_away);
        self.members[index].seen = (from + completions, refused_from + refusals);
        for (number, (at, request)) in done.into_iter().enumerate() {
            let length = &self.requests[request as usize];
            if role == Role::Prefill && number < completions && length.output_tokens > 1 {
                let travel = self.plan.transfer.time(length.prompt_tokens);
                self.put(at + travel, Due::Handed(request));
            } else {
                self.request_ended(request, at);
            }
            // It may lie ahead of what is still to be sent: whoever comes before it waits for it in the queue.
            if self.plan.routing == Routing::Queue {
                self.put(at, Due::Room);
            }
        }
    }

    /// Its client goes on.
    fn request_ended(&mut self, request: u32, at: Nanos) {
        let Some(clients) = self.plan.clients else { return };
        let next = request + 1;
        if next.is_multiple_of(clients.turns) || next as usize >= self.requests.len() {
            self.begin_session(at);
        } else {
            self.put(at + clients.think, Due::Sent(next));
        }
    }

    fn hand_out(&mut self, at: Nanos) {
        let Some(Reverse((_, _, due))) = self.due.pop() else { return };
        match due {
            Due::Sent(request) => {
                self.ways[request as usize].sent = at;
                self.queue.push_back(request);
                self.serve_queue(at);
            }
            Due::Room => self.serve_queue(at),
            Due::Handed(id) => {
                let request = &self.requests[id as usize];
                let to = self.choose(id, at, &[Role::Decode]).expect("somebody decodes");
                // The first token is known and not computed; the rest is still to come.
                let rest = Request {
                    arrival: at,
                    prompt_tokens: request.prompt_tokens + 1,
                    output_tokens: request.output_tokens - 1,
                    prompt: std::sync::Arc::default(),
                    ..request.clone()
                };
                let brought = request.prompt_tokens;
                self.ways[id as usize].second = Some(self.offer(to, id, rest, brought, at));
            }
        }
    }

    /// Hands over from the front of the queue as far as somebody takes.
    fn serve_queue(&mut self, at: Nanos) {
        while let Some(&id) = self.queue.front() {
            let Some(to) = self.choose(id, at, &[Role::Whole, Role::Prefill]) else { return };
            self.queue.pop_front();
            let request = Request { arrival: self.ways[id as usize].sent, ..self.requests[id as usize].clone() };
            let output_tokens = if self.members[to].role == Role::Prefill { 1 } else { request.output_tokens };
            self.ways[id as usize].first = Some(self.offer(to, id, Request { output_tokens, ..request }, 0, at));
        }
    }

    fn choose(&mut self, id: u32, at: Nanos, roles: &[Role]) -> Option<usize> {
        let shared = self.plan.routing == Routing::Queue && !roles.contains(&Role::Decode);
        let candidates: Vec<(usize, usize)> = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| roles.contains(&m.role))
            .map(|(index, m)| (index, m.serving.outstanding(at)))
            .filter(|(index, outstanding)| !shared || *outstanding < self.members[*index].max_sequences)
            .collect();
        if candidates.is_empty() {
            assert!(shared, "nobody is there for {roles:?}");
            return None;
        }
        Some(self.router.choose(&self.requests[id as usize], &candidates))
    }

    fn offer(&mut self, to: usize, id: u32, request: Request, brought: u32, at: Nanos) -> Place {
        let member = &mut self.members[to];
        let local = member.serving.offer(request, brought, at);
        member.requests.push(id);
        member.is_busy = true;
        Place { replica: to as u32, local }
    }
}

#[cfg(test)]
mod tests;
