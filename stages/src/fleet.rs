//! The kind `fleet`: serves a workload on several virtual replicas behind a router: alike or on unlike hardware, whole
//! requests or prefills and decodes apart, as the workload says or from clients that wait for their answers.
//!
//! Every replica is the loop, the scheduler and the predictor of `sim`; a fleet of one gives what `sim` gives.

use std::path::Path;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::infer::fleet::{self, FleetRun, Plan, Replica, Role, Routing, serve_fleet};
use crate::infer::metrics::Objectives;
use crate::infer::record::Recorder;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::ServeError;
use crate::infer::time::Nanos;
use crate::model::card::{self, Card};
use crate::predict::{OutOfRange, Outside, Predictor};
use crate::random::Stream;
use crate::sim::{Figures, unmeasured};
use crate::tables::requests::read_requests;
use crate::tables::run::{BatchDetail, Detail, Named, RunMeta, RunWriter, TokenDetail, TokenIds};
use crate::tables::{OPS, meaning};

/// Configuration of a fleet. The defaults are one replica that serves what arrives: `sim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Every replica's scheduler; the same fragment as in `sim`.
    pub scheduler: Knobs,
    /// What to do about an iteration that lies outside of a profile.
    pub outside: Outside,
    /// The replicas, in groups of equal ones.
    pub replicas: Vec<Group>,
    /// Who gets a request.
    pub routing: Routing,
    /// Of the lots that `random` and `power-of-two` draw.
    pub seed: u64,
    /// Clients that send their next request when the last has ended; none = requests come when the workload says.
    pub clients: Option<Clients>,
    /// From replicas that prefill to replicas that decode.
    pub transfer: Transfer,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            scheduler: Knobs::default(),
            outside: Outside::default(),
            replicas: vec![Group::default()],
            routing: Routing::default(),
            seed: 0,
            clients: None,
            transfer: Transfer::default(),
        }
    }
}

/// Equal replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// How many.
    pub count: u32,
    /// `whole`, `prefill` or `decode`.
    pub role: Role,
    /// Whose times: the profile's place in the port `ops`, from 0.
    pub profile: u32,
    /// KV blocks of each, if not the scheduler's.
    pub kv_blocks: Option<u32>,
}

impl Default for Group {
    fn default() -> Group {
        Group { count: 1, role: Role::Whole, profile: 0, kv_blocks: None }
    }
}

/// Clients in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// How many; each has one request under way at most.
    pub count: u32,
    /// From the end of a request to the next turn of its session, s.
    #[serde(default)]
    pub think_s: f64,
    /// Consecutive rows of the workload that make a session.
    #[serde(default = "one")]
    pub turns: u32,
}

fn one() -> u32 {
    1
}

/// The way of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    /// Of every transfer, µs.
    pub latency_us: f64,
    /// 10⁹ bytes a second.
    pub gb_per_s: f64,
}

impl Default for Transfer {
    fn default() -> Transfer {
        Transfer { latency_us: 100.0, gb_per_s: 50.0 }
    }
}

