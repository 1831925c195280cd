//! Kind `report`: one HTML page that a person reads, and the figures on it as files of their own.
//!
//! It reads a verdict for every figure it prints and the runs for every curve it draws; it judges nothing. The page is
//! self-contained: no script, no network, a policy in its head that forbids both.
//!
//! Invariants: the same inputs give the same bytes; whatever comes from outside is escaped; curves are thinned so that
//! a page of ten thousand requests stays below two megabytes.

use engine::exec::{Io, Source};
use engine::kind::{Code, Complaint, Contract, Port, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

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

    fn contract(_: &Config, _: &Wired) -> Result<Contract, Complaint> {
        Ok(Contract {
            inputs: vec![
                Port::new("verdict", "verdict", "what a comparison of the two found"),
                Port::new("predicted", "run", "the prediction"),
                Port::new("measured", "run", "the measurements, as they were compared").many(),
                Port::new("also", "any", "anything whose digest should stand in the provenance").many().optional(),
            ],
            outputs: vec![
                Port::new("page", "html", "one self-contained page").as_file("html"),
                Port::new("figures", "figures", "its figures as SVG files"),
            ],
            ..Contract::default()
        })
    }

    fn run(_: &Config, io: &mut Io) -> Result<(), StageError> {
        let verdict = Verdict::read(&io.input("verdict")?.path)?;
        let side = |source: &Source| read::read(&source.path, &source.label);
        let predicted = side(io.input("predicted")?)?;
        let measured: Vec<Side> = io.many("measured").iter().map(side).collect::<Result<_, _>>()?;
        if measured.is_empty() {
            return Err(StageError::new("nothing is wired to the input `measured`"));
        }
        let figures = figures(&verdict, &predicted, &measured);
        let material = page::Material {
            verdict: &verdict,
            predicted: &predicted,
            measured: &measured,
            inputs: io.all_inputs(),
            figures: &figures,
        };
        write(&io.output("page")?, &page::page(&material))?;
        let directory = io.output("figures")?;
        std::fs::create_dir_all(&directory)
            .map_err(|e| StageError::new(format!("cannot make `{}`", directory.display())).because(&e))?;
        for figure in &figures {
            write(&directory.join(format!("{}.svg", figure.name)), &figure.standalone())?;
        }
        Ok(())
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), StageError> {
    std::fs::write(path, text).map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

/// Every figure that the two sides have the data for.
fn figures(verdict: &Verdict, predicted: &Side, measured: &[Side]) -> Vec<svg::Figure> {
    let aligned = align(predicted, measured, verdict.clock);
    let mut figures = vec![errors::errors(verdict)];
    for metric in Metric::MAIN {
        let drawn = verdict.metric(metric).and_then(|errors| cdf::cdf(&samples(metric, &aligned), errors));
        figures.extend(drawn);
    }
    figures.extend(parts::parts(verdict));
    // Of several measurements the first stands for the run over time.
    figures.extend(timeline::timelines(predicted, &measured[0], verdict.clock));
    for metric in [Metric::Ttft, Metric::E2e] {
        figures.extend(scatter::scatter(metric, &aligned, verdict));
    }
    figures
}

fn samples(metric: Metric, aligned: &Aligned<'_>) -> cdf::Samples {
    cdf::Samples {
        metric,
        predicted: metric.sample(&aligned.predicted),
        measured: aligned.measured.iter().map(|side| metric.sample(side)).collect(),
    }
}
