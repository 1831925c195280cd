//! How a stage is run: the few words beside its configuration, in the pipeline file or on the command line.

use super::reading::Reading;
use crate::error::Mistake;
use crate::source::nearest;
use crate::source::tree::{Entry, Value};

/// The keys of a stage that are read here.
pub(super) const KEYS: [&str; 4] = ["launcher", "repeat", "retries", "timeout_s"];

/// Launchers that there are.
const LAUNCHERS: [&str; 2] = ["local", "slurm"];

/// Most samples of one stage.
const REPEAT_MAX: u32 = 10_000;
/// Most further tries after a failure.
const RETRIES_MAX: u32 = 100;

/// As written; what is not is left to defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Policy {
    /// How many samples; `None` is one, and no point of a sweep.
    pub(super) repeat: Option<u32>,
    pub(super) retries: u32,
    pub(super) timeout_s: Option<f64>,
    pub(super) launcher: Option<String>,
}

impl Policy {
    /// Takes one entry over; a value that cannot be meant is noted. `false` if its key is none of ours.
    pub(super) fn read(&mut self, reading: &mut Reading, entry: &Entry) -> bool {
        match entry.name.as_str() {
            "repeat" => self.repeat = whole(reading, entry, 1, REPEAT_MAX).or(self.repeat),
            "retries" => self.retries = whole(reading, entry, 0, RETRIES_MAX).unwrap_or(self.retries),
            "timeout_s" => self.timeout_s = seconds(reading, entry).or(self.timeout_s),
            "launcher" => {
                let word = reading.string(entry);
                if let Some(mistake) = word.as_deref().and_then(unknown_launcher) {
                    reading.note(mistake.at(entry.node.span, ""));
                } else {
                    self.launcher = word.or(self.launcher.take());
                }
            }
            _ => return false,
        }
        true
    }
}

/// A mistake if there is no launcher of this name.
pub(super) fn unknown_launcher(word: &str) -> Option<Mistake> {
    let mistake = || {
        let help = nearest::remedy(word, "launcher", LAUNCHERS);
        Mistake::new("unknown-launcher", format!("there is no launcher `{word}`")).help(help)
    };
    (!LAUNCHERS.contains(&word)).then(mistake)
}

fn whole(reading: &mut Reading, entry: &Entry, least: u32, most: u32) -> Option<u32> {
    let number = match entry.node.value {
        Value::Integer(number) => u32::try_from(number).ok().filter(|number| (least..=most).contains(number)),
        _ => None,
    };
    if number.is_none() {
        let message = format!("`{}` takes a whole number from {least} to {most}", entry.name);
        reading.note(Mistake::new("bad-value", message).at(entry.node.span, ""));
    }
    number
}

fn seconds(reading: &mut Reading, entry: &Entry) -> Option<f64> {
    let number = match entry.node.value {
        #[expect(clippy::cast_precision_loss, reason = "a time limit is not that long")]
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    };
    let number = number.filter(|number| *number > 0.0);
    if number.is_none() {
        let message = format!("`{}` takes a number of seconds above 0", entry.name);
        reading.note(Mistake::new("bad-value", message).at(entry.node.span, ""));
    }
    number
}
