//! Observers of a run's [`Event`](crate::event::Event)s: everything that a person or a program sees of a run.
//!
//! [`plain`] prints lines, [`fancy`] keeps bars on a terminal, [`json`] prints the events themselves, [`trace`] writes a
//! file for Chrome's and Perfetto's viewers, [`summary`] says at the end what came of it. A recorded run replayed
//! through them looks as it did live. They do not know pipelines, keys, stores or processes.
//!
//! Invariants: results go to stdout and everything else to stderr; colour only where the caller found a terminal;
//! an observer never fails a run (a closed pipe ends the printing and nothing else).

pub mod board;
pub mod fancy;
pub mod json;
pub mod paint;
pub mod plain;
pub mod summary;
pub mod trace;

#[cfg(test)]
pub(crate) mod stories;
#[cfg(test)]
mod tests;

/// A duration in a person's units: `640 µs`, `412 ms`, `12.3 s`, `4 min 05 s`, `3 h 12 min`.
pub fn duration(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..999_500_000 => format!("{:.0} ms", seconds * 1e3),
        999_500_000..9_995_000_000 => format!("{seconds:.2} s"),
        9_995_000_000..59_950_000_000 => format!("{seconds:.1} s"),
        59_950_000_000..3_599_500_000_000 => {
            let whole = seconds.round() as u64;
            format!("{} min {:02} s", whole / 60, whole % 60)
        }
        _ => {
            let minutes = (seconds / 60.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// A size in a person's units: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A count with commas: `10,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 stage`, `3 stages`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// The first `most` columns of a text, with an ellipsis where something was cut.
pub fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}
