//! The models and devices that Vidur knows, and its memory planner.

use crate::infer::schedule::{Law, Limits, Policy};

use super::case::{Case, CaseError, SchedulerType};

/// A model's shape as Vidur has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) layers: u64,
    pub(super) q_heads: u64,
    pub(super) kv_heads: u64,
    pub(super) hidden: u64,
    pub(super) ffn: u64,
    pub(super) gated: bool,
    pub(super) post_attention_norm: bool,
}

/// Name, layers, query heads, KV heads, hidden size, MLP size.
const MODELS: [(&str, [u64; 5]); 9] = [
    ("meta-llama/Llama-2-7b-hf", [32, 32, 32, 4096, 11008]),
    ("meta-llama/Llama-2-70b-hf", [80, 64, 8, 8192, 28672]),
    ("meta-llama/Meta-Llama-3-8B", [32, 32, 8, 4096, 14336]),
    ("meta-llama/Meta-Llama-3-70B", [80, 64, 8, 8192, 28672]),
    ("codellama/CodeLlama-34b-Instruct-hf", [48, 64, 8, 8192, 22016]),
    ("internlm/internlm-20b", [60, 40, 40, 5120, 13824]),
    ("internlm/internlm2-20b", [48, 48, 8, 6144, 16384]),
    ("microsoft/phi-2", [32, 32, 32, 2560, 10240]),
    ("Qwen/Qwen-72B", [80, 64, 64, 8192, 24576]),
];

/// Name, fp16 TFLOPS, memory GiB.
const DEVICES: [(&str, f64, f64); 3] = [("a40", 150.0, 45.0), ("a100", 312.0, 80.0), ("h100", 1000.0, 80.0)];

fn shape(model: &str) -> Result<Shape, CaseError> {
    let known = MODELS.iter().find(|(name, _)| *name == model);
    let (_, [layers, q_heads, kv_heads, hidden, ffn]) = known.ok_or_else(|| {
        let names = MODELS.map(|m| m.0).join(", ");
        CaseError::Invalid { what: format!("`{model}` is not among the models that Vidur knows: {names}") }
    })?;
    let plain = model != "microsoft/phi-2";
    Ok(Shape {
        layers: *layers,
        q_heads: *q_heads,
        kv_heads: *kv_heads,
        hidden: *hidden,
        ffn: *ffn,
        gated: plain,
        post_attention_norm: plain,
    })
}

/// What follows from a case before its first event.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) shape: Shape,
    pub(super) tp: u64,
    pub(super) stages: usize,
    pub(super) layers_per_stage: u64,
    pub(super) parameters_per_device: u64,
    pub(super) tflops: f64,
    /// The policy that plays the case's replica scheduler.
    pub policy: Policy,
    /// Its numbers.
    pub limits: Limits,
}

/// Plans the memory of a case and works out its scheduler's numbers.
///
/// # Errors
/// When the model or device is unknown, does not divide, or does not fit.
pub fn plan(case: &Case) -> Result<Plan, CaseError> {
    let invalid = |what: String| Err(CaseError::Invalid { what });
    let replica = &case.replica;
    let shape = shape(&replica.model_name)?;
    let Some((_, tflops, gib)) = DEVICES.iter().find(|d| d.0 == replica.device) else {
        let names = DEVICES.map(|d| d.0).join(", ");
        return invalid(format!("`{}` is not among the devices that Vidur knows: {names}", replica.device));
    };
    let (tp, pp) = (u64::from(replica.tensor_parallel_size), u64::from(replica.num_pipeline_stages));
    if tp == 0 || pp == 0 || shape.layers % pp != 0 || case.num_replicas == 0 {
        return invalid(format!(
            "{} replicas, TP {tp}, PP {pp}: each must be at least 1, and PP must divide the {} layers",
            case.num_replicas, shape.layers
        ));
    }
    let head = shape.hidden / shape.q_heads;
    let (q, kv) = (shape.q_heads / tp, shape.kv_heads.div_ceil(tp));
    let matrices = if shape.gated { 3 } else { 2 };
    let per_layer =
        shape.hidden * head * (q + 2 * kv) + shape.hidden * head * q + matrices * shape.hidden * shape.ffn / tp;
    let parameters_per_device = per_layer * (shape.layers / pp);
    let request_bytes = 2 * 2 * head * kv * u64::from(case.max_tokens) * shape.layers;
    let memory = gib * 1024f64.powi(3) * (1.0 - replica.memory_margin_fraction);
    let slots = ((memory - 2.0 * parameters_per_device as f64) / request_bytes as f64).floor();
    if !(slots >= 1.0 && slots < f64::from(u32::MAX)) {
        return invalid(format!("the model leaves room for {slots} requests of {} tokens", case.max_tokens));
    }
    Ok(Plan {
        shape,
        tp,
        stages: replica.num_pipeline_stages as usize,
        layers_per_stage: shape.layers / pp,
        parameters_per_device,
        tflops: *tflops,
        policy: policy(case.replica_scheduler.kind),
        limits: limits(case, slots as u32)?,
    })
}

fn policy(kind: SchedulerType) -> Policy {
    match kind {
        SchedulerType::Sarathi => Policy::Sarathi,
        SchedulerType::Vllm => Policy::Vllm,
        SchedulerType::Orca => Policy::Orca,
        SchedulerType::FasterTransformer => Policy::FasterTransformer,
        SchedulerType::Lightllm => Policy::Lightllm,
    }
}

fn limits(case: &Case, slots: u32) -> Result<Limits, CaseError> {
    let scheduler = &case.replica_scheduler;
    let pp = case.replica.num_pipeline_stages;
    if scheduler.block_size == 0 {
        return Err(CaseError::Invalid { what: "`block_size` must be at least 1".to_owned() });
    }
    let reserved_blocks = case.max_tokens / scheduler.block_size;
    let kv_blocks = scheduler.num_blocks.unwrap_or(reserved_blocks * slots * pp);
    Ok(Limits {
        kv_blocks,
        block_tokens: scheduler.block_size,
        watermark_blocks: (scheduler.watermark_blocks_fraction * f64::from(kv_blocks)).floor() as u32,
        budget: if scheduler.kind == SchedulerType::Sarathi {
            scheduler.chunk_size
        } else {
            scheduler.max_tokens_in_batch
        },
        max_sequences: scheduler.batch_size_cap,
        batch_sequences: scheduler.batch_size_cap / pp,
        reserved_sequences: slots.min(scheduler.batch_size_cap),
        reserved_blocks,
        longest: u32::MAX,
        max_waiting_iterations: scheduler.max_waiting_iters,
        prefix_caching: false,
        policy: policy(scheduler.kind),
        law: Law::Vidur,
    })
}
