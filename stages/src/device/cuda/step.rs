//! One iteration described for the card: rows, block tables, work of the attention kernels, which rows yield.
//!
//! Pure: it writes words into a staging area and says what they are. Rows of the activations are ordered: first one
//! row for each sequence that decodes (padded to a recorded graph's size if nothing else is in the batch), then the
//! prefills' rows. Tiles of 16 tokens are the card's unit of the pool, whatever the scheduler's blocks are.
//!
//! Invariant: every tile and slot that it names lies inside the pool, every count inside the capacity.

use crate::infer::serve::{Batch, Sequences, Slice};

use super::error::CudaError;
use super::kernels::{Pieces, QUERIES, TILE_TOKENS};

/// What the card's buffers hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Rows of activations.
    pub rows: usize,
    /// Sequences in a step.
    pub sequences: usize,
    /// Tiles in the pool.
    pub pool_tiles: usize,
    /// Tiles that a step's tables name, over all sequences.
    pub table: usize,
    /// Positions of the longest sequence.
    pub positions: usize,
    /// Tiles of a scheduler's block.
    pub tiles_per_block: usize,
    /// Ids of tokens are below this.
    pub vocab: usize,
}

impl Capacity {
    fn work(&self) -> usize {
        self.rows / QUERIES + self.sequences
    }

    /// Words of the areas: positions, slots, contexts, starts, tiles, work, picked, and where each begins.
    pub fn areas(&self) -> Areas {
        let sizes = [self.rows, self.rows, self.sequences, self.sequences + 1, self.table, 4 * self.work()];
        let mut starts = [0; 6];
        let mut at = 0;
        for (start, size) in starts.iter_mut().zip(sizes) {
            *start = at;
            at += size.next_multiple_of(4);
        }
        let [positions, slots, contexts, tile_starts, tiles, work] = starts;
        Areas { positions, slots, contexts, tile_starts, tiles, work, picked: at, words: at + self.sequences }
    }

    /// Words that a staged description takes at most: all areas and the ids.
    pub fn staged_words(&self) -> usize {
        self.areas().words + self.rows + 16
    }
}

/// Where the parts of a step's description begin, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Areas {
    /// Position of each prefill row.
    pub positions: usize,
    /// Slot of each prefill row.
    pub slots: usize,
    /// Tokens of each decoding sequence, the new one included.
    pub contexts: usize,
    /// Where each decoding sequence's tiles begin.
    pub tile_starts: usize,
    /// Tiles.
    pub tiles: usize,
    /// Pieces of prefill work, four words each.
    pub work: usize,
    /// Rows that yield.
    pub picked: usize,
    /// All.
    pub words: usize,
}

/// A described step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Sequences that decode.
    pub decodes: usize,
    /// Rows in front of the prefills': `decodes`, or more where a step is padded.
    pub decode_rows: usize,
    /// Rows of prefills.
    pub prefill_rows: usize,
    /// Pieces of prefill work.
    pub work: usize,
    /// Rows that yield.
    pub outputs: usize,
    /// Where the description lies in the staging area.
    pub pieces: Pieces,
    /// For each slice that yields, in batch order, the index of its token.
    pub order: Vec<u32>,
}

impl Step {
    /// Rows of activations.
    pub fn rows(&self) -> usize {
        self.decode_rows + self.prefill_rows
    }
}

/// Sizes of steps that only decode: each has its graph.
pub fn bucket(sequences: usize) -> usize {
    match sequences {
        0..=2 => sequences.max(1),
        3..=4 => 4,
        5..=64 => sequences.next_multiple_of(8),
        65..=256 => sequences.next_multiple_of(16),
        _ => sequences.next_multiple_of(64),
    }
}

/// All buckets up to the one that holds `sequences`.
pub fn buckets(sequences: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (1..=sequences).map(bucket).collect();
    all.dedup();
    all
}

/// Index of each sequence's token among those that the step before made, for ids that only the card knows.
#[derive(Debug, Default)]
pub struct Made {
    step: u32,
    places: Vec<(u32, u32)>,
}

impl Made {
    /// Forgets the step before and begins the next.
    fn turn(&mut self) {
        self.step += 1;
    }

    fn put(&mut self, seq: u32, place: usize) {
        let at = seq as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, (0, 0));
        }
        self.places[at] = (self.step, place as u32);
    }

    /// The place in the step before the one being described.
    fn before(&self, seq: u32) -> Option<u32> {
        let (step, place) = *self.places.get(seq as usize)?;
        (step != 0 && step + 1 == self.step).then_some(place)
    }
}

/// Describes steps, one after another.
#[derive(Debug)]
pub struct Describer {
    capacity: Capacity,
    areas: Areas,
    made: Made,
    prefills: Vec<usize>,
    decodes: Vec<usize>,
    yielding: Vec<(usize, usize)>,
}

impl Describer {
    /// One for a card with this capacity.
    pub fn new(capacity: Capacity) -> Describer {
        let areas = capacity.areas();
        let made = Made::default();
        Describer { capacity, areas, made, prefills: Vec::new(), decodes: Vec::new(), yielding: Vec::new() }
    }

