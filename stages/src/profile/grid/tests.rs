use super::*;

fn knobs(tokens: u32, sequences: u32, block_tokens: u32, kv_blocks: u32) -> Knobs {
    Knobs { max_batched_tokens: tokens, max_sequences: sequences, block_tokens, kv_blocks, ..Knobs::default() }
}

#[test]
fn the_ends_of_every_range_stand_in_the_grid() {
    for (knobs, positions) in [
        (knobs(64, 8, 16, 512), 8192),
        (knobs(512, 128, 16, 16_384), 40_960),
        (knobs(8192, 256, 16, 4096), 2048),
        (knobs(100, 7, 4, 9), 1000),
        (knobs(1, 1, 1, 2), 2),
    ] {
        let limits = Limits::of(&knobs, positions);
        for spacing in [Spacing::Coarse, Spacing::Normal, Spacing::Fine] {
            let grid = Grid::new(&limits, spacing);
            let most = |of: fn(&Point) -> u32, sort: fn(Sort) -> bool| {
                grid.points.iter().filter(|p| sort(p.sort)).map(of).max().unwrap_or(0)
            };
            let alone = |s| s != Sort::Mixed;
            assert_eq!(most(|p| p.tokens, alone), limits.tokens, "{knobs:?}");
            assert_eq!(most(|p| p.sequences, |s| s == Sort::Decodes), limits.sequences);
            assert_eq!(most(|p| p.context + 1, |s| s == Sort::Decodes), limits.room(1), "the longest sequence decodes");
            assert_eq!(grid.host.last(), Some(&limits.sequences));
            assert!(grid.points.iter().any(|p| p.tokens == 1 && p.context == 0), "one token");
        }
    }
}

#[test]
fn every_point_fits_into_the_pool_and_no_point_stands_twice() {
    for (knobs, positions) in [(knobs(64, 8, 16, 512), 4096), (knobs(300, 40, 8, 100), 700), (knobs(8, 8, 4, 8), 32)] {
        let limits = Limits::of(&knobs, positions);
        let grid = Grid::new(&limits, Spacing::Fine);
        for point in &grid.points {
            let batch = &point.batch.slices;
            assert_eq!(batch.iter().map(|s| s.tokens).sum::<u32>(), point.tokens);
            assert_eq!(batch.len() as u32, point.sequences);
            let share = knobs.kv_blocks / point.sequences * knobs.block_tokens;
            for slice in batch {
                assert!(slice.context + slice.tokens <= share.min(positions as u32), "{point:?}");
            }
        }
        let mut places: Vec<_> = grid.points.iter().map(|p| (p.tokens, p.sequences, p.context)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), grid.points.len());
    }
}

#[test]
fn the_quick_starts_grid_is_small_enough_for_its_time() {
    let grid = Grid::new(&Limits::of(&knobs(64, 8, 16, 512), 4096), Spacing::Normal);
    let mixed: Vec<_> = grid.points.iter().filter(|p| p.sort == Sort::Mixed).collect();
    assert!((4..=12).contains(&mixed.len()), "{}", mixed.len());
    assert!(mixed.iter().all(|p| p.batch.slices.iter().filter(|s| s.tokens > 1).count() == 1));
    assert!(grid.points.len() <= 70, "{}", grid.points.len());
}
