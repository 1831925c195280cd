//! A run as a trace that <chrome://tracing> and <https://ui.perfetto.dev> open: a lane for each stage that runs at the same
//! time, a lane for each card, waits before runs, and the figures that stages report as counters.
//!
//! Format: the JSON array of trace events (`ph` X, i, C, M; times in µs). The array is written as the run goes on; the
//! viewers read one that was cut off, too.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::event::{Event, Observer, State};

/// Process numbers of the two groups of lanes.
const STAGES: u32 = 1;
const CARDS: u32 = 2;

/// Writes a trace to `out`.
#[derive(Debug)]
pub struct Trace<W> {
    out: W,
    open: bool,
    /// Lanes of stages: who is on it.
    lanes: Vec<Option<String>>,
    cards: BTreeMap<String, usize>,
    kinds: HashMap<String, String>,
    queued: HashMap<String, Duration>,
    running: HashMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    since: Duration,
    lane: usize,
    gpus: Vec<String>,
    cpus: u16,
}

impl<W: Write> Trace<W> {
    /// The trace goes to `out`.
    pub fn new(out: W) -> Trace<W> {
        Trace {
            out,
            open: false,
            lanes: Vec::new(),
            cards: BTreeMap::new(),
            kinds: HashMap::new(),
            queued: HashMap::new(),
            running: HashMap::new(),
        }
    }

    fn put(&mut self, event: &Value) {
        let before = if self.open { ",\n" } else { "[\n" };
        self.open = true;
        // A trace is a courtesy: a full disk must not turn it into a failure.
        let _ = write!(self.out, "{before}{event}");
    }

    fn name_lane(&mut self, group: u32, lane: usize, name: &str) {
        self.put(&json!({ "ph": "M", "name": "thread_name", "pid": group, "tid": lane, "args": { "name": name } }));
    }

    fn take_lane(&mut self, stage: &str) -> usize {
        if let Some(lane) = self.lanes.iter().position(Option::is_none) {
            self.lanes[lane] = Some(stage.to_owned());
            return lane;
        }
        let lane = self.lanes.len();
        self.lanes.push(Some(stage.to_owned()));
        self.name_lane(STAGES, lane, &format!("lane {}", lane + 1));
        lane
    }

    fn started(&mut self, at: Duration, stage: &str, gpus: &[String], cpus: u16) {
        let lane = self.take_lane(stage);
        for gpu in gpus {
            if !self.cards.contains_key(gpu) {
                let card = self.cards.len();
                self.cards.insert(gpu.clone(), card);
                self.name_lane(CARDS, card, gpu);
            }
        }
        if let Some(since) = self.queued.remove(stage)
            && at > since
        {
            let name = format!("{stage} waits");
            self.put(&span(STAGES, lane, &name, "wait", since, at, &json!({})));
        }
        self.running.insert(stage.to_owned(), Running { since: at, lane, gpus: gpus.to_vec(), cpus });
    }

    fn ended(&mut self, at: Duration, stage: &str, end: &str) {
        let Some(run) = self.running.remove(stage) else { return };
        self.lanes[run.lane] = None;
        let kind = self.kinds.get(stage).cloned().unwrap_or_default();
        let args = json!({ "kind": kind, "end": end, "cpus": run.cpus, "gpus": run.gpus });
        self.put(&span(STAGES, run.lane, stage, &kind, run.since, at, &args));
        for gpu in &run.gpus {
            let card = self.cards[gpu];
            self.put(&span(CARDS, card, stage, &kind, run.since, at, &args));
        }
    }
}

fn micros(at: Duration) -> f64 {
    at.as_nanos() as f64 / 1e3
}

fn span(group: u32, lane: usize, name: &str, category: &str, from: Duration, to: Duration, args: &Value) -> Value {
    json!({
        "ph": "X", "name": name, "cat": category, "pid": group, "tid": lane,
        "ts": micros(from), "dur": micros(to.saturating_sub(from)), "args": args,
    })
}

impl<W: Write> Observer for Trace<W> {
    fn on(&mut self, at: Duration, event: &Event) {
        match event {
            Event::RunStarted { pipeline, stages, .. } => {
                self.kinds = stages.iter().cloned().collect();
                for (group, name) in [(STAGES, format!("stages of {pipeline}")), (CARDS, "cards".to_owned())] {
                    self.put(&json!({ "ph": "M", "name": "process_name", "pid": group, "args": { "name": name } }));
                }
            }
            Event::StageMoved { stage, state: State::Queued } => {
                self.queued.insert(stage.clone(), at);
            }
            Event::StageStarted { stage, gpus, cpus, .. } => self.started(at, stage, gpus, *cpus),
            Event::StageHit { stage, saved_ns, .. } => self.put(&json!({
                "ph": "i", "s": "p", "name": format!("hit {stage}"), "pid": STAGES, "tid": 0,
                "ts": micros(at), "args": { "saved_ns": saved_ns },
            })),
            Event::StageMetric { stage, name, value, unit } => self.put(&json!({
                "ph": "C", "name": format!("{stage} {name} [{unit}]"), "pid": STAGES,
                "ts": micros(at), "args": { name: value },
            })),
            Event::StageDone { stage, .. } => self.ended(at, stage, "done"),
            Event::StageFailed { stage, .. } => self.ended(at, stage, "failed"),
            Event::RunFinished { .. } => {
                let left: Vec<String> = self.running.keys().cloned().collect();
                for stage in left {
                    self.ended(at, &stage, "stopped");
                }
                let _ = writeln!(self.out, "{}", if self.open { "\n]" } else { "[]" });
                let _ = self.out.flush();
            }
            _ => {}
        }
    }
}
