use super::{Ratio, shrink};

fn ratios(values: &[(f64, f64)]) -> Vec<Ratio> {
    (0..)
        .zip(values)
        .map(|(x, (ratio, variance))| Ratio { place: (f64::from(x), 0.0), ratio: *ratio, variance: *variance })
        .collect()
}

fn shrunk(values: &[(f64, f64)]) -> Vec<f64> {
    let mut ratios = ratios(values);
    shrink(&mut ratios);
    ratios.iter().map(|r| r.ratio).collect()
}

#[test]
fn ratios_without_noise_stay_as_they_are() {
    assert_eq!(shrunk(&[(1.0, 0.0), (1.2, 0.0), (1.1, 0.0)]), [1.0, 1.2, 1.1]);
    assert_eq!(shrunk(&[(1.3, 0.5)]), [1.3], "one alone is its own mean");
}

#[test]
fn a_spread_that_noise_explains_vanishes() {
    let mean = (1.0 + 1.2 + 1.1) / 3.0;
    assert!(shrunk(&[(1.0, 0.02), (1.2, 0.02), (1.1, 0.02)]).iter().all(|r| (r - mean).abs() < 1e-12));
}

#[test]
fn the_noisiest_ratio_moves_most() {
    let after = shrunk(&[(0.8, 0.0), (1.2, 0.0), (0.8, 0.0), (1.2, 0.04)]);
    assert_eq!((after[0], after[1]), (0.8, 1.2));
    assert!(after[3] < 1.15 && after[3] > 1.0, "{after:?}");
}
