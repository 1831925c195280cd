//! Who may run now: a [`Pool`] of cores, memory, quiet and cards, from which a stage takes all it needs or nothing.
//!
//! It does not know stages but by number, nor what they do. Waiters stand in order of priority, then of arrival; one
//! may be overtaken only by one that needs nothing of what it lacks. So a large one is never starved by small ones: what
//! it lacks is left to gather for it. Waiters with equal needs are one queue, of which only the head is looked at, so
//! ten thousand that wait for a core cost no more than one.
//!
//! Invariant: what is leased never exceeds what there is; *quiet* is alone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::kind::{Needs, Sort};
use crate::oracle::Card;

pub mod gpu;

#[cfg(test)]
mod tests;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Cores.
    pub cpus: u16,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// What a waiter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Cores, at least one.
    pub cpus: u16,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// To be alone.
    pub quiet: bool,
    /// How many cards.
    pub gpus: usize,
    /// Of which cards, by UUID.
    pub cards: Vec<String>,
    /// Alone on them, or beside others.
    pub how: gpu::How,
}

impl Ask {
    /// What a stage with these `needs` asks of a pool of this `capacity`: never more than there is, so that a stage
    /// for four cores runs alone where two are to be used.
    pub fn of(needs: &Needs, sort: Sort, cards: &[&Card], capacity: Capacity) -> Ask {
        // What is measured has its cards for itself, whatever it says of its memory.
        let how = match (sort, needs.gpu_budget_mib, cards.first()) {
            (Sort::Computed, budget_mib @ 1.., Some(card)) => {
                gpu::How::Shared { budget_mib, card_mib: card.memory_mib }
            }
            _ => gpu::How::Alone,
        };
        Ask {
            cpus: needs.cpus.clamp(1, capacity.cpus.max(1)),
            memory_mib: needs.memory_mib.min(capacity.memory_mib),
            quiet: needs.quiet,
            gpus: usize::from(needs.gpus),
            cards: cards.iter().map(|card| card.uuid.clone()).collect(),
            how,
        }
    }
}

/// What a stage holds while it runs; goes back to the pool by [`Pool::give_back`].
#[derive(Debug)]
pub struct Lease {
    /// Cores.
    pub cpus: u16,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Alone.
    pub quiet: bool,
    /// Cards, each with its lock.
    pub cards: Vec<gpu::Held>,
}

/// Somebody who waits, known to the pool by a number.
pub type Waiter = u32;

/// Where a waiter stands: priority, then arrival.
type Place = (Reverse<u64>, u64, Waiter);

/// Waiters with equal needs, in order.
#[derive(Debug)]
struct Queue {
    ask: Ask,
    waiters: BTreeSet<Place>,
}

/// What somebody further ahead lacks and those behind must leave alone.
#[derive(Debug, Default)]
struct Lacked {
    cpus: bool,
    memory: bool,
    cards: Vec<String>,
}

/// Resources and those who wait for them.
#[derive(Debug)]
pub struct Pool {
    capacity: Capacity,
    cpus: u16,
    memory_mib: u64,
    running: u32,
    quiet: bool,
    board: Option<gpu::Board>,
    queues: Vec<Queue>,
    places: HashMap<Waiter, (usize, Place)>,
    tickets: HashMap<Waiter, gpu::Ticket>,
    /// What those who ask for cards are called at the board.
    names: HashMap<Waiter, String>,
    arrivals: u64,
    /// What each head that was looked at lacks, in words.
    lacking: Vec<(Waiter, String)>,
}

impl Pool {
    /// A pool of which nothing is leased. Without a `board` there are no cards to be had.
    pub fn new(capacity: Capacity, board: Option<gpu::Board>) -> Pool {
        Pool {
            capacity,
            cpus: 0,
            memory_mib: 0,
            running: 0,
            quiet: false,
            board,
            queues: Vec::new(),
            places: HashMap::new(),
            tickets: HashMap::new(),
            names: HashMap::new(),
            arrivals: 0,
            lacking: Vec::new(),
        }
    }

    /// What there is.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// What `waiter` is called at the board of cards, for people.
    pub fn name(&mut self, waiter: Waiter, name: &str) {
        self.names.insert(waiter, name.to_owned());
    }

    /// The board of cards, as `waiter` stands at it.
    pub fn board_of(&self, waiter: Waiter) -> Option<gpu::Board> {
        let board = self.board.as_ref()?;
        Some(self.names.get(&waiter).map_or_else(|| board.clone(), |name| board.of_stage(name)))
    }

    /// Puts a waiter in its place. The higher the priority, the further ahead.
    pub fn ask(&mut self, waiter: Waiter, priority: u64, ask: Ask) {
        self.withdraw(waiter);
        let queue = match self.queues.iter().position(|q| q.ask == ask) {
            Some(queue) => queue,
            None => {
                self.queues.push(Queue { ask, waiters: BTreeSet::new() });
                self.queues.len() - 1
            }
        };
        self.arrivals += 1;
        let place = (Reverse(priority), self.arrivals, waiter);
        self.queues[queue].waiters.insert(place);
        self.places.insert(waiter, (queue, place));
    }

