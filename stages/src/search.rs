//! The kind `search`: puts capacities of many configurations side by side: what a request costs against how long it
//! takes, the configurations that nothing beats in both, and the best of them.
//!
//! A sweep is a `matrix` over `capacity` stages; each is cached by itself. It does not know how a capacity was found.

mod figure;
mod front;
mod page;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, Metric};
use crate::tables;

pub use front::{Configuration, compare};

/// Configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The time it is judged by, at 85 % of each capacity.
    pub metric: Metric,
    /// Which percentile of it: 50, 90 or 99.
    pub percentile: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { metric: Metric::Ttft, percentile: 99 }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Search;

impl StageKind for Search {
    type Config = Config;
    const NAME: &'static str = "search";
    const ABOUT: &'static str = "compares capacities of many configurations: cost against latency, and the best";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::SEARCH };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        if ![50, 90, 99].contains(&config.percentile) {
            return Err(Complaint::new("percentile", "capacities hold the 50th, 90th and 99th"));
        }
        Ok(Contract {
            inputs: vec![Port::new("capacities", "capacity", "what `capacity` found, a configuration each").many()],
            outputs: vec![
                Port::new("configurations", "configurations", "table `configurations`, the best first"),
                Port::new("csv", "table", "the same as CSV").as_file("csv"),
                Port::new("figure", "figure", "requests by cost against latency").as_file("svg"),
                Port::new("page", "page", "one page: the best, the figure, the table").as_file("html"),
                Port::new("best", "table", "the best configuration in words").shown(),
            ],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let mut capacities = Vec::new();
        for source in io.many("capacities") {
            let at = |what: &str| format!("cannot {what} the capacity `{}`", source.path.display());
            let text = std::fs::read_to_string(&source.path).map_err(|e| StageError::new(at("read")).because(&e))?;
            let capacity: Capacity =
                serde_json::from_str(&text).map_err(|e| StageError::new(at("understand")).because(&e))?;
            capacities.push((source.label.clone(), capacity));
        }
        if capacities.is_empty() {
            return Err(StageError::new("nothing is wired to the input `capacities`"));
        }
        let found = compare(&capacities, config.metric, config.percentile);
        let figure = figure::figure(&found, config);
        tables::write(&io.output("configurations")?, &[], &found)?;
        write(&io.output("csv")?, &front::csv(&found))?;
        write(&io.output("figure")?, &figure.standalone())?;
        write(&io.output("best")?, &page::best(&found, config))?;
        write(&io.output("page")?, &page::page(&found, &capacities, &figure, config))
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), StageError> {
    std::fs::write(path, text).map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

#[cfg(test)]
mod tests;
