use proptest::prelude::*;

use super::{Pool, PrefixHash, Tabled};

fn pool(total: u32, block_tokens: u32) -> Pool {
    let mut pool = Pool::new(total, block_tokens, Tabled::Kept);
    for seq in 0..4 {
        pool.register(seq);
    }
    pool
}

fn hashes(prompt: &[u32], block_tokens: u32) -> Vec<PrefixHash> {
    PrefixHash::chain(prompt, block_tokens).collect()
}

#[test]
fn a_table_covers_its_positions_and_no_more() {
    let mut pool = pool(10, 16);
    pool.allocate(0, pool.blocks_for(17));
    assert_eq!((pool.held(0), pool.used(), pool.table(0).len()), (2, 2, 2));
    pool.append(0, 32);
    assert_eq!(pool.held(0), 2);
    pool.append(0, 33);
    assert_eq!(pool.held(0), 3);
}

#[test]
fn what_is_asked_for_first_is_what_can_be_done() {
    let mut pool = pool(4, 16);
    assert!(pool.can_allocate(3, 1));
    assert!(!pool.can_allocate(3, 2));
    assert!(!pool.can_allocate(u32::MAX, u32::MAX));
    pool.allocate(0, 4);
    assert!(pool.can_append(0, 64));
    assert!(!pool.can_append(0, 65));
    pool.release(0);
    assert_eq!((pool.free(), pool.held(0), pool.table(0)), (4, 0, &[][..]));
}

#[test]
fn a_hash_depends_on_every_token_before_the_end_of_its_block() {
    let a = hashes(&[1, 2, 3, 4, 5, 6, 7], 2);
    assert_eq!(a.len(), 3, "the last token fills no block");
    let b = hashes(&[1, 2, 9, 4, 5, 6, 7], 2);
    assert_eq!(a[0], b[0]);
    assert_ne!(a[1], b[1]);
    assert_ne!(a[2], b[2]);
    assert_ne!(hashes(&[1, 2], 2), hashes(&[2, 1], 2));
}

#[test]
fn a_cached_prefix_is_shared_and_counts_once() {
    let mut pool = pool(6, 2);
    let chain = hashes(&[1, 2, 3, 4, 5], 2);
    pool.allocate(0, 3);
    pool.remember(0, &chain);
    assert_eq!(pool.cached_prefix(&chain), (2, 0));
    pool.share(1, &chain);
    assert_eq!(pool.table(1), &pool.table(0)[..2]);
    assert_eq!(pool.used(), 3);
    pool.release(0);
    assert_eq!(pool.used(), 2, "the shared ones are still held");
    pool.release(1);
    assert_eq!(pool.cached_prefix(&chain), (2, 2), "free, and still there");
}

#[test]
fn a_cached_block_that_is_given_out_again_is_forgotten_the_oldest_first() {
    let mut pool = pool(4, 1);
    let chain = hashes(&[7, 8], 1);
    pool.allocate(0, 2);
    pool.remember(0, &chain);
    pool.release(0);
    pool.allocate(1, 2);
    assert_eq!(pool.cached_prefix(&chain), (2, 2), "blocks that hold nothing go first");
    pool.allocate(2, 1);
    assert_eq!(pool.cached_prefix(&chain), (1, 1), "then the end of the prefix");
    pool.allocate(2, 1);
    assert_eq!(pool.cached_prefix(&chain), (0, 0));
}

#[derive(Debug, Clone)]
enum Act {
    Append(u32, u32),
    Release(u32),
    Share(u32, u32),
    Remember(u32, u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0u32..4, 0u32..40, 0u32..4).prop_map(|(seq, n, what)| match what {
        0 => Act::Release(seq),
        1 => Act::Share(seq, n % 4),
        2 => Act::Remember(seq, n % 4),
        _ => Act::Append(seq, n),
    });
    prop::collection::vec(act, 0..200)
}

/// One of four prompts; those of equal parity share their first half.
fn prompt(which: u32) -> Vec<u32> {
    (0..24).map(|i| if i < 12 { which % 2 } else { which }).collect()
}

proptest! {
    #[test]
    fn no_block_is_leaked_or_held_twice_by_mistake(acts in acts()) {
        let mut pool = pool(16, 4);
        for act in acts {
            match act {
                Act::Append(seq, tokens) if pool.can_append(seq, tokens) => pool.append(seq, tokens),
                Act::Append(..) => {}
                Act::Release(seq) => pool.release(seq),
                Act::Share(seq, which) => {
                    let chain = hashes(&prompt(which), 4);
                    let (found, _) = pool.cached_prefix(&chain);
                    if pool.held(seq) == 0 {
                        pool.share(seq, &chain[..found as usize]);
                    }
                }
                Act::Remember(seq, which) => {
                    let chain = hashes(&prompt(which), 4);
                    let full = chain.len().min(pool.held(seq) as usize);
                    pool.remember(seq, &chain[..full]);
                }
            }
            let mut distinct: Vec<u32> = (0..4).flat_map(|s| pool.table(s).to_vec()).collect();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), pool.used() as usize);
            for seq in 0..4 {
                prop_assert_eq!(pool.table(seq).len(), pool.held(seq) as usize);
                let mut table = pool.table(seq).to_vec();
                table.sort_unstable();
                table.dedup();
                prop_assert_eq!(table.len(), pool.held(seq) as usize, "a table names a block once");
            }
        }
        (0..4).for_each(|s| pool.release(s));
        prop_assert_eq!(pool.free(), 16);
    }

    #[test]
    fn counting_and_keeping_agree(appends in prop::collection::vec((0u32..4, 0u32..60, any::<bool>()), 0..100)) {
        let mut kept = pool(16, 4);
        let mut counted = Pool::new(16, 4, Tabled::Counted);
        (0..4).for_each(|s| counted.register(s));
        for (seq, tokens, release) in appends {
            if release {
                kept.release(seq);
                counted.release(seq);
            } else {
                prop_assert_eq!(kept.can_append(seq, tokens), counted.can_append(seq, tokens));
                if kept.can_append(seq, tokens) {
                    kept.append(seq, tokens);
                    counted.append(seq, tokens);
                }
            }
            prop_assert_eq!(kept.free(), counted.free());
        }
    }
}
