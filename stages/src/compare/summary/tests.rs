#![expect(clippy::unwrap_used, reason = "a test")]

use crate::compare::tests::{ENGINE, Engine, served, workload};
use crate::compare::{Config, compare};

use super::*;

#[test]
fn the_table_is_what_a_person_asks_for() {
    let asked = workload(120);
    let measured = [served("real.run", &asked, ENGINE)];
    let predicted = served("sim.run", &asked, Engine { step_ns: 5_200_000, ..ENGINE });
    let verdict = compare(&Config::default(), &predicted, &measured, None, None).unwrap();
    insta::assert_snapshot!(text(&verdict));
}

#[test]
fn of_repeats_the_range_stands_beside_the_median() {
    let asked = workload(40);
    let measured: Vec<_> = [5_000_000, 5_100_000]
        .into_iter()
        .map(|step_ns| served("real.run", &asked, Engine { step_ns, ..ENGINE }))
        .collect();
    let predicted = served("sim.run", &asked, ENGINE);
    let said = text(&compare(&Config::default(), &predicted, &measured, None, None).unwrap());
    assert!(said.contains("measured (of repeats)") && said.contains("(5.20 ms..5.30 ms)"), "{said}");
}

#[test]
fn errors_carry_their_sign_and_what_is_unknown_is_said() {
    assert_eq!(error_text(Some(-0.0123)), "−1.2 %");
    assert_eq!(error_text(Some(0.0999)), "+10.0 %");
    assert_eq!(error_text(Some(0.000_01)), "0.0 %");
    assert_eq!(error_text(None), "unknown");
}
