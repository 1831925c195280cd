//! Inputs as written meet the ports of a contract: names, lists, what is missing, and whether both ends hold the same.

use super::{Built, Expansion, Joint};
use crate::error::Mistake;
use crate::graph::StageId;
use crate::kind::Contract;
use crate::load::draft::Draft;
use crate::load::reading::Reading;
use crate::load::wire::{self, Source};
use crate::source::nearest;

impl Expansion<'_> {
    /// Which input is wired to which port, in the order of the contract; `None` where a mistake is noted, now or about
    /// something that the stage hangs on.
    pub(super) fn joints(&self, reading: &mut Reading, at: usize, contract: &Contract) -> Option<Vec<Joint>> {
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
            joints.push((port, number));
            whole &= self.check_sources(reading, at, number, contract.inputs[port].holds.as_ref());
        }
        for port in contract.inputs.iter().filter(|port| !port.optional) {
            match draft.inputs.iter().find(|input| input.port == port.name) {
                Some(input) if input.words.is_empty() && input.list => {
                    reading.note(self.missing_input(draft, &port.name, &port.holds).at(input.value, "an empty list"));
                }
                // Written as something that is no text: that is noted.
                Some(input) => whole &= !input.words.is_empty(),
                None if misspelt(draft, contract, &port.name) => {}
                None => reading.note(self.missing_input(draft, &port.name, &port.holds).at(draft.key, "")),
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
        Mistake::new("missing-input", message).help(help)
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
                let message = match output.as_str() {
                    "" => format!("`{name}` is a stage: name one of its outputs, as in `{name}.OUTPUT`"),
                    _ => format!("the stage `{name}` has no output `{output}`"),
                };
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
}

/// Whether an input that the kind does not have was most likely meant to be this one.
fn misspelt(draft: &Draft, contract: &Contract, port: &str) -> bool {
    let names = || contract.inputs.iter().map(|port| port.name.as_ref());
    let unknown = draft.inputs.iter().filter(|input| !names().any(|name| name == input.port));
    unknown.map(|input| nearest::nearest(&input.port, names())).any(|near| near == Some(port))
}
