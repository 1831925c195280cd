//! Where a forward pass spends its time: the operations by name, and who may listen to them.
//!
//! The very code that serves carries the calls; for [`Unobserved`] they compile to nothing.

use std::time::Instant;

/// One operation of a forward pass. Their exact borders stand in `stages/DESIGN.md`, "What an operation is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Rows of the embedding into the residual stream.
    Embed,
    /// RMSNorm before attention and before the feed-forward layer.
    Norm,
    /// The product that gives queries, keys and values.
    Qkv,
    /// Norm of each query and key head (where the model has it) and rotation.
    QkRope,
    /// Keys and values into the pool.
    KvWrite,
    /// Attention of one slice of more than one token.
    AttentionPrefill,
    /// Attention of all slices of one token.
    AttentionDecode,
    /// Attention's output projection.
    O,
    /// The product that gives gate and up.
    GateUp,
    /// silu(gate) · up.
    SiluMul,
    /// The product back to the residual stream.
    Down,
    /// Addition to the residual stream, after attention and after the feed-forward layer.
    Add,
    /// Final norm and output projection of the rows that yield.
    Head,
    /// Choosing a token for each row that yields.
    Sample,
}

impl Operation {
    /// How many there are.
    pub const COUNT: usize = 14;

    /// All, in the order in which a pass first meets them.
    pub const ALL: [Operation; Operation::COUNT] = [
        Operation::Embed,
        Operation::Norm,
        Operation::Qkv,
        Operation::QkRope,
        Operation::KvWrite,
        Operation::AttentionPrefill,
        Operation::AttentionDecode,
        Operation::O,
        Operation::GateUp,
        Operation::SiluMul,
        Operation::Down,
        Operation::Add,
        Operation::Head,
        Operation::Sample,
    ];

    /// Its name in the `ops` table.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Embed => "embed",
            Operation::Norm => "norm",
            Operation::Qkv => "qkv",
            Operation::QkRope => "qk_rope",
            Operation::KvWrite => "kv_write",
            Operation::AttentionPrefill => "attention_prefill",
            Operation::AttentionDecode => "attention_decode",
            Operation::O => "o",
            Operation::GateUp => "gate_up",
            Operation::SiluMul => "silu_mul",
            Operation::Down => "down",
            Operation::Add => "add",
            Operation::Head => "head",
            Operation::Sample => "sample",
        }
    }
}

/// Listens to a forward pass.
pub trait Probe {
    /// Work begins now.
    fn start(&mut self);
    /// What was done since the last call was one call of `operation`.
    fn lap(&mut self, operation: Operation);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Probe for Unobserved {
    fn start(&mut self) {}
    fn lap(&mut self, _: Operation) {}
}

/// Adds up the time of each operation. A lap includes one reading of the clock, about 30 ns.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    last: Instant,
    spent_ns: [u64; Operation::COUNT],
    calls: [u32; Operation::COUNT],
}

impl Stopwatch {
    /// With nothing on it.
    pub fn new() -> Stopwatch {
        Stopwatch { last: Instant::now(), spent_ns: [0; Operation::COUNT], calls: [0; Operation::COUNT] }
    }

    /// Calls of `operation` since [`Probe::start`].
    pub fn calls(&self, operation: Operation) -> u32 {
        self.calls[operation as usize]
    }

    /// Mean time of one call since [`Probe::start`], ns; `None` if there was none.
    pub fn per_call_ns(&self, operation: Operation) -> Option<f64> {
        let calls = self.calls(operation);
        (calls > 0).then(|| self.spent_ns[operation as usize] as f64 / f64::from(calls))
    }
}

impl Default for Stopwatch {
    fn default() -> Stopwatch {
        Stopwatch::new()
    }
}

impl Probe for Stopwatch {
    fn start(&mut self) {
        self.spent_ns = [0; Operation::COUNT];
        self.calls = [0; Operation::COUNT];
        self.last = Instant::now();
    }

    fn lap(&mut self, operation: Operation) {
        let now = Instant::now();
        self.spent_ns[operation as usize] += now.duration_since(self.last).as_nanos() as u64;
        self.calls[operation as usize] += 1;
        self.last = now;
    }
}

#[cfg(test)]
mod tests;
