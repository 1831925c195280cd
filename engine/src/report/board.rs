//! Where a run stands, as far as its events tell: a row for each stage and the counts. What the plain and the fancy
//! observer share. It prints nothing and knows no clock but the events' own times.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::paint::Paint;
use super::{count, counted, duration};
use crate::event::{Event, State};

/// Pipelines with more stages than this are told by counts: only what failed or took long gets a line.
pub const FEW: usize = 60;

/// In a pipeline told by counts, a stage that ran at least so long gets a line all the same.
const LONG: Duration = Duration::from_secs(5);

/// What is known of a stage.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub state: State,
    /// Why it must run.
    pub reason: String,
    /// How long it took before, ns; 0 = unknown.
    pub expected_ns: u64,
    /// What it waits for.
    pub blocked: String,
    /// When its process was started, if it was.
    pub started: Option<Duration>,
    /// Units done, units in all (0 = unknown), what it is at.
    pub progress: Option<(u64, u64, String)>,
}

/// The standing of a run.
#[derive(Debug, Default)]
pub struct Board {
    rows: HashMap<String, Row>,
    running: BTreeSet<String>,
    /// The pipeline's name.
    pub pipeline: String,
    /// Stages wanted.
    pub total: usize,
    /// Stages that were hits.
    pub hits: u64,
    /// Stages that ran well.
    pub done: u64,
    /// Stages that failed.
    pub failed: u64,
    /// Stages that were skipped.
    pub skipped: u64,
    /// Time that hits saved, ns.
    pub saved_ns: u64,
    /// Whether a stop was asked for: what is skipped from then on is only counted.
    stopping: bool,
    /// Width of the columns `name` and `kind`.
    widths: (usize, usize),
}

impl Board {
    /// A board on which nothing has happened.
    pub fn new() -> Board {
        Board::default()
    }

    /// Takes in an event.
    pub fn on(&mut self, at: Duration, event: &Event) {
        match event {
            Event::RunStarted { pipeline, stages, .. } => {
                self.pipeline.clone_from(pipeline);
                self.total = stages.len();
                let widest = |width: &dyn Fn(&(String, String)) -> usize, most: usize| {
                    stages.iter().map(width).max().unwrap_or(0).min(most)
                };
                self.widths = (widest(&|s| s.0.chars().count(), 44), widest(&|s| s.1.chars().count(), 16));
                for (name, kind) in stages {
                    self.rows.insert(name.clone(), Row::new(kind));
                }
            }
            Event::Stopping { .. } => self.stopping = true,
            Event::StageMoved { stage, state } => self.moved(stage, *state),
            Event::StageHit { saved_ns, .. } => self.saved_ns += saved_ns,
            Event::StageMissed { stage, reason, expected_ns } => {
                let row = self.row(stage);
                row.reason.clone_from(reason);
                row.expected_ns = *expected_ns;
            }
            Event::StageBlocked { stage, on } => self.row(stage).blocked.clone_from(on),
            Event::StageStarted { stage, .. } => {
                let row = self.row(stage);
                row.started = Some(at);
                row.progress = None;
            }
            Event::StageProgress { stage, done, total, note } => {
                self.row(stage).progress = Some((*done, *total, note.clone()));
            }
            _ => {}
        }
    }

    fn row(&mut self, stage: &str) -> &mut Row {
        self.rows.entry(stage.to_owned()).or_insert_with(|| Row::new(""))
    }

    fn moved(&mut self, stage: &str, state: State) {
        self.row(stage).state = state;
        if state == State::Running {
            self.running.insert(stage.to_owned());
        } else {
            self.running.remove(stage);
        }
        match state {
            State::Hit => self.hits += 1,
            State::Done => self.done += 1,
            State::Failed => self.failed += 1,
            State::Skipped => self.skipped += 1,
            State::Waiting | State::Ready | State::Queued | State::Running => {}
        }
    }

    /// What is known of `stage`.
    pub fn get(&self, stage: &str) -> Option<&Row> {
        self.rows.get(stage)
    }

    /// How many stages run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many stages have come to an end.
    pub fn ended(&self) -> u64 {
        self.hits + self.done + self.failed + self.skipped
    }

    /// Columns that a stage's name is given.
    pub fn name_width(&self) -> usize {
        self.widths.0
    }

