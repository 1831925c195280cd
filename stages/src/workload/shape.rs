//! From rows to requests: which rows, how long, when. Pure.

use std::sync::Arc;

use engine::kind::StageError;

use crate::infer::time::Nanos;
use crate::random::Stream;

use super::config::{Config, OverLimit, Rows};
use super::laws::whole;

#[cfg(test)]
mod tests;

/// A request that has no number and, unless it came as text, no token ids yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// From the run's start.
    pub arrival: Nanos,
    /// At least 1.
    pub prompt_tokens: u32,
    /// At least 1.
    pub output_tokens: u32,
    /// Ids of a text.
    pub ids: Option<Arc<[u32]>>,
    /// Ids of the prompt's blocks from the front.
    pub prefix_blocks: Arc<[u64]>,
    /// Where it came from.
    pub source: String,
}

/// Limits on lengths and what becomes of longer requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest prompt.
    pub prompt: u32,
    /// Most tokens to produce.
    pub output: u32,
    /// Longest sequence.
    pub total: u32,
    /// What becomes of longer ones.
    pub rule: OverLimit,
}

/// What the limits did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests that were cut.
    pub clipped: u64,
    /// Requests that were left out.
    pub dropped: u64,
}

/// What the limits say of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fits.
    Fits,
    /// It fits with these lengths.
    Clipped(u32, u32),
    /// It is left out.
    Dropped,
}

impl Limits {
    /// From the configuration and what the model can.
    pub fn new(config: &Config, max_positions: Option<u32>) -> Limits {
        let of = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        Limits {
            prompt: of(config.max_prompt_tokens),
            output: of(config.max_output_tokens),
            total: of(config.max_total_tokens).min(of(max_positions)),
            rule: config.over_limit,
        }
    }

    /// Judges the lengths of one request.
    ///
    /// # Errors
    /// Which limit it breaks, where the rule is to refuse.
    pub fn judge(&self, prompt: u32, output: u32) -> Result<Verdict, String> {
        let total = u64::from(prompt) + u64::from(output);
        if prompt <= self.prompt && output <= self.output && total <= u64::from(self.total) {
            return Ok(Verdict::Fits);
        }
        match self.rule {
            OverLimit::Drop => Ok(Verdict::Dropped),
            OverLimit::Clip => {
                let output = output.min(self.output).min(self.total - 1);
                let prompt = prompt.min(self.prompt).min(self.total - output);
                Ok(Verdict::Clipped(prompt, output))
            }
            OverLimit::Refuse if prompt > self.prompt => {
                Err(format!("its prompt of {prompt} tokens is longer than {}", self.prompt))
            }
            OverLimit::Refuse if output > self.output => {
                Err(format!("it asks for {output} tokens, more than {}", self.output))
            }
            OverLimit::Refuse => Err(format!("its {prompt} + {output} tokens are more than {}", self.total)),
        }
    }

    /// Applies the limits to a request; `None` = it is left out.
    ///
    /// # Errors
    /// Where the rule is to refuse.
    pub fn apply(&self, mut draft: Draft, tally: &mut Tally) -> Result<Option<Draft>, StageError> {
        match self.judge(draft.prompt_tokens, draft.output_tokens).map_err(|why| refused(&draft.source, &why))? {
            Verdict::Fits => Ok(Some(draft)),
            Verdict::Dropped => {
                tally.dropped += 1;
                Ok(None)
            }
            Verdict::Clipped(prompt, output) => {
                tally.clipped += 1;
                (draft.prompt_tokens, draft.output_tokens) = (prompt, output);
                if let Some(ids) = &draft.ids
                    && ids.len() > prompt as usize
                {
                    draft.ids = Some(ids[..prompt as usize].into());
                }
                Ok(Some(draft))
            }
        }
    }
}

/// The error of a request that is too long.
pub fn refused(source: &str, why: &str) -> StageError {
    StageError::new(format!("the request of {source} is too long: {why}")).help(
        "set `over_limit` to \"clip\" or \"drop\", raise the limit (`max_prompt_tokens`, `max_output_tokens`, `max_total_tokens`), or choose a model with more positions",
    )
}

/// Rows that are to become requests, in order: the subset, then all of it or draws from it.
///
/// # Errors
/// When the subset reaches beyond the rows, or picks single rows of a timed trace.
pub fn pick(config: &Config, rows: usize, timed: bool) -> Result<Vec<usize>, StageError> {
    let all = rows as u64;
    let beyond = |row: u64| {
        StageError::new(format!("`subset` asks for row {row}, there are {rows} (counted from 0)"))
            .help("take fewer rows")
    };
    let place = |row: u64| usize::try_from(row).ok().filter(|place| *place < rows).ok_or_else(|| beyond(row));
    let chosen: Vec<usize> = match config.subset.as_ref().map(|s| (s.range, s.indices.as_ref())) {
        None | Some((None, None)) => (0..rows).collect(),
        Some((Some([_, end]), _)) if end > all => return Err(beyond(end - 1)),
        Some((Some([first, end]), _)) => (place(first)?..=place(end - 1)?).collect(),
        Some((None, Some(_))) if timed && config.arrivals.is_none() => {
            return Err(StageError::new(
                "`subset.indices` picks single rows of a trace that has arrivals, whose gaps would lose their meaning",
            )
            .help("use `subset.range`, or give a law of `arrivals`"));
        }
        Some((None, Some(indices))) => indices.iter().map(|row| place(*row)).collect::<Result<_, _>>()?,
    };
    if config.rows == Rows::InOrder {
        return Ok(chosen);
    }
    let choices = u32::try_from(chosen.len()).map_err(|_| StageError::new("there are too many rows to draw from"))?;
    let mut stream = Stream::new(config.seed, "workload rows", 0);
    // Dropped ones are replaced, so that more may be needed than asked for; four times as many end the search.
    let draws = u64::from(config.requests.unwrap_or(choices)) * 4;
    Ok((0..draws).map(|_| chosen[stream.below(choices) as usize]).collect())
}

/// A length times the configured factor.
pub fn scaled(length: u32, factor: f64) -> u32 {
    if factor == 1.0 { length } else { whole(f64::from(length) * factor) }
}

/// Moves arrivals so that the first is at 0, then scales them to the rate or by the factor.
///
/// # Errors
/// When a rate is asked of requests that all arrive at once.
pub fn retime(drafts: &mut [Draft], config: &Config) -> Result<(), StageError> {
    let (Some(first), Some(last)) = (drafts.first().map(|d| d.arrival), drafts.last().map(|d| d.arrival)) else {
        return Ok(());
    };
    let span = last.since(first);
    let factor = match config.rate_per_s {
        Some(_) if drafts.len() < 2 => 1.0,
        Some(_) if span == Nanos(0) => {
            return Err(StageError::new(format!(
                "all {} requests of the trace arrive at once, so that no factor gives them a rate",
                drafts.len()
            ))
            .help("leave out `rate_per_s`, or give a law of `arrivals`"));
        }
        Some(rate) => (drafts.len() - 1) as f64 / rate / span.as_secs_f64(),
        None => config.time_scale,
    };
    for draft in drafts {
        draft.arrival = stretched(draft.arrival.since(first), factor);
    }
    Ok(())
}

/// An instant times a factor, rounded to the nanosecond.
pub fn stretched(at: Nanos, factor: f64) -> Nanos {
    // Exact where nothing is asked for; `as` saturates.
    if factor == 1.0 { at } else { Nanos((at.0 as f64 * factor).round() as u64) }
}
