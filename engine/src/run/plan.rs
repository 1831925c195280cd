//! What a run would do, told before it is done: hit, run, or *depends*: by early cutoff a stage's key is unknown
//! until what it takes is.

use super::look::{has_all_ports, reason};
use super::resolve::{Known, Resolver};
use super::results::Results;
use super::{Request, RunError, check};
use crate::graph::{Feed, StageId};
use crate::key::Key;
use crate::memory::Memory;
use crate::store::{Artifact, Found, Purpose};

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
        /// Its key's text, for `explain`.
        text: String,
        /// The first difference from when it last ran.
        reason: String,
    },
    /// It depends on what these stages give.
    Depends {
        /// Stages it takes from that would run, or depend themselves.
        on: Vec<String>,
    },
    /// It cannot be said, and a run would fail here.
    Blocked {
        /// Why.
        because: String,
    },
}

/// A stage's key and outputs.
type Answered = (Key, Vec<(String, Artifact)>);

/// What is known of each stage while planning.
struct Planning(Vec<Option<Answered>>);

impl Known for Planning {
    fn outputs(&self, stage: StageId) -> (Key, &[(String, Artifact)]) {
        let (key, outputs) = self.0[stage.index()].as_ref().expect("only stages whose producers are known are named");
        (*key, outputs)
    }
}

/// Says what [`super::run`] would do. Starts no stage and writes nothing to the store or to `results/`.
///
/// # Errors
/// When a target does not exist.
pub fn plan(request: &Request<'_>) -> Result<Plan, RunError> {
    let wanted = check::wanted(request)?;
    let memory = Memory::open(&request.pipeline.root);
    let mut resolver = Resolver::new(request, &wanted, &memory);
    let results = Results::new(&request.pipeline.root, &request.pipeline.name, request.store);
    let mut known = Planning(vec![None; wanted.len()]);
    let mut stages = Vec::new();
    for (at, stage) in request.pipeline.stages.iter().enumerate().filter(|(at, _)| wanted[*at]) {
        let last = memory.last(&request.pipeline.name, &stage.name);
        let mut on: Vec<String> = Vec::new();
        for feed in stage.inputs.iter().flat_map(|wire| &wire.from) {
            if let Feed::Output { stage, .. } = feed
                && known.0[stage.index()].is_none()
            {
                let name = &request.pipeline.stages[stage.index()].name;
                if !on.contains(name) {
                    on.push(name.clone());
                }
            }
        }
        let answer = if on.is_empty() {
            match resolver.name(stage, &known, &memory) {
                Err(error) => Answer::Blocked { because: error.to_string() },
                Ok(named) => {
                    let key = named.key;
                    let again = request.again.contains(&stage.name);
                    let purpose = if again { Purpose::Another } else { Purpose::Answer };
                    let remembered = last.as_ref().filter(|last| {
                        last.key == key
                            && last.store == request.store.directory()
                            && results.are_in_place(stage, &last.outputs, &memory)
                    });
                    let hit = match remembered {
                        Some(last) => Some((last.outputs.clone(), last.from.clone())),
                        None => match request.store.find(key)? {
                            Found::Record(record) if has_all_ports(stage, &record) => {
                                let port = |name: &str| (name.to_owned(), record.outputs[name].clone());
                                let outputs = stage.contract.outputs.iter().map(|p| port(&p.name)).collect();
                                Some((outputs, format!("{} on {}", record.made.run, record.made.host)))
                            }
                            _ => None,
                        },
                    };
                    match hit.filter(|_| !again) {
                        Some((outputs, from)) => {
                            known.0[at] = Some((key, outputs));
                            Answer::Hit { key: key.to_string(), from }
                        }
                        None => {
                            let text = named.text(stage);
                            let old = memory.text(&request.pipeline.name, &stage.name);
                            let reason = reason(purpose, old.as_deref(), &text);
                            Answer::Run { key: key.to_string(), text, reason }
                        }
                    }
                }
            }
        } else {
            Answer::Depends { on }
        };
        let expected_ns = last.map_or(0, |last| last.wall_ns);
        stages.push(Planned { stage: stage.name.clone(), kind: stage.kind.name.to_owned(), answer, expected_ns });
    }
    Ok(Plan { stages })
}
