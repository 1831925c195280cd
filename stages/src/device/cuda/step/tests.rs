#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use super::*;

struct Table {
    blocks: HashMap<u32, Vec<u32>>,
    ids: HashMap<u32, Vec<u32>>,
}

impl Sequences for Table {
    fn blocks(&self, seq: u32) -> &[u32] {
        &self.blocks[&seq]
    }
    fn token_ids(&self, seq: u32) -> &[u32] {
        self.ids.get(&seq).map_or(&[], Vec::as_slice)
    }
}

const CAPACITY: Capacity =
    Capacity { rows: 512, sequences: 16, pool_tiles: 64, table: 256, positions: 1024, tiles_per_block: 2, vocab: 100 };

fn slice(seq: u32, context: u32, tokens: u32, yields: bool) -> Slice {
    Slice { seq, context, tokens, yields }
}

/// Moves the pieces as `begin_step` does.
fn placed(staged: &[i32], step: &Step, areas: &Areas) -> Vec<i32> {
    let mut words = vec![-7; areas.words];
    for p in 0..8 {
        let (from, to, count) =
            (step.pieces.from[p] as usize, step.pieces.to[p] as usize, step.pieces.count[p] as usize);
        words[to..to + count].copy_from_slice(&staged[from..from + count]);
    }
    words
}

fn describe(
    describer: &mut Describer,
    slices: &[Slice],
    table: &Table,
) -> Result<(Vec<i32>, Vec<i32>, Step), CudaError> {
    let mut staged = vec![-9; CAPACITY.staged_words()];
    let mut step = Step::default();
    describer.describe(&Batch { slices: slices.to_vec() }, table, &mut staged, &mut step)?;
    let words = placed(&staged, &step, &CAPACITY.areas());
    Ok((staged, words, step))
}

#[test]
fn a_mixed_batch_puts_decodes_first_and_names_rows_tiles_and_outputs() {
    let table = Table {
        blocks: HashMap::from([(5, vec![3, 9]), (6, vec![0, 1])]),
        ids: HashMap::from([(5, (10..50).collect()), (6, vec![77])]),
    };
    let mut describer = Describer::new(CAPACITY);
    let (staged, words, step) =
        describe(&mut describer, &[slice(5, 0, 40, true), slice(6, 32, 1, true)], &table).unwrap();
    assert_eq!((step.decodes, step.decode_rows, step.prefill_rows, step.work, step.outputs), (1, 1, 40, 1, 2));
    let ids = step.pieces.from[0] as usize;
    assert_eq!(staged[ids], 77);
    assert_eq!(staged[ids + 1..ids + 41], (10..50).collect::<Vec<i32>>());
    let a = CAPACITY.areas();
    assert_eq!(words[a.contexts], 33);
    assert_eq!(words[a.tile_starts..a.tile_starts + 2], [0, 3]);
    // Blocks of two tiles: sequence 6 has tiles 0, 1, 2; sequence 5 tiles 6, 7, 18.
    assert_eq!(words[a.tiles..a.tiles + 6], [0, 1, 2, 6, 7, 18]);
    assert_eq!(words[a.work..a.work + 4], [1, 40, 0, 3]);
    assert_eq!(words[a.positions + 39], 39);
    assert_eq!((words[a.slots], words[a.slots + 39]), (96, 9 * 32 + 7));
    assert_eq!(words[a.picked..a.picked + 2], [0, 40]);
    // In batch order the prefill's token comes first; on the card it is the second.
    assert_eq!(step.order, [1, 0]);
}

#[test]
fn a_decode_takes_an_unknown_id_from_the_step_before_and_only_from_it() {
    let mut table = Table {
        blocks: HashMap::from([(1, vec![0]), (2, vec![1]), (3, vec![2])]),
        ids: HashMap::from([(1, vec![4, 5]), (2, vec![6, 7, 8])]),
    };
    let mut describer = Describer::new(CAPACITY);
    describe(&mut describer, &[slice(1, 0, 2, true), slice(2, 0, 3, true)], &table).unwrap();
    table.ids.clear();
    let (staged, words, step) =
        describe(&mut describer, &[slice(2, 3, 1, true), slice(1, 2, 1, true)], &table).unwrap();
    let ids = step.pieces.from[0] as usize;
    assert_eq!(staged[ids..ids + 2], [-2, -1]);
    assert_eq!(words[CAPACITY.areas().contexts..][..2], [4, 3]);
    // Sequence 1 pauses for a step: its id is then too old to be on the card.
    describe(&mut describer, &[slice(2, 4, 1, true)], &table).unwrap();
    let error = describe(&mut describer, &[slice(1, 3, 1, true)], &table).unwrap_err();
    assert!(error.to_string().contains("nobody knows the next token of sequence 1"), "{error}");
}

#[test]
fn a_step_that_only_decodes_is_padded_to_its_bucket_with_empty_sequences() {
    let table = Table { blocks: (0..3).map(|s| (s, vec![s])).collect(), ids: (0..3).map(|s| (s, vec![s])).collect() };
    let slices: Vec<Slice> = (0..3).map(|s| slice(s, 16, 1, true)).collect();
    let (staged, words, step) = describe(&mut Describer::new(CAPACITY), &slices, &table).unwrap();
    assert_eq!((step.decodes, step.decode_rows, step.outputs), (3, 4, 3));
    let a = CAPACITY.areas();
    assert_eq!(words[a.contexts..a.contexts + 4], [17, 17, 17, 0]);
    assert_eq!(words[a.tile_starts..a.tile_starts + 5], [0, 2, 4, 6, 6]);
    assert_eq!(staged[step.pieces.from[0] as usize + 3], 0);
}

#[test]
fn work_of_a_long_prefill_begins_with_the_last_queries() {
    let table = Table { blocks: HashMap::from([(0, (0..20).collect())]), ids: HashMap::from([(0, vec![1; 300])]) };
    let (_, words, step) = describe(&mut Describer::new(CAPACITY), &[slice(0, 100, 300, false)], &table).unwrap();
    let a = CAPACITY.areas();
    assert_eq!(words[a.work..a.work + 12], [256, 44, 356, 0, 128, 128, 228, 0, 0, 128, 100, 0]);
    assert_eq!((step.outputs, step.order.len()), (0, 0));
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    let table = Table {
        blocks: HashMap::from([(0, vec![0]), (1, vec![40])]),
        ids: HashMap::from([(0, vec![100; 700]), (1, vec![5])]),
    };
    let refused = |slices: &[Slice]| describe(&mut Describer::new(CAPACITY), slices, &table).unwrap_err().to_string();
    assert!(refused(&[slice(0, 0, 700, true)]).contains("700 tokens"));
    assert!(refused(&[slice(0, 0, 5, true)]).contains("token id 100 of sequence 0 is not below 100"));
    assert!(refused(&[slice(1, 5, 1, true)]).contains("block 0 of sequence 1"));
    assert!(refused(&[slice(1, 1024, 1, true)]).contains("1025 positions"));
    assert!(refused(&[]).contains("empty"));
}

#[test]
fn buckets_hold_what_they_are_for_and_grow() {
    let all = buckets(256);
    assert!(all.windows(2).all(|w| w[0] < w[1]));
    assert!((1..=256).all(|n| bucket(n) >= n && all.contains(&bucket(n))));
    assert_eq!(all.last(), Some(&256));
}
