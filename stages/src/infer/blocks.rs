//! The paged KV pool: how many blocks there are, who holds how many, and (where somebody computes with them, or
//! prefixes are shared) which.
//!
//! Predicate and act come in pairs: the scheduler asks, then does; the pool never decides. It does not know
//! requests, tokens' ids or policies.
//!
//! Invariants: blocks held and blocks free add up to the pool (a block shared by several tables counts once); a
//! table is exactly as long as its holder's count; what is released is free at once, and only then.

mod tables;

pub use tables::PrefixHash;
use tables::Tables;

/// The pool of KV blocks.
#[derive(Debug, Clone)]
pub struct Pool {
    block_tokens: u32,
    total: u32,
    free: u32,
    held: Vec<u32>,
    tables: Option<Tables>,
}

/// Whether block tables are kept or blocks only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tabled {
    /// Numbers only: enough for a simulation without shared prefixes.
    Counted,
    /// Each sequence has its list of blocks.
    Kept,
}

impl Pool {
    /// A pool of `total` free blocks of `block_tokens` positions each.
    pub fn new(total: u32, block_tokens: u32, tabled: Tabled) -> Pool {
        let tables = match tabled {
            Tabled::Counted => None,
            Tabled::Kept => Some(Tables::new(total)),
        };
        Pool { block_tokens, total, free: total, held: Vec::new(), tables }
    }

    /// Makes room in the books for the sequence `seq`, which holds nothing.
    pub fn register(&mut self, seq: u32) {
        let index = seq as usize;
        if self.held.len() <= index {
            self.held.resize(index + 1, 0);
        }
        if let Some(tables) = &mut self.tables {
            tables.register(seq);
        }
    }

    /// Blocks that hold `tokens` positions.
    pub fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_tokens)
    }

    /// Whether it keeps block tables, not only counts.
    pub fn keeps_tables(&self) -> bool {
        self.tables.is_some()
    }

    /// Positions of one block.
    pub fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    /// Blocks of the pool.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks that somebody holds.
    pub fn used(&self) -> u32 {
        self.total - self.free
    }

    /// Blocks that `seq` holds.
    pub fn held(&self, seq: u32) -> u32 {
        self.held[seq as usize]
    }

    /// The blocks of `seq` in order of their positions; empty where blocks are only counted.
    pub fn table(&self, seq: u32) -> &[u32] {
        self.tables.as_ref().map_or(&[], |t| t.of(seq))
    }

    /// Whether `blocks` can be taken and `spare` still be free.
    pub fn can_allocate(&self, blocks: u32, spare: u32) -> bool {
        u64::from(blocks) + u64::from(spare) <= u64::from(self.free)
    }

    /// Gives `blocks` more blocks to `seq`.
    ///
    /// # Panics
    /// When [`Pool::can_allocate`] would have said no: the caller's defect.
    pub fn allocate(&mut self, seq: u32, blocks: u32) {
        assert!(blocks <= self.free, "{blocks} blocks were taken of {} free ones", self.free);
        self.free -= blocks;
        self.held[seq as usize] += blocks;
        if let Some(tables) = &mut self.tables {
            tables.extend(seq, blocks);
        }
    }

    /// Whether the table of `seq` can cover `tokens` positions in all.
    pub fn can_append(&self, seq: u32, tokens: u32) -> bool {
        self.lacking(seq, tokens) <= self.free
    }

    /// Lengthens the table of `seq` so that it covers `tokens` positions in all.
    ///
    /// # Panics
    /// When [`Pool::can_append`] would have said no: the caller's defect.
    pub fn append(&mut self, seq: u32, tokens: u32) {
        match self.lacking(seq, tokens) {
            0 => {}
            blocks => self.allocate(seq, blocks),
        }
    }

    /// Blocks that `seq` lacks to cover `tokens` positions.
    pub fn lacking(&self, seq: u32, tokens: u32) -> u32 {
        let held = self.held(seq);
        // Mostly it lacks nothing, and a product is cheaper than a division.
        if tokens <= held * self.block_tokens { 0 } else { self.blocks_for(tokens) - held }
    }

    /// Takes back everything that `seq` holds.
    pub fn release(&mut self, seq: u32) {
        let held = std::mem::take(&mut self.held[seq as usize]);
        self.free += match &mut self.tables {
            Some(tables) => tables.release(seq),
            None => held,
        };
    }

    /// How many full blocks of the prompt with these hashes are in the cache, from the front, and how many of them
    /// nobody holds now (those leave the free ones when they are shared).
    pub fn cached_prefix(&self, hashes: &[PrefixHash]) -> (u32, u32) {
        self.tables.as_ref().map_or((0, 0), |t| t.cached_prefix(hashes))
    }

    /// Lets `seq`, which holds nothing, share the cached blocks of these hashes.
    ///
    /// # Panics
    /// When one of them is not in the cache, or `seq` holds blocks: the caller's defect.
    pub fn share(&mut self, seq: u32, hashes: &[PrefixHash]) {
        assert_eq!(self.held(seq), 0, "a prefix is shared before anything else is held");
        let Some(tables) = &mut self.tables else { return };
        self.free -= tables.share(seq, hashes);
        self.held[seq as usize] = u32::try_from(hashes.len()).expect("a table is shorter than the pool");
    }

    /// Makes the first blocks of `seq` findable under these hashes, one a block.
    pub fn remember(&mut self, seq: u32, hashes: &[PrefixHash]) {
        if let Some(tables) = &mut self.tables {
            tables.remember(seq, hashes);
        }
    }
}

#[cfg(test)]
mod tests;
