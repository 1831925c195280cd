//! The files of a simulation, with Vidur's columns and keys.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::infer::schedule::Policy;

use super::account::RequestMetrics;
use super::events::{Ended, Outcome};
use super::usage::Series;

/// A double as Python prints it: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(e) => ('-', e),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value:?}")
}

fn maybe(value: Option<f64>) -> String {
    value.map(python_float).unwrap_or_default()
}

fn joined<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// One row a batch, in order of id.
pub fn batches_csv(outcome: &Outcome) -> String {
    let mut out = String::from(
        "batch_id,replica_id,scheduled_at,completed_at,size,num_prefill_tokens,num_decode_tokens,allocated_blocks,\
         waiting,stage_starts,stage_times,request_ids,num_tokens\n",
    );
    for (id, batch) in outcome.batches.iter().enumerate() {
        let _ = writeln!(
            out,
            "{id},{},{},{},{},{},{},{},{},{},{},{},{}",
            batch.replica,
            python_float(batch.scheduled_at),
            maybe(batch.completed_at),
            batch.requests.len(),
            batch.prefill_tokens,
            batch.decode_tokens,
            batch.allocated_blocks,
            batch.waiting,
            joined(&batch.stage_starts, |t| python_float(*t)),
            joined(&batch.stage_times, |t| python_float(*t)),
            joined(&batch.requests, |r| r.0.to_string()),
            joined(&batch.requests, |r| r.1.to_string()),
        );
    }
    out
}

/// A column: its name and its value.
type TimeColumn = (&'static str, fn(&RequestMetrics) -> Option<f64>);

/// Columns of `request_metrics.csv` up to the counts.
const TIMES: [TimeColumn; 15] = [
    ("request_e2e_time", |m| m.e2e_time),
    ("request_e2e_time_normalized", |m| m.e2e_time_normalized),
    ("request_execution_time", |m| m.execution_time),
    ("request_execution_time_normalized", |m| m.execution_time_normalized),
    ("request_model_execution_time", |m| m.model_execution_time),
    ("request_model_execution_time_normalized", |m| m.model_execution_time_normalized),
    ("request_preemption_time", |m| m.preemption_time),
    ("request_scheduling_delay", |m| m.scheduling_delay),
    ("request_execution_plus_preemption_time", |m| m.execution_plus_preemption_time),
    ("request_execution_plus_preemption_time_normalized", |m| m.execution_plus_preemption_time_normalized),
    ("prefill_e2e_time", |m| m.prefill_e2e_time),
    ("prefill_time_execution_plus_preemption", |m| m.prefill_time_execution_plus_preemption),
    ("prefill_time_execution_plus_preemption_normalized", |m| m.prefill_time_execution_plus_preemption_normalized),
    ("decode_time_execution_plus_preemption_normalized", |m| m.decode_time_execution_plus_preemption_normalized),
    ("request_inter_arrival_delay", |m| m.inter_arrival_delay),
];

/// One row a request, in order of id.
pub fn request_metrics_csv(outcome: &Outcome) -> String {
    let mut out = String::from("Request Id");
    for (name, _) in TIMES {
        out.push(',');
        out.push_str(name);
    }
    out.push_str(
        ",request_num_tokens,request_num_prefill_tokens,request_num_decode_tokens,request_pd_ratio,\
         request_num_restarts\n",
    );
    // A column of integers in which one is missing becomes one of doubles in Vidur's data frame.
    let gaps = outcome.requests.iter().any(|m| m.num_restarts.is_none());
    for (id, metrics) in outcome.requests.iter().enumerate() {
        let _ = write!(out, "{id}");
        for (_, time) in TIMES {
            out.push(',');
            out.push_str(&maybe(time(metrics)));
        }
        let restarts = metrics.num_restarts.map(|n| if gaps { format!("{n}.0") } else { n.to_string() });
        let restarts = restarts.unwrap_or_default();
        let _ = writeln!(
            out,
            ",{},{},{},{},{restarts}",
            metrics.num_tokens,
            metrics.num_prefill_tokens,
            metrics.num_decode_tokens,
            python_float(metrics.pd_ratio),
        );
    }
    out
}

/// Figures of the whole run.
pub fn summary_json(outcome: &Outcome) -> Value {
    let limits = &outcome.plan.limits;
    // Only the schedulers of paged memory have one.
    let watermark = match outcome.plan.policy {
        Policy::Sarathi | Policy::Vllm => json!(limits.watermark_blocks),
        _ => Value::Null,
    };
    json!({
        "ended": match outcome.ended { Ended::Ok => "ok", Ended::NotEmpty => "not_empty" },
        "end_time": outcome.end_time,
        "events_created": outcome.events_created,
        "events_left_in_queue": outcome.events_left,
        "batches": outcome.batches.len(),
        "completed_requests": outcome.completed,
        "total_restarts": outcome.restarts,
        "num_blocks": limits.kv_blocks,
        "max_batch_size": limits.reserved_sequences,
        "max_blocks_per_sequence": limits.reserved_blocks,
        "watermark_blocks": watermark,
        "blocks_still_allocated": outcome.blocks_held,
        "assigned_replica": outcome.assigned,
        "final_num_prefill_tokens": outcome.last_tokens.iter().map(|t| t.0).collect::<Vec<_>>(),
        "final_num_decode_tokens": outcome.last_tokens.iter().map(|t| t.1).collect::<Vec<_>>(),
        "utilization": utilization(outcome),
    })
}

/// Vidur's labels are rotated: the first of n carries n, every other the number of those before it.
fn label(index: usize, count: usize) -> usize {
    if index == 0 { count } else { index }
}

fn utilization(outcome: &Outcome) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |prefix: String, series: &Series| {
        map.insert(format!("{prefix}_min"), series.min.into());
        map.insert(format!("{prefix}_max"), series.max.into());
        map.insert(format!("{prefix}_weighted_mean"), series.mean().into());
    };
    let replicas = outcome.memory.len();
    for (index, (memory, stages)) in outcome.memory.iter().zip(&outcome.stages).enumerate() {
        let replica = format!("replica_{}", label(index, replicas));
        put(format!("{replica}_memory_usage"), memory);
        for (stage, usage) in stages.iter().enumerate() {
            let stage = format!("{replica}_stage_{}", label(stage, stages.len()));
            put(format!("{stage}_busy_time_percent"), &usage.busy);
            put(format!("{stage}_mfu"), &usage.mfu);
        }
    }
    map
}

#[cfg(test)]
mod tests;
