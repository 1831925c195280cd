//! What all policies share: the sequences and their counts, the queues, the pool, and the acts on them.
//!
//! A sequence's tokens are *known* (its prompt and what it has produced) and *computed* (their keys and values are in
//! the cache). It prefills until `computed` reaches `prefill`; from then on all known tokens but the last are
//! computed, and every iteration computes that one and produces another.

use std::collections::VecDeque;

use super::super::blocks::{Pool, PrefixHash, Tabled};
use super::super::serve::{Batch, Slice};
use super::{Knobs, Policy, Refused};

/// Whether Vidur's oddities are reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// What is right.
    Plain,
    /// As Vidur has it: a prefill that is interrupted counts the rest of its prompt as output; a running sequence
    /// needs a free block even when it takes none; a static batch gives back only what its last round held.
    Vidur,
}

/// The numbers that policies go by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Blocks of the pool.
    pub kv_blocks: u32,
    /// Positions of a block.
    pub block_tokens: u32,
    /// Blocks that an admission leaves free.
    pub watermark_blocks: u32,
    /// Most tokens of an iteration.
    pub budget: u32,
    /// Most sequences that hold memory.
    pub max_sequences: u32,
    /// Most sequences of one batch (fewer than `max_sequences` where several batches are in flight).
    pub batch_sequences: u32,
    /// Most sequences of one batch of the policies that set memory aside.
    pub reserved_sequences: u32,
    /// Blocks that those set aside for a sequence.
    pub reserved_blocks: u32,
    /// Longest sequence that is taken.
    pub longest: u32,
    /// `lightllm`: decodes between two tries to admit.
    pub max_waiting_iterations: u32,
    /// Whether prompt prefixes are shared.
    pub prefix_caching: bool,
    /// The policy, for what can ever fit.
    pub policy: Policy,
    /// Whose rules.
    pub law: Law,
}

impl Limits {
    /// The numbers that follow from checked knobs.
    pub fn of(knobs: &Knobs) -> Limits {
        let longest = knobs.max_sequence_tokens.unwrap_or(u32::MAX);
        let reserved_blocks = longest.div_ceil(knobs.block_tokens);
        Limits {
            kv_blocks: knobs.kv_blocks,
            block_tokens: knobs.block_tokens,
            watermark_blocks: knobs.watermark_blocks(),
            budget: knobs.max_batched_tokens,
            max_sequences: knobs.max_sequences,
            batch_sequences: knobs.max_sequences,
            reserved_sequences: knobs.max_sequences,
            reserved_blocks,
            longest,
            max_waiting_iterations: knobs.max_waiting_iterations,
            prefix_caching: knobs.prefix_caching,
            policy: knobs.policy,
            law: Law::Plain,
        }
    }
}

/// A sequence's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// Orders sequences by arrival.
    pub arrival: u64,
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens of prompt and output.
    pub total: u32,
    /// Tokens to compute before the next output token: the prompt, or all known tokens after a preemption.
    pub prefill: u32,
    /// Tokens whose keys and values are in the cache.
    pub computed: u32,
    /// Tokens it has in the batch that is in flight.
    pub scheduled: u32,
    /// Prompt tokens found in the prefix cache at its first admission.
    pub cached: u32,
    /// How often it lost its blocks.
    pub restarts: u32,
    /// Lower is served first.
    pub priority: i32,
}

impl Sequence {
    /// Whether its known tokens have been computed, so that it decodes.
    pub fn is_prefilled(&self) -> bool {
        self.computed >= self.prefill
    }

    /// Output tokens so far.
    pub fn produced(&self) -> u32 {
        let known = if self.is_prefilled() { self.computed + 1 } else { self.prefill };
        known.saturating_sub(self.prompt)
    }
}

