//! How a stage ends: good, by a record from before or a new one; or not, with another try or for this run.

use std::path::PathBuf;

use super::look::has_all_ports;
use super::work::Bad;
use super::{Halt, OnFailure, Run, State, card};
use crate::event::Event;
use crate::kind::StageError;
use crate::memory::Last;
use crate::store::{Artifact, Record};

impl Run<'_, '_, '_> {
    /// A stage whose record is in the store: what it gave is known from here on.
    pub(super) fn good(&mut self, stage: u32, record: &Record, state: State) {
        let spec = self.stage(stage);
        if !has_all_ports(spec, record) {
            let error = StageError::new("the record in the cache lacks an output that the stage declares");
            return self.fail(stage, Bad::before(error.help(format!("run it with `--again {}`", spec.name))));
        }
        let port = |name: &str| {
            let artifact = Artifact { inline: None, ..record.outputs[name].clone() };
            (name.to_owned(), artifact)
        };
        let outputs: Vec<_> = spec.contract.outputs.iter().map(|p| port(p.name.as_ref())).collect();
        let from = format!("{} on {}", record.made.run, record.made.host);
        let last = Last {
            key: record.key,
            store: self.request.store.directory().to_owned(),
            outputs: outputs.clone(),
            wall_ns: record.usage.wall_ns,
            from: from.clone(),
            gate: record.gate.clone(),
        };
        self.memory.remember(&self.request.pipeline.name, &spec.name, &last, &record.text);
        self.changed = true;
        if let Err(e) = self.results.place(spec, record) {
            self.warn(stage, format!("cannot put its outputs in `results/`: {e}"));
        }
        let node = &mut self.nodes[stage as usize];
        node.outputs = outputs;
        node.text = None;
        self.emit(&match state {
            State::Hit => Event::StageHit { stage: spec.name.clone(), saved_ns: record.usage.wall_ns, from },
            _ => {
                let outputs = record.outputs.iter();
                let outputs = outputs.map(|(port, a)| (port.clone(), a.digest.to_string(), a.bytes)).collect();
                Event::StageDone { stage: spec.name.clone(), usage: record.usage, outputs }
            }
        });
        if state == State::Done
            && let Some(by) = record.circumstances.get(card::DISTURBED).and_then(|by| by.as_str())
        {
            let message = format!("the measurement was disturbed by {by}; it is kept, and its record says so");
            self.warn(stage, message);
        }
        self.concluded(stage, state, record.gate.as_deref());
    }

    pub(super) fn hit_from_memory(&mut self, stage: u32) {
        let last = self.nodes[stage as usize].last.take().expect("it is remembered");
        self.nodes[stage as usize].outputs = last.outputs;
        let name = self.stage(stage).name.clone();
        self.emit(&Event::StageHit { stage: name, saved_ns: last.wall_ns, from: last.from });
        self.concluded(stage, State::Hit, last.gate.as_deref());
    }

    /// The last step of a good stage, whichever way it came.
    fn concluded(&mut self, stage: u32, state: State, gate: Option<&str>) {
        if let Some(message) = gate {
            self.count.gates += 1;
            self.emit(&Event::GateFailed { stage: self.stage(stage).name.clone(), message: message.to_owned() });
        }
        self.set(stage, state);
        self.wake_twins(stage);
    }

    /// A stage is no longer at its key: those that waited for the same look again.
    pub(super) fn leave_work(&mut self, stage: u32) {
        self.wake_twins(stage);
    }

    /// Stages that waited for the same key look again.
    fn wake_twins(&mut self, stage: u32) {
        let Some(key) = self.nodes[stage as usize].key else { return };
        for twin in self.at_work.remove(&key).unwrap_or_default() {
            if twin != stage && self.nodes[twin as usize].state == State::Queued && self.halt == Halt::Not {
                self.set(twin, State::Ready);
            }
        }
    }

    pub(super) fn ended_badly(&mut self, stage: u32, bad: Bad) {
        if self.halt >= Halt::Asked && bad.signalled {
            let because = "the run was stopped".to_owned();
            self.emit(&Event::StageSkipped { stage: self.stage(stage).name.clone(), because });
            return self.set(stage, State::Skipped);
        }
        if bad.disturbed && self.halt != Halt::Not {
            let because = "the run was stopped before its measurement was taken again".to_owned();
            self.emit(&Event::StageSkipped { stage: self.stage(stage).name.clone(), because });
            return self.set(stage, State::Skipped);
        }
        if bad.disturbed {
            let node = &mut self.nodes[stage as usize];
            node.disturbed += 1;
            node.patient_until = None;
            // What was thrown away is no failed try.
            node.tries = node.tries.saturating_sub(1);
            let count = format!("{} of {}", node.disturbed, self.request.gpu.retries);
            self.warn(stage, format!("{}; it is taken again ({count})", bad.error));
            self.set(stage, State::Queued);
            return self.ask_again(stage);
        }
        let spec = self.stage(stage);
        let another = bad.adopted || self.nodes[stage as usize].tries <= spec.policy.retries;
        if another && self.halt == Halt::Not {
            self.warn(stage, format!("{}; it is tried again", bad.error));
            self.set(stage, State::Queued);
            return self.ask_again(stage);
        }
        self.fail(stage, bad);
    }

    pub(super) fn fail(&mut self, stage: u32, bad: Bad) {
        let name = self.stage(stage).name.clone();
        self.emit(&Event::StageFailed {
            stage: name,
            message: bad.error.to_string(),
            help: bad.error.help,
            attempt: bad.attempt.display().to_string(),
            tail: bad.tail,
        });
        self.set(stage, State::Failed);
        self.wake_twins(stage);
        if self.request.on_failure == OnFailure::Stop && self.halt == Halt::Not {
            self.halt = Halt::Failed;
            self.skip_all("a stage failed");
        }
    }
}

impl Bad {
    /// A stage of which nothing was begun.
    pub(super) fn before(error: StageError) -> Bad {
        Bad { error, attempt: PathBuf::new(), tail: Vec::new(), signalled: false, adopted: false, disturbed: false }
    }
}
