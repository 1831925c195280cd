//! What is seen of a stage's cards before, while and just after it runs: how much they worked, at what clocks and heat,
//! what held them back, and which other processes were on them.
//!
//! It does not know how a card is leased or what a stage computes. What it saw goes into the record; whether a
//! measurement was *disturbed* (another process, heat, a slowdown) is for the run to act on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lease::gpu::{Board, Guard, Held, Worked};
use crate::oracle::Facts;
use crate::oracle::gauge::{self, Gauge, Reading};

#[cfg(test)]
mod tests;

/// Where it is told under a record's circumstances.
pub(super) const CIRCUMSTANCE: &str = "cards";
/// By what a measurement was disturbed that was kept all the same.
pub(super) const DISTURBED: &str = "disturbed";
/// How often a card is looked at: often enough to see a passer-by, and one call to the driver in that time.
const EVERY: Duration = Duration::from_millis(500);
/// How often one looks whether others have left a card.
pub(super) const PASSING: Duration = Duration::from_millis(500);
/// How often the board is told how a card is used.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Looks at the cards of one running stage.
pub(super) struct Watch<'a> {
    gauge: &'a Gauge,
    board: Option<Board>,
    cards: Vec<Card>,
    began: Instant,
    looked: Instant,
    said: Instant,
}

/// A card and what was seen of it.
struct Card {
    uuid: String,
    since: Option<String>,
    guard: Option<Guard>,
    until_us: u64,
    seen: Seen,
}

/// What was seen of one card.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seen {
    samples: u32,
    worked: Vec<f64>,
    sm_mhz: Range,
    memory_mhz: Range,
    temperature_c: Range,
    power_w: Range,
    /// In how many samples each reason held the clocks back.
    held_back: BTreeMap<&'static str, u32>,
    /// Processes of others, with what they are called where that can be seen.
    strangers: BTreeMap<u32, String>,
    /// Processes whose number means nothing here: they live in another space of process numbers.
    unplaced: BTreeSet<u32>,
    unguarded: bool,
}

/// Least, most and sum of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Range {
    count: u32,
    least: f64,
    most: f64,
    sum: f64,
}

impl Range {
    fn take(&mut self, value: Option<f64>) {
        let Some(value) = value else { return };
        self.least = if self.count == 0 { value } else { self.least.min(value) };
        self.most = if self.count == 0 { value } else { self.most.max(value) };
        self.sum += value;
        self.count += 1;
    }

    fn told(&self) -> Value {
        let mean = self.sum / f64::from(self.count.max(1));
        match self.count {
            0 => Value::Null,
            _ => json!({ "min": self.least, "mean": (mean * 10.0).round() / 10.0, "max": self.most }),
        }
    }
}

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of the stage itself.
    Ours,
    /// Of somebody else, called so.
    Strange(String),
    /// Its number is not one of this space of process numbers.
    Unplaced,
}

impl<'a> Watch<'a> {
    /// Begins to look at the cards that are `held`.
    pub(super) fn new(gauge: &'a Gauge, board: Option<Board>, held: &[Held]) -> Watch<'a> {
        let card = |held: &Held| Card {
            uuid: held.uuid.clone(),
            since: board.as_ref().and_then(|board| board.since(&held.uuid)),
            guard: board.as_ref().map(|board| board.guard(held)),
            until_us: 0,
            seen: Seen::default(),
        };
        let cards = held.iter().map(card).collect();
        let now = Instant::now();
        Watch { gauge, board, cards, began: now, looked: now, said: now }
    }

    /// Looks if it is time to. `leader` is the stage's process, if there is one.
    pub(super) fn look_now_and_then(&mut self, leader: Option<u32>) {
        if self.looked.elapsed() >= EVERY {
            self.look(leader);
        }
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            for card in &self.cards {
                if let (Some(board), Some(since), Some(share)) = (&self.board, &card.since, card.seen.share()) {
                    let held_s = self.began.elapsed().as_secs_f64();
                    board.say_worked(&card.uuid, since, Worked { held_s, share });
                }
            }
        }
    }

    /// Looks.
    pub(super) fn look(&mut self, leader: Option<u32>) {
        self.looked = Instant::now();
        for card in &mut self.cards {
            let reading = self.gauge.read(&card.uuid, card.until_us);
            card.until_us = reading.until_us;
            card.seen.take(&reading, &|pid| whose(pid, leader));
            card.seen.unguarded |= card.guard.as_ref().is_some_and(|guard| !guard.stands());
        }
    }

