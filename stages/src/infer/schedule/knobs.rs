//! The `[scheduler]` fragment: what an author may turn, with the defaults, and what must hold between the values.
//!
//! Simulation and measurement take the same fragment, so they cannot disagree.

use serde::{Deserialize, Serialize};

/// Everything that shapes a schedule. Printed and parsed again it is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// Who goes into the next iteration.
    pub policy: Policy,
    /// Most tokens of one iteration; the chunk of chunked prefill.
    pub max_batched_tokens: u32,
    /// Most sequences that hold KV blocks at a time.
    pub max_sequences: u32,
    /// Longest sequence (prompt and output) that is taken; what `orca` and `faster-transformer` set aside for each.
    pub max_sequence_tokens: Option<u32>,
    /// Token positions of one KV block.
    pub block_tokens: u32,
    /// KV blocks of the pool.
    pub kv_blocks: u32,
    /// Share of the pool that an admission leaves free, so that running sequences can grow; at least 0, below 1.
    pub watermark: f64,
    /// Keep two iterations in flight: the next is scheduled and prepared while this one runs.
    pub pipelined: bool,
    /// Reuse full blocks of equal prompt prefixes.
    pub prefix_caching: bool,
    /// `lightllm` only: decode iterations between two tries to admit.
    pub max_waiting_iterations: u32,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            policy: Policy::Sarathi,
            max_batched_tokens: 512,
            max_sequences: 128,
            max_sequence_tokens: None,
            block_tokens: 16,
            kv_blocks: 4096,
            watermark: 0.01,
            pipelined: false,
            prefix_caching: false,
            max_waiting_iterations: 10,
        }
    }
}

/// Who goes into the next iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Chunked prefill: decodes first, then prefills in progress with the rest of the chunk, then admissions.
    Sarathi,
    /// One token budget for all: running sequences in order of admission, then new ones; the latest is preempted.
    VllmV1,
    /// Whole prefills first, apart from decodes.
    Vllm,
    /// Whole prefills and decodes mixed; the longest possible sequence is set aside for each.
    Orca,
    /// A batch stays together until its last sequence is complete.
    FasterTransformer,
    /// Whole prefills, admitted by looking ahead at the most tokens the pool will ever hold.
    Lightllm,
}

impl Policy {
    /// The word in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Sarathi => "sarathi",
            Policy::VllmV1 => "vllm-v1",
            Policy::Vllm => "vllm",
            Policy::Orca => "orca",
            Policy::FasterTransformer => "faster-transformer",
            Policy::Lightllm => "lightllm",
        }
    }

    /// Whether a prompt may be spread over several iterations.
    pub fn chunks_prefill(self) -> bool {
        matches!(self, Policy::Sarathi | Policy::VllmV1)
    }

    /// Whether memory for the longest sequence is set aside at admission.
    pub fn reserves(self) -> bool {
        matches!(self, Policy::Orca | Policy::FasterTransformer)
    }
}

impl Knobs {
    /// Blocks that an admission leaves free.
    pub fn watermark_blocks(&self) -> u32 {
        (self.watermark * f64::from(self.kv_blocks)).floor() as u32
    }

    /// Token positions of the whole pool.
    pub fn pool_tokens(&self) -> u64 {
        u64::from(self.kv_blocks) * u64::from(self.block_tokens)
    }

    /// The same knobs for a model that knows `max_positions` positions: no sequence is longer.
    #[must_use]
    pub fn for_model(&self, max_positions: u32) -> Knobs {
        let longest = self.max_sequence_tokens.map_or(max_positions, |n| n.min(max_positions));
        Knobs { max_sequence_tokens: Some(longest), ..self.clone() }
    }

    /// Checks what must hold of each value and between them. Pure.
    ///
    /// # Errors
    /// The field at fault (its name inside this fragment) and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, value) in [
            ("max_batched_tokens", self.max_batched_tokens),
            ("max_sequences", self.max_sequences),
            ("block_tokens", self.block_tokens),
            ("kv_blocks", self.kv_blocks),
            ("max_sequence_tokens", self.max_sequence_tokens.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err((field, format!("`{field}` must be at least 1")));
            }
        }
        if !(0.0..1.0).contains(&self.watermark) {
            return Err(("watermark", format!("`watermark` is {}: it must be at least 0 and below 1", self.watermark)));
        }
        if self.pool_tokens() > u64::from(u32::MAX) {
            return Err(("kv_blocks", format!("{} token positions are more than 2^32 - 1", self.pool_tokens())));
        }
        if self.policy.chunks_prefill() && self.max_sequences > self.max_batched_tokens {
            let message = format!(
                "`max_sequences` is {} but an iteration holds `max_batched_tokens` = {} tokens: not every running \
                 sequence could decode",
                self.max_sequences, self.max_batched_tokens
            );
            return Err(("max_sequences", message));
        }
        if self.policy == Policy::Lightllm && self.block_tokens != 1 {
            return Err(("block_tokens", "`lightllm` counts single tokens: `block_tokens` must be 1".to_owned()));
        }
        if self.prefix_caching && !self.policy.chunks_prefill() {
            let message = format!("`{}` has no prefix cache; `sarathi` and `vllm-v1` have one", self.policy.name());
            return Err(("prefix_caching", message));
        }
        self.check_reservation()
    }

    fn check_reservation(&self) -> Result<(), (&'static str, String)> {
        if !self.policy.reserves() {
            return Ok(());
        }
        let name = self.policy.name();
        let Some(longest) = self.max_sequence_tokens else {
            return Err((
                "max_sequence_tokens",
                format!("`{name}` sets aside `max_sequence_tokens` for each sequence"),
            ));
        };
        if u64::from(longest) > self.pool_tokens() {
            let message = format!(
                "`{name}` sets aside {longest} tokens for each sequence but the pool holds {} (`kv_blocks` × \
                 `block_tokens`)",
                self.pool_tokens()
            );
            return Err(("kv_blocks", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
