//! Which requests are compared, and up to which token: those that every side served, cut to the tokens that every
//! side produced. Knows no metric.

use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::tables::run::{RequestRow, Status};

/// From when a request's clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// From its scheduled arrival: what a user feels, the client's own delay included.
    #[default]
    Arrival,
    /// From when a client handed it over (or the engine queued it), where that is known.
    Sent,
}

/// The instants of one request on one side, ns, after the cut.
#[derive(Debug, Clone, Copy)]
pub struct Instants<'a> {
    /// Row of the workload.
    pub id: u32,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Output tokens that are compared.
    pub tokens: u32,
    /// When its clock starts.
    pub start: u64,
    /// First scheduled.
    pub scheduled: Option<u64>,
    /// First token.
    pub first: u64,
    /// Last token that is compared.
    pub last: u64,
    /// Times of the tokens, as many as `tokens`.
    pub times: Option<&'a [u64]>,
}

/// The same requests on every side, in order of ids.
#[derive(Debug)]
pub struct Aligned<'a> {
    /// The prediction.
    pub predicted: Vec<Instants<'a>>,
    /// Each measurement.
    pub measured: Vec<Vec<Instants<'a>>>,
    /// Requests whose later tokens are left out, because one side stopped early.
    pub cut: Vec<u32>,
    /// Requests that are left out whole.
    pub left_out: Vec<LeftOut>,
}

/// A request that is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Row of the workload.
    pub request: u32,
    /// Why.
    pub because: String,
}

/// Takes what all sides served.
pub fn align<'a>(predicted: &'a Side, measured: &'a [Side], clock: Clock) -> Aligned<'a> {
    let mut out = Aligned {
        predicted: Vec::new(),
        measured: vec![Vec::new(); measured.len()],
        cut: Vec::new(),
        left_out: Vec::new(),
    };
    let sides: Vec<&Side> = std::iter::once(predicted).chain(measured).collect();
    for row in &predicted.requests {
        match common(&sides, row.id, clock) {
            Ok((instants, cut)) => {
                if cut {
                    out.cut.push(row.id);
                }
                out.predicted.push(instants[0]);
                for (side, instants) in out.measured.iter_mut().zip(&instants[1..]) {
                    side.push(*instants);
                }
            }
            Err(because) => out.left_out.push(LeftOut { request: row.id, because }),
        }
    }
    out
}

/// One request on all sides, and whether it was cut.
fn common<'a>(sides: &[&'a Side], id: u32, clock: Clock) -> Result<(Vec<Instants<'a>>, bool), String> {
    let mut places = Vec::with_capacity(sides.len());
    for side in sides {
        let place = side.place(id).ok_or_else(|| format!("`{}` has no such request", side.label))?;
        let row = &side.requests[place];
        if row.status != Status::Ok {
            let why = row.error.as_deref().map(|e| format!(" ({e})")).unwrap_or_default();
            return Err(format!("`{}`: {}{why}", side.label, row.status.word()));
        }
        if row.produced_tokens == 0 {
            return Err(format!("`{}` produced no token of it", side.label));
        }
        places.push((*side, place, row));
    }
    let tokens = places.iter().map(|(_, _, row)| row.produced_tokens).min().unwrap_or(0);
    let cut = places.iter().any(|(_, _, row)| row.produced_tokens != tokens);
    let instants = places.iter().map(|(side, place, row)| instants(side, *place, row, tokens, clock));
    Ok((instants.collect::<Result<_, _>>()?, cut))
}

fn instants<'a>(
    side: &'a Side,
    place: usize,
    row: &RequestRow,
    tokens: u32,
    clock: Clock,
) -> Result<Instants<'a>, String> {
    let (Some(first), Some(end)) = (row.first_token, row.completion) else {
        return Err(format!("`{}` does not say when its first or last token came", side.label));
    };
    let times = side.tokens.as_ref().map(|all| &all[place][..tokens as usize]);
    let last = match times {
        Some(times) => *times.last().expect("at least one token was produced"),
        None if row.produced_tokens == tokens => end.0,
        None => {
            return Err(format!(
                "`{}` produced {} tokens, another side {tokens}, and it has no token times to cut by",
                side.label, row.produced_tokens
            ));
        }
    };
    let start = match clock {
        Clock::Arrival => row.arrival,
        Clock::Sent => row.sent.unwrap_or(row.arrival),
    };
    Ok(Instants {
        id: row.id,
        prompt_tokens: row.prompt_tokens,
        tokens,
        start: start.0,
        scheduled: row.scheduled.map(|t| t.0),
        first: first.0,
        last,
        times,
    })
}

/// Rates over the whole run: from the first start to the last token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Output tokens a second.
    pub tokens_per_s: f64,
    /// Requests a second.
    pub requests_per_s: f64,
    /// From the first start to the last token, s.
    pub span_s: f64,
}

/// The rates of served requests; `None` where there is none or no time passed.
pub fn throughput(requests: &[Instants<'_>]) -> Option<Throughput> {
    let from = requests.iter().map(|r| r.start).min()?;
    let to = requests.iter().map(|r| r.last).max()?;
    let span_s = to.saturating_sub(from) as f64 / 1e9;
    if span_s <= 0.0 {
        return None;
    }
    let tokens: u64 = requests.iter().map(|r| u64::from(r.tokens)).sum();
    Some(Throughput { tokens_per_s: tokens as f64 / span_s, requests_per_s: requests.len() as f64 / span_s, span_s })
}

#[cfg(test)]
mod tests;
