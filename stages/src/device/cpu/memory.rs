//! Whether a model and its pool fit into memory, asked before anything is allocated.

use crate::infer::schedule::Knobs;
use crate::model::card::Card;
use crate::model::forward::Model;
use crate::model::pool::KvPool;

/// What serving on the processor takes, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Weights as f32.
    pub weights: u64,
    /// The KV pool as f32.
    pub pool: u64,
    /// Buffers of the largest step: activations and logits.
    pub step: u64,
}

impl Demand {
    /// Of `card` under `knobs`.
    pub fn of(card: &Card, knobs: &Knobs) -> Demand {
        let tokens = u64::from(knobs.max_batched_tokens);
        let heads = u64::from(card.heads + 2 * card.kv_heads) * u64::from(card.head_dim);
        // The residual stream, its normed copy, queries, keys and values twice, gate and up and what comes of them.
        let row = 2 * u64::from(card.hidden) + 2 * heads + 3 * u64::from(card.ffn);
        let logits = u64::from(knobs.max_sequences) * u64::from(card.vocab);
        Demand {
            weights: Model::bytes(card),
            pool: KvPool::bytes(card, u64::from(knobs.kv_blocks), u64::from(knobs.block_tokens)),
            step: 4 * (tokens * row + logits),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.pool + self.step
    }

    /// Refuses what exceeds `limit` bytes.
    ///
    /// # Errors
    /// What is needed for what, and the number of blocks that would fit.
    pub fn check(&self, limit: u64, knobs: &Knobs) -> Result<(), (String, String)> {
        if self.total() <= limit {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let message = format!(
            "serving takes {} MiB (weights as f32 {}, KV pool {}, one step {}) and there are {} MiB",
            mib(self.total()),
            mib(self.weights),
            mib(self.pool),
            mib(self.step),
            limit >> 20
        );
        let block = self.pool / u64::from(knobs.kv_blocks.max(1));
        let left = limit.saturating_sub(self.weights + self.step) / block.max(1);
        let help = if left > 0 {
            format!("`scheduler.kv_blocks` of {left} would fit")
        } else {
            "no pool fits beside these weights: take a smaller model or a machine with more memory".to_owned()
        };
        Err((message, help))
    }
}

/// Bytes that this machine can still give (Linux: `MemAvailable`); `None` where it does not say.
pub fn available() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The processor's own name (Linux); empty where it does not say.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
