//! What must be here before a stage is started and before anything is leased for it: the blobs that it takes, fetched from
//! another tier or looked at before their first use; and what goes out after it ended, to the other tier.
//!
//! It does not know where blobs lie. Invariant: what cannot be had is computed again: its stage, which was a hit, is made
//! ready once more, and those that take from it wait for it.

use std::collections::HashMap;
use std::thread::Scope;

use super::work::Bad;
use super::{Event, Feed, Halt, Message, Run, State};
use crate::digest::{self, Digest};
use crate::kind::StageError;
use crate::launch::Said;
use crate::memory::Memory;
use crate::store::{Artifact, Store};

/// So many stages are prepared at once.
const AT_ONCE: usize = 4;
/// Under which a blob's content is remembered by the stamps of its files.
const CHECKED: &str = "first-use";
/// A stage is told of progress after so many bytes.
const TELL_BYTES: u64 = 64 << 20;
/// How often what a stage gave may be found lost before the run gives up on it.
const MOST_LOSSES: u32 = 3;

/// A stage whose inputs are to be brought.
#[derive(Debug)]
pub(super) struct Preparing {
    stage: u32,
    artifacts: Vec<Artifact>,
}

/// What came of it: what was brought, and what cannot be had and why.
pub(super) type Prepared = Result<Vec<Artifact>, Vec<(Digest, String)>>;

impl<'a> Run<'a, '_, '_> {
    /// Lets a stage whose turn it is wait for its inputs, if they are not all at hand. Whether it waits.
    pub(super) fn waits_for_inputs(&mut self, stage: u32) -> bool {
        let artifacts = self.not_at_hand(stage);
        if artifacts.is_empty() {
            return false;
        }
        let sum: u64 = artifacts.iter().map(|artifact| artifact.bytes).sum();
        let on = format!("{} of inputs", crate::report::bytes(sum));
        self.emit(&Event::StageBlocked { stage: self.stage(stage).name.clone(), on });
        self.preparing.push_back(Preparing { stage, artifacts });
        true
    }

    /// The inputs of `stage` that must be brought or looked at first.
    fn not_at_hand(&self, stage: u32) -> Vec<Artifact> {
        let store = self.request.store;
        let mut artifacts: Vec<Artifact> = Vec::new();
        for feed in self.stage(stage).inputs.iter().flat_map(|wire| &wire.from) {
            if let Feed::Output { stage, port } = feed {
                let (_, artifact) = &self.nodes[stage.index()].outputs[*port];
                let is_new = !artifacts.iter().any(|a| a.digest == artifact.digest);
                if is_new && !is_at_hand(store, artifact, &self.memory) {
                    artifacts.push(artifact.clone());
                }
            }
        }
        artifacts
    }

