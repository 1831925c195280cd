//! The kind `roofline`: an `ops` table worked out from a model's card and a hardware's peaks, for a model or a card that
//! nobody has profiled, and the plan of its memory.
//!
//! The time of an operation is the greater of its arithmetic at the peak rate and its traffic at the peak bandwidth
//! (Williams, Waterman, Patterson 2009). Nothing real is that fast: no launch, no wave that is half full, no host. So a
//! row says that no timing stands behind it (`samples` = 0), and who simulates from it says so too.

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};
use serde::{Deserialize, Serialize};

use crate::device::Hardware;
use crate::infer::schedule::Knobs;
use crate::model::card::{self, Card};
use crate::tables::ops::Row;

/// Configuration of a roofline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The peaks; the same fragment as in a measurement.
    pub hardware: Hardware,
    /// What the table has to cover; the same fragment as in `sim`.
    pub scheduler: Knobs,
}

/// The kind.
#[derive(Debug)]
pub struct Roofline;

impl StageKind for Roofline {
    type Config = Config;
    const NAME: &'static str = "roofline";
    const ABOUT: &'static str = "works out the least times of a model's operations from a card's peaks";
    const CODE: Code = Code { version: 1, modules: crate::kinds::codes::ROOFLINE };

    fn contract(config: &Config, _: &Wired) -> Result<Contract, Complaint> {
        config.hardware.check()?;
        config.scheduler.check().map_err(|(field, message)| Complaint::new(format!("scheduler.{field}"), message))?;
        let peaks = [
            ("peak_flops", config.hardware.peak_flops),
            ("bandwidth_bytes_per_s", config.hardware.bandwidth_bytes_per_s),
        ];
        if let Some((field, _)) = peaks.iter().find(|(_, peak)| *peak <= 0.0) {
            return Err(Complaint::new(format!("hardware.{field}"), "a roofline needs the peak")
                .help("give the data sheet's figure"));
        }
        Ok(Contract {
            inputs: vec![Port::new("model", "model", "a model.toml or a config.json").by_meaning(card::MEANING)],
            outputs: vec![
                Port::new("ops", "ops", "ops.parquet: least times, no timing behind them"),
                Port::new("plan", "plan", "plan.json: parameters, memory, arithmetic and traffic of a token"),
            ],
            sort: Sort::Computed,
            ..Contract::default()
        })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let card = card::load(&io.input("model")?.path)?;
        let directory = io.output("ops")?;
        std::fs::create_dir_all(&directory)
            .map_err(|e| StageError::new(format!("cannot make `{}`", directory.display())).because(&e))?;
        let roof = Roof { card: &card, hardware: &config.hardware };
        crate::tables::write(&directory.join("ops.parquet"), &[], &roof.rows(&config.scheduler))?;
        let path = io.output("plan")?;
        let text = serde_json::to_string_pretty(&roof.plan()).expect("a plan is plain data");
        std::fs::write(&path, text + "\n")
            .map_err(|e| StageError::new(format!("cannot write `{}`", path.display())).because(&e))
    }
}

/// A model's memory and work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Always `roofline only`.
    pub basis: &'static str,
    /// Trained numbers.
    pub parameters: u64,
    /// What they take.
    pub weight_bytes: u64,
    /// What one token takes in the cache, by the card's own `head_dim`.
    pub kv_bytes_per_token: u64,
    /// Tokens for whose keys and values the memory has room beside the weights; none where the memory is not told.
    pub kv_tokens: Option<u64>,
    /// Multiplications and additions of one decoded token, its attention aside.
    pub flops_per_token: f64,
    /// The same of its attention, for each token before it.
    pub attention_flops_per_context_token: f64,
    /// Least time of a decode of one sequence without context, ns.
    pub decode_ns: f64,
}

/// The shape and the peaks.
struct Roof<'a> {
    card: &'a Card,
    hardware: &'a Hardware,
}

