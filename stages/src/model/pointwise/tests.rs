use super::*;

#[test]
fn exp_agrees_with_the_library_over_its_whole_range() {
    let mut worst = 0f64;
    for i in -87_000..=88_000 {
        let x = i as f32 / 1000.0;
        let want = f64::from(x).exp();
        worst = worst.max((f64::from(exp(x)) - want).abs() / want);
    }
    // Two units in the last place of an f32.
    assert!(worst < 2.4e-7, "{worst:e}");
    assert_eq!(exp(0.0), 1.0);
    assert!(exp(-1e30) < 2e-38, "far below, it is as good as nothing");
    assert!(exp(f32::NAN).is_nan(), "what is no number is not hidden");
}

#[test]
fn scores_become_weights_that_sum_to_one() {
    for n in [1, 7, 8, 9, 100] {
        let mut scores: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 3.0).collect();
        let before = scores.clone();
        let sum = exp_scores(&mut scores);
        let exact: f64 = before.iter().map(|s| f64::from(*s).exp()).sum();
        for (s, b) in scores.iter().zip(&before) {
            assert!((f64::from(s / sum) - f64::from(*b).exp() / exact).abs() < 1e-6);
        }
        assert!((f64::from(scores.iter().sum::<f32>()) / f64::from(sum) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_norm_leaves_a_mean_square_of_one_times_the_weight() {
    let x: Vec<f32> = (0..70).map(|i| (i as f32 - 30.0) * 0.3).collect();
    let weight = vec![2.0; 70];
    let mut to = vec![0.0; 70];
    rms_norm(&x, &weight, 0.0, &mut to);
    assert!((dot(&to, &to) / 70.0 - 4.0).abs() < 1e-5);
    let mut same = x.clone();
    rms_norm_in_place(&mut same, &weight, 0.0);
    assert!(same.iter().zip(&to).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_rotation_keeps_length_and_depends_on_distance_only() {
    let rotary = Rotary::new(64, 8, 1e4);
    let (q, k): (Vec<f32>, Vec<f32>) = ((0..8).map(|i| i as f32).collect(), (0..8).map(|i| 1.0 - i as f32).collect());
    let score = |a: usize, b: usize| {
        let (mut q, mut k) = (q.clone(), k.clone());
        rotary.rotate(&mut q, a);
        rotary.rotate(&mut k, b);
        assert!((dot(&q, &q) - 140.0).abs() < 1e-3);
        dot(&q, &k)
    };
    assert!((score(9, 4) - score(60, 55)).abs() < 1e-3);
    assert!((score(9, 4) - score(9, 5)).abs() > 1e-2);
    assert_eq!(score(0, 0), dot(&q, &k), "position 0 is not rotated");
}

#[test]
fn the_gate_is_silu_times_up() {
    let (gate, up) = ([-3.0f32, 0.0, 0.5, 20.0, -90.0], [2.0f32, 5.0, -1.0, 1.0, 1.0]);
    let mut to = [0.0; 5];
    silu_mul(&gate, &up, &mut to);
    for i in 0..5 {
        let want = f64::from(gate[i]) / (1.0 + (-f64::from(gate[i])).exp()) * f64::from(up[i]);
        assert!((f64::from(to[i]) - want).abs() < 1e-6, "{i}: {} {want}", to[i]);
    }
}
