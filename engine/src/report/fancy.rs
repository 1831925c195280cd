//! Bars for a terminal: lines of what has ended scroll by, below them a line for each stage that runs (as many as fit)
//! and one with the counts. Readable with ten thousand stages, because only those that run have a line.
//!
//! Invariant: it never keeps more lines alive than the terminal has rows.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::style::ProgressTracker;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::board::Board;
use super::paint::Paint;
use super::{clip, count, duration};
use crate::event::{Event, Observer, State};

/// Most running stages that have a line of their own.
const MOST_BARS: usize = 12;
/// Widest name on a bar.
const NAME: usize = 36;
/// Width of a bar in columns.
const GAUGE: usize = 16;
/// How often clocks on the screen move.
const TICK: Duration = Duration::from_millis(125);

/// Keeps bars on a terminal.
#[derive(Debug)]
pub struct Fancy {
    screen: MultiProgress,
    paint: Paint,
    board: Board,
    counts: ProgressBar,
    bars: BTreeMap<String, ProgressBar>,
    without_bar: VecDeque<String>,
    most_bars: usize,
    clocks: Clocks,
}

/// Whether clocks move between events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// A thread of the bar library redraws.
    Moving,
    /// The screen changes with events only; for tests.
    Still,
}

impl Fancy {
    /// Bars on `target`, a terminal of so many `rows`.
    pub fn new(target: ProgressDrawTarget, rows: u16, paint: Paint, clocks: Clocks) -> Fancy {
        let screen = MultiProgress::with_draw_target(target);
        let counts = screen.add(ProgressBar::new(0).with_style(style(paint, "{gauge} {clock} · {wide_msg}", 0)));
        if clocks == Clocks::Moving {
            counts.enable_steady_tick(TICK);
        }
        Fancy {
            screen,
            paint,
            board: Board::new(),
            counts,
            bars: BTreeMap::new(),
            without_bar: VecDeque::new(),
            most_bars: usize::from(rows).saturating_sub(4).clamp(1, MOST_BARS),
            clocks,
        }
    }

    fn add_bar(&mut self, at: Duration, stage: &str) {
        if self.bars.len() == self.most_bars {
            self.without_bar.push_back(stage.to_owned());
            return;
        }
        let Some(row) = self.board.get(stage) else { return };
        let ran = row.started.map_or(Duration::ZERO, |started| at.saturating_sub(started));
        let width = self.board.name_width().min(NAME);
        let template = if self.paint == Paint::Colour {
            format!("{{spinner:.green}} {{prefix:{width}.bold}} {{gauge}} {{clock}} {{wide_msg:.dim}}")
        } else {
            format!("{{spinner}} {{prefix:{width}}} {{gauge}} {{clock}} {{wide_msg}}")
        };
        let bar = ProgressBar::new(0)
            .with_style(style(self.paint, &template, row.expected_ns))
            .with_elapsed(ran)
            .with_prefix(clip(stage, NAME));
        let bar = self.screen.insert_before(&self.counts, bar);
        if self.clocks == Clocks::Moving {
            bar.enable_steady_tick(TICK);
        }
        self.bars.insert(stage.to_owned(), bar);
        self.show_progress(stage);
    }

    fn show_progress(&self, stage: &str) {
        let (Some(bar), Some(row)) = (self.bars.get(stage), self.board.get(stage)) else { return };
        if let Some((done, total, _)) = &row.progress {
            bar.set_length(*total);
            bar.set_position(*done);
        }
        let words = row.progress_words();
        let message = if words.is_empty() { format!("{} · {}", row.kind, row.reason) } else { words };
        bar.set_message(message);
    }

