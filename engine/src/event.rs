//! What happens in a run: [`Event`]s, made by the run and eaten by observers; the run's journal keeps them as JSON
//! lines and can be read back. Everything a person sees is made from these.

use serde::{Deserialize, Serialize};

/// Where a stage is in its life. Changed by one function in `run`, which is also the only source of state events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Something it takes is not known yet.
    Waiting,
    /// Everything it takes is known; not looked up yet.
    Ready,
    /// A miss that waits for resources, or for somebody else who computes it.
    Queued,
    /// Its process runs.
    Running,
    /// Known from before.
    Hit,
    /// Ran, and its outputs are in the store.
    Done,
    /// Ran and did not end well.
    Failed,
    /// Something it takes failed or was skipped, or the run stopped first.
    Skipped,
}

/// What a process used.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, ns.
    pub wall_ns: u64,
    /// User mode, ns.
    pub user_ns: u64,
    /// System mode, ns.
    pub system_ns: u64,
    /// Largest resident set, bytes.
    pub peak_memory_bytes: u64,
}

/// Something that happened. Times are the observer's second argument, or the journal's `at_ns`, from the run's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// First of a run.
    RunStarted {
        /// The run's id: `<time>-<random>`.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// Its file, as given.
        file: String,
        /// The command line.
        command: Vec<String>,
        /// When, RFC 3339, UTC.
        started: String,
        /// This host's name.
        host: String,
        /// Every stage that this run wants, in order, with its kind.
        stages: Vec<(String, String)>,
    },
    /// A stage moved.
    StageMoved {
        /// Its name.
        stage: String,
        /// Where it is now.
        state: State,
    },
    /// A stage's key is known (just before it is looked up).
    StageKeyed {
        /// Its name.
        stage: String,
        /// 64 hexadecimal digits.
        key: String,
    },
    /// A record answers for it.
    StageHit {
        /// Its name.
        stage: String,
        /// How long it took when it ran, ns.
        saved_ns: u64,
        /// The run and host that made the record.
        from: String,
    },
    /// It must run, and why (the first difference; `first run` where nothing is known of it).
    StageMissed {
        /// Its name.
        stage: String,
        /// One line.
        reason: String,
        /// How long it took before, ns; 0 where nothing is known.
        expected_ns: u64,
    },
    /// It waits for resources or for somebody else.
    StageBlocked {
        /// Its name.
        stage: String,
        /// For what: `2 cpus`, `GPU-1234 held by …`, `being computed by …`.
        on: String,
    },
    /// Its process was started.
    StageStarted {
        /// Its name.
        stage: String,
        /// The attempt's directory.
        attempt: String,
        /// Cards it holds, by UUID.
        gpus: Vec<String>,
        /// Cores it holds.
        cpus: u16,
    },
    /// It says how far it is.
    StageProgress {
        /// Its name.
        stage: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 = unknown.
        total: u64,
        /// What it is at.
        note: String,
    },
    /// It reports a figure.
    StageMetric {
        /// Its name.
        stage: String,
        /// The figure's name.
        name: String,
        /// Its value.
        value: f64,
        /// Its unit.
        unit: String,
    },
    /// It ran and its outputs are in the store.
    StageDone {
        /// Its name.
        stage: String,
        /// What it used.
        usage: Usage,
        /// Output ports with the digest and size of each.
        outputs: Vec<(String, String, u64)>,
    },
    /// It ran and did not end well.
    StageFailed {
        /// Its name.
        stage: String,
        /// What went wrong.
        message: String,
        /// What to do about it.
        help: Option<String>,
        /// Its attempt's directory, where the log lies.
        attempt: String,
        /// The last lines of the log.
        tail: Vec<String>,
    },
    /// It will not run in this run.
    StageSkipped {
        /// Its name.
        stage: String,
        /// Because of which stage, or because the run stopped.
        because: String,
    },
    /// It is good (hit or done), and what it found does not pass.
    GateFailed {
        /// Its name.
        stage: String,
        /// What does not pass.
        message: String,
    },
    /// A text output that is meant to be shown.
    Shown {
        /// Its stage.
        stage: String,
        /// Its port.
        port: String,
        /// The text.
        text: String,
    },
    /// Where an output can be found by people.
    Linked {
        /// Its stage.
        stage: String,
        /// Its port.
        port: String,
        /// `results/<pipeline>/<stage>/<port>[.<extension>]`.
        path: String,
    },
    /// Something a person should read although the run goes on.
    Warning {
        /// The stage it is about, if one.
        stage: Option<String>,
        /// What.
        message: String,
    },
    /// A stop was asked for (Ctrl-C): once, or twice.
    Stopping {
        /// Whether groups are being killed.
        killing: bool,
    },
    /// Last of a run.
    RunFinished {
        /// Stages that were hits.
        hits: u32,
        /// Stages that ran well.
        done: u32,
        /// Stages that failed.
        failed: u32,
        /// Stages that were skipped.
        skipped: u32,
        /// Gates that failed.
        gates: u32,
        /// Whether somebody stopped it.
        stopped: bool,
        /// The exit code.
        exit: u8,
    },
}

/// Eats events.
pub trait Observer {
    /// Called for each event in order; `at` is the time since the run's start.
    fn on(&mut self, at: std::time::Duration, event: &Event);
}