    /// Writes the description of `batch` into `staged` and fills `step`.
    ///
    /// # Errors
    /// When the batch is larger than the capacity, names a block outside the pool, or lacks a token's id.
    pub fn describe(
        &mut self,
        batch: &Batch,
        sequences: &dyn Sequences,
        staged: &mut [i32],
        step: &mut Step,
    ) -> Result<(), CudaError> {
        self.sort(batch);
        self.check(batch)?;
        self.made.turn();
        let mut writer = Writer { staged, at: 0, piece: 0, pieces: Pieces::default() };
        step.decodes = self.decodes.len();
        step.prefill_rows = self.prefills.iter().map(|i| batch.slices[*i].tokens as usize).sum();
        step.decode_rows = if step.prefill_rows == 0 { bucket(step.decodes) } else { step.decodes };

        self.write_ids(batch, sequences, step, &mut writer)?;
        self.write_decodes(batch, sequences, step, &mut writer)?;
        self.write_prefills(batch, step, &mut writer, sequences)?;
        self.write_outputs(batch, step, &mut writer);
        step.pieces = writer.pieces;
        Ok(())
    }

    fn sort(&mut self, batch: &Batch) {
        self.decodes.clear();
        self.prefills.clear();
        for (i, slice) in batch.slices.iter().enumerate() {
            // One yielding token attends to everything before it, whether it is called a decode or not.
            if slice.tokens == 1 && slice.yields { &mut self.decodes } else { &mut self.prefills }.push(i);
        }
    }

    fn check(&self, batch: &Batch) -> Result<(), CudaError> {
        let rows: usize = batch.slices.iter().map(|s| s.tokens as usize).sum();
        let sequences = batch.slices.len();
        let longest = batch.slices.iter().map(|s| s.context as usize + s.tokens as usize).max().unwrap_or(0);
        let over = |what: &str, is: usize, most: usize| {
            Err(CudaError::Unsupported(format!("a batch has {is} {what}, and the card was set up for {most}")))
        };
        if sequences == 0 || batch.slices.iter().any(|s| s.tokens == 0) {
            return Err(CudaError::Unsupported("a batch or a slice of it is empty".to_owned()));
        }
        if rows > self.capacity.rows {
            return over("tokens", rows, self.capacity.rows);
        }
        if bucket(sequences) > self.capacity.sequences {
            return over("sequences", sequences, self.capacity.sequences);
        }
        if longest > self.capacity.positions {
            return over("positions in a sequence", longest, self.capacity.positions);
        }
        Ok(())
    }

    fn write_ids(
        &self,
        batch: &Batch,
        sequences: &dyn Sequences,
        step: &Step,
        writer: &mut Writer<'_>,
    ) -> Result<(), CudaError> {
        let from = writer.at;
        for i in &self.decodes {
            let slice = &batch.slices[*i];
            let ids = sequences.token_ids(slice.seq);
            if ids.is_empty() {
                let place = self.made.before(slice.seq).ok_or_else(|| {
                    CudaError::Unsupported(format!("nobody knows the next token of sequence {}", slice.seq))
                })?;
                writer.push(-1 - place as i32);
            } else {
                self.write_known_ids(slice, ids, writer)?;
            }
        }
        writer.fill(0, step.decode_rows - step.decodes);
        for i in &self.prefills {
            let slice = &batch.slices[*i];
            self.write_known_ids(slice, sequences.token_ids(slice.seq), writer)?;
        }
        writer.finish(0, from, 0);
        writer.pieces.count[0] = 0;
        Ok(())
    }

    fn write_known_ids(&self, slice: &Slice, ids: &[u32], writer: &mut Writer<'_>) -> Result<(), CudaError> {
        let ids = ids.get(..slice.tokens as usize).ok_or_else(|| {
            let (has, wants) = (ids.len(), slice.tokens);
            CudaError::Unsupported(format!("sequence {} has {has} token ids for {wants} tokens", slice.seq))
        })?;
        for id in ids {
            if *id as usize >= self.capacity.vocab {
                let what = format!("token id {id} of sequence {} is not below {}", slice.seq, self.capacity.vocab);
                return Err(CudaError::Unsupported(what));
            }
            writer.push(*id as i32);
        }
        Ok(())
    }

    /// Tiles of the first `tokens` tokens of a sequence.
    fn write_tiles(
        &self,
        seq: u32,
        tokens: usize,
        sequences: &dyn Sequences,
        writer: &mut Writer<'_>,
    ) -> Result<(), CudaError> {
        let (per_block, tiles) = (self.capacity.tiles_per_block, tokens.div_ceil(TILE_TOKENS));
        let blocks = sequences.blocks(seq);
        for tile in 0..tiles {
            let block = blocks.get(tile / per_block).copied().map(|b| b as usize);
            let block = block.filter(|b| (b + 1) * per_block <= self.capacity.pool_tiles).ok_or_else(|| {
                let place = tile / per_block;
                CudaError::Unsupported(format!("block {place} of sequence {seq} is missing or outside the pool"))
            })?;
            writer.push((block * per_block + tile % per_block) as i32);
        }
        Ok(())
    }

