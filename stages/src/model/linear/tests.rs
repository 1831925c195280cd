#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

/// Numbers without a pattern that a wrong stride could reproduce.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

fn naive(x: &[f32], w: &[f32], inputs: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
    x.chunks_exact(inputs).flat_map(|row| w.chunks_exact(inputs).map(move |out| dot(row, out))).collect()
}

#[test]
fn a_product_is_what_three_loops_give_whatever_the_rows_threads_and_odd_widths() {
    for (inputs, outputs) in [(8, 64), (96, 192), (40, 100), (33, 1)] {
        for threads in [1, 2, 3] {
            for rows in [1, 2, 7, 33] {
                let (x, w) = (numbers(rows * inputs, 1), numbers(inputs * outputs, 2));
                let layer = Linear::new(&[&w], inputs, threads).unwrap();
                let product = layer.apply(x.clone()).unwrap();
                let opened = product.open();
                let wanted = naive(&x, &w, inputs);
                for row in 0..rows {
                    let mut got = vec![0.0; outputs];
                    opened.copy(row, 0, &mut got);
                    for (column, got) in got.iter().enumerate() {
                        let want = wanted[row * outputs + column];
                        assert!((got - want).abs() < 1e-5, "{inputs}x{outputs} row {row} column {column}");
                    }
                }
            }
        }
    }
}

#[test]
fn stacked_matrices_are_one_layer_and_give_their_rows_back() {
    let (a, b) = (numbers(70 * 10, 3), numbers(65 * 10, 4));
    for threads in [1, 2] {
        let layer = Linear::new(&[&a, &b], 10, threads).unwrap();
        assert_eq!(layer.outputs(), 135);
        let mut row = vec![0.0; 10];
        layer.row(69, &mut row);
        assert_eq!(row, a[690..700]);
        layer.row(134, &mut row);
        assert_eq!(row, b[640..650]);
    }
}

#[test]
fn a_piece_that_crosses_panels_is_copied_whole() {
    let w = numbers(200 * 4, 5);
    let product = Linear::new(&[&w], 4, 2).unwrap().apply(numbers(12, 6)).unwrap();
    let opened = product.open();
    let mut whole = vec![0.0; 200];
    opened.copy(2, 0, &mut whole);
    let mut piece = vec![0.0; 90];
    opened.copy(2, 50, &mut piece);
    assert_eq!(piece, whole[50..140]);
}
