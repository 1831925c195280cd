//! The random streams that Vidur draws from: CPython's `random` and numpy's `RandomState`, both Mersenne Twisters.
//!
//! Logarithms and powers are the C library's, as theirs are: on glibc the draws are theirs to the bit, elsewhere a last
//! digit may differ, as it would between two of their own runs.

use rand_mt::Mt;

/// 53 bits in [0, 1), as both libraries make them of two outputs.
fn double(mt: &mut Mt) -> f64 {
    let (high, low) = (mt.next_u32() >> 5, mt.next_u32() >> 6);
    (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
}

/// CPython's generator after `seed(n)`.
#[derive(Debug, Clone)]
pub(super) struct PythonRandom(Mt);

impl PythonRandom {
    /// As `random.seed(seed)`.
    pub(super) fn seeded(seed: u64) -> PythonRandom {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };
        PythonRandom(Mt::new_with_key(key.iter().copied()))
    }

    /// As `random.random()`.
    pub(super) fn random(&mut self) -> f64 {
        double(&mut self.0)
    }

    /// As `random.uniform(a, b)`.
    pub(super) fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.random()
    }

    /// As `random.randint(1, n) - 1`, n at least 1.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let drawn = self.0.next_u32() >> (u32::BITS - bits);
            if drawn < n {
                return drawn;
            }
        }
    }
}

/// numpy's `RandomState(seed)`.
#[derive(Debug, Clone)]
pub(super) struct NumpyRandom {
    mt: Mt,
    /// The second of a pair of normal deviates.
    spare: Option<f64>,
}

impl NumpyRandom {
    /// As `RandomState(seed)`.
    pub(super) fn seeded(seed: u32) -> NumpyRandom {
        NumpyRandom { mt: Mt::new(seed), spare: None }
    }

    /// As `random_sample()`.
    pub(super) fn sample(&mut self) -> f64 {
        double(&mut self.mt)
    }

    /// As `permutation(n)`.
    pub(super) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.up_to(last));
        }
        order
    }

    /// Uniform on 0..=most: bits of one output under the least mask that covers it, drawn until they fit.
    fn up_to(&mut self, most: usize) -> usize {
        let most = u32::try_from(most).expect("a trace has fewer than 2^32 rows");
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let drawn = self.mt.next_u32() & mask;
            if drawn <= most {
                return drawn as usize;
            }
        }
    }

    /// A normal deviate by the polar method (Marsaglia and Bray, SIAM Review 6, 1964).
    fn gauss(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (a, b) = (2.0 * self.sample() - 1.0, 2.0 * self.sample() - 1.0);
            let square = a * a + b * b;
            if square < 1.0 && square != 0.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(scale * a);
                return scale * b;
            }
        }
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.sample()).ln()
    }

    /// As `standard_gamma(shape)`: Marsaglia and Tsang (ACM TOMS 26, 2000) above 1, Ahrens and Dieter's rejection
    /// (Computing 12, 1974) below it.
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            return self.exponential();
        }
        if shape < 1.0 {
            return self.small_gamma(shape);
        }
        let b = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * b).sqrt();
        loop {
            let (x, v) = loop {
                let x = self.gauss();
                let v = 1.0 + c * x;
                if v > 0.0 {
                    break (x, v);
                }
            };
            let v = v * v * v;
            let u = self.sample();
            if u < 1.0 - 0.0331 * (x * x) * (x * x) || u.ln() < 0.5 * x * x + b * (1.0 - v + v.ln()) {
                return b * v;
            }
        }
    }

    fn small_gamma(&mut self, shape: f64) -> f64 {
        loop {
            let u = self.sample();
            let v = self.exponential();
            if u <= 1.0 - shape {
                let x = u.powf(1.0 / shape);
                if x <= v {
                    return x;
                }
            } else {
                let y = -((1.0 - u) / shape).ln();
                let x = (1.0 - shape + shape * y).powf(1.0 / shape);
                if x <= v + y {
                    return x;
                }
            }
        }
    }
}
