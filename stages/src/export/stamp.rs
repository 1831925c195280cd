//! When a run began and ended, as ISO 8601 in UTC.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::tables::run::RunMeta;

/// From the run's own facts where it says; else its files were written when it ended, and it began as much earlier as
/// it lasted. Empty where the file system does not know.
pub(super) fn of_run(path: &Path, meta: &RunMeta, span_ns: u64) -> (String, String) {
    let said = |name: &str| meta.facts.get(name).and_then(|fact| fact.as_str()).map(str::to_owned);
    if let (Some(started), Some(ended)) = (said("started_at"), said("ended_at")) {
        return (started, ended);
    }
    let written = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(ended) = written.and_then(|t| t.duration_since(UNIX_EPOCH).ok()) else {
        return (String::new(), String::new());
    };
    let ended = ended.as_secs();
    (utc(ended.saturating_sub(span_ns / 1_000_000_000)), utc(ended))
}

/// `2026-01-05T09:10:09Z` of seconds since 1970. Days to a date by counting in eras of 400 years from 1 March, so that
/// the leap day is a year's last (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
pub(super) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}