impl Config {
    fn check(&self) -> Result<(), Complaint> {
        let complain = |field: &str, message: String| Err(Complaint::new(field, message));
        self.scheduler.check().map_err(|(field, message)| Complaint::new(format!("scheduler.{field}"), message))?;
        let has = |role| self.replicas.iter().any(|g| g.role == role && g.count > 0);
        if !has(Role::Whole) && !has(Role::Prefill) {
            return complain(
                "replicas",
                "nobody prefills: a group with role `whole` or `prefill` is needed".to_owned(),
            );
        }
        if has(Role::Prefill) != has(Role::Decode) {
            return complain("replicas", "`prefill` and `decode` need each other".to_owned());
        }
        if has(Role::Decode) && !self.scheduler.policy.chunks_prefill() {
            let name = self.scheduler.policy.name();
            let message =
                format!("`{name}` cannot take up keys and values from elsewhere; `sarathi` and `vllm-v1` can");
            return complain("scheduler.policy", message);
        }
        for group in &self.replicas {
            let knobs = self.knobs(group);
            knobs.check().map_err(|(_, message)| Complaint::new("replicas", message))?;
        }
        if !(self.transfer.gb_per_s > 0.0 && self.transfer.gb_per_s.is_finite()) {
            return complain("transfer.gb_per_s", format!("`gb_per_s` is {}, wanted above 0", self.transfer.gb_per_s));
        }
        if !(self.transfer.latency_us >= 0.0 && self.transfer.latency_us.is_finite()) {
            return complain("transfer.latency_us", format!("`latency_us` is {}", self.transfer.latency_us));
        }
        match self.clients {
            Some(c) if c.count == 0 => complain("clients.count", "there must be at least 1 client".to_owned()),
            Some(c) if c.turns == 0 => complain("clients.turns", "a session has at least 1 turn".to_owned()),
            Some(c) if !(c.think_s >= 0.0 && c.think_s.is_finite()) => {
                complain("clients.think_s", format!("`think_s` is {}, wanted at least 0", c.think_s))
            }
            _ => Ok(()),
        }
    }

    fn knobs(&self, group: &Group) -> Knobs {
        Knobs { kv_blocks: group.kv_blocks.unwrap_or(self.scheduler.kv_blocks), ..self.scheduler.clone() }
    }

    fn plan(&self, card: &Card) -> Plan {
        Plan {
            routing: self.routing,
            clients: self.clients.map(|c| fleet::Clients {
                count: c.count,
                think: Nanos::from_secs_f64(c.think_s),
                turns: c.turns,
            }),
            transfer: fleet::Transfer {
                latency: Nanos::from_secs_f64(self.transfer.latency_us / 1e6),
                bytes_per_token: card.kv_bytes_per_token(),
                bytes_per_s: self.transfer.gb_per_s * 1e9,
            },
        }
    }
}

/// The kind.
#[derive(Debug)]
pub struct Fleet;

