//! `pipe gpu` in words: each card with who holds it, and who waits, in order.

use std::fmt::Write as _;

use crate::lease::gpu::Entry;
use crate::oracle::Cards;
use crate::report::bytes;
use crate::report::paint::Paint;

#[cfg(test)]
mod tests;

/// A line for each card and each who waits.
pub(super) fn tell(
    cards: &Cards,
    holder: &dyn Fn(&str) -> Option<Entry>,
    waiting: &[(u64, Entry)],
    paint: Paint,
) -> String {
    let mut out = String::new();
    if cards.cards.is_empty() {
        let trouble = cards.trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default();
        let _ = writeln!(out, "no card is here{trouble}");
    }
    for card in &cards.cards {
        let held = match holder(&card.uuid) {
            None => paint.good("free"),
            Some(entry) => format!("held by {} since {}", who(&entry), entry.since),
        };
        let memory = bytes(card.memory_mib << 20);
        let _ = writeln!(out, "{}  {} ({memory})  {held}", card.uuid, paint.bold(&card.name));
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

fn who(entry: &Entry) -> String {
    let who = &entry.who;
    format!("`{}` of run {} (pid {} on {})", who.stage, who.run, who.pid, who.host)
}
