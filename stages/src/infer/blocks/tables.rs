//! Block tables, the order in which free blocks are given out, and the cache of prompt prefixes.
//!
//! Free blocks stand in a queue; the one that was freed longest ago is given out first, so a cached prefix lives as
//! long as it can. A cached block that somebody shares leaves the queue from its middle, hence a linked list.

use std::collections::HashMap;

/// Identifies a full block of a prompt together with everything before it: equal hashes, equal tokens up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixHash(u128);

impl PrefixHash {
    /// The hashes of the full blocks of a prompt, from the front: a chain, so that a block's hash depends on all
    /// tokens before its end.
    pub fn chain(prompt: &[u32], block_tokens: u32) -> impl Iterator<Item = PrefixHash> + '_ {
        // Two lanes of 64 bits with different constants; each step is a bijection of the state for a given token.
        let mut lanes = [0x9e37_79b9_7f4a_7c15_u64, 0xd1b5_4a32_d192_ed03];
        prompt.chunks_exact(block_tokens as usize).map(move |block| {
            for token in block {
                lanes[0] = mix(lanes[0] ^ u64::from(*token), 0xbf58_476d_1ce4_e5b9);
                lanes[1] = mix(lanes[1].wrapping_add(u64::from(*token)), 0x94d0_49bb_1331_11eb);
            }
            PrefixHash(u128::from(lanes[0]) << 64 | u128::from(lanes[1]))
        })
    }
}

/// A bijection of 64 bits that spreads each bit over all (multiply by an odd constant, fold the high half down).
fn mix(x: u64, odd: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(odd);
    let x = (x ^ (x >> 27)).wrapping_mul(0x2545_f491_4f6c_dd1d);
    x ^ (x >> 31)
}

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Block {
    /// Tables that hold it; 0 = it stands in the queue.
    holders: u32,
    /// Under which it can be found.
    hash: Option<PrefixHash>,
    before: u32,
    behind: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Tables {
    blocks: Vec<Block>,
    first: u32,
    last: u32,
    of: Vec<Vec<u32>>,
    /// Emptied tables, kept for their memory.
    spare: Vec<Vec<u32>>,
    cached: HashMap<PrefixHash, u32>,
}

impl Tables {
    pub(super) fn new(total: u32) -> Tables {
        let block = |id: u32| Block {
            holders: 0,
            hash: None,
            before: id.checked_sub(1).unwrap_or(NONE),
            behind: if id + 1 == total { NONE } else { id + 1 },
        };
        Tables {
            blocks: (0..total).map(block).collect(),
            first: if total == 0 { NONE } else { 0 },
            last: total.checked_sub(1).unwrap_or(NONE),
            of: Vec::new(),
            spare: Vec::new(),
            cached: HashMap::new(),
        }
    }

    pub(super) fn register(&mut self, seq: u32) {
        let index = seq as usize;
        if self.of.len() <= index {
            self.of.resize_with(index + 1, Vec::new);
        }
    }

    pub(super) fn of(&self, seq: u32) -> &[u32] {
        &self.of[seq as usize]
    }

    /// Gives the `count` blocks at the head of the queue to `seq`.
    pub(super) fn extend(&mut self, seq: u32, count: u32) {
        self.furnish(seq);
        for _ in 0..count {
            let id = self.first;
            self.leave_queue(id);
            let block = &mut self.blocks[id as usize];
            block.holders = 1;
            if let Some(hash) = block.hash.take() {
                self.cached.remove(&hash);
            }
            self.of[seq as usize].push(id);
        }
    }

    /// Takes back the table of `seq`; says how many blocks became free.
    pub(super) fn release(&mut self, seq: u32) -> u32 {
        let mut table = std::mem::take(&mut self.of[seq as usize]);
        let mut freed = 0;
        // From the end, so that the front of a prefix, which more requests share, is given out last.
        for id in table.drain(..).rev() {
            let block = &mut self.blocks[id as usize];
            block.holders -= 1;
            if block.holders == 0 {
                self.join_queue(id);
                freed += 1;
            }
        }
        if table.capacity() > 0 {
            self.spare.push(table);
        }
        freed
    }

    pub(super) fn cached_prefix(&self, hashes: &[PrefixHash]) -> (u32, u32) {
        let (mut found, mut unheld) = (0, 0);
        for hash in hashes {
            let Some(&id) = self.cached.get(hash) else { break };
            found += 1;
            unheld += u32::from(self.blocks[id as usize].holders == 0);
        }
        (found, unheld)
    }

    /// Puts the cached blocks of these hashes into the table of `seq`; says how many left the free ones.
    pub(super) fn share(&mut self, seq: u32, hashes: &[PrefixHash]) -> u32 {
        self.furnish(seq);
        let mut taken = 0;
        for hash in hashes {
            let id = self.cached[hash];
            if self.blocks[id as usize].holders == 0 {
                self.leave_queue(id);
                taken += 1;
            }
            self.blocks[id as usize].holders += 1;
            self.of[seq as usize].push(id);
        }
        taken
    }

    pub(super) fn remember(&mut self, seq: u32, hashes: &[PrefixHash]) {
        for (id, hash) in self.of[seq as usize].iter().zip(hashes) {
            let block = &mut self.blocks[*id as usize];
            // A block of equal content may be known already: the first one stays.
            if block.hash.is_none() && !self.cached.contains_key(hash) {
                block.hash = Some(*hash);
                self.cached.insert(*hash, *id);
            }
        }
    }

    fn furnish(&mut self, seq: u32) {
        let table = &mut self.of[seq as usize];
        if table.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *table = spare;
        }
    }

    fn leave_queue(&mut self, id: u32) {
        let Block { before, behind, .. } = self.blocks[id as usize];
        match before {
            NONE => self.first = behind,
            b => self.blocks[b as usize].behind = behind,
        }
        match behind {
            NONE => self.last = before,
            b => self.blocks[b as usize].before = before,
        }
    }

    fn join_queue(&mut self, id: u32) {
        let last = std::mem::replace(&mut self.last, id);
        let block = &mut self.blocks[id as usize];
        (block.before, block.behind) = (last, NONE);
        match last {
            NONE => self.first = id,
            l => self.blocks[l as usize].behind = id,
        }
    }
}
