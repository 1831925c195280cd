//! Kinds that do nothing, with the shapes that matter to loading.

use serde::{Deserialize, Serialize};

use crate::exec::Io;
use crate::kind::{Code, Complaint, Contract, Kind, Meaning, Needs, Port, Program, StageError, StageKind, Wired};

pub(super) static PROGRAM: Program = Program {
    kinds: &[Kind::of::<Make>(), Kind::of::<Scale>(), Kind::of::<Compare>(), Kind::of::<Gather>()],
    meanings: &[Meaning { name: "length/1", digest: |_| Ok([0; 32]) }],
    verbs: &[],
    version: "0",
    tiers: &[],
    carries: |_| None,
};

const CODE: Code = Code { version: 1, modules: &[] };

/// A table that two kinds have as a field.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    size: u32,
    #[serde(default)]
    order: Order,
    #[serde(default = "three")]
    depth: u32,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum Order {
    #[default]
    Fifo,
    Lifo,
    ShortestFirst,
}

fn three() -> u32 {
    3
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { size: 4, order: Order::Fifo, depth: 3 }
    }
}

/// Makes numbers out of nothing, or of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Make {
    count: u32,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rate_per_s: f64,
    #[serde(default)]
    sizes: Vec<u16>,
}

impl StageKind for Make {
    type Config = Make;
    const NAME: &'static str = "make";
    const ABOUT: &'static str = "makes numbers";
    const CODE: Code = CODE;

    fn contract(config: &Make, _wired: &Wired) -> Result<Contract, Complaint> {
        if config.count == 0 {
            return Err(Complaint::new("count", "at least one number is wanted").help("raise it to 1"));
        }
        Ok(Contract {
            inputs: vec![Port::new("source", "any", "what to draw from").optional()],
            outputs: vec![Port::new("numbers", "numbers", ""), Port::new("notes", "text", "")],
            ..Contract::default()
        })
    }

    fn run(_config: &Make, _io: &mut Io) -> Result<(), StageError> {
        Ok(())
    }
}

/// Turns numbers into a run.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scale {
    #[serde(default)]
    batch: Batch,
    #[serde(default)]
    machine: MachineTable,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MachineTable {
    cpus: u16,
    memory_mib: u64,
    card: Option<String>,
}

impl Default for MachineTable {
    fn default() -> MachineTable {
        MachineTable { cpus: 1, memory_mib: 0, card: None }
    }
}

impl StageKind for Scale {
    type Config = Scale;
    const NAME: &'static str = "scale";
    const ABOUT: &'static str = "scales numbers";
    const CODE: Code = CODE;

    fn contract(config: &Scale, _wired: &Wired) -> Result<Contract, Complaint> {
        if config.batch.size < config.batch.depth {
            return Err(Complaint::new("batch.depth", "a batch is no deeper than it is large"));
        }
        let table = &config.machine;
        let gpus = u8::from(table.card.is_some());
        let (cpus, memory_mib, gpu_name) = (table.cpus, table.memory_mib, table.card.clone());
        Ok(Contract {
            inputs: vec![Port::new("numbers", "numbers", ""), Port::new("shape", "any", "").optional()],
            outputs: vec![Port::new("run", "run", "")],
            needs: Needs { cpus, memory_mib, gpus, gpu_name, ..Needs::default() },
            ..Contract::default()
        })
    }

    fn run(_config: &Scale, _io: &mut Io) -> Result<(), StageError> {
        Ok(())
    }
}

/// Takes two runs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compare {}

impl StageKind for Compare {
    type Config = Compare;
    const NAME: &'static str = "compare";
    const ABOUT: &'static str = "compares two runs";
    const CODE: Code = CODE;

    fn contract(_config: &Compare, _wired: &Wired) -> Result<Contract, Complaint> {
        Ok(Contract {
            inputs: vec![Port::new("left", "run", ""), Port::new("right", "run", "")],
            outputs: vec![Port::new("verdict", "verdict", "")],
            ..Contract::default()
        })
    }

    fn run(_config: &Compare, _io: &mut Io) -> Result<(), StageError> {
        Ok(())
    }
}

/// Takes any number of runs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gather {}

impl StageKind for Gather {
    type Config = Gather;
    const NAME: &'static str = "gather";
    const ABOUT: &'static str = "gathers runs";
    const CODE: Code = CODE;

    fn contract(_config: &Gather, _wired: &Wired) -> Result<Contract, Complaint> {
        Ok(Contract {
            inputs: vec![Port::new("runs", "run", "").many(), Port::new("base", "run", "").optional()],
            outputs: vec![Port::new("table", "table", "")],
            ..Contract::default()
        })
    }

    fn run(_config: &Gather, _io: &mut Io) -> Result<(), StageError> {
        Ok(())
    }
}
