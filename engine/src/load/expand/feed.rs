//! What feeds an input of a stage at a point: files of the project, files that groups name, points of other stages.

use std::path::{Path, PathBuf};

use super::{Built, Expansion};
use crate::error::Mistake;
use crate::graph::{Feed, StageId};
use crate::load::axis::Coordinates;
use crate::load::reading::Reading;
use crate::load::wire::Source;
use crate::source::Span;
use crate::source::nearest;

impl Expansion<'_> {
    /// The sources of an input at a point, in the order written.
    pub(super) fn feeds(
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
