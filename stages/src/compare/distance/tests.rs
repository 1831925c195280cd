#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

#[test]
fn a_quantile_lies_between_its_neighbours_as_numpy_puts_it() {
    let sample = [10.0, 20.0, 30.0, 50.0];
    assert_eq!(quantile(&sample, 0.5), Some(25.0));
    assert!((quantile(&sample, 0.9).unwrap() - 44.0).abs() < 1e-12);
    assert_eq!(quantile(&sample, 0.0), Some(10.0));
    assert_eq!(quantile(&sample, 1.0), Some(50.0));
    assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn equal_samples_are_at_no_distance() {
    let sample = sorted(vec![3.0, 1.0, 2.0, 2.0]);
    assert_eq!(kolmogorov_smirnov(&sample, &sample), Some(0.0));
    assert_eq!(wasserstein(&sample, &sample), Some(0.0));
}

#[test]
fn distances_of_two_small_samples_are_as_worked_by_hand() {
    // F_a steps at 1, 2, 3 by 1/3; F_b at 2, 4 by 1/2. Differences: [1,2) 1/3, [2,3) 1/6, [3,4) 1/2.
    let (a, b) = ([1.0, 2.0, 3.0], [2.0, 4.0]);
    assert!((kolmogorov_smirnov(&a, &b).unwrap() - 0.5).abs() < 1e-12);
    assert!((wasserstein(&a, &b).unwrap() - (1.0 / 3.0 + 1.0 / 6.0 + 0.5)).abs() < 1e-12);
}

#[test]
fn samples_that_do_not_overlap_are_fully_apart() {
    assert_eq!(kolmogorov_smirnov(&[1.0, 2.0], &[5.0, 6.0]), Some(1.0));
    assert_eq!(wasserstein(&[1.0, 2.0], &[5.0, 6.0]), Some(4.0));
    assert_eq!(wasserstein(&[], &[1.0]), None);
}

proptest! {
    #[test]
    fn moving_a_sample_moves_it_by_as_much(values in prop::collection::vec(0.0..1e3_f64, 1..60), by in 0.0..1e3_f64) {
        let a = sorted(values);
        let b: Vec<f64> = a.iter().map(|v| v + by).collect();
        prop_assert!((wasserstein(&a, &b).unwrap() - by).abs() < 1e-6);
    }

    #[test]
    fn distances_do_not_care_which_side_comes_first(
        a in prop::collection::vec(0.0..1e3_f64, 1..40),
        b in prop::collection::vec(0.0..1e3_f64, 1..40),
    ) {
        let (a, b) = (sorted(a), sorted(b));
        prop_assert!((wasserstein(&a, &b).unwrap() - wasserstein(&b, &a).unwrap()).abs() < 1e-9);
        let ks = kolmogorov_smirnov(&a, &b).unwrap();
        prop_assert_eq!(ks, kolmogorov_smirnov(&b, &a).unwrap());
        prop_assert!((0.0..=1.0).contains(&ks));
    }

    #[test]
    fn for_samples_of_one_size_wasserstein_is_the_mean_gap_of_the_sorted(
        pairs in prop::collection::vec((0.0..1e3_f64, 0.0..1e3_f64), 1..40),
    ) {
        let a = sorted(pairs.iter().map(|p| p.0).collect());
        let b = sorted(pairs.iter().map(|p| p.1).collect());
        let naive = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).sum::<f64>() / a.len() as f64;
        prop_assert!((wasserstein(&a, &b).unwrap() - naive).abs() < 1e-6);
    }
}
