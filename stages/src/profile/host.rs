//! What the host does between iterations: scheduling, booking, recording, laying the next input flat. Measured by the
//! serving loop itself, as the gaps of a run on the very backend.

use engine::kind::StageError;

use super::figures::Timings;
use super::grid::Grid;
use crate::device::cpu::Cpu;
use crate::infer::blocks::Tabled;
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::schedule::Knobs;
use crate::infer::serve::serve;
use crate::infer::time::Nanos;
use crate::tables::ops::Row;

/// Decodes of each sequence in a run.
const TOKENS: u32 = 12;
/// Runs of each number of sequences.
const RUNS: u32 = 4;

/// Rows of `host`, one for each number of sequences.
///
/// # Errors
/// When the device fails or the timings cannot be true.
pub(super) fn measure(cpu: &mut Cpu, knobs: &Knobs, grid: &Grid) -> Result<Vec<Row>, StageError> {
    let mut timings = vec![Timings::default(); grid.host.len()];
    for _ in 0..RUNS {
        for (sequences, timings) in grid.host.iter().zip(&mut timings) {
            gaps(cpu, knobs, *sequences, timings)?;
        }
    }
    let mut rows = Vec::new();
    for (sequences, timings) in grid.host.iter().zip(&timings) {
        // A pool too small for so many sequences to decode together leaves no gap to measure.
        if !timings.is_empty() {
            rows.push(row_of("host", (*sequences, *sequences, 0), 1, timings)?);
        }
    }
    Ok(rows)
}

/// Serves `sequences` requests that come at once and notes the gaps before iterations in which all of them decode.
fn gaps(cpu: &mut Cpu, knobs: &Knobs, sequences: u32, timings: &mut Timings) -> Result<(), StageError> {
    let requests: Vec<Request> = (0..sequences)
        .map(|id| Request {
            id,
            arrival: Nanos(0),
            prompt_tokens: 1,
            output_tokens: TOKENS,
            prompt: [id % cpu.card().tokenizer_size].into(),
            prefix_blocks: [].into(),
            priority: 0,
        })
        .collect();
    let mut run = Run::for_requests(&requests);
    cpu.restart();
    serve(&requests, knobs, Tabled::Kept, cpu, &mut run)
        .map_err(|e| StageError::new(format!("cannot serve {sequences} sequences to time the host: {e}")))?;
    for (before, batch) in run.batches.iter().zip(run.batches.iter().skip(1)) {
        if before.decode_tokens == sequences && batch.decode_tokens == sequences && batch.prefill_tokens == 0 {
            timings.push(batch.host.0 as f64);
        }
    }
    Ok(())
}

/// A row from timings at `(tokens, sequences, context)`.
///
/// # Errors
/// When the timings cannot be true: the operation and the point.
pub(super) fn row_of(
    op: &str,
    (tokens, sequences, context): (u32, u32, u32),
    calls_per_step: u32,
    timings: &Timings,
) -> Result<Row, StageError> {
    let figures = timings.figures().map_err(|message| {
        StageError::new(format!(
            "operation `{op}` at {tokens} tokens, {sequences} sequences, {context} tokens of context: {message}"
        ))
        .help("run the profile again on a quiet machine")
    })?;
    Ok(Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step,
        samples: figures.samples,
        median_ns: figures.median_ns,
        mad_ns: figures.mad_ns,
        min_ns: figures.min_ns,
        p90_ns: figures.p90_ns,
    })
}