/// What the batch just formed looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Prompt tokens in it (also those computed again).
    pub prefill_tokens: u32,
    /// Decode tokens in it.
    pub decode_tokens: u32,
    /// Sequences that lost their blocks to it.
    pub preempted: u32,
    /// Blocks held now.
    pub kv_blocks_used: u32,
    /// Sequences that hold blocks now.
    pub running: u32,
    /// Requests in the queue now.
    pub waiting: u32,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    pub(super) waiting: VecDeque<u32>,
    /// Admitted and in no batch (with `vllm-v1`: all admitted ones, in order of admission).
    pub(super) running: Vec<u32>,
    /// Sequences that hold blocks.
    pub(super) holders: u32,
    sequences: Vec<Sequence>,
    prefixes: Vec<Box<[PrefixHash]>>,
    census: Census,
}

impl State {
    pub(super) fn new(limits: Limits, tabled: Tabled) -> State {
        State {
            limits,
            pool: Pool::new(limits.kv_blocks, limits.block_tokens, tabled),
            waiting: VecDeque::new(),
            running: Vec::new(),
            holders: 0,
            sequences: Vec::new(),
            prefixes: Vec::new(),
            census: Census::default(),
        }
    }

    pub(super) fn sequence(&self, seq: u32) -> &Sequence {
        &self.sequences[seq as usize]
    }

    pub(super) fn is_complete(&self, seq: u32) -> bool {
        let s = self.sequence(seq);
        s.is_prefilled() && s.computed + 1 >= s.total
    }

    pub(super) fn is_in_flight(&self, seq: u32) -> bool {
        self.sequence(seq).scheduled > 0
    }

    /// Tokens that `seq` could compute next: all of its missing prefill, or one.
    pub(super) fn next_tokens(&self, seq: u32) -> u32 {
        let s = self.sequence(seq);
        if s.is_prefilled() { 1 } else { s.prefill - s.computed }
    }

    pub(super) fn enqueue(
        &mut self,
        seq: u32,
        arrival: u64,
        prompt: u32,
        output: u32,
        priority: i32,
        prompt_ids: &[u32],
    ) {
        let index = seq as usize;
        if self.sequences.len() <= index {
            self.sequences.resize(index + 1, Sequence::default());
        }
        let total = prompt + output;
        self.sequences[index] = Sequence { arrival, prompt, total, prefill: prompt, priority, ..Sequence::default() };
        self.pool.register(seq);
        if self.limits.prefix_caching {
            self.prefixes.resize_with(self.sequences.len(), Box::default);
            self.prefixes[index] = PrefixHash::chain(prompt_ids, self.limits.block_tokens).collect();
        }
        let behind = |w: &u32| self.sequences[*w as usize].priority <= priority;
        let place = self.waiting.iter().rposition(behind).map_or(0, |i| i + 1);
        self.waiting.insert(place, seq);
    }

    /// Whether a request could run to its end if it were alone.
    pub(super) fn check_fits(&self, prompt: u32, output: u32) -> Result<(), Refused> {
        let limits = &self.limits;
        let refuse = |reason: String| Err(Refused { reason });
        if prompt == 0 || output == 0 {
            return refuse(format!("{prompt} prompt tokens and {output} output tokens: each must be at least 1"));
        }
        let Some(total) = prompt.checked_add(output).filter(|t| *t <= limits.longest) else {
            return refuse(format!(
                "{prompt} prompt and {output} output tokens are more than `max_sequence_tokens` = {}",
                limits.longest
            ));
        };
        // The last output token is never computed; a preempted sequence prefills all the others again.
        let cached = total - 1;
        let whole = match limits.policy {
            Policy::Vllm => cached,
            Policy::Lightllm => prompt,
            _ => 0,
        };
        if whole > limits.budget {
            return refuse(format!(
                "it prefills up to {whole} tokens at once, but `max_batched_tokens` = {}",
                limits.budget
            ));
        }
        let needed = match limits.policy {
            Policy::Orca | Policy::FasterTransformer => limits.reserved_blocks,
            Policy::Lightllm => total.max(prompt + 2),
            _ => self.pool.blocks_for(cached).saturating_add(limits.watermark_blocks),
        };
        if needed > limits.kv_blocks {
            return refuse(format!(
                "{prompt} prompt and {output} output tokens need {needed} KV blocks (with the watermark of {}), the \
                 pool has {}",
                limits.watermark_blocks, limits.kv_blocks
            ));
        }
        Ok(())
    }

