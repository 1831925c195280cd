#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::random::Stream;

fn arrivals(text: &str) -> Arrivals {
    toml::from_str(text).unwrap()
}

fn lengths(text: &str) -> Lengths {
    toml::from_str(text).unwrap()
}

fn draws(text: &str, n: usize) -> Vec<f64> {
    let law = lengths(text);
    law.check().unwrap();
    let sampler = law.sampler().unwrap();
    let mut stream = Stream::new(1, "test", 0);
    (0..n).map(|_| f64::from(sampler.draw(&mut stream))).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn gaps(text: &str, rate: Option<f64>, n: usize) -> Vec<f64> {
    let times = draw_arrivals(&arrivals(text), rate, n + 1, &mut Stream::new(1, "test", 0)).unwrap();
    assert_eq!(times[0].0, 0);
    times.windows(2).map(|w| w[1].since(w[0]).as_secs_f64()).collect()
}

// Tolerances of means are five standard errors at a fixed seed.
const N: usize = 40_000;

#[test]
fn all_at_once_is_all_at_0() {
    assert!(gaps("law = \"at-once\"", None, 5).iter().all(|g| *g == 0.0));
}

#[test]
fn a_fixed_interval_comes_from_the_interval_or_from_the_rate() {
    assert_eq!(gaps("law = \"fixed-interval\"\ninterval_s = 0.25", None, 3), [0.25; 3]);
    assert_eq!(gaps("law = \"fixed-interval\"", Some(8.0), 3), [0.125; 3]);
}

#[test]
fn poisson_gaps_have_mean_and_deviation_of_one_over_the_rate() {
    let gaps = gaps("law = \"poisson\"", Some(4.0), N);
    assert!((mean(&gaps) - 0.25).abs() < 0.25 * 0.025, "{}", mean(&gaps));
    assert!((deviation(&gaps) - 0.25).abs() < 0.25 * 0.036, "{}", deviation(&gaps));
}

#[test]
fn gamma_gaps_have_the_mean_of_the_rate_and_the_asked_variation() {
    let by_cv = gaps("law = \"gamma\"\ncv = 2.0", Some(4.0), N);
    assert!((mean(&by_cv) - 0.25).abs() < 0.25 * 2.0 * 0.025, "{}", mean(&by_cv));
    assert!((deviation(&by_cv) / mean(&by_cv) - 2.0).abs() < 0.15, "{}", deviation(&by_cv));
    // Burstiness is the shape, 1 / cv².
    assert_eq!(by_cv, gaps("law = \"gamma\"\nburstiness = 0.25", Some(4.0), N));
}

#[test]
fn gaps_from_quantiles_have_the_laws_mean_or_that_of_the_rate() {
    let law = "law = \"quantiles\"\nquantiles = [[0, 0.001], [50, 0.1], [100, 2.0]]";
    let points = Quantiles::new(&[[0.0, 0.001], [50.0, 0.1], [100.0, 2.0]], Scale::Log).unwrap();
    // ∫ a^(1-t) b^t dt = (b − a) / ln(b / a), half of it from each piece.
    let by_hand = 0.5 * (0.1 - 0.001) / 100f64.ln() + 0.5 * (2.0 - 0.1) / 20f64.ln();
    assert!((points.mean() - by_hand).abs() < 1e-12, "{} {by_hand}", points.mean());
    let free = gaps(law, None, N);
    assert!((mean(&free) - by_hand).abs() < 5.0 * deviation(&free) / (N as f64).sqrt(), "{}", mean(&free));
    let rated = gaps(law, Some(10.0), N);
    assert!((mean(&rated) - 0.1).abs() < 5.0 * deviation(&rated) / (N as f64).sqrt(), "{}", mean(&rated));
}

#[test]
fn quantiles_give_their_points_back_and_are_linear_between() {
    let law = Quantiles::new(&[[0.0, 2.0], [25.0, 10.0], [75.0, 10.0], [100.0, 110.0]], Scale::Linear).unwrap();
    for (u, value) in [(0.0, 2.0), (0.125, 6.0), (0.25, 10.0), (0.5, 10.0), (0.75, 10.0), (0.875, 60.0), (1.0, 110.0)] {
        assert!((law.at(u) - value).abs() < 1e-9, "{u}: {}", law.at(u));
    }
    assert!((law.mean() - (0.25 * 6.0 + 0.5 * 10.0 + 0.25 * 60.0)).abs() < 1e-9);
    let log = Quantiles::new(&[[0.0, 1.0], [100.0, 100.0]], Scale::Log).unwrap();
    assert!((log.at(0.5) - 10.0).abs() < 1e-9);
}

#[test]
fn points_that_are_no_distribution_are_refused() {
    let refused = |points: &[[f64; 2]], scale| Quantiles::new(points, scale).unwrap_err().message;
    assert!(refused(&[], Scale::Linear).contains("no points"));
    assert!(refused(&[[0.0, 1.0]], Scale::Linear).contains("wanted 0 to 100"));
    assert!(refused(&[[0.0, 1.0], [99.0, 2.0]], Scale::Linear).contains("wanted 0 to 100"));
    assert!(refused(&[[0.0, 1.0], [50.0, 0.5], [100.0, 2.0]], Scale::Linear).contains("[50, 0.5]"));
    assert!(refused(&[[0.0, 1.0], [0.0, 1.5], [100.0, 2.0]], Scale::Linear).contains("does not rise"));
    assert!(refused(&[[0.0, 1.0], [50.0, f64::NAN], [100.0, 2.0]], Scale::Linear).contains("NaN"));
    assert!(refused(&[[0.0, -1.0], [100.0, 2.0]], Scale::Linear).contains("not negative"));
    assert!(refused(&[[0.0, 0.0], [100.0, 2.0]], Scale::Log).contains("must be positive"));
    assert!(refused(&[[0.0, 0.0], [100.0, f64::INFINITY]], Scale::Linear).contains("finite"));
}

#[test]
fn lengths_follow_their_laws() {
    assert!(draws("law = \"fixed\"\nvalue = 7", 10).iter().all(|v| *v == 7.0));
    let uniform = draws("law = \"uniform\"\nmin = 3\nmax = 12", N);
    assert_eq!(
        (uniform.iter().copied().fold(f64::MAX, f64::min), uniform.iter().copied().fold(0.0, f64::max)),
        (3.0, 12.0)
    );
    assert!((mean(&uniform) - 7.5).abs() < 0.072, "{}", mean(&uniform));
    let normal = draws("law = \"normal\"\nmean = 200.0\nstd = 20.0", N);
    assert!((mean(&normal) - 200.0).abs() < 0.5 && (deviation(&normal) - 20.0).abs() < 0.36, "{}", mean(&normal));
    let mut lognormal = draws("law = \"lognormal\"\nmedian = 300.0\nsigma = 0.5", N);
    lognormal.sort_by(f64::total_cmp);
    // The standard error of a median is √(π/2) σ/√n on the log scale: 0.3 %.
    assert!((lognormal[N / 2] / 300.0 - 1.0).abs() < 0.016, "{}", lognormal[N / 2]);
}

#[test]
fn a_zipf_law_gives_ranks_in_proportion_to_a_power() {
    let zipf = draws("law = \"zipf\"\nmin = 10\nmax = 13\nexponent = 1.0", N);
    let total = 1.0 + 0.5 + 1.0 / 3.0 + 0.25;
    for (rank, length) in (1..).zip([10.0, 11.0, 12.0, 13.0]) {
        let p = 1.0 / f64::from(rank) / total;
        let share = zipf.iter().filter(|v| **v == length).count() as f64 / N as f64;
        assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / N as f64).sqrt(), "{length}: {share} {p}");
    }
}

