//! The measured sequence of batches, served again with predicted times: what then still differs from the measurement
//! is timing, what differs from the prediction is scheduling.
//!
//! The host begins to prepare a batch when the batch before it has ended (the one before that, where two are in flight)
//! and the last of its requests has arrived; the device works on it when the host is done and the device is free, for
//! as long as it is predicted to. Nothing here schedules.

use std::collections::BTreeMap;

use engine::kind::StageError;

use super::side::Side;
use crate::infer::serve::Slice;
use crate::infer::time::Nanos;
use crate::tables::run::BatchRow;

/// What a predictor says of one iteration, ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Time from the start of the device's work until its tokens are there for the host.
    pub device_ns: f64,
    /// Time of the host before it.
    pub host_ns: f64,
}

/// Asks a predictor for one iteration.
pub type Ask<'a> = dyn FnMut(&[Slice]) -> Result<Forecast, StageError> + 'a;

/// A replayed run and the forecast of each of its batches, in order.
#[derive(Debug)]
pub struct Replay {
    /// The measured run with predicted times.
    pub side: Side,
    /// One for each batch.
    pub forecasts: Vec<Forecast>,
}

/// The slices of a recorded batch. A slice yields where a token of its request came at the batch's end; without token
/// times, where it reaches the end of the prompt.
pub fn slices(batch: &BatchRow, side: &Side) -> Vec<Slice> {
    let rows = batch.seqs.iter().zip(&batch.contexts).zip(&batch.tokens);
    rows.map(|((seq, context), tokens)| {
        let yields = side.place(*seq).is_some_and(|place| match &side.tokens {
            Some(times) => times[place].binary_search(&batch.end.0).is_ok(),
            None => context + tokens >= side.requests[place].prompt_tokens,
        });
        Slice { seq: *seq, context: *context, tokens: *tokens, yields }
    })
    .collect()
}

/// Replays `measured`.
///
/// # Errors
/// When a batch is one that the predictor refuses, or token times are not those of the batches.
pub fn replay(measured: &Side, ask: &mut Ask<'_>) -> Result<Replay, StageError> {
    let mut forecasts = Vec::with_capacity(measured.batches.len());
    let mut starts = Vec::with_capacity(measured.batches.len());
    let mut ends = Vec::with_capacity(measured.batches.len());
    let pipelined = measured.meta.knobs.get("pipelined").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let (mut free, mut free_before, mut prepared) = (0.0_f64, 0.0_f64, 0.0_f64);
    for batch in &measured.batches {
        let forecast = ask(&slices(batch, measured))?;
        let arrived = batch
            .seqs
            .iter()
            .filter_map(|seq| measured.place(*seq))
            .map(|place| measured.requests[place].arrival.0)
            .max()
            .unwrap_or(0);
        let host_free = if pipelined { free_before.max(prepared) } else { free };
        prepared = host_free.max(arrived as f64) + forecast.host_ns;
        let start = prepared.max(free);
        let end = start + forecast.device_ns;
        starts.push(start);
        ends.push(end);
        forecasts.push(forecast);
        (free_before, free) = (free, end);
    }
    let side = retimed(measured, &starts, &ends)?;
    Ok(Replay { side, forecasts })
}

/// The run with every instant moved from its recorded batch to the replayed one.
fn retimed(measured: &Side, starts: &[f64], ends: &[f64]) -> Result<Side, StageError> {
    let nanos = |ns: f64| ns.round().max(0.0) as u64;
    let by_end: BTreeMap<u64, u64> =
        measured.batches.iter().zip(ends).map(|(batch, end)| (batch.end.0, nanos(*end))).collect();
    let mut first_start: BTreeMap<u32, u64> = BTreeMap::new();
    for (batch, start) in measured.batches.iter().zip(starts) {
        for seq in &batch.seqs {
            first_start.entry(*seq).or_insert(nanos(*start));
        }
    }
    let moved = |at: u64| {
        by_end.get(&at).copied().ok_or_else(|| {
            StageError::new(format!("`{}`: a token came at {at} ns, which is the end of no batch", measured.label))
        })
    };
    let mut side = measured.clone();
    if let Some(all) = &mut side.tokens {
        for time in all.iter_mut().flatten() {
            *time = moved(*time)?;
        }
    }
    for request in &mut side.requests {
        request.scheduled = first_start.get(&request.id).copied().map(Nanos);
        for instant in [&mut request.first_token, &mut request.completion] {
            if let Some(at) = instant {
                *instant = Some(Nanos(moved(at.0)?));
            }
        }
    }
    Ok(side)
}

#[cfg(test)]
mod tests;
