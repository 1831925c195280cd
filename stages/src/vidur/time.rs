//! How long a batch takes on a stage: Vidur's sums in Vidur's order.

use crate::infer::serve::Slice;

use super::case::{Affine, CpuOps, Limits, Linear, Ops, Predictor};
use super::planner::Plan;

/// What a batch's times depend on, read when it is formed (its requests are in no other batch until it ends).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) tokens: u64,
    pub(super) prefill_tokens: u64,
    pub(super) decodes: u64,
    /// Processed tokens of the decodes.
    decode_processed: u64,
    prefills: u64,
    /// Σ n² + 2 · n · processed over the prefills.
    prefill_area: u64,
    prefill_squares: u64,
    /// Processed tokens of the prefills, each rounded up to the tables' granularity.
    prefill_rounded: u64,
    /// Σ n · (n + processed) over all: what attention multiplies.
    pub(super) attended: u64,
}

impl Load {
    /// Adds a request of the batch.
    pub(super) fn add(&mut self, slice: &Slice, is_prefilled: bool, granularity: u64) {
        let n = u64::from(slice.tokens);
        // Vidur counts a token as processed once it is known; we, once it is computed.
        let processed = u64::from(slice.context) + u64::from(is_prefilled);
        self.requests += 1;
        self.tokens += n;
        self.attended += n * (n + processed);
        if is_prefilled {
            self.decodes += 1;
            self.decode_processed += processed;
        } else {
            self.prefill_tokens += n;
            self.prefills += 1;
            self.prefill_area += n * n + 2 * n * processed;
            self.prefill_squares += n * n;
            self.prefill_rounded += processed.next_multiple_of(granularity);
        }
    }
}

/// Seconds on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct StageTime {
    /// The stage is busy so long.
    pub(super) total: f64,
    /// What the model takes of it; only reported.
    pub(super) model: f64,
}

/// Says how long batches take.
#[derive(Debug, Clone)]
pub(super) struct Clockwork<'a> {
    predictor: &'a Predictor,
    plan: &'a Plan,
    grouped: bool,
    /// The part of a collective's overhead that grows with the devices, ms.
    skew_ms: f64,
}

impl<'a> Clockwork<'a> {
    pub(super) fn new(predictor: &'a Predictor, plan: &'a Plan) -> Clockwork<'a> {
        let skew_ms = match predictor {
            Predictor::Ops { limits, .. } => limits.nccl_cpu_skew_overhead_per_device_ms * device_power(plan.tp as f64),
            Predictor::Affine { .. } => 0.0,
        };
        Clockwork { predictor, plan, grouped: plan.shape.q_heads > plan.shape.kv_heads, skew_ms }
    }

    /// To what the tables round a prefill's processed tokens.
    pub(super) fn granularity(&self) -> u64 {
        match self.predictor {
            Predictor::Ops { limits, .. } => limits.kv_cache_prediction_granularity,
            Predictor::Affine { .. } => 1,
        }
    }

    /// The time of a batch on a stage.
    pub(super) fn stage_time(&self, load: &Load, is_last: bool) -> StageTime {
        match self.predictor {
            Predictor::Affine { ns } => affine(ns, load, is_last),
            Predictor::Ops { ns, limits } => self.by_operation(ns, limits, load, is_last),
        }
    }

    fn by_operation(&self, ops: &Ops, limits: &Limits, load: &Load, is_last: bool) -> StageTime {
        let tokens = load.tokens.next_multiple_of(8);
        let at = |op: Linear| linear(op, tokens);
        let t = &ops.linear_in_tokens;
        let decode = self.attention_decode(ops, limits, load);
        let prefill = self.attention_prefill(ops, limits, load);
        let communication = match self.plan.tp {
            1 => 0.0,
            _ => at(t.all_reduce) + limits.nccl_cpu_launch_overhead_ms + self.skew_ms,
        };
        let attention = at(t.attn_pre_proj)
            + at(t.attn_post_proj)
            + at(t.attn_rope)
            + linear(t.attn_kv_cache_save, load.tokens)
            + decode
            + prefill
            + communication
            + at(t.input_layernorm);
        let norm = if self.plan.shape.post_attention_norm { at(t.post_attention_layernorm) } else { 0.0 };
        let mlp = at(t.mlp_up_proj) + at(t.mlp_down_proj) + at(t.mlp_act) + communication + norm;
        let block = attention + mlp + at(t.add);
        let send = if is_last { 0.0 } else { at(t.send_recv) };
        let model = (block * self.plan.layers_per_stage as f64 + send) * 0.001;
        let host = match &ops.linear_in_batch_size {
            Some(cpu) if !limits.skip_cpu_overhead_modeling => host(cpu, load.requests),
            _ => 0.0,
        };
        StageTime { total: model + host * 0.001, model }
    }

    fn attention_decode(&self, ops: &Ops, limits: &Limits, load: &Load) -> f64 {
        if load.decodes == 0 {
            return 0.0;
        }
        let [c0, c1, c2] = ops.attn_decode;
        let b = load.decodes;
        let k = (load.decode_processed / b).next_multiple_of(limits.kv_cache_prediction_granularity);
        let table = ms(c0 + c1 * b + c2 * b * k / 16);
        table * self.batching(limits.attention_decode_batching_overhead_fraction, b)
    }

    fn attention_prefill(&self, ops: &Ops, limits: &Limits, load: &Load) -> f64 {
        if load.prefills == 0 {
            return 0.0;
        }
        let [c0, c1, c2] = ops.attn_prefill;
        let side = (load.prefill_squares as f64).sqrt().round_ties_even() as u64;
        let table = ms(c0 + c1 * (side * side) / 1024 + c2 * load.prefill_rounded * side / 1024);
        table * self.batching(limits.attention_prefill_batching_overhead_fraction, load.prefills)
    }

    /// What several requests in one batch cost more, with grouped queries.
    fn batching(&self, fraction: f64, requests: u64) -> f64 {
        let fraction = if self.grouped { fraction } else { 0.0 };
        1.0 + fraction * if requests > 1 { 1.0 } else { 0.0 }
    }
}

fn affine(c: &Affine, load: &Load, is_last: bool) -> StageTime {
    let send = if is_last { 0 } else { c.per_token_send * load.tokens };
    let model = c.base
        + c.per_token * load.tokens
        + c.per_prefill_area * load.prefill_area
        + c.per_decode * load.decodes
        + c.per_kv_token * load.decode_processed
        + send;
    let total = model + c.cpu_base + c.cpu_per_request * load.requests;
    StageTime { total: total as f64 / 1e9, model: model as f64 / 1e9 }
}

fn host(cpu: &CpuOps, requests: u64) -> f64 {
    let at = |op: Linear| linear(op, requests);
    at(cpu.schedule)
        + at(cpu.sampler_e2e)
        + at(cpu.prepare_inputs_e2e)
        + at(cpu.process_model_outputs)
        + at(cpu.ray_comm_time)
}

/// By how much a collective's overhead grows with its devices. CPython's power is the C library's, and so is this one;
/// libm's differs in the last bit for 4.
pub(super) fn device_power(devices: f64) -> f64 {
    devices.powf(1.25)
}

fn linear([c0, c1]: Linear, size: u64) -> f64 {
    ms(c0 + c1 * size)
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