    pub(super) fn begin_batch(&mut self) {
        self.census = Census::default();
    }

    pub(super) fn census(&self) -> Census {
        Census {
            kv_blocks_used: self.pool.used(),
            running: self.holders,
            waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            ..self.census
        }
    }

    /// The census of a batch of so many decodes and nothing else.
    pub(super) fn census_of_decodes(&mut self, decodes: u32) -> Census {
        self.census = Census { decode_tokens: decodes, ..Census::default() };
        self.census()
    }

    /// `seq`, whose known tokens are computed, is in a batch with its one token.
    pub(super) fn begin_decode(&mut self, seq: u32) {
        self.sequences[seq as usize].scheduled = 1;
    }

    /// So many tokens of `seq`, one an iteration, were computed.
    pub(super) fn skip_decodes(&mut self, seq: u32, count: u32) {
        let s = &mut self.sequences[seq as usize];
        s.computed += count;
        self.pool.append(seq, s.computed);
    }

    /// That token was computed.
    pub(super) fn end_decode(&mut self, seq: u32) {
        let s = &mut self.sequences[seq as usize];
        (s.computed, s.scheduled) = (s.computed + 1, 0);
    }

    /// Puts `tokens` of `seq` into the batch.
    pub(super) fn put(&mut self, batch: &mut Batch, seq: u32, tokens: u32) {
        let s = &mut self.sequences[seq as usize];
        debug_assert!(s.scheduled == 0 && tokens > 0, "sequence {seq} is in one batch at a time");
        let yields = s.computed + tokens >= s.prefill;
        if s.is_prefilled() {
            self.census.decode_tokens += tokens;
        } else {
            self.census.prefill_tokens += tokens;
        }
        s.scheduled = tokens;
        batch.slices.push(Slice { seq, context: s.computed, tokens, yields });
    }

    /// Books that a slice was computed.
    pub(super) fn advance(&mut self, slice: &Slice) {
        let s = &mut self.sequences[slice.seq as usize];
        debug_assert_eq!(s.scheduled, slice.tokens, "the batch that ends is the one that was formed");
        let prefilling = !s.is_prefilled();
        s.computed += slice.tokens;
        s.scheduled = 0;
        if prefilling && self.limits.prefix_caching {
            let full = s.computed.min(s.prompt) / self.limits.block_tokens;
            let known = &self.prefixes[slice.seq as usize];
            self.pool.remember(slice.seq, &known[..known.len().min(full as usize)]);
        }
    }

    /// Tokens of `seq`, which holds nothing, that the prefix cache has, in full blocks; at least one is left to
    /// compute, since only a computed token yields the next.
    fn cached_tokens(&self, seq: u32) -> (u32, u32) {
        if !self.limits.prefix_caching {
            return (0, 0);
        }
        let known = &self.prefixes[seq as usize];
        let most = (self.sequence(seq).prefill - 1) / self.limits.block_tokens;
        self.pool.cached_prefix(&known[..known.len().min(most as usize)])
    }

    /// How many of its tokens `seq`, which waits, would compute at most in this iteration, beyond what the prefix
    /// cache has.
    pub(super) fn first_chunk(&self, seq: u32, budget: u32) -> u32 {
        let (found, _) = self.cached_tokens(seq);
        (self.sequence(seq).prefill - found * self.limits.block_tokens).min(budget)
    }

    /// Whether blocks for the first `tokens` positions of `seq`, which holds nothing, can be had above the watermark.
    pub(super) fn fits_new(&self, seq: u32, tokens: u32) -> bool {
        let (found, unheld) = self.cached_tokens(seq);
        let more = self.pool.blocks_for(tokens).saturating_sub(found);
        self.pool.can_allocate(more + unheld, self.limits.watermark_blocks)
    }

