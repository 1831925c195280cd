//! Watching a process: what it reports in `events.jsonl`, what it uses, and when it is over.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::Group;
use crate::event::Usage;

/// How often a running process is looked at; its end is seen at once.
const GLANCE: Duration = Duration::from_millis(100);
/// From being asked to end to being killed, when the time is up.
const PATIENCE: Duration = Duration::from_secs(5);
/// `/proc/PID/stat` counts in hundredths of a second on every architecture of Linux.
const TICK_NS: u64 = 10_000_000;
/// A longer line of `events.jsonl` is no report.
const LONGEST_LINE: usize = 64 << 10;

/// What a stage reports while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// How far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all; 0 = unknown.
        total: u64,
        /// What it is at.
        note: String,
    },
    /// A figure.
    Metric {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
        /// Its unit.
        unit: String,
    },
    /// Something a person should read.
    Warning(String),
}

/// What was seen of a process until its end.
pub(super) struct Watched {
    pub(super) usage: Usage,
    pub(super) timed_out: bool,
}

/// Waits until `child` has ended, and leaves it a zombie.
pub(super) fn until_over(
    child: &Child,
    group: &Group,
    deadline: Option<Instant>,
    events: &Path,
    said: &mut dyn FnMut(Option<Said>),
) -> Watched {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a number");
    // Without it (systems before 5.3) the end is seen at the next glance.
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
    let mut reports = Reports::new(events.to_owned());
    let mut watched = Watched { usage: Usage::default(), timed_out: false };
    let mut kill_at: Option<Instant> = None;
    loop {
        wait_a_glance(handle.as_ref(), deadline.into_iter().chain(kill_at).min());
        let over = has_ended(pid);
        reports.read(said);
        if over {
            watched.usage = Usage { peak_memory_bytes: watched.usage.peak_memory_bytes, ..times(pid) };
            return watched;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        watched.usage.peak_memory_bytes = watched.usage.peak_memory_bytes.max(crate::exec::peak_memory_bytes(&status));
        said(None);
        let now = Instant::now();
        match kill_at {
            None if deadline.is_some_and(|at| now >= at) => {
                watched.timed_out = true;
                kill_at = Some(now + PATIENCE);
                group.end();
            }
            Some(at) if now >= at => group.kill(),
            _ => {}
        }
    }
}

fn wait_a_glance(handle: Option<&OwnedFd>, until: Option<Instant>) {
    let left = until.map_or(GLANCE, |at| at.saturating_duration_since(Instant::now()).min(GLANCE));
    // What is past its time is looked at often, but not in a spin.
    let left = left.max(Duration::from_millis(1));
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
    let mut handles: Vec<PollFd<'_>> = handle.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    let _ = poll(&mut handles, Some(&timeout));
}

/// Whether it has ended; it stays a zombie, so that its number stays its own.
fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    match waitid(WaitId::Pid(pid), options) {
        Ok(ended) => ended.is_some(),
        Err(e) => e == rustix::io::Errno::CHILD,
    }
}

/// What a zombie and the children it waited for used.
fn times(pid: Pid) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The second field, a name in parentheses, may hold anything; the third follows the last parenthesis.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    Usage {
        user_ns: (field(14) + field(16)) * TICK_NS,
        system_ns: (field(15) + field(17)) * TICK_NS,
        ..Usage::default()
    }
}

/// Waits until no process of the killed group is left, at most a second: one that the system cannot end (it hangs in a
/// driver) must not hang us as well.
pub(super) fn until_gone(group: Pid) {
    for _ in 0..500 {
        if rustix::process::test_kill_process_group(group).is_err() {
            return;
        }
        wait_a_glance(None, Some(Instant::now() + Duration::from_millis(2)));
    }
}

/// Reads `events.jsonl` as it grows.
struct Reports {
    path: PathBuf,
    file: Option<File>,
    at: u64,
}

impl Reports {
    fn new(path: PathBuf) -> Reports {
        Reports { path, file: None, at: 0 }
    }

    /// Tells what is new. Of several words on progress only the last is told.
    fn read(&mut self, said: &mut dyn FnMut(Option<Said>)) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return;
        }
        // A line that is still being written waits for the next time, unless it never ends.
        let whole = match bytes.iter().rposition(|b| *b == b'\n') {
            Some(end) => end + 1,
            None if bytes.len() > LONGEST_LINE => bytes.len(),
            None => return,
        };
        self.at += whole as u64;
        let mut progress = None;
        for line in bytes[..whole].split(|b| *b == b'\n') {
            match parse(line) {
                Some(step @ Said::Progress { .. }) => progress = Some(step),
                Some(other) => said(Some(other)),
                None => {}
            }
        }
        if progress.is_some() {
            said(progress);
        }
    }
}

/// A report; `None` for what is none: a stage may write what it likes.
pub(super) fn parse(line: &[u8]) -> Option<Said> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    if let Some(progress) = value.get("progress") {
        return Some(Said::Progress {
            done: progress.get("done")?.as_u64()?,
            total: progress.get("total").and_then(serde_json::Value::as_u64).unwrap_or(0),
            note: progress.get("note").and_then(text).unwrap_or_default(),
        });
    }
    if let Some(metric) = value.get("metric") {
        return Some(Said::Metric {
            name: text(metric.get("name")?)?,
            value: metric.get("value")?.as_f64()?,
            unit: metric.get("unit").and_then(text).unwrap_or_default(),
        });
    }
    text(value.get("warning")?).map(Said::Warning)
}