    /// Whether each stage gets a line.
    pub fn few(&self) -> bool {
        self.total <= FEW
    }

    /// The counts in words: `3 hits, 2 done, 1 failed`.
    pub fn counts(&self) -> String {
        let mut words = vec![counted(self.hits, "hit"), format!("{} done", count(self.done))];
        if self.failed > 0 {
            words.push(format!("{} failed", count(self.failed)));
        }
        if self.skipped > 0 {
            words.push(format!("{} skipped", count(self.skipped)));
        }
        words.join(", ")
    }

    /// The line that stays on the screen for `event`, if one does. Call it after [`Board::on`].
    pub fn line(&self, at: Duration, event: &Event, paint: Paint) -> Option<String> {
        match event {
            Event::RunStarted { run, pipeline, stages, .. } => Some(format!(
                "{}  {}",
                paint.bold(pipeline),
                paint.dim(&format!("{}, run {run}", counted(stages.len() as u64, "stage")))
            )),
            Event::StageHit { stage, saved_ns, from } if self.few() => {
                let saved = if *saved_ns > 0 { format!("saved {}", duration(*saved_ns)) } else { String::new() };
                let from = if from.is_empty() { String::new() } else { format!("from {from}") };
                let told: Vec<String> = [saved, from].into_iter().filter(|w| !w.is_empty()).collect();
                Some(self.entry(paint.known("hit    "), stage, &paint.dim(&told.join(", "))))
            }
            Event::StageDone { stage, usage, .. } if self.few() || usage.wall_ns >= LONG.as_nanos() as u64 => {
                let reason = self.get(stage).map(|r| r.reason.as_str()).filter(|r| !r.is_empty());
                let reason = reason.map(|r| paint.dim(&format!(" · {r}"))).unwrap_or_default();
                Some(self.entry(paint.good("done   "), stage, &format!("{}{reason}", duration(usage.wall_ns))))
            }
            Event::StageFailed { stage, message, .. } => {
                let ran =
                    self.get(stage).and_then(|row| row.ran(at)).map(|ran| format!("{ran} · ")).unwrap_or_default();
                let message = message.lines().next().unwrap_or_default();
                Some(self.entry(paint.bad("failed "), stage, &format!("{ran}{message}")))
            }
            Event::StageSkipped { stage, because } if self.few() && !self.stopping => {
                Some(self.entry(paint.warn("skipped"), stage, &paint.dim(because)))
            }
            Event::GateFailed { stage, message } => Some(self.entry(paint.bad("gate   "), stage, message)),
            Event::Warning { stage, message } => {
                let about = stage.as_ref().map(|s| format!("{s}: ")).unwrap_or_default();
                Some(format!("{}  {about}{message}", paint.warn("warning")))
            }
            Event::Stopping { killing: false } => Some(paint.warn(
                "stopping: nothing more is launched, the running stages are asked to end (Ctrl-C again kills them)",
            )),
            Event::Stopping { killing: true } => Some(paint.bad("killing what still runs")),
            _ => None,
        }
    }

    fn entry(&self, word: String, stage: &str, rest: &str) -> String {
        let kind = self.get(stage).map_or("", |r| r.kind.as_str());
        let (name_width, kind_width) = self.widths;
        format!("{word}  {stage:name_width$}  {kind:kind_width$}  {rest}").trim_end().to_owned()
    }
}

impl Row {
    fn new(kind: &str) -> Row {
        Row {
            kind: kind.to_owned(),
            state: State::Waiting,
            reason: String::new(),
            expected_ns: 0,
            blocked: String::new(),
            started: None,
            progress: None,
        }
    }

    /// How long it has run by `at`, if it was started.
    pub fn ran(&self, at: Duration) -> Option<String> {
        Some(duration(at.saturating_sub(self.started?).as_nanos() as u64))
    }

    /// How far it is, in words: `120/400 requests`.
    pub fn progress_words(&self) -> String {
        match &self.progress {
            None => String::new(),
            Some((done, 0, note)) => format!("{} {note}", count(*done)).trim_end().to_owned(),
            Some((done, total, note)) => format!("{}/{} {note}", count(*done), count(*total)).trim_end().to_owned(),
        }
    }
}
