use proptest::prelude::*;

use super::{Surface, Work};

fn grid(f: impl Fn(f64, f64) -> f64) -> Vec<(f64, f64, f64)> {
    let xs = [2.0, 8.0, 32.0, 64.0];
    let ys = [0.0, 100.0, 400.0];
    xs.iter().flat_map(|x| ys.iter().map(|y| (*x, *y, f(*x, *y))).collect::<Vec<_>>()).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * b.abs().max(1.0)
}

#[test]
fn decodes_are_exact_where_time_is_a_rate_times_sequences_and_context() {
    let f = |n: f64, c: f64| 5.0 + n * (2.0 + 0.1 * c);
    let surface = Surface::rising(grid(f), Work::Count);
    for (n, c) in [(2.0, 0.0), (5.0, 50.0), (20.0, 399.0), (64.0, 400.0), (100.0, 1000.0)] {
        assert!(close(surface.at(n, c), f(n, c)), "{n} {c}: {} {}", surface.at(n, c), f(n, c));
    }
}

#[test]
fn chunks_are_exact_where_time_is_a_rate_times_pairs() {
    let f = |n: f64, c: f64| 7.0 + 0.3 * n * (c + 0.5 * (n + 1.0));
    let surface = Surface::rising(grid(f), Work::Pairs);
    for (n, c) in [(3.0, 0.0), (5.0, 50.0), (20.0, 250.0), (63.0, 400.0), (64.0, 17.0)] {
        assert!(close(surface.at(n, c), f(n, c)), "{n} {c}: {} {}", surface.at(n, c), f(n, c));
    }
}

#[test]
fn lines_may_end_at_different_places() {
    let mut points = grid(|n, c| n * (1.0 + c));
    points.retain(|(n, c, _)| *n < 64.0 || *c < 400.0);
    let surface = Surface::rising(points, Work::Count);
    assert_eq!((surface.x_end(), surface.y_end(40.0), surface.y_end(64.0)), (64.0, 400.0, 400.0));
    assert_eq!(surface.y_end(2.0), 400.0);
    assert!(close(surface.at(64.0, 200.0), 64.0 * 201.0), "the slope goes on");
}

#[test]
fn a_held_surface_stays_within_what_it_knows() {
    let surface = Surface::held(vec![(1.0, 0.0, 1.1), (1.0, 10.0, 1.3), (4.0, 0.0, 0.9)]);
    assert_eq!(surface.at(1.0, 50.0), 1.3);
    assert_eq!(surface.at(9.0, 0.0), 0.9);
    assert_eq!(surface.at(0.5, 0.0), 1.1);
    assert!(close(surface.at(2.5, 0.0), 1.0));
}

proptest! {
    #[test]
    fn noise_does_not_make_it_fall(
        noise in prop::collection::vec(0.5f64..2.0, 12),
        (n, dn, c, dc) in (2.0f64..80.0, 0.0f64..10.0, 0.0f64..500.0, 0.0f64..50.0),
        pairs in any::<bool>(),
    ) {
        let mut points = grid(|n, c| 1.0 + n * (c + n));
        points.iter_mut().zip(noise).for_each(|(p, k)| p.2 *= k);
        let surface = Surface::rising(points, if pairs { Work::Pairs } else { Work::Count });
        let here = surface.at(n, c);
        prop_assert!(surface.at(n + dn, c) >= here * (1.0 - 1e-12));
        // Between two lines of the chunks' surface the share of work falls as context grows, and beyond the last line
        // it is the slope between two lines that goes on: there only the first size is sure.
        if !pairs && n <= surface.x_end() {
            prop_assert!(surface.at(n, c + dc) >= here * (1.0 - 1e-12));
        }
    }
}
