//! The kind `capacity`: the highest rate at which a workload meets its objectives, on a virtual machine timed by a
//! profile; and how it is served at 85 % of that rate.
//!
//! Every probe serves the same requests, their arrivals drawn together or apart (common random numbers), so that rates
//! differ by the rate alone. It does not know how time is predicted. Deterministic: the rates that are probed follow
//! from the answers, never from the number of threads.

mod find;
mod objective;
mod probe;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::model::card;
use crate::predict::{Outside, Predictor};
use crate::tables::meaning;
use crate::tables::ops;
use crate::tables::requests::read_requests;
use crate::tables::{self, OPS};

pub use find::{Found, highest};
pub use objective::{Goodput, Metric, Objective, Objectives, Outcome};
pub use probe::{Figures, Probe, lowest_rate, own_rate, probe};

/// The share of the capacity at which one runs a service.
const OPERATING_SHARE: f64 = 0.85;

/// Configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The scheduler's knobs; the same fragment as in a simulation.
    #[serde(default)]
    pub scheduler: Knobs,
    /// What to do about an iteration that lies outside of the profile.
    #[serde(default)]
    pub outside: Outside,
    /// What must hold.
    pub objectives: Objectives,
    /// Largest relative distance between the rate found and one that is known to fail.
    #[serde(default = "hundredth")]
    pub tolerance: f64,
    /// What it runs on, and what that costs.
    #[serde(default)]
    pub machine: Machine,
}

fn hundredth() -> f64 {
    0.01
}

/// What is paid for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// What people call it.
    pub name: String,
    /// Cards of one replica.
    pub cards: u32,
    /// Price of a card for an hour, in any one currency.
    pub cost_per_card_hour: f64,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { name: "machine".to_owned(), cards: 1, cost_per_card_hour: 0.0 }
    }
}

/// What was found, as `capacity.json` holds it. Rates in requests a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Raised when a field's meaning changes.
    pub format: u32,
    /// What it runs on.
    pub machine: Machine,
    /// The knobs it was found for.
    pub scheduler: Knobs,
    /// What had to hold.
    pub objectives: Objectives,
    /// Requests of the workload: what a tail percentile rests on.
    pub requests: u64,
    /// The highest rate known to meet the objectives; 0 where even an idle machine misses them.
    pub rate_per_s: f64,
    /// The lowest rate above it known to miss one; none where none was found.
    pub misses_at_per_s: Option<f64>,
    /// The objective that is missed there.
    pub limited_by: Option<String>,
    /// How it is served at 85 % of the rate; none where the rate is 0.
    pub operating: Option<Probe>,
    /// How many rates were probed.
    pub probes: u64,
}

/// The kind.
#[derive(Debug)]
pub struct CapacityStage;

impl StageKind for CapacityStage {
    type Config = Config;
    const NAME: &'static str = "capacity";
    const ABOUT: &'static str = "finds the highest rate at which a workload meets its objectives";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::CAPACITY };
    const EXAMPLE: &'static str =
        "objectives = { percentiles = [{ metric = \"scheduling-delay\", percentile = 99, at_most_s = 5.0 }] }";

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.scheduler.check().map_err(|(field, message)| Complaint::new(format!("scheduler.{field}"), message))?;
        config.objectives.check()?;
        if !(config.tolerance > 0.0 && config.tolerance <= 0.5) {
            return Err(Complaint::new("tolerance", "a share above 0, at most 0.5"));
        }
        let cost = config.machine.cost_per_card_hour;
        if config.machine.cards == 0 || !cost.is_finite() || cost < 0.0 {
            return Err(Complaint::new("machine", "at least one card, and a cost that is not below 0"));
        }
        Ok(Contract {
            inputs: vec![
                Port::new("requests", "requests", "table `requests`: what arrives; its gaps are scaled to each rate")
                    .by_meaning(meaning::TABLE),
                Port::new("ops", "ops", "directory with table `ops`: times of the model's operations on the device"),
                Port::new("model", "model", "the model's card, for its longest sequence").by_meaning(card::MEANING),
            ],
            outputs: vec![
                Port::new("capacity", "capacity", "JSON: the rate, what limits it, and the operating point at 85 %"),
                Port::new("probes", "probes", "table `probes`: every rate that was tried"),
            ],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let requests = read_requests(&io.input("requests")?.path)?;
        let ops_at = io.input("ops")?.path.join(format!("{}.parquet", OPS.name));
        let profile: Vec<ops::Row> = tables::read(&ops_at)?;
        let predictor = Predictor::new(&profile, config.outside)
            .map_err(|e| StageError::new(format!("the profile `{}` cannot be used", ops_at.display())).because(&e))?;
        let knobs = config.scheduler.for_model(card.max_positions);
        let (capacity, found) = find_capacity(config, &requests, &knobs, &predictor)?;
        io.metric("capacity", capacity.rate_per_s, "requests/s");
        io.metric("probes", capacity.probes as f64, "");
        let rows: Vec<probe::Row> = found.probes.iter().map(probe::Row::from).collect();
        tables::write(&io.output("probes")?, &[], &rows)?;
        let path = io.output("capacity")?;
        let text = serde_json::to_string_pretty(&capacity).expect("plain data") + "\n";
        std::fs::write(&path, text)
            .map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
    }
}

/// The capacity of a machine for these requests.
///
/// # Errors
/// When the requests carry no rate, or a probe cannot be served.
pub fn find_capacity(
    config: &Config,
    requests: &[Request],
    knobs: &Knobs,
    predictor: &Predictor,
) -> Result<(Capacity, Found), StageError> {
    let own = own_rate(requests)?;
    let judge = |rate: f64| {
        probe(requests, rate / own, rate, knobs, predictor.clone(), &config.objectives).map_err(|e| {
            StageError::new(format!("a probe at {rate:.4} requests a second ended before the workload"))
                .because(&e)
                .help("let the profile cover it, or set `outside = \"extrapolate\"`")
        })
    };
    let found = highest(own, lowest_rate(requests), config.tolerance, judge)?;
    let operating = if found.rate > 0.0 { Some(judge(OPERATING_SHARE * found.rate)?) } else { None };
    let capacity = Capacity {
        format: 1,
        machine: config.machine.clone(),
        scheduler: config.scheduler.clone(),
        objectives: config.objectives.clone(),
        requests: requests.len() as u64,
        rate_per_s: found.rate,
        misses_at_per_s: found.misses_at,
        limited_by: found.limited_by.clone(),
        operating,
        probes: found.probes.len() as u64,
    };
    Ok((capacity, found))
}

#[cfg(test)]
mod tests;
