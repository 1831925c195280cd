//! Runs as lists of events, for the observers' tests.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::event::{Event, Observer, State, Usage};

/// A run in which something of everything happens.
pub(crate) fn eventful() -> Vec<(u64, Event)> {
    let mut story = Story::start("demo", &["workload", "profile", "sim", "real", "verdict", "page"]);
    story.at(2).hit("workload", 1_240_000_000, "20261124T090000-aa11 on otto");
    story.at(3).run("profile", "first run", 0);
    story.at(9_000).progress("profile", 40, 100, "operations");
    story.at(12_000).progress("profile", 90, 100, "operations");
    story.at(12_300).done("profile", 12_297);
    story.at(12_310).run("sim", "config scheduler.max_batch: 512 → 256", 400_000_000);
    story.at(12_310).run("real", "config scheduler.max_batch: 512 → 256", 3_000_000_000);
    story.at(12_700).done("sim", 390);
    story.put(Event::Warning { stage: Some("real".into()), message: "the clock was not locked".into() });
    story.at(15_400).fail("real", "exit status 3");
    story.skip("verdict", "`real` failed");
    story.skip("page", "`real` failed");
    story.put(Event::Shown { stage: "sim".into(), port: "text".into(), text: "p50  12.0 ms\np99  31.4 ms\n".into() });
    story.put(Event::Linked { stage: "sim".into(), port: "run".into(), path: "results/demo/sim/run".into() });
    story.at(15_500).finish();
    story.events
}

/// A run of `stages` stages of which the first `hits` are hits and the rest run one by one, each 1 ms.
pub(crate) fn long(stages: usize, hits: usize) -> Vec<(u64, Event)> {
    let names: Vec<String> = (0..stages).map(|i| format!("stage{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::start("long", &names);
    for (i, name) in names.iter().enumerate() {
        if i < hits {
            story.at(1).hit(name, 1_000_000_000, "");
        } else {
            story.at((i - hits + 1) as u64).run(name, "first run", 0);
            story.done(name, 1);
        }
    }
    story.finish();
    story.events
}

/// A run in the making.
pub(crate) struct Story {
    now_ms: u64,
    pub(crate) events: Vec<(u64, Event)>,
    hits: u32,
    done: u32,
    failed: u32,
    skipped: u32,
}

impl Story {
    pub(crate) fn start(pipeline: &str, stages: &[&str]) -> Story {
        let started = Event::RunStarted {
            run: "20261125T080000-1a2b".into(),
            pipeline: pipeline.into(),
            file: format!("pipelines/{pipeline}.toml"),
            command: vec!["pipe".into(), "run".into(), format!("pipelines/{pipeline}.toml")],
            started: "2026-11-25T08:00:00Z".into(),
            host: "anna".into(),
            stages: stages.iter().map(|s| ((*s).to_owned(), "toy".to_owned())).collect(),
        };
        Story { now_ms: 0, events: vec![(0, started)], hits: 0, done: 0, failed: 0, skipped: 0 }
    }

    pub(crate) fn at(&mut self, ms: u64) -> &mut Story {
        self.now_ms = ms;
        self
    }

    pub(crate) fn put(&mut self, event: Event) {
        self.events.push((self.now_ms, event));
    }

    fn moved(&mut self, stage: &str, state: State) {
        self.put(Event::StageMoved { stage: stage.into(), state });
    }

    pub(crate) fn hit(&mut self, stage: &str, saved_ns: u64, from: &str) {
        self.hits += 1;
        self.moved(stage, State::Ready);
        self.put(Event::StageHit { stage: stage.into(), saved_ns, from: from.into() });
        self.moved(stage, State::Hit);
    }

    pub(crate) fn run(&mut self, stage: &str, reason: &str, expected_ns: u64) {
        self.moved(stage, State::Ready);
        self.put(Event::StageMissed { stage: stage.into(), reason: reason.into(), expected_ns });
        self.moved(stage, State::Queued);
        self.moved(stage, State::Running);
        let attempt = format!("cache/attempts/{stage}-1");
        self.put(Event::StageStarted { stage: stage.into(), attempt, gpus: Vec::new(), cpus: 1 });
    }

    pub(crate) fn progress(&mut self, stage: &str, done: u64, total: u64, note: &str) {
        self.put(Event::StageProgress { stage: stage.into(), done, total, note: note.into() });
    }

    pub(crate) fn done(&mut self, stage: &str, wall_ms: u64) {
        self.done += 1;
        let usage = Usage { wall_ns: wall_ms * 1_000_000, ..Usage::default() };
        self.put(Event::StageDone { stage: stage.into(), usage, outputs: Vec::new() });
        self.moved(stage, State::Done);
    }

    pub(crate) fn fail(&mut self, stage: &str, message: &str) {
        self.failed += 1;
        self.put(Event::StageFailed {
            stage: stage.into(),
            message: message.into(),
            help: Some("read the log".into()),
            attempt: format!("cache/attempts/{stage}-1"),
            tail: vec!["loading".into(), "out of paper".into()],
        });
        self.moved(stage, State::Failed);
    }

    pub(crate) fn skip(&mut self, stage: &str, because: &str) {
        self.skipped += 1;
        self.put(Event::StageSkipped { stage: stage.into(), because: because.into() });
        self.moved(stage, State::Skipped);
    }

    pub(crate) fn finish(&mut self) {
        let exit = if self.failed > 0 { 3 } else { 0 };
        self.put(Event::RunFinished {
            hits: self.hits,
            done: self.done,
            failed: self.failed,
            skipped: self.skipped,
            gates: 0,
            stopped: false,
            exit,
        });
    }
}

/// Feeds a story to an observer.
pub(crate) fn tell(story: &[(u64, Event)], observer: &mut dyn Observer) {
    for (ms, event) in story {
        observer.on(Duration::from_millis(*ms), event);
    }
}

/// A writer whose text can be read while somebody else owns it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panics while it writes").clone()).expect("it is UTF-8")
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