    /// Gives `seq` the cached prefix and blocks for its first `tokens` positions.
    pub(super) fn take_new(&mut self, seq: u32, tokens: u32) {
        let (found, _) = self.cached_tokens(seq);
        if found > 0 {
            self.pool.share(seq, &self.prefixes[seq as usize][..found as usize]);
            let s = &mut self.sequences[seq as usize];
            s.computed = found * self.limits.block_tokens;
            if s.restarts == 0 {
                s.cached = s.computed;
            }
        }
        self.holders += 1;
        self.pool.append(seq, tokens);
    }

    /// Gives `seq`, which holds nothing, a fixed number of blocks.
    pub(super) fn reserve(&mut self, seq: u32, blocks: u32) {
        self.holders += 1;
        self.pool.allocate(seq, blocks);
    }

    /// Whether `seq`, which holds blocks, can compute `tokens` more.
    pub(super) fn fits_more(&self, seq: u32, tokens: u32) -> bool {
        match self.limits.law {
            Law::Plain => self.pool.can_append(seq, self.sequence(seq).computed + tokens),
            Law::Vidur => self.pool.free() > 0,
        }
    }

    /// Gives `seq` blocks for `tokens` more.
    pub(super) fn take_more(&mut self, seq: u32, tokens: u32) {
        self.pool.append(seq, self.sequence(seq).computed + tokens);
    }

    /// Takes the blocks of `seq` for good.
    pub(super) fn release(&mut self, seq: u32) {
        if self.pool.held(seq) > 0 {
            self.holders -= 1;
            self.pool.release(seq);
        }
    }

    /// `seq` loses its blocks, waits in front and computes all its known tokens again.
    pub(super) fn restart(&mut self, seq: u32) {
        self.release(seq);
        let s = &mut self.sequences[seq as usize];
        let decoding = s.is_prefilled();
        match self.limits.law {
            _ if decoding => s.prefill = s.computed + 1,
            Law::Plain => {}
            Law::Vidur => s.prefill = s.computed,
        }
        s.computed = 0;
        s.restarts += 1;
        self.census.preempted += 1;
        let priority = s.priority;
        let before = |w: &u32| self.sequences[*w as usize].priority >= priority;
        let place = self.waiting.iter().position(before).unwrap_or(self.waiting.len());
        self.waiting.insert(place, seq);
    }

    /// Restarts sequences from the end of `queue` (not before `head`), and at last `seq` itself, until `seq` can
    /// compute one more token; says whether `seq` survived.
    pub(super) fn make_room(&mut self, seq: u32, queue: &mut Vec<u32>, head: usize) -> bool {
        while !self.fits_more(seq, 1) {
            if queue.len() > head {
                let victim = queue.pop().expect("it is longer than `head`");
                self.restart(victim);
            } else {
                self.restart(seq);
                return false;
            }
        }
        true
    }

    /// Stable sort by arrival; cheap where the order holds already.
    pub(super) fn sort_by_arrival(&self, queue: &mut [u32]) {
        let arrival = |seq: &u32| self.sequences[*seq as usize].arrival;
        if !queue.is_sorted_by_key(arrival) {
            queue.sort_by_key(arrival);
        }
    }

    pub(super) fn explain(&self) -> String {
        let mut text = format!(
            "{} requests wait, {} sequences hold {} of {} KV blocks",
            self.waiting.len(),
            self.holders,
            self.pool.used(),
            self.pool.total()
        );
        if let Some(&seq) = self.waiting.front() {
            let s = self.sequence(seq);
            text += &format!(
                "; request {seq} is first and needs {} blocks for {} tokens above a watermark of {}",
                self.pool.blocks_for(s.prefill),
                s.prefill,
                self.limits.watermark_blocks
            );
        }
        if let Some(&seq) = self.running.first() {
            let s = self.sequence(seq);
            text += &format!("; sequence {seq} holds {} blocks at {} tokens", self.pool.held(seq), s.computed);
        }
        text
    }
}