    fn remove_bar(&mut self, at: Duration, stage: &str) {
        if let Some(bar) = self.bars.remove(stage) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        } else {
            self.without_bar.retain(|s| s != stage);
            return;
        }
        if let Some(next) = self.without_bar.pop_front() {
            self.add_bar(at, &next);
        }
    }

    fn show_counts(&self) {
        let mut words = self.board.counts();
        let _ = write!(words, ", {} of {}", count(self.board.ended()), count(self.board.total as u64));
        if !self.without_bar.is_empty() {
            let _ = write!(words, ", {} more running", count(self.without_bar.len() as u64));
        }
        self.counts.set_length(self.board.total as u64);
        self.counts.set_position(self.board.ended());
        self.counts.set_message(words);
    }

    fn clear(&mut self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
        self.counts.finish_and_clear();
        let _ = self.screen.clear();
    }
}

impl Observer for Fancy {
    fn on(&mut self, at: Duration, event: &Event) {
        self.board.on(at, event);
        match event {
            Event::StageStarted { stage, .. } => self.add_bar(at, stage),
            Event::StageProgress { stage, .. } => self.show_progress(stage),
            Event::StageMoved { stage, state: State::Done | State::Failed | State::Skipped | State::Queued } => {
                self.remove_bar(at, stage);
            }
            Event::StageBlocked { stage, on } if self.board.running() == 0 => {
                self.counts.set_message(format!("{stage} waits: {on}"));
                return;
            }
            Event::RunFinished { .. } => {
                self.clear();
                return;
            }
            _ => {}
        }
        if let Some(line) = self.board.line(at, event, self.paint) {
            // A terminal that has gone away must not end the run.
            let _ = self.screen.println(line);
        }
        self.show_counts();
    }
}

fn style(paint: Paint, template: &str, expected_ns: u64) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates stand in this file")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        .with_key("gauge", Gauge { expected_ns, paint })
        .with_key("clock", Clock { expected_ns })
}

/// The part that is done: units where the stage tells them, else time where it ran before.
#[derive(Clone)]
struct Gauge {
    expected_ns: u64,
    paint: Paint,
}

impl ProgressTracker for Gauge {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }
    fn tick(&mut self, _: &ProgressState, _: std::time::Instant) {}
    fn reset(&mut self, _: &ProgressState, _: std::time::Instant) {}
    fn write(&self, state: &ProgressState, w: &mut dyn std::fmt::Write) {
        let elapsed = state.elapsed().as_nanos() as f64;
        let part = match (state.len(), self.expected_ns) {
            (Some(len), _) if len > 0 => Some(state.pos() as f64 / len as f64),
            (_, 0) => None,
            // Time alone never fills the bar: the stage has not ended.
            (_, expected) => Some((elapsed / expected as f64).min(0.97)),
        };
        let _ = w.write_str(&gauge(part, self.paint));
    }
}

/// The time since the start, and the time it took before.
#[derive(Clone)]
struct Clock {
    expected_ns: u64,
}

impl ProgressTracker for Clock {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }
    fn tick(&mut self, _: &ProgressState, _: std::time::Instant) {}
    fn reset(&mut self, _: &ProgressState, _: std::time::Instant) {}
    fn write(&self, state: &ProgressState, w: &mut dyn std::fmt::Write) {
        let _ = w.write_str(&clock(state.elapsed(), self.expected_ns));
    }
}

/// A bar of [`GAUGE`] columns; all blank where nothing is known.
fn gauge(part: Option<f64>, paint: Paint) -> String {
    let Some(part) = part else { return paint.dim(&"·".repeat(GAUGE)) };
    let halves = (part.clamp(0.0, 1.0) * (GAUGE * 2) as f64) as usize;
    let mut full = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        full.push('╸');
    }
    let rest = GAUGE - full.chars().count();
    format!("{}{}", paint.known(&full), paint.dim(&"─".repeat(rest)))
}

fn clock(elapsed: Duration, expected_ns: u64) -> String {
    // Whole seconds: a clock that flickers in tenths draws the eye from what matters.
    let seconds = elapsed.as_secs();
    let now = if seconds < 60 { format!("{seconds} s") } else { duration(seconds * 1_000_000_000) };
    if expected_ns == 0 {
        return now;
    }
    format!("{now} of about {}", duration(expected_ns))
}
