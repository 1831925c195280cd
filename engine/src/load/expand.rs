//! Stages as written become stages of the graph: each at every point that its own matrix, its samples and the stages it
//! hangs on give it, wired point by point.
//!
//! A port that takes one source expands its stage along the axes of what feeds it; a `many` port gathers all points that
//! agree with its stage's own. Where two sources have an axis in common, points of equal value meet.
//! [`joint`] joins inputs as written to ports, [`feed`] finds what feeds them at a point.
//! Invariant: stages are made in an order in which each stands behind what it takes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use super::Machine;
use super::axis::{Axes, AxisId, Coordinates, Varies};
use super::draft::{Draft, Sheet};
use super::group::{Fragment, Groups};
use super::reading::Reading;
use super::settle::{Settled, wired};
use super::wire::{Source, Wires};
use crate::error::Mistake;
use crate::graph::{Policy, Stage, StageId, Wire};
use crate::kind::{Contract, Kind, Program};
use crate::source::Span;
use crate::source::nearest;
use crate::source::tree::Value;

mod feed;
mod joint;

/// Most points of one stage.
const POINTS_MAX: usize = 100_000;

/// What has become of the stages so far.
#[derive(Debug)]
pub(super) struct Expansion<'a> {
    pub(super) program: &'a Program,
    pub(super) machine: Machine,
    /// The launcher of stages that name none.
    pub(super) launcher: String,
    pub(super) sheet: &'a Sheet,
    pub(super) axes: Axes,
    wires: &'a Wires,
    groups: Groups,
    used: HashSet<String>,
    built: Vec<Built>,
    stages: Vec<Stage>,
    there: HashMap<PathBuf, bool>,
}

/// What has become of one stage as written.
#[derive(Debug, Default)]
enum Built {
    /// Not all of it could be made; a mistake is noted, and what hangs on it is not blamed.
    #[default]
    Broken,
    /// One stage.
    One(StageId),
    /// A stage at each of several points, all on the same axes.
    Points { axes: Vec<AxisId>, list: Vec<(Coordinates, StageId)>, by_point: HashMap<Coordinates, StageId> },
}

/// A port of the contract and the input, as written, that is wired to it.
type Joint = (usize, usize);

