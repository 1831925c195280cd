//! Vidur's request generators: arrivals and lengths from its own random streams.
//!
//! Its oddities are kept: a Poisson gap is cut at three means, so the true rate is about 5 % above the stated one; the
//! sum behind its Zipf law leaves out the last item.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::case::{CaseError, CaseRequest};
use super::random::{NumpyRandom, PythonRandom};

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Generator {
    /// Drawn.
    Synthetic(Synthetic),
    /// Arrivals and lengths of a trace.
    TraceReplay(TraceReplay),
}

/// Requests that are drawn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Synthetic {
    seed: u32,
    /// How many; `None` = until `duration`.
    num_requests: Option<usize>,
    /// Seconds; those that arrive at or after it are dropped.
    duration: Option<f64>,
    interval_generator: Intervals,
    length_generator: Lengths,
    trace_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Intervals {
    Static,
    Poisson { qps: f64 },
    Gamma { qps: f64, cv: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Lengths {
    Fixed { prefill_tokens: u32, decode_tokens: u32 },
    Uniform { min_tokens: u32, max_tokens: u32, prefill_to_decode_ratio: f64 },
    Zipf { min_tokens: u32, max_tokens: u32, theta: f64, prefill_to_decode_ratio: f64, seed: u32 },
    Trace { max_tokens: u32, prefill_scale_factor: f64, decode_scale_factor: f64, seed: u32 },
}

/// A trace, scaled and cut.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TraceReplay {
    max_tokens: u32,
    prefill_scale_factor: f64,
    decode_scale_factor: f64,
    time_scale_factor: f64,
    trace_file: PathBuf,
}

impl Generator {
    /// Reads `case.json` of a folder.
    ///
    /// # Errors
    /// When it cannot be read or has another shape.
    pub fn load(folder: &Path) -> Result<Generator, CaseError> {
        let path = folder.join("case.json");
        let text = std::fs::read(&path).map_err(|source| CaseError::Io { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| CaseError::Json { path, source })
    }

    /// Makes the requests; a trace lies in `folder`.
    ///
    /// # Errors
    /// When the trace cannot be read, or neither a number nor a duration ends the drawing.
    pub fn requests(&self, folder: &Path) -> Result<Vec<CaseRequest>, CaseError> {
        match self {
            Generator::Synthetic(synthetic) => synthetic.requests(folder),
            Generator::TraceReplay(replay) => replay.requests(folder),
        }
    }
}

fn trace(folder: &Path, file: &Path) -> Result<Vec<CaseRequest>, CaseError> {
    let path = folder.join(file);
    let file = std::fs::File::open(&path).map_err(|source| CaseError::Io { path: path.clone(), source })?;
    let rows: Result<Vec<CaseRequest>, csv::Error> = csv::Reader::from_reader(file).deserialize().collect();
    rows.map_err(|source| CaseError::Csv { path, source })
}

fn scaled(tokens: u32, factor: f64) -> u32 {
    (f64::from(tokens) * factor) as u32
}

impl TraceReplay {
    fn requests(&self, folder: &Path) -> Result<Vec<CaseRequest>, CaseError> {
        let fit = |row: CaseRequest| {
            let prefill = scaled(row.num_prefill_tokens, self.prefill_scale_factor).max(1);
            let decode = scaled(row.num_decode_tokens, self.decode_scale_factor).max(1);
            let over = (prefill + decode).saturating_sub(self.max_tokens);
            CaseRequest {
                arrived_at: row.arrived_at * self.time_scale_factor,
                num_prefill_tokens: prefill.saturating_sub(over),
                num_decode_tokens: decode,
            }
        };
        Ok(trace(folder, &self.trace_file)?.into_iter().map(fit).collect())
    }
}

impl Synthetic {
    fn requests(&self, folder: &Path) -> Result<Vec<CaseRequest>, CaseError> {
        if self.num_requests.is_none() && (self.duration.is_none() || self.interval_generator == Intervals::Static) {
            let what = "neither `num_requests` nor a `duration` that arrivals reach ends the drawing".to_owned();
            return Err(CaseError::Invalid { what });
        }
        let mut python = PythonRandom::seeded(u64::from(self.seed));
        let mut numpy = NumpyRandom::seeded(self.seed);
        let mut lengths = self.lengths(folder)?;
        let (mut requests, mut now) = (Vec::new(), 0.0);
        while self.num_requests.is_none_or(|n| requests.len() < n) {
            now += self.interval_generator.next(&mut python, &mut numpy);
            let Some((prefill, decode)) = lengths.next(&mut python) else { break };
            if self.duration.is_some_and(|end| now >= end) {
                break;
            }
            requests.push(CaseRequest { arrived_at: now, num_prefill_tokens: prefill, num_decode_tokens: decode });
        }
        Ok(requests)
    }

    fn lengths(&self, folder: &Path) -> Result<Drawer, CaseError> {
        Ok(match self.length_generator {
            Lengths::Fixed { prefill_tokens, decode_tokens } => Drawer::Fixed(prefill_tokens, decode_tokens),
            Lengths::Uniform { min_tokens, max_tokens, prefill_to_decode_ratio } => Drawer::Uniform {
                min: f64::from(min_tokens),
                max: f64::from(max_tokens),
                ratio: prefill_to_decode_ratio,
            },
            Lengths::Zipf { min_tokens, max_tokens, theta, prefill_to_decode_ratio, seed } => Drawer::Zipf {
                law: Zipf::new(min_tokens, max_tokens, theta),
                ratio: prefill_to_decode_ratio,
                stream: Box::new(NumpyRandom::seeded(seed)),
            },
            Lengths::Trace { max_tokens, prefill_scale_factor, decode_scale_factor, seed } => {
                let Some(file) = &self.trace_file else {
                    return Err(CaseError::Invalid { what: "`trace` lengths need a `trace_file`".to_owned() });
                };
                let rows = trace(folder, file)?;
                let order = NumpyRandom::seeded(seed).permutation(rows.len());
                let pair = |row: &CaseRequest| {
                    let prefill = scaled(row.num_prefill_tokens, prefill_scale_factor);
                    let decode = scaled(row.num_decode_tokens, decode_scale_factor);
                    cut(prefill, decode, max_tokens)
                };
                Drawer::Rows(order.into_iter().map(|at| pair(&rows[at])).collect::<Vec<_>>().into_iter())
            }
        })
    }
}

/// Takes what is over `most` from both lengths, each in its share; both stay at least 1.
fn cut(prefill: u32, decode: u32, most: u32) -> (u32, u32) {
    let total = prefill + decode;
    let over = f64::from(total.saturating_sub(most));
    let share = |tokens: u32| (over * (f64::from(tokens) / f64::from(total))).ceil() as u32;
    ((prefill.saturating_sub(share(prefill))).max(1), (decode.saturating_sub(share(decode))).max(1))
}

impl Intervals {
    fn next(self, python: &mut PythonRandom, numpy: &mut NumpyRandom) -> f64 {
        match self {
            Intervals::Static => 0.0,
            Intervals::Poisson { qps } => (-(1.0 - python.random()).ln() / qps).min(3.0 / qps),
            Intervals::Gamma { qps, cv } => {
                let shape = 1.0 / (cv * cv);
                numpy.gamma(shape) * (1.0 / (qps * shape))
            }
        }
    }
}

/// Draws lengths, prefill and decode.
enum Drawer {
    Fixed(u32, u32),
    Uniform { min: f64, max: f64, ratio: f64 },
    Zipf { law: Zipf, ratio: f64, stream: Box<NumpyRandom> },
    Rows(std::vec::IntoIter<(u32, u32)>),
}

impl Drawer {
    fn next(&mut self, python: &mut PythonRandom) -> Option<(u32, u32)> {
        Some(match self {
            Drawer::Fixed(prefill, decode) => (*prefill, *decode),
            Drawer::Uniform { min, max, ratio } => {
                let total = python.uniform(*min, *max);
                let decode = (total / (1.0 + *ratio)).ceil();
                ((total - decode) as u32, decode as u32)
            }
            Drawer::Zipf { law, ratio, stream } => {
                let total = law.draw(stream.sample());
                let decode = total / (1.0 + *ratio);
                ((total - decode) as u32, decode as u32)
            }
            Drawer::Rows(rows) => return rows.next(),
        })
    }
}

/// Gray et al.'s quick Zipf draw (SIGMOD 1994).
struct Zipf {
    min: f64,
    items: f64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(min: u32, max: u32, theta: f64) -> Zipf {
        let items = f64::from(max - min + 1);
        let zeta = |m: u32| (1..m).map(|i| 1.0 / f64::from(i).powf(theta)).sum::<f64>();
        let all = zeta(max - min + 1);
        let eta = (1.0 - (2.0 / items).powf(1.0 - theta)) / (1.0 - zeta(2) / (all + 1e-8));
        Zipf { min: f64::from(min), items, theta, zeta: all, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn draw(&self, u: f64) -> f64 {
        let uz = u * self.zeta;
        if uz < 1.0 {
            self.min
        } else if uz < 1.0 + 0.5f64.powf(self.theta) {
            self.min + 1.0
        } else {
            self.min + (self.items * (self.eta * u - self.eta + 1.0).powf(self.alpha)).floor()
        }
    }
}
