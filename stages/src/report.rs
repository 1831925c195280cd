//! Kind `report`: one HTML page that a person reads, and the figures on it as files of their own.
//!
//! With a verdict it shows what two runs say of each other; without one it shows one run alone (`alone`).
//!
//! It reads a verdict for every figure it prints and the runs for every curve it draws; it judges nothing. The page is
//! self-contained: no script, no network, a policy in its head that forbids both.
//!
//! Invariants: the same inputs give the same bytes; whatever comes from outside is escaped; curves are thinned so that
//! a page of ten thousand requests stays below two megabytes.

use engine::exec::{Io, Source};
use engine::kind::{Code, Complaint, Contract, Port, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

mod alone;
mod cdf;
mod errors;
mod headline;
mod page;
mod parts;
mod provenance;
mod scatter;
pub(crate) mod style;
pub(crate) mod svg;
pub(crate) mod text;
mod timeline;

#[cfg(test)]
mod tests;

use crate::compare::align::{Aligned, align};
use crate::compare::metric::Metric;
use crate::compare::read;
use crate::compare::side::Side;
use crate::compare::verdict::Verdict;

/// The kind.
#[derive(Debug)]
pub struct Report;

/// Its configuration: nothing to set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

impl StageKind for Report {
    type Config = Config;
    const NAME: &'static str = "report";
    const ABOUT: &'static str = "the page and the figures that a person looks at";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::REPORT };

    fn contract(_: &Config, wired: &Wired) -> Result<Contract, Complaint> {
        let (verdict, predicted, measured) = (wired.has("verdict"), wired.has("predicted"), wired.has("measured"));
        let alone = !verdict && predicted != measured;
        let unless = |spare: bool, port: Port| if spare { port.optional() } else { port };
        let mut outputs = vec![
            Port::new("page", "html", "one self-contained page").as_file("html"),
            Port::new("figures", "figures", "its figures as SVG files"),
        ];
        if alone {
            let about = "the table a person asks for, where there is no verdict";
            outputs.push(Port::new("summary", "text", about).as_file("txt").shown());
        }
        let of_two = "what a comparison of the two found; without it one run is shown alone";
        Ok(Contract {
            inputs: vec![
                unless(alone, Port::new("verdict", "verdict", of_two)),
                unless(alone, Port::new("predicted", "run", "the prediction")),
                unless(alone, Port::new("measured", "run", "the measurements, as they were compared").many()),
                Port::new("also", "any", "anything whose digest should stand in the provenance").many().optional(),
            ],
            outputs,
            ..Contract::default()
        })
    }

    fn run(_: &Config, io: &mut Io) -> Result<(), StageError> {
        let side = |source: &Source| read::read_repeats(&source.path, &source.label);
        let sides = |port: &str| io.many(port).iter().map(side).collect::<Result<Vec<Vec<Side>>, _>>();
        let (predicted, measured) = (sides("predicted")?.concat(), sides("measured")?.concat());
        let verdict = io.many("verdict").first().map(|source| Verdict::read(&source.path)).transpose()?;
        let (page, figures) = match (&verdict, predicted.as_slice(), measured.as_slice()) {
            (Some(verdict), [predicted], [_, ..]) => {
                let figures = figures(verdict, predicted, &measured);
                let (inputs, measured) = (io.all_inputs(), measured.as_slice());
                let material = page::Material { verdict, predicted, measured, inputs, figures: &figures };
                (page::page(&material), figures)
            }
            (None, [_], []) => alone(timeline::Role::Predicted, &predicted, io)?,
            (None, [], [_, ..]) => alone(timeline::Role::Measured, &measured, io)?,
            _ => return Err(StageError::new("a report shows a verdict with both its sides, or one side alone")),
        };
        write(&io.output("page")?, &page)?;
        let directory = io.output("figures")?;
        std::fs::create_dir_all(&directory)
            .map_err(|e| StageError::new(format!("cannot make `{}`", directory.display())).because(&e))?;
        for figure in &figures {
            write(&directory.join(format!("{}.svg", figure.name)), &figure.standalone())?;
        }
        Ok(())
    }
}

/// The page and the figures of a run that nothing is compared with; its table goes to the output `summary`.
fn alone(role: timeline::Role, sides: &[Side], io: &Io) -> Result<(String, Vec<svg::Figure>), StageError> {
    let run = alone::Alone::new(role, sides);
    write(&io.output("summary")?, &run.text())?;
    let figures = run.figures();
    Ok((run.page(io.all_inputs(), &figures), figures))
}

fn write(path: &std::path::Path, text: &str) -> Result<(), StageError> {
    std::fs::write(path, text).map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

/// Every figure that the two sides have the data for.
fn figures(verdict: &Verdict, predicted: &Side, measured: &[Side]) -> Vec<svg::Figure> {
    let aligned = align(predicted, measured, verdict.clock);
    let mut figures = vec![errors::errors(verdict)];
    for metric in Metric::MAIN {
        figures.extend(cdf::cdf(&samples(metric, &aligned)));
    }
    figures.extend(parts::parts(verdict));
    let sides = [(timeline::Role::Predicted, predicted), (timeline::Role::Measured, &measured[0])];
    // Of several measurements the first stands for the run over time.
    figures.extend(timeline::timelines(&sides, verdict.clock));
    for metric in [Metric::Ttft, Metric::E2e] {
        figures.extend(scatter::scatter(metric, &aligned, verdict));
    }
    figures
}

fn samples(metric: Metric, aligned: &Aligned<'_>) -> cdf::Samples {
    cdf::Samples {
        metric,
        predicted: Some(metric.sample(&aligned.predicted)),
        measured: aligned.measured.iter().map(|side| metric.sample(side)).collect(),
    }
}