impl StageKind for Fleet {
    type Config = Config;
    const NAME: &'static str = "fleet";
    const ABOUT: &'static str = "serves a workload on several virtual replicas behind a router";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::FLEET };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.check()?;
        Ok(Contract {
            inputs: vec![
                Port::new("requests", "requests", "table `requests`: what arrives and when").by_meaning(meaning::TABLE),
                Port::new("ops", "ops", "directories with table `ops`, one for each sort of hardware").many(),
                Port::new("model", "model", "the model's card").by_meaning(card::MEANING),
            ],
            outputs: vec![Port::new(
                "run",
                "run",
                "directory: table `requests`, `summary.json`, `replicas.json`, `meta.json`; `tokens` and `batches` are empty",
            )],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let requests_at = io.input("requests")?.path.clone();
        let requests = read_requests(&requests_at)?;
        let Profiles { predictors, digests, notes } = profiles(config, io)?;
        let run = simulate_fleet(&requests, config, &card, &predictors)?;
        let directory = io.output("run")?;
        let detail = Detail { tokens: TokenDetail::None, batches: BatchDetail::Summary };
        let mut writer = RunWriter::create(&directory, TokenIds::MadeUp)?.with_detail(detail);
        run.requests.iter().for_each(|row| writer.request(row.clone()));
        let mut meta = RunMeta::new(Fleet::NAME, "virtual");
        meta.knobs = serde_json::to_value(&config.scheduler).expect("knobs are plain data");
        meta.config = serde_json::to_value(config).expect("a configuration is plain data");
        meta.model = Named { name: card.name.clone(), digest: card.digest() };
        let digest = meaning::hex(&requests_at).map_err(StageError::new)?;
        meta.requests = Named { name: "requests".to_owned(), digest };
        meta.ops = Some(Named { name: "ops".to_owned(), digest: digests.join(" ") });
        meta.facts.insert("replicas".to_owned(), run.members.len().into());
        meta.notes = notes;
        writer.finish(&directory, &meta)?;
        figures(&run).write(&directory.join("summary.json"))?;
        write_replicas(&run, &directory.join("replicas.json"))
    }
}

/// Simulates a fleet without files; `predictors` in the order of `profile`.
///
/// # Errors
/// When a group names a profile that is not there, or an iteration lies outside of its profile.
pub fn simulate_fleet(
    requests: &[Request],
    config: &Config,
    card: &Card,
    predictors: &[Predictor],
) -> Result<FleetRun, StageError> {
    let mut replicas = Vec::new();
    for group in &config.replicas {
        let Some(predictor) = predictors.get(group.profile as usize) else {
            let message =
                format!("a group wants profile {}, and {} are wired to `ops`", group.profile, predictors.len());
            return Err(StageError::new(message));
        };
        let knobs = config.knobs(group).for_model(card.max_positions);
        let replica = Replica { role: group.role, knobs, predictor: predictor.clone() };
        replicas.extend(std::iter::repeat_n(replica, group.count as usize));
    }
    let mut lots = Stream::new(config.seed, "routing", 0);
    serve_fleet(requests, replicas, &config.plan(card), &mut |n| lots.below(n)).map_err(|e| unserved(&e))
}

/// The figures of the whole fleet.
pub fn figures(run: &FleetRun) -> Figures {
    Figures::of(&run.requests, &run.gaps, run.iterations())
}

/// Requests a second that met every objective.
pub fn goodput_per_s(run: &FleetRun, objectives: &Objectives) -> f64 {
    objectives.goodput_per_s(&run.requests)
}

fn unserved(error: &ServeError<OutOfRange>) -> StageError {
    let stage_error = StageError::new("the simulation ended before the workload").because(error);
    match error {
        ServeError::Backend { .. } => stage_error.help(
            "let `profile` cover it (its grid follows the scheduler's knobs), or set `outside = \"extrapolate\"`",
        ),
        _ => stage_error,
    }
}

/// What is wired to `ops`, in its order.
#[derive(Default)]
struct Profiles {
    predictors: Vec<Predictor>,
    digests: Vec<String>,
    notes: Vec<String>,
}

fn profiles(config: &Config, io: &Io) -> Result<Profiles, StageError> {
    let mut profiles = Profiles::default();
    for source in io.many("ops") {
        let at = source.path.join(format!("{}.parquet", OPS.name));
        let rows: Vec<crate::tables::ops::Row> = crate::tables::read(&at)?;
        let predictor = Predictor::new(&rows, config.outside).map_err(|e| {
            StageError::new(format!("the profile `{}` cannot be used", at.display()))
                .because(&e)
                .help("measure it again; a profile is not mended by hand")
        })?;
        profiles.notes.extend(predictor.notes().iter().cloned().chain(unmeasured(&rows)));
        profiles.predictors.push(predictor);
        profiles.digests.push(meaning::hex(&at).map_err(StageError::new)?);
    }
    Ok(profiles)
}

fn write_replicas(run: &FleetRun, path: &Path) -> Result<(), StageError> {
    let replica = |(served, iterations): &(crate::infer::serve::Served, crate::infer::tally::Iterations)| {
        serde_json::json!({
            "completed": served.completed,
            "refused": served.refused,
            "tokens": served.tokens,
            "preemptions": served.preemptions,
            "end_ns": served.end.0,
            "iterations": iterations,
        })
    };
    let text = serde_json::json!({
        "replicas": run.members.iter().map(replica).collect::<Vec<_>>(),
        "first": run.replicas.iter().map(|r| r.0).collect::<Vec<_>>(),
        "decoded": run.replicas.iter().map(|r| r.1.or(r.0)).collect::<Vec<_>>(),
    });
    std::fs::write(path, format!("{text:#}\n"))
        .map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
}

#[cfg(test)]
mod tests;
