//! Token ids for prompts that have no text.

use crate::random::Stream;

use super::shape::Draft;

/// How ids are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub(super) seed: u64,
    /// Every id lies below this.
    pub(super) below: u32,
    /// Tokens of a prefix block; 0 = there are none.
    pub(super) block_tokens: u32,
}

impl Ids {
    /// Ids of one prompt. A block that two prompts share has a stream of its own, so that both get the same ids; what
    /// no block covers comes from the request's stream.
    pub(super) fn draw(&self, request: u32, draft: &Draft) -> Vec<u32> {
        let wanted = draft.prompt_tokens as usize;
        let mut ids = Vec::with_capacity(wanted);
        for block in blocks(draft, self.block_tokens) {
            let mut stream = Stream::new(self.seed, "workload prefix block", *block);
            let end = (ids.len() + self.block_tokens as usize).min(wanted);
            ids.resize_with(end, || stream.below(self.below));
        }
        let mut stream = Stream::new(self.seed, "workload prompt", u64::from(request));
        ids.resize_with(wanted, || stream.below(self.below));
        ids
    }
}

/// The block ids that the prompt still reaches after it was cut.
pub(super) fn blocks(draft: &Draft, block_tokens: u32) -> &[u64] {
    if block_tokens == 0 {
        return &[];
    }
    let reached = draft.prompt_tokens.div_ceil(block_tokens) as usize;
    &draft.prefix_blocks[..reached.min(draft.prefix_blocks.len())]
}
