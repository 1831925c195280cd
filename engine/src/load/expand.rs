//! Stages as written become stages of the graph: each at every point that its own matrix, its samples and the stages it
//! hangs on give it, wired point by point.
//!
//! A port that takes one source expands its stage along the axes of what feeds it; a `many` port gathers all points that
//! agree with its stage's own. Where two sources have an axis in common, points of equal value meet.
//! Invariant: stages are made in an order in which each stands behind what it takes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Machine;
use super::axis::{Axes, AxisId, Coordinates, Varies};
use super::draft::{Draft, Sheet};
use super::group::{Fragment, Groups};
use super::reading::Reading;
use super::settle::{Settled, wired};
use super::wire::{self, Source, Wires};
use crate::error::Mistake;
use crate::graph::{Feed, Policy, Stage, StageId, Wire};
use crate::kind::{Contract, Kind, Program};
use crate::source::Span;
use crate::source::nearest;
use crate::source::tree::Value;

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
            for point in points {
                let settled = match self.chooses_anew(draft, &own, &point) {
                    true => self.settle(reading, at, &kind, &wired, &point),
                    false => Some(settled.clone()),
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

    /// Which input is wired to which port, in the order of the contract; `None` where a mistake is noted, now or about
    /// something that the stage hangs on.
    fn joints(&self, reading: &mut Reading, at: usize, contract: &Contract) -> Option<Vec<Joint>> {
        let draft = &self.sheet.drafts[at];
        let before = reading.mistakes.len();
        let mut joints = Vec::new();
        let mut whole = true;
        for (number, input) in draft.inputs.iter().enumerate() {
            let names = contract.inputs.iter().map(|port| port.name.as_ref());
            let Some(port) = names.clone().position(|name| name == input.port) else {
                reading.note(wire::unknown_port(draft, input, names));
                continue;
            };
            if input.list && !contract.inputs[port].many {
                let message = format!("the input `{}` takes one source, not a list", input.port);
                reading.note(Mistake::new("list-on-single-port", message).at(input.value, ""));
            }
            if !input.words.is_empty() || contract.inputs[port].optional {
                joints.push((port, number));
            }
            whole &= self.check_sources(reading, at, number, contract.inputs[port].holds.as_ref());
        }
        for (number, port) in contract.inputs.iter().enumerate() {
            let blamed = draft.inputs.iter().any(|input| input.port == port.name && !input.words.is_empty());
            if !port.optional && !blamed && !joints.iter().any(|(joined, _)| *joined == number) {
                reading.note(self.missing_input(draft, &port.name, &port.holds));
            }
        }
        joints.sort_unstable();
        (whole && reading.mistakes.len() == before).then_some(joints)
    }

    fn missing_input(&self, draft: &Draft, port: &str, holds: &str) -> Mistake {
        let kind = draft.kind.as_ref().map_or("?", |(kind, _)| kind);
        let message = format!("the stage `{}` needs something on its input `{port}`", draft.name);
        let made = self.stages.iter().flat_map(|stage| {
            let outputs = stage.contract.outputs.iter().filter(|output| output.holds == holds && holds != "any");
            outputs.map(|output| format!("{}.{}", stage.written_name(), output.name))
        });
        let help = match made.take(1).next() {
            Some(output) => format!("`{output}` holds what it takes: `in = {{ {port} = \"{output}\" }}`"),
            None => format!("the kind `{kind}` takes what holds `{holds}` there: `in = {{ {port} = \"…\" }}`"),
        };
        Mistake::new("missing-input", message).at(draft.key, "").help(help)
    }

    /// Whether the sources of an input that are stages have been made, have the output, and it holds what the port
    /// takes.
    fn check_sources(&self, reading: &mut Reading, at: usize, number: usize, holds: &str) -> bool {
        let input = &self.sheet.drafts[at].inputs[number];
        let mut whole = true;
        for (source, (_, place)) in self.wires.sources[at][number].iter().zip(&input.words) {
            let (stage, output) = match source {
                Source::Output { stage, output } => (*stage, output),
                Source::Nothing => {
                    whole = false;
                    continue;
                }
                Source::File(_) | Source::Group { .. } => continue,
            };
            let Some(id) = self.any_point(stage) else {
                whole = false;
                continue;
            };
            let producer = &self.stages[id.index()];
            let names = producer.contract.outputs.iter().map(|port| port.name.as_ref());
            let name = producer.written_name();
            let Some(port) = producer.contract.outputs.iter().find(|port| port.name == *output) else {
                let help = nearest::remedy(output, "output", names);
                let message = format!("the stage `{name}` has no output `{output}`");
                reading.note(Mistake::new("unknown-output", message).at(*place, "").help(help));
                continue;
            };
            if port.holds != holds && port.holds != "any" && holds != "any" {
                let message =
                    format!("`{name}.{output}` holds `{}`, and the input `{}` takes `{holds}`", port.holds, input.port);
                let fitting = producer.contract.outputs.iter().find(|port| port.holds == holds);
                let help = fitting.map(|port| format!("`{name}.{}` holds `{holds}`", port.name));
                reading.note(Mistake::new("wrong-holding", message).at(*place, "").maybe_help(help));
            }
        }
        whole
    }

    fn any_point(&self, stage: usize) -> Option<StageId> {
        match &self.built[stage] {
            Built::Broken => None,
            Built::One(id) => Some(*id),
            Built::Points { list, .. } => list.first().map(|(_, id)| *id),
        }
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
        for (port, number) in joints.iter().filter(|(port, _)| !contract.inputs[*port].many) {
            debug_assert!(*port < contract.inputs.len(), "joints are made from the contract");
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
        let stage = Stage { name, kind, config: resolved.config, origins, contract: resolved.contract, inputs, policy };
        whole.then_some(stage)
    }

    /// The sources of an input at a point, in the order written.
    fn feeds(
        &mut self,
        reading: &mut Reading,
        at: usize,
        number: usize,
        many: bool,
        point: &Coordinates,
    ) -> Option<Vec<Feed>> {
        let (sheet, wires) = (self.sheet, self.wires);
        let words = &sheet.drafts[at].inputs[number].words;
        let mut feeds = Vec::new();
        let mut whole = true;
        for (source, (word, place)) in wires.sources[at][number].iter().zip(words) {
            match source {
                Source::Nothing => whole = false,
                Source::Output { stage, output } => {
                    let before = feeds.len();
                    for id in self.points_at(*stage, many, point) {
                        let ports = &self.stages[id.index()].contract.outputs;
                        let port = ports.iter().position(|port| port.name == *output);
                        feeds.extend(port.map(|port| Feed::Output { stage: id, port }));
                    }
                    whole &= feeds.len() > before;
                }
                Source::File(path) => match self.is_there(path) {
                    true => feeds.push(Feed::File { label: word.clone(), path: path.clone() }),
                    false => {
                        let help = "paths begin at the project's root";
                        let message = format!("there is no file `{}`", reading.shown(path));
                        reading.note(Mistake::new("missing-file", message).at(*place, "").help(help));
                        whole = false;
                    }
                },
                Source::Group { group, name } => {
                    match self.group_file(reading, group, name.as_deref(), *place, point) {
                        Some(path) => feeds.push(Feed::File { label: reading.shown(&path), path }),
                        None => whole = false,
                    }
                }
            }
        }
        whole.then_some(feeds)
    }

    /// The points of a stage as written that feed a point of another: all that agree with it where it gathers, else one.
    fn points_at(&self, stage: usize, many: bool, point: &Coordinates) -> Vec<StageId> {
        match &self.built[stage] {
            Built::Broken => Vec::new(),
            Built::One(id) => vec![*id],
            Built::Points { list, .. } if many => {
                let agrees = |theirs: &Coordinates| {
                    theirs.iter().all(|(id, at)| point.iter().all(|(mine, value)| mine != id || value == at))
                };
                list.iter().filter(|(theirs, _)| agrees(theirs)).map(|(_, id)| *id).collect()
            }
            Built::Points { axes, by_point, .. } => {
                let seen: Coordinates = point.iter().filter(|(axis, _)| axes.contains(axis)).copied().collect();
                by_point.get(&seen).copied().into_iter().collect()
            }
        }
    }

    /// The chosen file of a group, or what it names under `[files]`.
    fn group_file(
        &mut self,
        reading: &mut Reading,
        group: &str,
        name: Option<&str>,
        place: Span,
        point: &Coordinates,
    ) -> Option<PathBuf> {
        let fragment = self.chosen(reading, group, place, point)?;
        let Some(name) = name else { return Some(fragment.file.clone()) };
        let shown = reading.shown(&fragment.file);
        let Some(entry) = fragment.files.get(name) else {
            let help = nearest::remedy(name, "file", fragment.files.names());
            let message = format!("`{shown}` names no file `{name}`");
            reading.note(Mistake::new("unknown-file", message).at(place, "").help(format!("under `[files]`: {help}")));
            return None;
        };
        let text = reading.string(entry)?;
        let folder = fragment.file.parent().unwrap_or(Path::new("."));
        let path: PathBuf = folder.join(text).components().collect();
        if self.is_there(&path) {
            return Some(path);
        }
        let script = folder.join("bootstrap.sh");
        let help = match self.is_there(&script) {
            true => format!("`sh {}` brings it", reading.shown(&script)),
            false => format!("paths under `[files]` begin at `{}`", reading.shown(folder)),
        };
        let message = format!("there is no file `{}`", reading.shown(&path));
        let mistake = Mistake::new("missing-file", message).at(entry.node.span, "named here").at(place, "wanted here");
        reading.note(mistake.help(help));
        None
    }

    fn is_there(&mut self, path: &Path) -> bool {
        if let Some(known) = self.there.get(path) {
            return *known;
        }
        let there = path.exists();
        self.there.insert(path.to_owned(), there);
        there
    }
}
