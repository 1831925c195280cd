//! The metrics of serving, from the instants of requests and tokens. `stages/DESIGN.md` defines each in words.
//!
//! Times come out in nanoseconds as `f64`, exact up to 2^53 (104 days).
//!
//! Invariant: a metric that a request does not have (a gap, where one token came) is left out, never zero.

use super::record::{RequestRow, Status, TokenRow};
use super::time::Nanos;

/// The metrics of one request that was served to its end, ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestMetrics {
    /// Time to first token: first token − arrival, queueing included.
    pub ttft: f64,
    /// The same from the moment a client sent it, where one stands between.
    pub ttft_from_sent: Option<f64>,
    /// Time per output token after the first: (completion − first token) / (tokens − 1); none for one token.
    pub tpot: Option<f64>,
    /// End to end: completion − arrival.
    pub e2e: f64,
    /// End to end by output token.
    pub normalised: f64,
    /// First scheduled − arrival.
    pub scheduling_delay: f64,
    /// First token − first scheduled.
    pub prefill: f64,
    /// Completion − first token.
    pub decode: f64,
}

impl RequestMetrics {
    /// Of a request; none unless it was served to its end.
    pub fn of(row: &RequestRow) -> Option<RequestMetrics> {
        if row.status != Status::Ok || row.produced_tokens == 0 {
            return None;
        }
        let (first, completion) = (row.first_token?, row.completion?);
        // A server behind HTTP does not say when it scheduled a request.
        let scheduled = row.scheduled.or(row.sent).unwrap_or(row.arrival);
        let between = |later: Nanos, earlier: Nanos| later.0 as f64 - earlier.0 as f64;
        let decode = between(completion, first);
        let e2e = between(completion, row.arrival);
        Some(RequestMetrics {
            ttft: between(first, row.arrival),
            ttft_from_sent: row.sent.map(|sent| between(first, sent)),
            tpot: (row.produced_tokens > 1).then(|| decode / f64::from(row.produced_tokens - 1)),
            e2e,
            normalised: e2e / f64::from(row.produced_tokens),
            scheduling_delay: between(scheduled, row.arrival),
            prefill: between(first, scheduled),
            decode,
        })
    }
}

/// The gaps between consecutive tokens of each request (TBT, also called ITL), one sample a gap, ns, in order of the
/// later token. `tokens` in order of time; `requests` = how many there are.
pub fn gaps(tokens: &[TokenRow], requests: usize) -> Vec<f64> {
    let mut last: Vec<Option<Nanos>> = vec![None; requests];
    let mut gaps = Vec::with_capacity(tokens.len());
    for token in tokens {
        if let Some(before) = last[token.request_id as usize].replace(token.time) {
            gaps.push(token.time.0 as f64 - before.0 as f64);
        }
    }
    gaps
}

/// The p-th percentile (p in 0..=100) of sorted samples, linear between ranks: rank p/100 · (n − 1); none of none.
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = p.clamp(0.0, 100.0) / 100.0 * last as f64;
    let (low, share) = (rank.floor() as usize, rank.fract());
    let (a, b) = (sorted[low], sorted[(low + 1).min(last)]);
    Some(a + (b - a) * share)
}

/// The figures by which a distribution is told.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Samples.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Of samples, which are sorted on the way; none of none.
    pub fn of(samples: &mut [f64]) -> Option<Summary> {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |p| percentile(samples, p);
        Some(Summary {
            n: samples.len() as u64,
            mean: samples.iter().sum::<f64>() / samples.len() as f64,
            min: at(0.0)?,
            p50: at(50.0)?,
            p90: at(90.0)?,
            p95: at(95.0)?,
            p99: at(99.0)?,
            max: at(100.0)?,
        })
    }
}

/// What a run achieved over its span.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Throughput {
    /// From the first arrival to the last completion, s.
    pub span_s: f64,
    /// Requests served to their end, a second.
    pub requests_per_s: f64,
    /// Output tokens a second.
    pub output_tokens_per_s: f64,
    /// Prompt and output tokens a second.
    pub total_tokens_per_s: f64,
}

impl Throughput {
    /// Of the requests that were served to their end; zero of none.
    pub fn of(rows: &[RequestRow]) -> Throughput {
        let Some(span_s) = span_s(rows) else { return Throughput::default() };
        let served = rows.iter().filter(|r| r.status == Status::Ok);
        let (mut requests, mut output, mut prompt) = (0u64, 0u64, 0u64);
        for row in served {
            requests += 1;
            output += u64::from(row.produced_tokens);
            prompt += u64::from(row.prompt_tokens);
        }
        let rate = |n: u64| n as f64 / span_s;
        Throughput {
            span_s,
            requests_per_s: rate(requests),
            output_tokens_per_s: rate(output),
            total_tokens_per_s: rate(output + prompt),
        }
    }
}

/// From the first arrival to the last completion, s; none where nothing was completed.
fn span_s(rows: &[RequestRow]) -> Option<f64> {
    let first = rows.iter().map(|r| r.arrival).min()?;
    let last = rows.iter().filter_map(|r| r.completion).max()?;
    let span = last.since(first).as_secs_f64();
    (span > 0.0).then_some(span)
}

/// What a service promises; what is not stated is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    /// Most time to first token, ms.
    pub ttft_ms_max: Option<f64>,
    /// Most time per output token, ms.
    pub tpot_ms_max: Option<f64>,
    /// Most time end to end, ms.
    pub e2e_ms_max: Option<f64>,
}

impl Objectives {
    /// Whether a request met all that is stated; a request without a gap meets `tpot_ms_max`.
    pub fn met(&self, metrics: &RequestMetrics) -> bool {
        let within = |value: f64, most: Option<f64>| most.is_none_or(|ms| value <= ms * 1e6);
        within(metrics.ttft, self.ttft_ms_max)
            && within(metrics.e2e, self.e2e_ms_max)
            && metrics.tpot.is_none_or(|tpot| within(tpot, self.tpot_ms_max))
    }

    /// Goodput: requests a second that met every objective. Refused and failed ones count against it.
    pub fn goodput_per_s(&self, rows: &[RequestRow]) -> f64 {
        let good = rows.iter().filter_map(RequestMetrics::of).filter(|m| self.met(m)).count();
        span_s(rows).map_or(0.0, |span| good as f64 / span)
    }
}

#[cfg(test)]
mod tests;