impl Roof<'_> {
    /// Time of so many floating-point operations and bytes, ns.
    fn time(&self, flops: f64, bytes: f64) -> f64 {
        1e9 * (flops / self.hardware.peak_flops).max(bytes / self.hardware.bandwidth_bytes_per_s)
    }

    fn width(&self, heads: u32) -> f64 {
        f64::from(heads) * f64::from(self.card.head_dim)
    }

    fn bytes(&self) -> f64 {
        self.card.dtype.bytes() as f64
    }

    /// A product of `[tokens, from]` and `[from, to]`.
    fn product(&self, tokens: f64, from: f64, to: f64) -> f64 {
        self.time(2.0 * tokens * from * to, self.bytes() * (from * to + tokens * (from + to)))
    }

    /// Rows moved, and next to no arithmetic.
    fn traffic(&self, tokens: f64, numbers: f64) -> f64 {
        self.time(0.0, self.bytes() * tokens * numbers)
    }

    /// Attention of `queries` rows over `context` tokens each that lie in the cache of one sequence; `pairs` of a row
    /// and a token it sees.
    fn attention(&self, queries: f64, cached: f64, pairs: f64) -> f64 {
        let (q, kv) = (self.width(self.card.heads), self.width(self.card.kv_heads));
        self.time(4.0 * q * pairs, self.bytes() * (2.0 * kv * cached + 2.0 * q * queries))
    }

    /// What works on every token: operation, calls an iteration, time of a call.
    fn token_wise(&self, tokens: f64) -> [(&'static str, u32, f64); 10] {
        let layers = self.card.layers;
        let (hidden, ffn) = (f64::from(self.card.hidden), f64::from(self.card.ffn));
        let (q, kv) = (self.width(self.card.heads), self.width(self.card.kv_heads));
        [
            ("embed", 1, self.traffic(tokens, 2.0 * hidden)),
            ("norm", 2 * layers, self.traffic(tokens, 2.0 * hidden)),
            ("qkv", layers, self.product(tokens, hidden, q + 2.0 * kv)),
            ("qk_rope", layers, self.traffic(tokens, 2.0 * (q + kv))),
            ("kv_write", layers, self.traffic(tokens, 4.0 * kv)),
            ("o", layers, self.product(tokens, q, hidden)),
            ("gate_up", layers, self.product(tokens, hidden, 2.0 * ffn)),
            ("silu_mul", layers, self.traffic(tokens, 3.0 * ffn)),
            ("down", layers, self.product(tokens, ffn, hidden)),
            ("add", 2 * layers, self.traffic(tokens, 3.0 * hidden)),
        ]
    }

    fn head(&self, rows: f64) -> f64 {
        self.product(rows, f64::from(self.card.hidden), f64::from(self.card.vocab))
    }

    fn rows(&self, knobs: &Knobs) -> Vec<Row> {
        let knobs = knobs.for_model(self.card.max_positions);
        let longest = self.card.max_positions;
        let whole = if knobs.policy.chunks_prefill() { 0 } else { longest.saturating_mul(knobs.max_sequences) };
        let tokens = grid(1, knobs.max_batched_tokens.max(knobs.max_sequences).max(whole));
        let sequences = grid(1, knobs.max_sequences);
        let contexts: Vec<u32> = std::iter::once(0).chain(grid(16.min(longest), longest)).collect();
        let chunk_max = if knobs.policy.chunks_prefill() { knobs.max_batched_tokens } else { longest };
        let mut rows = Vec::new();
        for n in tokens {
            rows.extend(self.token_wise(f64::from(n)).map(|(op, calls, ns)| row(op, n, 1, 0, calls, ns)));
        }
        for s in sequences {
            let size = f64::from(s);
            rows.push(row("head", s, s, 0, 1, self.head(size)));
            rows.push(row("sample", s, s, 0, 1, self.time(0.0, 4.0 * size * f64::from(self.card.vocab))));
            // The host is left out: a nanosecond, so that there is a time at all.
            rows.push(row("host", s, s, 0, 1, 1.0 + size / 1e3));
            for c in &contexts {
                let seen = size * (f64::from(*c) + 1.0);
                rows.push(row("attention_decode", s, s, *c, self.card.layers, self.attention(size, seen, seen)));
            }
        }
        for n in grid(2, chunk_max.max(2)) {
            for c in &contexts {
                let (size, before) = (f64::from(n), f64::from(*c));
                let pairs = size * (before + (size + 1.0) / 2.0);
                let ns = self.attention(size, before + size, pairs);
                rows.push(row("attention_prefill", n, 1, *c, self.card.layers, ns));
            }
        }
        rows
    }

    fn plan(&self) -> Plan {
        let card = self.card;
        let weight_bytes = card.parameters() * card.dtype.bytes();
        let memory = self.hardware.memory_mib << 20;
        let (hidden, layers) = (f64::from(card.hidden), f64::from(card.layers));
        let (q, kv) = (self.width(card.heads), self.width(card.kv_heads));
        let layer = hidden * (2.0 * q + 2.0 * kv) + 3.0 * hidden * f64::from(card.ffn);
        let decode = self.token_wise(1.0).iter().map(|(_, calls, ns)| f64::from(*calls) * ns).sum::<f64>()
            + layers * self.attention(1.0, 1.0, 1.0)
            + self.head(1.0)
            + self.time(0.0, 4.0 * f64::from(card.vocab));
        Plan {
            basis: "roofline only",
            parameters: card.parameters(),
            weight_bytes,
            kv_bytes_per_token: card.kv_bytes_per_token(),
            kv_tokens: (memory > 0).then(|| memory.saturating_sub(weight_bytes) / card.kv_bytes_per_token()),
            flops_per_token: 2.0 * (layers * layer + hidden * f64::from(card.vocab)),
            attention_flops_per_context_token: 4.0 * q * layers,
            decode_ns: decode,
        }
    }
}

/// From `from` to `to`, each about a quarter more than the one before, so that the bend of a roof lies between near
/// points.
fn grid(from: u32, to: u32) -> Vec<u32> {
    let mut points = Vec::new();
    let mut at = from;
    while at < to {
        points.push(at);
        at = at.saturating_add((at / 4).max(1));
    }
    points.push(to.max(from));
    points
}

fn row(op: &str, tokens: u32, sequences: u32, context: u32, calls_per_step: u32, ns: f64) -> Row {
    Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step,
        samples: 0,
        median_ns: ns,
        mad_ns: 0.0,
        min_ns: ns,
        p90_ns: ns,
    }
}

#[cfg(test)]
mod tests;
