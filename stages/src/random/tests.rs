use super::Stream;

/// Mean and variance of `n` draws.
fn moments(n: u32, mut draw: impl FnMut() -> f64) -> (f64, f64) {
    let values: Vec<f64> = (0..n).map(|_| draw()).collect();
    let mean = values.iter().sum::<f64>() / f64::from(n);
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / f64::from(n - 1);
    (mean, variance)
}

#[test]
fn a_stream_is_the_same_bits_for_ever() {
    let mut stream = Stream::new(7, "a purpose", 3);
    let text = format!(
        "{:016x} {:016x} {:016x} {} {:016x}",
        stream.bits(),
        stream.normal().to_bits(),
        stream.gamma(0.4).to_bits(),
        stream.below(1000),
        stream.exponential().to_bits()
    );
    insta::assert_snapshot!(text, @"cbe66f21d94f63d1 3ff17dfc834eedf8 3fb1fe1b2657ef45 338 40093fd6532be6de");
}

#[test]
fn seed_purpose_and_index_each_make_another_stream() {
    let first = |seed, purpose: &str, index| Stream::new(seed, purpose, index).bits();
    let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
    let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(first(1, "a", 0), all[0]);
}

// Tolerances are five standard errors of the statistic at n = 200,000, with a fixed seed: they tell a wrong formula
// from chance.
const N: u32 = 200_000;

#[test]
fn uniform_exponential_and_normal_have_their_moments() {
    let mut s = Stream::new(1, "moments", 0);
    let (mean, variance) = moments(N, || s.uniform());
    assert!((mean - 0.5).abs() < 0.0033 && (variance - 1.0 / 12.0).abs() < 0.0009, "{mean} {variance}");
    let (mean, variance) = moments(N, || s.exponential());
    assert!((mean - 1.0).abs() < 0.0112 && (variance - 1.0).abs() < 0.032, "{mean} {variance}");
    let (mean, variance) = moments(N, || s.normal());
    assert!(mean.abs() < 0.0112 && (variance - 1.0).abs() < 0.016, "{mean} {variance}");
}

#[test]
fn gamma_has_mean_and_variance_of_its_shape_on_both_sides_of_1() {
    for shape in [0.25, 1.0, 3.5] {
        let mut s = Stream::new(2, "gamma", 0);
        let (mean, variance) = moments(N, || s.gamma(shape));
        let error = (shape / f64::from(N)).sqrt();
        assert!((mean - shape).abs() < 5.0 * error, "{shape}: {mean}");
        // The fourth central moment of a gamma is 3k² + 6k.
        let error = ((2.0 * shape * shape + 6.0 * shape) / f64::from(N)).sqrt();
        assert!((variance - shape).abs() < 5.0 * error, "{shape}: {variance}");
    }
}

#[test]
fn below_is_uniform_and_stays_below() {
    let mut s = Stream::new(3, "below", 0);
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[s.below(7) as usize] += 1;
    }
    // Five standard deviations of a count of mean 10,000.
    assert!(counts.iter().all(|c| c.abs_diff(10_000) < 465), "{counts:?}");
    assert!((0..1000).all(|_| s.below(1) == 0));
}
