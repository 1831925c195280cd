//! `pipe gpu` in words: each card with what it does now and who holds it, and who waits, in order.

use std::fmt::Write as _;

use crate::lease::gpu::{Entry, Holders};
use crate::oracle::gauge::Reading;
use crate::oracle::{Card, Cards};
use crate::report::paint::Paint;
use crate::report::{bytes, duration};

#[cfg(test)]
mod tests;

/// What is known of a card besides what it is.
pub(super) struct Standing {
    pub(super) holders: Holders,
    /// What it says of itself now, if it can be asked.
    pub(super) now: Option<Reading>,
}

/// Lines for each card, and one for each who waits.
pub(super) fn tell(
    cards: &Cards,
    standing: &dyn Fn(&Card) -> Standing,
    waiting: &[(u64, Entry)],
    paint: Paint,
) -> String {
    let mut out = String::new();
    if cards.cards.is_empty() {
        let trouble = cards.trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default();
        let _ = writeln!(out, "no card is here{trouble}");
    }
    for card in &cards.cards {
        let Standing { holders, now } = standing(card);
        let word = match &holders {
            Holders::Free => paint.good("free"),
            Holders::Alone(_) => "held alone".to_owned(),
            Holders::Shared(_) => "shared".to_owned(),
        };
        let memory = bytes(card.memory_mib << 20);
        let _ = writeln!(out, "{}  {} ({memory})  {word}", card.uuid, paint.bold(&card.name));
        if let Some(now) = now.as_ref().map(now_doing).filter(|words| !words.is_empty()) {
            let _ = writeln!(out, "  now    {}", paint.dim(&now));
        }
        let nobody_said = holders == Holders::Alone(None);
        for entry in holders.entries() {
            let _ = writeln!(out, "  held   {}", held(&entry));
        }
        if nobody_said {
            let _ = writeln!(out, "  held   by somebody whose words cannot be read");
        }
    }
    for (number, entry) in waiting {
        let _ = writeln!(
            out,
            "waiting  {} since {} for {} (ticket {number})",
            who(entry),
            entry.since,
            entry.cards.join(" or ")
        );
    }
    out
}

fn held(entry: &Entry) -> String {
    let mut words = format!("by {} since {}", who(entry), entry.since);
    if entry.budget_mib > 0 {
        let _ = write!(words, ", at most {} of it", bytes(entry.budget_mib << 20));
    }
    if let Some(worked) = entry.worked {
        let held = duration((worked.held_s * 1e9) as u64);
        let _ = write!(words, "; it worked {:.0} % of {held}", worked.share * 100.0);
    }
    if entry.who.is_known_dead() {
        words.push_str("; that engine is gone and a process of the stage still runs");
    }
    words
}

fn now_doing(now: &Reading) -> String {
    let mut words = Vec::new();
    words.extend(now.worked.map(|share| format!("{:.0} % busy", share * 100.0)));
    words.extend(now.sm_mhz.map(|mhz| format!("{mhz} MHz")));
    words.extend(now.temperature_c.map(|c| format!("{c} °C")));
    words.extend(now.power_w.map(|w| format!("{w:.0} W")));
    let held_back = now.held_back.iter().flatten().filter(|reason| **reason != "idle");
    words.extend(held_back.map(|reason| format!("held back by {reason}")));
    if let Some(processes) = now.processes.as_ref().filter(|p| !p.is_empty()) {
        let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
        words.push(format!("process {}", numbers.join(", ")));
    }
    words.join(", ")
}

fn who(entry: &Entry) -> String {
    let who = &entry.who;
    let user = if entry.user.is_empty() { String::new() } else { format!("{}, ", entry.user) };
    format!("`{}` of run {} ({user}pid {} on {})", who.stage, who.run, who.pid, who.host)
}
