use super::*;

/// A constant, a rate and steps at multiples of 128, with a ripple of 1 %.
fn stepped(n: f64) -> f64 {
    let ripple = 1.0 + 0.01 * (n * 12.9898).sin();
    (20.0 + 10.0 * (n / 128.0).ceil()) * ripple
}

fn error(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let errors: Vec<f64> = points.map(|(p, t)| (p / t - 1.0).abs()).collect();
    errors.iter().sum::<f64>() / errors.len() as f64
}

#[test]
fn steps_are_found_and_noise_is_smoothed() {
    let points: Vec<(f64, f64)> = (1..200).map(|i| (f64::from(8 * i), stepped(f64::from(8 * i)))).collect();
    let (given, kept): (Vec<_>, Vec<_>) = points.iter().enumerate().partition(|(i, _)| i % 5 != 4);
    let given: Vec<(f64, f64)> = given.into_iter().map(|p| *p.1).collect();
    let fit = Sizes::fit(&given);
    let ours = error(kept.iter().map(|(_, p)| (fit.at(p.0), p.1)));
    let lines = error(kept.iter().map(|(i, p)| (0.5 * (points[i - 1].1 + points.get(i + 1).unwrap_or(p).1), p.1)));
    assert!(ours < 0.5 * lines, "{ours} against {lines} between neighbours");
    assert!(fit.held_out_error() < 0.02);
}

#[test]
fn a_step_in_one_size_is_learnt_from_the_others_lines() {
    let truth = |x: f64, y: f64| if x < 17.0 { 10.0 + 0.01 * x * y } else { 0.6 * (10.0 + 0.01 * x * y) };
    let grid = (1..33).flat_map(|x| (1..20).map(move |y| (f64::from(x), f64::from(64 * y))));
    let points: Vec<(f64, f64, f64)> = grid.map(|(x, y)| (x, y, truth(x, y))).collect();
    let (given, kept): (Vec<_>, Vec<_>) = points.iter().enumerate().partition(|(i, _)| i % 5 != 4);
    let given: Vec<(f64, f64, f64)> = given.into_iter().map(|p| *p.1).collect();
    let fit = Pairs::fit(&given);
    let ours = error(kept.iter().map(|(_, p)| (fit.at(p.0, p.1), p.2)));
    assert!(ours < 0.01, "{ours}");
}

#[test]
fn one_point_is_a_constant() {
    assert!((Sizes::fit(&[(8.0, 3.0)]).at(800.0) - 3.0).abs() < 1e-3);
    assert!((Pairs::fit(&[(8.0, 1.0, 3.0)]).at(9.0, 2.0) - 3.0).abs() < 1e-3);
}

#[test]
fn helpers_timed_in_place_of_the_kernel_are_found_even_when_they_are_many() {
    let mut points: Vec<(f64, f64)> = (1..60).map(|i| (f64::from(8 * i), stepped(f64::from(8 * i)))).collect();
    for at in [20, 21, 30].into_iter().chain(36..58) {
        points[at].1 = 0.1;
    }
    let found: Vec<usize> = broken_rows(&points).iter().map(|b| b.at).collect();
    assert_eq!(found, [20, 21, 30].into_iter().chain(36..58).collect::<Vec<_>>());
    assert!(broken_rows(&(1..60).map(|i| (f64::from(i), stepped(f64::from(i)))).collect::<Vec<_>>()).is_empty());
}