    /// How a measurement was disturbed, in words; `None` = it was not, as far as could be seen.
    pub(super) fn disturbed(&self) -> Option<String> {
        let words: Vec<String> = self
            .cards
            .iter()
            .filter_map(|c| Some((c, c.seen.disturbed()?)))
            .map(|(c, why)| format!("{why} on {}", c.uuid))
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// All that was seen, for the record.
    pub(super) fn told(&self) -> Value {
        let held_s = (self.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        self.cards.iter().map(|card| card.seen.told(&card.uuid, held_s)).collect()
    }
}

impl Seen {
    pub(super) fn take(&mut self, reading: &Reading, whose: &dyn Fn(u32) -> Whose) {
        self.samples += 1;
        self.worked.extend(reading.worked);
        self.sm_mhz.take(reading.sm_mhz.map(f64::from));
        self.memory_mhz.take(reading.memory_mhz.map(f64::from));
        self.temperature_c.take(reading.temperature_c.map(f64::from));
        self.power_w.take(reading.power_w);
        for reason in reading.held_back.iter().flatten() {
            *self.held_back.entry(reason).or_default() += 1;
        }
        for pid in reading.processes.iter().flatten() {
            match whose(*pid) {
                Whose::Ours => {}
                Whose::Strange(name) => {
                    self.strangers.insert(*pid, name);
                }
                Whose::Unplaced => {
                    self.unplaced.insert(*pid);
                }
            }
        }
    }

    /// Share of the time in which the card worked.
    fn share(&self) -> Option<f64> {
        let sum: f64 = self.worked.iter().sum();
        (!self.worked.is_empty()).then(|| (sum / self.worked.len() as f64 * 1000.0).round() / 1000.0)
    }

    pub(super) fn disturbed(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.unguarded {
            words.push("its lock file was deleted, so another stage may have had it,".to_owned());
        }
        let strangers: Vec<String> =
            self.strangers.iter().map(|(pid, name)| format!("process {pid} ({name})")).collect();
        if !strangers.is_empty() {
            words.push(strangers.join(" and "));
        }
        words.extend(self.held_back.keys().filter(|reason| gauge::disturbs(reason)).map(|r| (*r).to_owned()));
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn told(&self, uuid: &str, held_s: f64) -> Value {
        let strangers: Vec<Value> =
            self.strangers.iter().map(|(pid, name)| json!({ "pid": pid, "name": name })).collect();
        json!({
            "uuid": uuid,
            "held_s": held_s,
            "worked_share": self.share(),
            "samples": self.samples,
            "sm_mhz": self.sm_mhz.told(),
            "memory_mhz": self.memory_mhz.told(),
            "temperature_c": self.temperature_c.told(),
            "power_w": self.power_w.told(),
            "held_back": self.held_back,
            "strangers": strangers,
            "unplaced_processes": self.unplaced.len(),
        })
    }
}

/// Whose the process `pid` is for a stage whose process is `leader`: one that comes of it, or is of its group.
pub(super) fn whose(pid: u32, leader: Option<u32>) -> Whose {
    // The longest chain of parents that is followed; one that grows meanwhile ends somewhere.
    const LONGEST: usize = 100;
    let Some((name, parent, group)) = status(pid) else { return Whose::Unplaced };
    let (mut at, mut parent) = (pid, parent);
    for _ in 0..LONGEST {
        if Some(at) == leader || Some(group) == leader {
            return Whose::Ours;
        }
        match status(parent) {
            Some((_, above, _)) if parent > 1 => (at, parent) = (parent, above),
            _ => break,
        }
    }
    Whose::Strange(name)
}

/// Name, parent and group of a process.
fn status(pid: u32) -> Option<(String, u32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace().skip(1).map(|field| field.parse::<u32>().unwrap_or(0));
    Some((name, fields.next()?, fields.next()?))
}

/// Processes of others that compute on one of the cards now, in words; `None` = nobody, as far as can be seen.
pub(super) fn strangers_on(facts: &Facts, uuids: &[String]) -> Option<String> {
    let gauge = facts.gauge()?;
    let words: Vec<String> = uuids
        .iter()
        .flat_map(|uuid| gauge.read(uuid, 0).processes.unwrap_or_default().into_iter().map(move |pid| (uuid, pid)))
        .map(|(uuid, pid)| match whose(pid, None) {
            Whose::Strange(name) => format!("process {pid} ({name}) on {uuid}"),
            Whose::Ours | Whose::Unplaced => format!("process {pid} on {uuid}"),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(" and "))
}