    fn write_decodes(
        &mut self,
        batch: &Batch,
        sequences: &dyn Sequences,
        step: &Step,
        writer: &mut Writer<'_>,
    ) -> Result<(), CudaError> {
        let contexts = writer.at;
        for i in &self.decodes {
            writer.push(batch.slices[*i].context as i32 + 1);
        }
        writer.fill(0, step.decode_rows - step.decodes);
        writer.finish(1, contexts, self.areas.contexts);

        let starts = writer.at;
        let mut tiles = 0;
        for i in &self.decodes {
            writer.push(tiles);
            tiles += (batch.slices[*i].context as usize + 1).div_ceil(TILE_TOKENS) as i32;
        }
        writer.fill(tiles, step.decode_rows - step.decodes + 1);
        writer.finish(2, starts, self.areas.tile_starts);

        let mut table = tiles as usize;
        for i in &self.prefills {
            table += (batch.slices[*i].context as usize + batch.slices[*i].tokens as usize).div_ceil(TILE_TOKENS);
        }
        if table > self.capacity.table {
            let most = self.capacity.table;
            return Err(CudaError::Unsupported(format!("a batch's tables name {table} tiles, at most {most} fit")));
        }
        let from = writer.at;
        for i in self.decodes.iter().chain(&self.prefills) {
            let slice = &batch.slices[*i];
            self.write_tiles(slice.seq, slice.context as usize + slice.tokens as usize, sequences, writer)?;
        }
        writer.finish(3, from, self.areas.tiles);
        Ok(())
    }

    fn write_prefills(
        &mut self,
        batch: &Batch,
        step: &mut Step,
        writer: &mut Writer<'_>,
        sequences: &dyn Sequences,
    ) -> Result<(), CudaError> {
        step.work = 0;
        if self.prefills.is_empty() {
            return Ok(());
        }
        let from = writer.at;
        for i in &self.prefills {
            let slice = &batch.slices[*i];
            (slice.context..slice.context + slice.tokens).for_each(|position| writer.push(position as i32));
        }
        writer.finish(4, from, self.areas.positions);

        let from = writer.at;
        let per_block = self.capacity.tiles_per_block * TILE_TOKENS;
        for i in &self.prefills {
            let slice = &batch.slices[*i];
            let blocks = sequences.blocks(slice.seq);
            for position in slice.context as usize..(slice.context + slice.tokens) as usize {
                writer.push((blocks[position / per_block] as usize * per_block + position % per_block) as i32);
            }
        }
        writer.finish(5, from, self.areas.slots);

        let from = writer.at;
        let mut row = step.decode_rows;
        let mut tile: usize =
            self.decodes.iter().map(|i| (batch.slices[*i].context as usize + 1).div_ceil(TILE_TOKENS)).sum();
        for i in &self.prefills {
            let slice = &batch.slices[*i];
            let (context, tokens) = (slice.context as usize, slice.tokens as usize);
            // The last queries see most keys: they begin first.
            for first in (0..tokens).step_by(QUERIES).rev() {
                let queries = QUERIES.min(tokens - first);
                [row + first, queries, context + first, tile].iter().for_each(|word| writer.push(*word as i32));
                step.work += 1;
            }
            row += tokens;
            tile += (context + tokens).div_ceil(TILE_TOKENS);
        }
        writer.finish(6, from, self.areas.work);
        Ok(())
    }

    fn write_outputs(&mut self, batch: &Batch, step: &mut Step, writer: &mut Writer<'_>) {
        let from = writer.at;
        self.yielding.clear();
        for (place, i) in self.decodes.iter().enumerate() {
            writer.push(place as i32);
            self.yielding.push((*i, place));
        }
        let mut row = step.decode_rows;
        let mut place = step.decodes;
        for i in &self.prefills {
            row += batch.slices[*i].tokens as usize;
            if batch.slices[*i].yields {
                writer.push(row as i32 - 1);
                self.yielding.push((*i, place));
                place += 1;
            }
        }
        writer.finish(7, from, self.areas.picked);
        step.outputs = place;
        self.yielding.sort_unstable();
        step.order.clear();
        for (i, place) in &self.yielding {
            step.order.push(*place as u32);
            self.made.put(batch.slices[*i].seq, *place);
        }
    }
}

/// Appends words and remembers the pieces.
struct Writer<'a> {
    staged: &'a mut [i32],
    at: usize,
    piece: usize,
    pieces: Pieces,
}

impl Writer<'_> {
    fn push(&mut self, word: i32) {
        self.staged[self.at] = word;
        self.at += 1;
    }

    fn fill(&mut self, word: i32, count: usize) {
        self.staged[self.at..self.at + count].fill(word);
        self.at += count;
    }

    /// Ends the piece that began at `from` and goes to `to`.
    fn finish(&mut self, piece: usize, from: usize, to: usize) {
        debug_assert!(piece >= self.piece, "pieces come in order");
        self.piece = piece;
        self.pieces.from[piece] = from as i32;
        self.pieces.to[piece] = to as i32;
        self.pieces.count[piece] = (self.at - from) as i32;
    }
}

#[cfg(test)]
mod tests;
