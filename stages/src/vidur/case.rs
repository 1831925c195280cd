//! A simulation as a folder: `case.json` (configuration) and `requests.csv` (what arrives).

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Case {
    /// What people call it.
    pub name: String,
    /// Of the random streams.
    pub seed: u64,
    /// How many replicas.
    pub num_replicas: u32,
    /// The longest request that the memory planner reckons with.
    pub max_tokens: u32,
    /// Seconds; 0 = none.
    pub time_limit: f64,
    /// Who gets a request.
    pub(super) global_scheduler: GlobalScheduler,
    /// Who goes into a batch.
    pub(super) replica_scheduler: ReplicaScheduler,
    /// Model, device and how they are split.
    pub(super) replica: Replica,
    /// How long a batch takes.
    pub(super) predictor: Predictor,
}

/// Who gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum GlobalScheduler {
    /// In turn.
    RoundRobin,
    /// Fewest waiting requests.
    Lor,
    /// By CPython's stream.
    Random,
}

/// A replica scheduler's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SchedulerType {
    /// Chunked prefill.
    Sarathi,
    /// Prefills first.
    Vllm,
    /// Iteration-level.
    Orca,
    /// Request-level.
    FasterTransformer,
    /// By single tokens.
    Lightllm,
}

/// A replica scheduler's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct ReplicaScheduler {
    /// Which.
    #[serde(rename = "type")]
    pub(super) kind: SchedulerType,
    /// Most requests.
    pub(super) batch_size_cap: u32,
    /// Tokens of a block.
    pub(super) block_size: u32,
    /// Share of blocks left free at admission.
    pub(super) watermark_blocks_fraction: f64,
    /// Blocks; `None` = the planner decides.
    pub(super) num_blocks: Option<u32>,
    /// `sarathi`.
    #[serde(default)]
    pub(super) chunk_size: u32,
    /// `vllm`, `lightllm`.
    #[serde(default)]
    pub(super) max_tokens_in_batch: u32,
    /// `lightllm`.
    #[serde(default)]
    pub(super) max_waiting_iters: u32,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Replica {
    /// One of the models that Vidur knows.
    pub(super) model_name: String,
    /// One of its devices.
    pub(super) device: String,
    /// TP.
    pub(super) tensor_parallel_size: u32,
    /// PP.
    pub(super) num_pipeline_stages: u32,
    /// Share of memory that the planner leaves.
    pub(super) memory_margin_fraction: f64,
}

/// How long a batch takes on a stage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Predictor {
    /// One formula.
    Affine {
        /// Integer nanoseconds.
        ns: Affine,
    },
    /// By operation, from closed-form tables.
    Ops {
        /// Coefficients of the tables.
        ns: Box<Ops>,
        /// Bounds and overheads.
        limits: Limits,
    },
}

/// Coefficients of `affine`, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Affine {
    pub(super) base: u64,
    pub(super) per_token: u64,
    pub(super) per_prefill_area: u64,
    pub(super) per_decode: u64,
    pub(super) per_kv_token: u64,
    pub(super) per_token_send: u64,
    pub(super) cpu_base: u64,
    pub(super) cpu_per_request: u64,
}

/// c0 + c1 · size, ns.
pub(super) type Linear = [u64; 2];

/// Tables of `ops`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Ops {
    pub(super) linear_in_tokens: TokenOps,
    #[serde(default)]
    pub(super) linear_in_batch_size: Option<CpuOps>,
    pub(super) attn_decode: [u64; 3],
    pub(super) attn_prefill: [u64; 3],
}

/// Operations by token count.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct TokenOps {
    pub(super) attn_pre_proj: Linear,
    pub(super) attn_post_proj: Linear,
    pub(super) mlp_up_proj: Linear,
    pub(super) mlp_down_proj: Linear,
    pub(super) mlp_act: Linear,
    pub(super) input_layernorm: Linear,
    pub(super) post_attention_layernorm: Linear,
    pub(super) attn_rope: Linear,
    pub(super) add: Linear,
    pub(super) attn_kv_cache_save: Linear,
    #[serde(default)]
    pub(super) send_recv: Linear,
    #[serde(default)]
    pub(super) all_reduce: Linear,
}

/// The host's operations by batch size.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct CpuOps {
    pub(super) schedule: Linear,
    pub(super) sampler_e2e: Linear,
    pub(super) prepare_inputs_e2e: Linear,
    pub(super) process_model_outputs: Linear,
    pub(super) ray_comm_time: Linear,
}

/// Bounds of the tables and overheads.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Limits {
    pub(super) kv_cache_prediction_granularity: u64,
    pub(super) attention_decode_batching_overhead_fraction: f64,
    pub(super) attention_prefill_batching_overhead_fraction: f64,
    pub(super) nccl_cpu_launch_overhead_ms: f64,
    pub(super) nccl_cpu_skew_overhead_per_device_ms: f64,
    pub(super) skip_cpu_overhead_modeling: bool,
}

/// A row of `requests.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct CaseRequest {
    /// Seconds.
    pub arrived_at: f64,
    /// Prompt.
    pub num_prefill_tokens: u32,
    /// Output.
    pub num_decode_tokens: u32,
}

/// Why a case cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file cannot be read or written.
    #[error("cannot open `{}`", path.display())]
    Io {
        /// It.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `case.json` has another shape.
    #[error("cannot read `{}`", path.display())]
    Json {
        /// It.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A row of `requests.csv` has another shape.
    #[error("cannot read `{}`", path.display())]
    Csv {
        /// It.
        path: PathBuf,
        /// What the parser said, with the row.
        source: csv::Error,
    },
    /// It reads and cannot be meant.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
}

impl Case {
    /// Reads `case.json` and `requests.csv` of a folder.
    ///
    /// # Errors
    /// When a file cannot be read, or requests are not in order of arrival.
    pub fn load(folder: &Path) -> Result<(Case, Vec<CaseRequest>), CaseError> {
        let path = folder.join("case.json");
        let text = std::fs::read(&path).map_err(|source| CaseError::Io { path: path.clone(), source })?;
        let case: Case = serde_json::from_slice(&text).map_err(|source| CaseError::Json { path, source })?;
        let path = folder.join("requests.csv");
        let file = std::fs::File::open(&path).map_err(|source| CaseError::Io { path: path.clone(), source })?;
        let rows: Result<Vec<CaseRequest>, csv::Error> = csv::Reader::from_reader(file).deserialize().collect();
        let requests = rows.map_err(|source| CaseError::Csv { path: path.clone(), source })?;
        let bad = |r: &CaseRequest| !r.arrived_at.is_finite() || r.arrived_at < 0.0;
        let fault = if let Some(row) = requests.iter().position(bad) {
            Some(format!("row {row} of `{}`: `arrived_at` must be finite and at least 0", path.display()))
        } else {
            let falls = requests.windows(2).position(|w| w[0].arrived_at > w[1].arrived_at);
            falls.map(|row| format!("row {} of `{}` arrives before the row above it", row + 1, path.display()))
        };
        match fault {
            Some(what) => Err(CaseError::Invalid { what }),
            None => Ok((case, requests)),
        }
    }
}
