//! Config groups: which file a choice is, what choices there are, and what a chosen file brings.
//!
//! A choice is `configs/<group>/<choice>.toml`; where it comes with files of its own, it has a directory:
//! `<group>s/<choice>/<group>.toml`. All of a fragment is laid under the configuration of the stages that use it, but
//! `about` (one line that describes it) and `[files]` (what it names for ports).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::draft::is_plain;
use super::reading::Reading;
use crate::error::Mistake;
use crate::source::Span;
use crate::source::nearest;
use crate::source::tree::Table;

/// A chosen file.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) file: PathBuf,
    /// What it brings to a configuration.
    pub(super) table: Table,
    /// `[files]`: names and paths.
    pub(super) files: Table,
}

/// Chosen files, each read once.
#[derive(Debug, Default)]
pub(super) struct Groups {
    read: HashMap<(String, String), Option<Rc<Fragment>>>,
}

impl Groups {
    /// The file of a choice; `None`, with a note at `named_at`, if there is none that can be read.
    pub(super) fn open(
        &mut self,
        reading: &mut Reading,
        group: &str,
        choice: &str,
        named_at: Span,
    ) -> Option<Rc<Fragment>> {
        // A stage has the same few groups again and again: look before making a key.
        let key = (group.to_owned(), choice.to_owned());
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let fragment = open(reading, group, choice, named_at).map(Rc::new);
        self.read.insert(key, fragment.clone());
        fragment
    }
}

fn open(reading: &mut Reading, group: &str, choice: &str, named_at: Span) -> Option<Fragment> {
    if !is_plain(choice) || !is_plain(group) {
        let message = format!("`{choice}` cannot name a choice of the group `{group}`");
        let help = "a choice is the name of a file without `.toml`: letters, digits, `_`, `-`, `+` and `.`";
        reading.note(Mistake::new("bad-name", message).at(named_at, "").help(help));
        return None;
    }
    let [plain, own] = places(&reading.root, group, choice);
    let file = match (plain.is_file(), own.is_file()) {
        (true, false) => {
            reading.looked.push((own, None));
            plain
        }
        (false, true) => {
            reading.looked.push((plain, None));
            own
        }
        (true, true) => {
            let message = format!("the choice `{choice}` of the group `{group}` is there twice");
            let help = format!("keep one of `{}` and `{}`", reading.shown(&plain), reading.shown(&own));
            reading.note(Mistake::new("unknown-choice", message).at(named_at, "").help(help));
            return None;
        }
        (false, false) => {
            reading.note(unknown_choice(&reading.root, group, choice).at(named_at, ""));
            return None;
        }
    };
    let mut table = reading.file(&file, Some(named_at))?;
    if let Some(about) = table.take("about") {
        reading.string(&about);
    }
    let files = table.take("files").and_then(|entry| reading.table(entry)).unwrap_or_default();
    Some(Fragment { file, table, files })
}

fn places(root: &Path, group: &str, choice: &str) -> [PathBuf; 2] {
    let plain = root.join("configs").join(group).join(format!("{choice}.toml"));
    let own = root.join(format!("{group}s")).join(choice).join(format!("{group}.toml"));
    [plain, own]
}

fn unknown_choice(root: &Path, group: &str, choice: &str) -> Mistake {
    let choices = choices(root, group);
    if choices.is_empty() {
        let help = format!("a choice is a file `configs/{group}/<choice>.toml` or `{group}s/<choice>/{group}.toml`");
        return Mistake::new("unknown-group", format!("the group `{group}` has no choices here")).help(help);
    }
    let help = nearest::remedy(choice, "choice", choices.iter().map(String::as_str));
    Mistake::new("unknown-choice", format!("the group `{group}` has no choice `{choice}`")).help(help)
}

/// All choices of a group that lie in a project, sorted.
pub(super) fn choices(root: &Path, group: &str) -> Vec<String> {
    let names = |directory: PathBuf| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let plain = names(root.join("configs").join(group)).filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned()));
    let own = names(root.join(format!("{group}s")))
        .filter(|choice| root.join(format!("{group}s")).join(choice).join(format!("{group}.toml")).is_file());
    let mut all: Vec<String> = plain.chain(own).filter(|name| is_plain(name)).collect();
    all.sort();
    all.dedup();
    all
}
