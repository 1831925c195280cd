//! A stage whose inputs are known: its key, and whether anything answers for it.

use super::resolve::Named;
use super::work::{self, Bad};
use super::{Run, State};
use crate::event::Event;
use crate::graph::Stage;
use crate::key::Key;
use crate::kind::StageError;
use crate::store::{Found, Purpose, Record};

impl Run<'_, '_, '_> {
    /// A ready stage: its key, and what is known of it.
    pub(super) fn look_up(&mut self, stage: u32) {
        if self.nodes[stage as usize].state != State::Ready {
            return;
        }
        let spec = self.stage(stage);
        let named = match self.resolver.name(spec, &self.nodes, &self.memory) {
            Ok(named) => named,
            Err(error) => return self.fail(stage, Bad::before(error)),
        };
        let key = named.key;
        self.nodes[stage as usize].key = Some(key);
        self.emit(&Event::StageKeyed { stage: spec.name.clone(), key: key.to_string() });
        if self.purpose(stage) == Purpose::Answer {
            if self.is_remembered(stage, key) {
                return self.hit_from_memory(stage);
            }
            match self.request.store.find(key) {
                Ok(Found::Record(record)) if has_all_ports(spec, &record) => {
                    return self.good(stage, &record, State::Hit);
                }
                Ok(Found::Damaged(trouble)) => self.warn(stage, format!("{trouble}; it is computed again")),
                Ok(Found::Record(_) | Found::Nothing) => {}
                Err(error) => return self.fail(stage, Bad::before(work::told(&error))),
            }
            if self.is_trusted(stage, &named) {
                return;
            }
        }
        self.queue(stage, &named);
    }

    /// A miss: say why, and wait for resources, or for another stage of this run that is at the same key.
    fn queue(&mut self, stage: u32, named: &Named<'_>) {
        let spec = self.stage(stage);
        let text = named.text(spec);
        let old = self.memory.text(&self.request.pipeline.name, &spec.name);
        let reason = reason(self.purpose(stage), old.as_deref(), &text);
        let expected_ns = self.nodes[stage as usize].last.as_ref().map_or(0, |last| last.wall_ns);
        self.nodes[stage as usize].text = Some(text.into());
        self.emit(&Event::StageMissed { stage: spec.name.clone(), reason, expected_ns });
        if let Some(twins) = self.at_work.get_mut(&named.key) {
            twins.push(stage);
            self.set(stage, State::Queued);
            let on = "another stage of this run that does the same".to_owned();
            return self.emit(&Event::StageBlocked { stage: spec.name.clone(), on });
        }
        let cards = match self.request.facts.eligible(&spec.contract.needs) {
            Ok(cards) => cards,
            Err(absent) => {
                let message = format!("it declares {}; found: {}", absent.declared, absent.found);
                return self.fail(stage, Bad::before(StageError::new(message)));
            }
        };
        self.at_work.insert(named.key, Vec::new());
        self.set(stage, State::Queued);
        if !self.waits_for_inputs(stage) {
            self.ask_for(stage, &cards);
        }
    }

    /// Whether this project remembers a result for `key`, and all of it is where people look for it.
    fn is_remembered(&self, stage: u32, key: Key) -> bool {
        let node = &self.nodes[stage as usize];
        node.in_place && node.last.as_ref().is_some_and(|last| last.key == key)
    }

    pub(super) fn purpose(&self, stage: u32) -> Purpose {
        let name = &self.stage(stage).name;
        if self.request.again.contains(name) { Purpose::Another } else { Purpose::Answer }
    }
}

/// Whether `record` answers for every output that `stage` declares.
pub(super) fn has_all_ports(stage: &Stage, record: &Record) -> bool {
    stage.contract.outputs.iter().all(|port| record.outputs.contains_key(port.name.as_ref()))
}

/// Why a stage runs, in a line: the first difference between its key's text when it was last good and now.
pub(super) fn reason(purpose: Purpose, old: Option<&str>, new: &str) -> String {
    match old {
        _ if purpose == Purpose::Another => "asked for again".to_owned(),
        None => "first run".to_owned(),
        Some(old) => crate::explain::first_difference(old, new)
            .unwrap_or_else(|| "its result is no longer in the cache".to_owned()),
    }
}
