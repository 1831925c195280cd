#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::linear::Linear;

/// A product `[rows, columns]` with exactly these numbers: the identity times them.
fn product(rows: &[Vec<f32>]) -> Product {
    let columns = rows[0].len();
    let mut outputs = Vec::new();
    for column in 0..columns {
        outputs.extend(rows.iter().map(|row| row[column]));
    }
    let mut identity = vec![0.0; rows.len() * rows.len()];
    (0..rows.len()).for_each(|i| identity[i * rows.len() + i] = 1.0);
    Linear::new(&[&outputs], rows.len(), 1).unwrap().apply(identity).unwrap()
}

#[test]
fn the_largest_wins_and_of_equals_the_first() {
    let mut a: Vec<f32> = (0..150).map(|i| -((i % 17) as f32) - 1.0).collect();
    let mut b = a.clone();
    a[149] = 3.0;
    b[70] = 2.0;
    b[71] = 2.0;
    let c = vec![-5.0; 150];
    let mut ids = Vec::new();
    greedy(&product(&[a, b, c]), &mut ids).unwrap();
    assert_eq!(ids, [149, 70, 0]);
}

#[test]
fn a_row_without_a_finite_maximum_is_named() {
    let mut ids = Vec::new();
    assert_eq!(greedy(&product(&[vec![f32::NAN; 3]]), &mut ids), Err(0));
    assert_eq!(greedy(&product(&[vec![f32::INFINITY, 1.0, 2.0]]), &mut ids), Err(0));
}
