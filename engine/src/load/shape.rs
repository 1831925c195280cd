//! Fits a table to a type, and says in an author's words what does not fit.
//!
//! A parser stops at the first fault. To find further ones in one go, what is at fault is taken out or replaced by
//! something of the right sort, and the parser is asked again; all it says of replaced values is left unsaid. The
//! number of rounds is bounded.

use serde_path_to_error::Error as PathError;

use super::reading::Reading;
use crate::error::Mistake;
use crate::kind::{Complaint, Fault};
use crate::source::Span;
use crate::source::tree::Table;

mod patch;
mod phrase;
#[cfg(test)]
mod tests;

use patch::Patches;
use phrase::Phrase;

/// Most times that a parser is asked.
const ROUNDS: usize = 64;

/// Whose settings a table holds.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// In words: ``the kind `sim` ``.
    pub(super) whole: String,
    /// Where to point when nothing better is known.
    pub(super) place: Span,
}

/// A parser's error as a fault.
pub(super) fn fault(error: &PathError<toml::de::Error>) -> Fault {
    Fault::Shape { field: error.path().to_string(), message: error.inner().message().to_owned() }
}

/// Fits the table by `resolve`. Everything that does not fit is noted, and then there is no result.
pub(super) fn settle<T>(
    reading: &mut Reading,
    table: &Table,
    subject: &Subject,
    resolve: &mut dyn FnMut(toml::Value) -> Result<T, Fault>,
) -> Option<T> {
    let mut fault = match resolve(table.to_toml()) {
        Ok(fitted) => return Some(fitted),
        Err(fault) => fault,
    };
    let mut patches = Patches::default();
    for _ in 0..ROUNDS {
        let (field, message) = match fault {
            Fault::Shape { field, message } => (field, message),
            // Of a configuration that was patched, what it means cannot be said.
            Fault::Complaint(complaint) => {
                if patches.is_empty() {
                    reading.note(complained(table, subject, &complaint));
                }
                return None;
            }
        };
        let phrase = Phrase::of(&message);
        let field = phrase.field(if field == "." { "" } else { &field });
        if !patches.concerns(&field) {
            reading.note(mistake(table, subject, &field, &phrase));
        }
        if !patches.add(&field, &phrase) {
            return None;
        }
        let mut value = table.to_toml();
        patches.apply(&mut value);
        match resolve(value) {
            Ok(_) => return None,
            Err(next) => fault = next,
        }
    }
    None
}

fn mistake(table: &Table, subject: &Subject, field: &str, phrase: &Phrase) -> Mistake {
    let found = table.locate(field);
    let value = found.map_or(subject.place, |(found, _)| found.value);
    let whole = &subject.whole;
    match phrase {
        Phrase::Unknown { names, .. } => {
            let key = found.and_then(|(found, _)| found.key).unwrap_or(value);
            let name = field.rsplit('.').next().unwrap_or(field);
            let help = match names.is_empty() {
                true => "nothing can be set there".to_owned(),
                false => crate::source::nearest::remedy(name, "setting", names.iter().map(String::as_str)),
            };
            Mistake::new("unknown-field", format!("{whole} has no setting `{field}`")).at(key, "").help(help)
        }
        Phrase::Missing { .. } => {
            let place = found.and_then(|(found, _)| found.key).unwrap_or(subject.place);
            Mistake::new("missing-field", format!("{whole} needs the setting `{field}`")).at(place, "not given here")
        }
        Phrase::Variant { given, names } => {
            let help = crate::source::nearest::remedy(given, "value", names.iter().map(String::as_str));
            Mistake::new("bad-value", format!("`{field}` cannot be `{given}`")).at(value, "").help(help)
        }
        Phrase::Type { given, wanted } => {
            Mistake::new("wrong-type", format!("`{field}` takes {wanted}, not {given}")).at(value, "")
        }
        Phrase::Other { words } if field.is_empty() => {
            Mistake::new("bad-value", format!("{whole} cannot be told this: {words}")).at(value, "")
        }
        Phrase::Other { words } => Mistake::new("bad-value", format!("`{field}`: {words}")).at(value, ""),
    }
}

fn complained(table: &Table, subject: &Subject, complaint: &Complaint) -> Mistake {
    let Complaint { field, message, help } = complaint;
    let message = if field.is_empty() { message.clone() } else { format!("`{field}`: {message}") };
    let mistake = Mistake::new("bad-setting", message).maybe_help(help.clone());
    match table.locate(field) {
        Some((found, true)) => mistake.at(found.value, ""),
        Some((found, false)) => mistake.at(found.key.unwrap_or(found.value), "by default, as it is not given here"),
        None => mistake.at(subject.place, if field.is_empty() { "" } else { "by default, as it is not given" }),
    }
}
