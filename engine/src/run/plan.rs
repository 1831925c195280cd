//! What a run would do, told before it is done: hit, run, or *depends*: by early cutoff a stage's key is unknown
//! until what it takes is.

use super::{Request, RunError};

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Wanted stages in the pipeline's order.
    pub stages: Vec<Planned>,
}

/// What would become of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// What would happen.
    pub answer: Answer,
    /// How long it took when it last ran, ns; 0 = unknown.
    pub expected_ns: u64,
}

/// What would happen to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A record answers.
    Hit {
        /// Its key, 64 hexadecimal digits.
        key: String,
        /// The run and host that made the record.
        from: String,
    },
    /// It would run.
    Run {
        /// Its key, 64 hexadecimal digits.
        key: String,
        /// The first difference from when it last ran.
        reason: String,
    },
    /// It depends on what these stages give.
    Depends {
        /// Stages it takes from that would run, or depend themselves.
        on: Vec<String>,
    },
    /// Its inputs cannot be read.
    Blocked {
        /// Why.
        because: String,
    },
}

/// Says what [`super::run`] would do. Starts nothing and writes nothing.
///
/// # Errors
/// As for a run.
pub fn plan(_request: &Request<'_>) -> Result<Plan, RunError> {
    unimplemented!()
}
