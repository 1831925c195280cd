use super::*;

fn timings(ns: &[f64]) -> Timings {
    Timings { ns: ns.to_vec() }
}

#[test]
fn figures_are_what_a_sort_gives() {
    let figures = timings(&[50.0, 10.0, 40.0, 20.0, 30.0]).figures().expect("they are good");
    let want = Figures { samples: 5, median_ns: 30.0, mad_ns: 10.0, min_ns: 10.0, p90_ns: 46.0 };
    assert_eq!(figures, want);
}

#[test]
fn timings_that_cannot_be_true_are_refused() {
    let fault = |ns: &[f64]| timings(ns).figures().expect_err("they are bad");
    assert_eq!(fault(&[]), "it was never timed");
    assert_eq!(fault(&[1.0, f64::NAN]), "a timing is NaN");
    assert_eq!(fault(&[0.0, 0.0, 3.0]), "its median time is 0 ns: the clock is too coarse for it");
    assert_eq!(fault(&[20_000.0; 9]), "all 9 timings are exactly 20000 ns: that is not a measurement");
    assert!(timings(&[40.0; 9]).figures().is_ok(), "a few steps of the clock may well be alike");
}
