//! What the thread of a running stage does: wait for its process, judge how it ended, bring its outputs into the store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::resolve::chain;
use super::{Message, card};
use crate::attempt::{self, Attempt, Ended, Outcome, Place};
use crate::digest::{self, Digest};
use crate::event::Usage;
use crate::kind::{Sort, StageError};
use crate::launch::{Child, End, Said, Status};
use crate::store::{Made, Purpose, Record, Reserved, Store, StoreError};

/// Lines of the log that a record or a failure keeps.
const TAIL_LINES: usize = 20;

/// A stage that runs.
pub(super) struct Job<'a> {
    pub(super) stage: u32,
    pub(super) attempt: Attempt,
    /// Its process; `None` for an attempt that was found finished.
    pub(super) child: Option<Box<dyn Child>>,
    /// Looks at its cards, if it has any that can be looked at.
    pub(super) cards: Option<card::Watch<'a>>,
    pub(super) on_disturbed: OnDisturbed,
    pub(super) reserved: Reserved,
    pub(super) purpose: Purpose,
    /// Where its outputs are to be.
    pub(super) places: Vec<Place>,
    /// Files it takes, with their glance when they entered the key.
    pub(super) files: Vec<(String, PathBuf, Digest)>,
    /// Whether it is a kind, which leaves an outcome; a command has only its exit code.
    pub(super) leaves_outcome: bool,
    pub(super) kind: String,
    pub(super) sort: Sort,
    pub(super) made: Made,
    pub(super) text: String,
}

/// What becomes of a measurement that was disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDisturbed {
    /// It is thrown away, to be taken again.
    Discard,
    /// It is kept, and says so.
    Mark,
}

/// How a stage ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Its record is in the store, its attempt's directory is no longer needed, and what follows.
    Good(Box<Record>, Attempt, After),
    /// It is not.
    Bad(Bad),
}

/// What the thread of a stage that ended well does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// It puts the record into the other tier, and then says so.
    Push,
}

/// How a stage failed.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) error: StageError,
    pub(super) attempt: PathBuf,
    pub(super) tail: Vec<String>,
    /// It was ended by a signal and did not fall over by itself.
    pub(super) signalled: bool,
    /// It was found finished, and could not be taken.
    pub(super) adopted: bool,
    /// It ended well, and was thrown away because something disturbed the measurement.
    pub(super) disturbed: bool,
}

/// Sees a job through and sends how it ended. Sends exactly one `Ended`, whatever happens.
pub(super) fn see_through(job: Job<'_>, store: &Store, to: &Sender<Message>) {
    let (stage, directory, adopted) = (job.stage, job.attempt.directory.clone(), job.child.is_none());
    let ending = catch_unwind(AssertUnwindSafe(|| finish(job, store, to))).unwrap_or_else(|_| {
        let error = StageError::new("the engine fell over while it watched this stage")
            .help("this is a fault of the engine; please report it with the text above");
        Ending::Bad(Bad { error, attempt: directory, tail: Vec::new(), signalled: false, adopted, disturbed: false })
    });
    let pushed = match &ending {
        Ending::Good(record, _, After::Push) => Some(record.clone()),
        Ending::Good(..) | Ending::Bad(_) => None,
    };
    // The run waits for every job that it began, so somebody listens.
    let _ = to.send(Message::Ended { stage, ending });
    if let Some(record) = pushed {
        // A fault of a tier's is no fault of the run's.
        let _ = catch_unwind(AssertUnwindSafe(|| store.push(&record)));
        let _ = to.send(Message::Pushed);
    }
}

fn finish(mut job: Job<'_>, store: &Store, to: &Sender<Message>) -> Ending {
    let mut metrics = Vec::new();
    let end = job.child.take().map(|child| watch(child, &mut job, to, &mut metrics));
    let _ = to.send(Message::Left { stage: job.stage });
    let attempt = job.attempt.clone();
    let adopted = end.is_none();
    let signalled = end.is_some_and(|end| matches!(end.status, Status::Signalled(_)));
    // What escaped from the group still has the log, and with it the lock that its starter took.
    if end.is_some() && attempt::is_running(&attempt.directory) {
        let error = StageError::new("it ended and left a process running that could still write to its outputs")
            .help("a stage ends what it starts, or waits for it; a service belongs outside of a pipeline");
        return Ending::Bad(Bad { signalled, adopted, ..bad(error, &attempt) });
    }
    let outcome = match judge(&job, end) {
        Ok(outcome) => outcome,
        Err(error) => return Ending::Bad(Bad { signalled, adopted, ..bad(error, &attempt) }),
    };
    let disturbed = job.cards.as_ref().filter(|_| job.sort == Sort::Measured).and_then(card::Watch::disturbed);
    if let (Some(by), OnDisturbed::Discard) = (&disturbed, job.on_disturbed) {
        let error = StageError::new(format!("the measurement was disturbed by {by}"));
        let bad = Bad { disturbed: true, ..bad(error, &attempt) };
        attempt.remove();
        return Ending::Bad(bad);
    }
    match keep(job, outcome, end, metrics, disturbed, store) {
        Ok(record) => {
            let after = if store.pushes(record.sort) { After::Push } else { After::Nothing };
            Ending::Good(Box::new(record), attempt, after)
        }
        Err(error) => Ending::Bad(Bad { adopted, ..bad(error, &attempt) }),
    }
}