impl<'a> Expansion<'a> {
    pub(super) fn new(
        program: &'a Program,
        machine: Machine,
        launcher: String,
        sheet: &'a Sheet,
        wires: &'a Wires,
    ) -> Expansion<'a> {
        let mut built = Vec::new();
        built.resize_with(sheet.drafts.len(), Built::default);
        Expansion {
            program,
            machine,
            launcher,
            sheet,
            wires,
            built,
            axes: Axes::default(),
            groups: Groups::default(),
            used: HashSet::new(),
            stages: Vec::with_capacity(sheet.drafts.len()),
            there: HashMap::new(),
        }
    }

    /// The stages, and the groups that were used.
    pub(super) fn finish(self) -> (Vec<Stage>, HashSet<String>) {
        (self.stages, self.used)
    }

    /// Makes a stage; all that it hangs on was made before.
    pub(super) fn build(&mut self, reading: &mut Reading, at: usize) {
        let draft = &self.sheet.drafts[at];
        let Some((kind, own)) = self.start(reading, at) else { return };
        let wired = wired(draft);
        let mut made = Vec::new();
        let mut whole = true;
        for own in self.axes.product(&own) {
            let settled = self.settle(reading, at, &kind, &wired, &own);
            let Some(settled) = settled else { return };
            let joints = self.joints(reading, at, &settled.resolved.contract);
            let Some(joints) = joints else { return };
            let Some(points) = self.join(reading, at, &own, &settled.resolved.contract, &joints) else { return };
            // Cloned for all points but the last: most stages have one, and a configuration can be large.
            let (mut settled, last) = (Some(settled), points.len().saturating_sub(1));
            for (number, point) in points.into_iter().enumerate() {
                let settled = match self.chooses_anew(draft, &own, &point) {
                    true => self.settle(reading, at, &kind, &wired, &point),
                    false if number == last => settled.take(),
                    false => settled.clone(),
                };
                let stage = settled.and_then(|settled| self.stage(reading, at, kind, settled, &joints, &point));
                match (stage, u32::try_from(self.stages.len())) {
                    (Some(stage), Ok(id)) => {
                        self.stages.push(stage);
                        made.push((point, StageId(id)));
                    }
                    _ => whole = false,
                }
            }
        }
        self.built[at] = match made.as_slice() {
            _ if !whole => Built::Broken,
            [] => Built::Broken,
            [(point, id)] if point.is_empty() => Built::One(*id),
            [(point, _), ..] => Built::Points {
                axes: point.iter().map(|(axis, _)| *axis).collect(),
                by_point: made.iter().cloned().collect(),
                list: made,
            },
        };
    }

    /// Looks at a stage that cannot be made because of a cycle, so that its other mistakes are found too.
    pub(super) fn examine(&mut self, reading: &mut Reading, at: usize) {
        let Some((kind, own)) = self.start(reading, at) else { return };
        let wired = wired(&self.sheet.drafts[at]);
        for own in self.axes.product(&own) {
            let Some(settled) = self.settle(reading, at, &kind, &wired, &own) else { return };
            self.joints(reading, at, &settled.resolved.contract);
        }
    }

    /// A stage's kind and its own axes.
    fn start(&mut self, reading: &mut Reading, at: usize) -> Option<(Kind, Vec<AxisId>)> {
        let draft = &self.sheet.drafts[at];
        let kind = self.kind(reading, draft);
        let own = self.axes.own(reading, at, draft);
        let points = draft.matrix.iter().map(|line| line.values.len()).fold(1, usize::saturating_mul);
        let points = points.saturating_mul(draft.policy.repeat.unwrap_or(1) as usize);
        if points > POINTS_MAX {
            let message = format!("the stage `{}` would be {points} stages", draft.name);
            let help = format!("{POINTS_MAX} are the most");
            reading.note(Mistake::new("too-large", message).at(draft.key, "").help(help));
            return None;
        }
        Some((kind?, own))
    }

    /// The chosen file of a group at a point; `None` where something is noted.
    pub(super) fn chosen(
        &mut self,
        reading: &mut Reading,
        group: &str,
        place: Span,
        point: &Coordinates,
    ) -> Option<Rc<Fragment>> {
        if !self.used.contains(group) {
            self.used.insert(group.to_owned());
        }
        let varied = point.iter().find_map(|(id, at)| {
            let axis = self.axes.get(*id);
            (axis.varies == Varies::Group && axis.name == group).then(|| &axis.values[*at])
        });
        if let Some(node) = varied {
            let Value::String(choice) = &node.value else { return None };
            return self.groups.open(reading, group, choice, node.span);
        }
        let Some(choice) = self.sheet.chosen(group) else {
            let help = match self.sheet.choose.is_empty() {
                true => format!("choose one: `[choose]` with `{group} = \"…\"`"),
                false => nearest::remedy(group, "group", self.sheet.groups()),
            };
            let message = format!("this pipeline does not choose a group `{group}`");
            reading.note(Mistake::new("unknown-group", message).at(place, "").help(help));
            return None;
        };
        self.groups.open(reading, group, &choice.choice, choice.value)
    }

    /// Whether a point has another choice of a group that the stage uses than its own part of it.
    fn chooses_anew(&self, draft: &Draft, own: &Coordinates, point: &Coordinates) -> bool {
        point.iter().filter(|coordinate| !own.contains(coordinate)).any(|(id, _)| {
            let axis = self.axes.get(*id);
            axis.varies == Varies::Group && draft.uses.iter().any(|(group, _)| *group == axis.name)
        })
    }

    /// All points of a stage whose own part is `own`: along the axes of every source of a port that is not `many`.
    fn join(
        &self,
        reading: &mut Reading,
        at: usize,
        own: &Coordinates,
        contract: &Contract,
        joints: &[Joint],
    ) -> Option<Vec<Coordinates>> {
        let draft = &self.sheet.drafts[at];
        let mut points = vec![own.clone()];
        for (_, number) in joints.iter().filter(|(port, _)| !contract.inputs[*port].many) {
            for source in &self.wires.sources[at][*number] {
                let Source::Output { stage, .. } = source else { continue };
                let Built::Points { axes, list, .. } = &self.built[*stage] else { continue };
                if axes.iter().all(|axis| own.iter().any(|(mine, _)| mine == axis)) {
                    continue;
                }
                let mut longer = Vec::new();
                for point in &points {
                    for (theirs, _) in list {
                        match self.axes.join(point, theirs) {
                            Ok(joined) => longer.extend(joined),
                            Err(pair) => {
                                reading.note(self.two_axes(draft, pair));
                                return None;
                            }
                        }
                    }
                }
                longer.sort_unstable();
                longer.dedup();
                points = longer;
                if points.len() > POINTS_MAX {
                    let message = format!("the stage `{}` would be more than {POINTS_MAX} stages", draft.name);
                    reading.note(Mistake::new("too-large", message).at(draft.key, "").help("gather on a `many` port"));
                    return None;
                }
            }
        }
        Some(points)
    }

    fn two_axes(&self, draft: &Draft, (a, b): (AxisId, AxisId)) -> Mistake {
        let (a, b) = (self.axes.get(a), self.axes.get(b));
        let message = format!("the stage `{}` hangs on two matrices of `{}` with different values", draft.name, a.name);
        let help = "give both the same values, and points of equal value meet";
        Mistake::new("bad-matrix", message).at(draft.key, "").at(a.key, "one").at(b.key, "the other").help(help)
    }

    fn stage(
        &mut self,
        reading: &mut Reading,
        at: usize,
        kind: Kind,
        settled: Settled,
        joints: &[Joint],
        point: &Coordinates,
    ) -> Option<Stage> {
        let draft = &self.sheet.drafts[at];
        let Settled { resolved, origins } = settled;
        let mut inputs = Vec::with_capacity(joints.len());
        let mut whole = true;
        for (port, number) in joints {
            match self.feeds(reading, at, *number, resolved.contract.inputs[*port].many, point) {
                Some(from) => inputs.push(Wire { port: *port, from }),
                None => whole = false,
            }
        }
        inputs.retain(|wire| !wire.from.is_empty());
        let sample = point.iter().find(|(id, _)| self.axes.get(*id).varies == Varies::Sample(at));
        let policy = Policy {
            sample: sample.map_or(0, |(_, sample)| u32::try_from(*sample).unwrap_or(u32::MAX)),
            retries: draft.policy.retries,
            timeout_s: draft.policy.timeout_s,
            launcher: draft.policy.launcher.clone().unwrap_or_else(|| self.launcher.clone()),
        };
        let name = format!("{}{}", draft.name, self.axes.suffix(point));
        let stage = Stage {
            name,
            kind,
            config: resolved.config.into(),
            origins: origins.into(),
            contract: resolved.contract.into(),
            inputs,
            policy,
        };
        whole.then_some(stage)
    }
}