#[test]
fn clamped_laws_stay_between_their_bounds_and_no_length_is_0() {
    let normal = draws("law = \"normal\"\nmean = 5.0\nstd = 50.0\nmax = 20", 2_000);
    assert!(normal.iter().all(|v| (1.0..=20.0).contains(v)));
    let small = draws("law = \"quantiles\"\nquantiles = [[0, 0], [100, 0.4]]", 100);
    assert!(small.iter().all(|v| *v == 1.0));
}

#[test]
fn what_is_wrong_with_a_law_is_said_of_its_field() {
    let field = |text: &str| lengths(text).check().unwrap_err().field;
    assert_eq!(field("law = \"fixed\""), "value");
    assert_eq!(field("law = \"fixed\"\nvalue = 0"), "value");
    assert_eq!(field("law = \"uniform\"\nmin = 5\nmax = 4"), "max");
    assert_eq!(field("law = \"uniform\"\nmax = 4"), "min");
    assert_eq!(field("law = \"normal\"\nmean = nan\nstd = 1.0"), "mean");
    assert_eq!(field("law = \"normal\"\nmean = 5.0\nstd = -1.0"), "std");
    assert_eq!(field("law = \"lognormal\"\nmedian = 5.0\nsigma = inf"), "sigma");
    assert_eq!(field("law = \"zipf\"\nmin = 1\nmax = 4294967295\nexponent = 1.0"), "max");
    assert_eq!(field("law = \"quantiles\""), "quantiles");
    assert_eq!(field("law = \"fixed\"\nvalue = 3\nsigma = 1.0"), "sigma");
    let field = |text: &str, rate| arrivals(text).check(rate).unwrap_err().field;
    assert_eq!(field("law = \"poisson\"", None), "law");
    assert_eq!(field("law = \"poisson\"\ncv = 2.0", Some(1.0)), "cv");
    assert_eq!(field("law = \"gamma\"", Some(1.0)), "cv");
    assert_eq!(field("law = \"gamma\"\ncv = 0.0", Some(1.0)), "cv");
    assert_eq!(field("law = \"gamma\"\nburstiness = nan", Some(1.0)), "burstiness");
    assert_eq!(field("law = \"gamma\"\ncv = 1.0\nburstiness = 1.0", Some(1.0)), "cv");
    assert_eq!(field("law = \"fixed-interval\"", None), "interval_s");
    assert_eq!(field("law = \"fixed-interval\"\ninterval_s = -1.0", None), "interval_s");
    assert_eq!(field("law = \"at-once\"", Some(1.0)), "law");
    assert_eq!(field("law = \"quantiles\"\nscale = \"linear\"\nquantiles = [[0, 0], [100, 0]]", None), "quantiles");
}

#[test]
fn quantiles_may_stand_by_when_the_command_line_chooses_another_law() {
    arrivals("law = \"poisson\"\nquantiles = [[0, 0.1], [100, 1.0]]").check(Some(1.0)).unwrap();
    let faulty = "quantiles = [[0, 0.1], [100, nan]]";
    assert_eq!(arrivals(&format!("law = \"poisson\"\n{faulty}")).check(Some(1.0)).unwrap_err().field, "quantiles");
    assert_eq!(lengths(&format!("law = \"fixed\"\nvalue = 3\n{faulty}")).check().unwrap_err().field, "quantiles");
}