    /// Takes a waiter out.
    pub fn withdraw(&mut self, waiter: Waiter) {
        if let Some((queue, place)) = self.places.remove(&waiter) {
            self.queues[queue].waiters.remove(&place);
            self.tickets.remove(&waiter);
            self.lacking.retain(|(other, _)| *other != waiter);
        }
    }

    /// The next waiter that can have all it asks for, and that. To be called until nobody is left that can.
    pub fn grant(&mut self) -> Option<(Waiter, Lease)> {
        self.lacking.clear();
        let mut heads: Vec<_> =
            self.queues.iter().enumerate().filter_map(|(i, q)| q.waiters.first().map(|place| (*place, i))).collect();
        heads.sort_unstable();
        let mut lacked = Lacked::default();
        for ((_, _, waiter), queue) in heads {
            // Everybody needs a core, so nobody behind can have anything.
            if lacked.cpus {
                break;
            }
            let ask = self.queues[queue].ask.clone();
            let overtakes = lacked.concerns(&ask);
            let mut lacks = self.short_of(&ask, &mut lacked);
            if overtakes {
                continue;
            }
            let mut cards = Vec::new();
            if lacks.is_empty() && ask.gpus > 0 {
                match self.take_cards(waiter, &ask) {
                    Ok(held) => cards = held,
                    Err(why) => lacks.push(why),
                }
            }
            if lacks.is_empty() {
                self.withdraw(waiter);
                return Some((waiter, self.lease(&ask, cards)));
            }
            // Whether there are cards is not asked while something else lacks; those behind must leave them.
            lacked.cards.extend(ask.cards);
            self.lacking.push((waiter, lacks.join(" and ")));
        }
        None
    }

    /// What there is too little of for `ask`, in words, cards aside; those behind must leave it alone.
    fn short_of(&self, ask: &Ask, lacked: &mut Lacked) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.quiet || (ask.quiet && self.running > 0) {
            lacked.cpus = true;
            lacks.push("a quiet machine".to_owned());
        } else if self.cpus + ask.cpus > self.capacity.cpus.max(1) {
            lacked.cpus = true;
            lacks.push(format!("{} cpu{}", ask.cpus, if ask.cpus == 1 { "" } else { "s" }));
        }
        if self.memory_mib + ask.memory_mib > self.capacity.memory_mib {
            lacked.memory = true;
            lacks.push(format!("{} MiB", ask.memory_mib));
        }
        lacks
    }

    fn lease(&mut self, ask: &Ask, cards: Vec<gpu::Held>) -> Lease {
        self.cpus += ask.cpus;
        self.memory_mib += ask.memory_mib;
        self.running += 1;
        self.quiet = ask.quiet;
        Lease { cpus: ask.cpus, memory_mib: ask.memory_mib, quiet: ask.quiet, cards }
    }

    fn take_cards(&mut self, waiter: Waiter, ask: &Ask) -> Result<Vec<gpu::Held>, String> {
        let Some(board) = self.board_of(waiter) else { return Err("a GPU".to_owned()) };
        let failed = |e: std::io::Error| format!("the GPU board ({e})");
        if let std::collections::hash_map::Entry::Vacant(place) = self.tickets.entry(waiter) {
            place.insert(board.ticket(&ask.cards).map_err(failed)?);
        }
        let want = gpu::Want { cards: ask.cards.clone(), count: ask.gpus, how: ask.how };
        match board.take(&self.tickets[&waiter], &want) {
            Ok(gpu::Taken::All(held)) => Ok(held),
            Ok(gpu::Taken::Wait(why)) => Err(why),
            Err(e) => {
                // Waiting mends no board: without a ticket nobody waits for one.
                self.tickets.remove(&waiter);
                Err(failed(e))
            }
        }
    }

    /// Takes back only the cards of what a stage holds: its process is over, and what is left to do needs none.
    pub fn give_back_cards(&mut self, lease: &mut Lease) {
        if let Some(board) = &self.board {
            lease.cards.drain(..).for_each(|held| board.put_back(held));
        }
    }

    /// Takes back what a stage held.
    pub fn give_back(&mut self, mut lease: Lease) {
        self.give_back_cards(&mut lease);
        self.cpus -= lease.cpus;
        self.memory_mib -= lease.memory_mib;
        self.running -= 1;
        self.quiet = self.quiet && !lease.quiet;
    }

    /// What those lack that the last [`Pool::grant`] looked at and passed over.
    pub fn lacking(&self) -> &[(Waiter, String)] {
        &self.lacking
    }

    /// Whether somebody waits for a card: another engine may free it without a word to us.
    pub fn waits_for_cards(&self) -> bool {
        !self.tickets.is_empty()
    }
}

impl Lacked {
    fn concerns(&self, ask: &Ask) -> bool {
        self.cpus
            || (self.memory && ask.memory_mib > 0)
            || (ask.gpus > 0 && ask.cards.iter().any(|card| self.cards.contains(card)))
    }
}
