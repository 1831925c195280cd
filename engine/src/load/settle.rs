//! One stage at one point: its layers laid over one another, fitted to its kind, and where each value came from.
//!
//! Order of authority, the later wins: defaults of the kind, fragments in the order of `use`, the stage's `config`, the
//! point of its matrix, the command line.

use std::borrow::Cow;

use super::axis::{Coordinates, Varies};
use super::draft::Draft;
use super::expand::Expansion;
use super::reading::Reading;
use super::{shape, words};
use crate::command;
use crate::error::Mistake;
use crate::graph::Origin;
use crate::kind::{Kind, Needs, Resolved, Wired};
use crate::source::Sources;
use crate::source::nearest;
use crate::source::tree::Table;

/// A stage that fits its kind.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) resolved: Resolved,
    pub(super) origins: Vec<Origin>,
}

/// The names of the wired input ports, for the kind.
pub(super) fn wired(draft: &Draft) -> Wired {
    let mut wired = Wired::default();
    for input in &draft.inputs {
        wired.inputs.push(input.port.clone());
        if input.list {
            wired.lists.push(input.port.clone());
        }
    }
    wired.inputs.sort();
    wired.lists.sort();
    wired
}

impl Expansion<'_> {
    /// The kind of a stage, or a note that there is none of that name.
    pub(super) fn kind(&self, reading: &mut Reading, draft: &Draft) -> Option<Kind> {
        let (word, place) = draft.kind.as_ref()?;
        let kinds = || self.program.kinds.iter().chain([&command::KIND]);
        let kind = kinds().find(|kind| kind.name == word);
        if kind.is_none() {
            let help = nearest::remedy(word, "kind", kinds().map(|kind| kind.name));
            reading.note(Mistake::new("unknown-kind", format!("there is no kind `{word}`")).at(*place, "").help(help));
        }
        kind.copied()
    }

    /// Fits a stage at a point to its kind; `None` where something is noted.
    pub(super) fn settle(
        &mut self,
        reading: &mut Reading,
        at: usize,
        kind: &Kind,
        wired: &Wired,
        point: &Coordinates,
    ) -> Option<Settled> {
        let draft = &self.sheet.drafts[at];
        let table = self.layers(reading, draft, point)?;
        let subject = shape::Subject { whole: format!("the kind `{}`", kind.name), place: draft.key };
        let resolved = shape::settle(reading, &table, &subject, &mut |value| match kind.name {
            command::NAME => command::resolve(value, wired, self.program.meanings),
            _ => (kind.resolve)(value, wired),
        })?;
        self.check_needs(reading, draft, &table, &resolved.contract.needs);
        Some(Settled { resolved, origins: origins(&reading.sources, &table) })
    }

    fn layers<'a>(&mut self, reading: &mut Reading, draft: &'a Draft, point: &Coordinates) -> Option<Cow<'a, Table>> {
        let varied =
            |id: &usize| self.axes.get(*id).varies == Varies::Config && is_own(draft, &self.axes.get(*id).name);
        if draft.uses.is_empty() && draft.over.is_empty() && !point.iter().any(|(id, _)| varied(id)) {
            return Some(Cow::Borrowed(&draft.config));
        }
        let mut table = Table::default();
        let mut whole = true;
        for (group, place) in &draft.uses {
            match self.chosen(reading, group, *place, point) {
                Some(fragment) => table.overlay(&fragment.table),
                None => whole = false,
            }
        }
        table.overlay(&draft.config);
        for (id, value) in point {
            let axis = self.axes.get(*id);
            if axis.varies == Varies::Config && is_own(draft, &axis.name) {
                let path: Vec<_> = axis.name.split('.').map(|step| (step.to_owned(), axis.key)).collect();
                table.set(&path, axis.values[*value].clone());
            }
        }
        table.overlay(&draft.over);
        whole.then_some(Cow::Owned(table))
    }

    /// Notes what a stage needs beyond what the machine has, where it is to run on this machine.
    fn check_needs(&self, reading: &mut Reading, draft: &Draft, table: &Table, needs: &Needs) {
        let launcher = draft.policy.launcher.as_ref().unwrap_or(&self.launcher);
        if launcher != "local" {
            return;
        }
        let machine = self.machine;
        let cpus =
            (needs.cpus > machine.cpus).then(|| ("cpus", format!("{} cpus", needs.cpus), machine.cpus.to_string()));
        let short = machine.memory_mib > 0 && needs.memory_mib > machine.memory_mib;
        let memory = short.then(|| {
            ("memory_mib", format!("{} MiB of memory", needs.memory_mib), format!("{} MiB", machine.memory_mib))
        });
        for (field, wanted, there) in cpus.into_iter().chain(memory) {
            let message = format!("the stage `{}` needs {wanted}, and this machine has {there}", draft.name);
            // The kind does not say which setting makes the need; one of its name is the likeliest.
            let mut place = draft.key;
            table.leaves(&mut |path, node| {
                if path.rsplit('.').next() == Some(field) {
                    place = node.span;
                }
            });
            let help = "ask for less, or give the stage another `launcher`";
            reading.note(Mistake::new("too-large", message).at(place, "").help(help));
        }
    }
}

/// Whether an axis is a line of this stage's own matrix.
fn is_own(draft: &Draft, axis: &str) -> bool {
    draft.matrix.iter().any(|line| line.name == axis)
}

/// Where each value was written.
fn origins(sources: &Sources, table: &Table) -> Vec<Origin> {
    let mut origins = Vec::new();
    table.leaves(&mut |field, node| {
        let place = sources.place(node.span);
        let place = match place.file {
            words::COMMAND_LINE => words::COMMAND_LINE.to_owned(),
            file => format!("{file}:{}", place.line),
        };
        origins.push(Origin { field: field.to_owned(), place });
    });
    origins
}