    /// Begins to bring inputs.
    pub(super) fn prepare_what_can<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) {
        while self.fetching < AT_ONCE && self.halt == Halt::Not {
            let Some(Preparing { stage, artifacts }) = self.preparing.pop_front() else { break };
            self.fetching += 1;
            self.transfers += 1;
            let (store, to) = (self.request.store, self.to.clone());
            scope.spawn(move || {
                let prepared = bring(store, artifacts, &|done, total| {
                    let said = Said::Progress { done, total, note: "fetching inputs".to_owned() };
                    let _ = to.send(Message::Said { stage, said });
                });
                let _ = to.send(Message::Prepared { stage, prepared });
            });
        }
    }

    /// A stage's inputs are here, or cannot be had.
    pub(super) fn prepared(&mut self, stage: u32, prepared: Prepared) {
        self.fetching -= 1;
        self.transfers -= 1;
        let lost = match prepared {
            Ok(brought) => {
                for artifact in brought.iter().filter(|_| self.request.store.checks_first_use()) {
                    if let Ok(glance) = digest::glance(&self.request.store.blob(artifact.digest)) {
                        self.memory.keep_meaning(glance, CHECKED, artifact.digest);
                    }
                }
                if self.halt == Halt::Not && self.nodes[stage as usize].state == State::Queued {
                    self.ask_again(stage);
                }
                return;
            }
            Err(lost) => lost,
        };
        if self.halt != Halt::Not || self.nodes[stage as usize].state != State::Queued {
            return;
        }
        self.leave_work(stage);
        self.set(stage, State::Waiting);
        let lost: HashMap<Digest, String> = lost.into_iter().collect();
        let mut producers: Vec<(u32, String)> = Vec::new();
        for feed in self.stage(stage).inputs.iter().flat_map(|wire| &wire.from) {
            if let Feed::Output { stage: producer, port } = feed {
                let digest = self.nodes[producer.index()].outputs[*port].1.digest;
                if let Some(why) = lost.get(&digest)
                    && !producers.iter().any(|(known, _)| *known == producer.0)
                {
                    producers.push((producer.0, why.clone()));
                }
            }
        }
        for (producer, why) in producers {
            self.revive(producer, &why);
        }
        // Somebody else may have found the same loss before us, and it may be mended by now.
        let node = &self.nodes[stage as usize];
        if node.missing == 0 && node.state == State::Waiting {
            self.set(stage, State::Ready);
        }
    }

    /// Makes a stage that was good ready once more, because what it gave is lost. Those that take from it and have not
    /// started wait for it again.
    fn revive(&mut self, stage: u32, why: &str) {
        if !matches!(self.nodes[stage as usize].state, State::Hit | State::Done) {
            return;
        }
        self.warn(stage, format!("{why}; it is computed again"));
        let takers = self.starts[stage as usize] as usize..self.starts[stage as usize + 1] as usize;
        for at in takers {
            self.nodes[self.takers[at] as usize].missing += 1;
        }
        match self.nodes[stage as usize].state {
            State::Hit => self.count.hits -= 1,
            _ => self.count.done -= 1,
        }
        let node = &mut self.nodes[stage as usize];
        node.losses += 1;
        if node.losses > MOST_LOSSES {
            let message = format!("what it gives is lost again and again: {why}");
            self.set(stage, State::Ready);
            return self.fail(stage, Bad::before(StageError::new(message)));
        }
        if let Some(key) = self.nodes[stage as usize].key {
            self.request.store.disown(key);
        }
        self.set(stage, State::Ready);
    }

    /// What people look at, of stages that were hits: the outputs that no stage takes.
    pub(super) fn bring_what_is_looked_at(&mut self) {
        if !self.request.store.has_tier() {
            return;
        }
        let store = self.request.store;
        for stage in 0..u32::try_from(self.nodes.len()).expect("stages are counted in 32 bits") {
            let node = &self.nodes[stage as usize];
            let is_last = self.starts[stage as usize] == self.starts[stage as usize + 1];
            let is_target = self.request.targets.contains(&self.stage(stage).name);
            if node.state != State::Hit {
                continue;
            }
            let ports = self.stage(stage).contract.outputs.iter().zip(node.outputs.clone());
            let wanted: Vec<Artifact> = ports
                .filter(|(port, (_, artifact))| (is_last || is_target || port.shown) && !store.has(artifact))
                .map(|(_, (_, artifact))| artifact)
                .collect();
            if let Err(lost) = bring(store, wanted, &|_, _| {}) {
                for (_, why) in lost {
                    self.warn(stage, format!("{why}; `pipe run --again {}` makes it anew", self.stage(stage).name));
                }
            }
        }
    }

    /// Says what went wrong with other tiers.
    pub(super) fn tell_troubles(&mut self) {
        for message in self.request.store.troubles() {
            self.emit(&Event::Warning { stage: None, message });
        }
    }
}

fn is_at_hand(store: &Store, artifact: &Artifact, memory: &Memory) -> bool {
    if artifact.bytes < crate::store::INLINE_BYTES && artifact.shape == digest::Shape::File {
        return true;
    }
    store.has(artifact)
        && (!store.checks_first_use()
            || digest::glance(&store.blob(artifact.digest))
                .is_ok_and(|glance| memory.meaning(glance, CHECKED) == Some(artifact.digest)))
}

/// Brings all of them, several at once.
fn bring(store: &Store, artifacts: Vec<Artifact>, tell: &(dyn Fn(u64, u64) + Sync)) -> Prepared {
    use std::sync::atomic::{AtomicU64, Ordering};
    let total: u64 = artifacts.iter().map(|artifact| artifact.bytes).sum();
    let done = AtomicU64::new(0);
    let moved = |bytes: u64| {
        let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if now / TELL_BYTES != (now - bytes) / TELL_BYTES {
            tell(now, total);
        }
    };
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = artifacts.iter().map(|artifact| scope.spawn(|| store.bring(artifact, &moved))).collect();
        let fell_over = |_| Err("the fetching of a blob fell over".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(fell_over)).collect()
    });
    let lost: Vec<(Digest, String)> =
        artifacts.iter().zip(results).filter_map(|(artifact, result)| Some((artifact.digest, result.err()?))).collect();
    if lost.is_empty() { Ok(artifacts) } else { Err(lost) }
}