fn bad(error: StageError, attempt: &Attempt) -> Bad {
    let tail = attempt.log_tail(TAIL_LINES);
    Bad { error, attempt: attempt.directory.clone(), tail, signalled: false, adopted: false, disturbed: false }
}

fn watch(
    child: Box<dyn Child>,
    job: &mut Job<'_>,
    to: &Sender<Message>,
    metrics: &mut Vec<(String, f64, String)>,
) -> End {
    let leader = child.group().leader();
    let end = child.wait(&mut |said| {
        if let Some(cards) = &mut job.cards {
            cards.look_now_and_then(leader);
        }
        if let Some(Said::Metric { name, value, unit }) = &said {
            metrics.push((name.clone(), *value, unit.clone()));
        }
        if let Some(said) = said {
            let _ = to.send(Message::Said { stage: job.stage, said });
        }
    });
    if let Some(cards) = &mut job.cards {
        cards.look(leader);
    }
    end
}

/// Whether it ended well. For a kind its own word counts; the exit code only helps to say what went wrong.
fn judge(job: &Job<'_>, end: Option<End>) -> Result<Outcome, StageError> {
    let status = end.map(|end| end.status);
    if status == Some(Status::TimedOut) {
        let wall = Duration::from_nanos(end.map_or(0, |end| end.usage.wall_ns));
        return Err(StageError::new(format!("it was ended after {:.1} s, its time being up", wall.as_secs_f64()))
            .help("raise `timeout_s` of the stage, or give it less to do"));
    }
    if !job.leaves_outcome {
        return match status {
            Some(Status::Exited(0)) => Ok(Outcome {
                format: attempt::FORMAT,
                ended: Ended::Good,
                gate: None,
                circumstances: Default::default(),
                usage: Usage::default(),
            }),
            other => Err(unsaid(job, other)),
        };
    }
    match job.attempt.outcome() {
        Some(outcome) => match outcome.ended {
            Ended::Good => Ok(outcome),
            Ended::Failed(error) => Err(error),
            Ended::Panicked(words) => Err(StageError::new(format!("it panicked: {words}"))),
        },
        None => Err(unsaid(job, status)),
    }
}

/// The failure of a stage that left no word of its own. Where its file system is full it had no place to write one.
fn unsaid(job: &Job<'_>, status: Option<Status>) -> StageError {
    /// Less than this holds neither a log nor an outcome.
    const NOTHING_LEFT_BYTES: u64 = 32 << 10;
    let left = rustix::fs::statvfs(&job.attempt.directory).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    let died = died(status);
    match left {
        Ok(left) if left < NOTHING_LEFT_BYTES => {
            StageError::new(format!("{died}, and the file system of its attempt is full: {left} bytes left"))
                .help(crate::store::MAKE_ROOM)
        }
        _ => StageError::new(died),
    }
}

fn died(status: Option<Status>) -> String {
    match status {
        Some(Status::Signalled(9)) => {
            "it was killed (signal 9); if nobody did that, the machine may have run out of memory".to_owned()
        }
        Some(Status::Signalled(signal)) => format!("it was ended by signal {signal}"),
        Some(Status::Exited(0)) => "it ended without leaving an outcome".to_owned(),
        Some(Status::Exited(code)) => format!("it ended with exit code {code}"),
        Some(Status::TimedOut) | None => "it ended without leaving an outcome".to_owned(),
    }
}

/// Brings the outputs of a job that ended well into the store.
fn keep(
    job: Job<'_>,
    outcome: Outcome,
    end: Option<End>,
    metrics: Vec<(String, f64, String)>,
    disturbed: Option<String>,
    store: &Store,
) -> Result<Record, StageError> {
    for (label, path, glance) in &job.files {
        // What it read may be neither the old content nor the new: nothing could be said of its result.
        if digest::glance(path).ok() != Some(*glance) {
            return Err(
                StageError::new(format!("the input `{label}` changed while the stage ran")).help("run it again")
            );
        }
    }
    let outputs = job.attempt.outputs(&job.places)?;
    let mut circumstances = outcome.circumstances;
    for (name, value, unit) in metrics {
        circumstances.insert(format!("metric.{name}"), serde_json::json!({ "value": value, "unit": unit }));
    }
    if let Some(cards) = &job.cards {
        circumstances.insert(card::CIRCUMSTANCE.to_owned(), cards.told());
    }
    if let Some(by) = disturbed {
        circumstances.insert(card::DISTURBED.to_owned(), by.into());
    }
    let mut usage = end.map_or(outcome.usage, |end| end.usage);
    usage.peak_memory_bytes = usage.peak_memory_bytes.max(outcome.usage.peak_memory_bytes);
    let at = jiff::Timestamp::now().to_string();
    let finished = attempt::Finished {
        kind: job.kind,
        sort: job.sort,
        outputs,
        usage,
        made: Made { at, ..job.made },
        circumstances,
        gate: outcome.gate,
        log_tail: job.attempt.log_tail(TAIL_LINES),
        text: job.text,
    };
    store.commit(job.reserved, finished, job.purpose).map_err(|e| told(&e))
}

/// The store's error in a stage's words.
pub(super) fn told(error: &StoreError) -> StageError {
    let told = StageError::new(chain(error));
    match error.help() {
        Some(help) => told.help(help),
        None => told,
    }
}
