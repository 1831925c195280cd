//! Seeded streams of random numbers that are the same bits on every machine.
//!
//! A stream is ChaCha8 under a key made from the seed and the stream's purpose, so that two purposes never share
//! numbers and one more draw of the first does not move the second. Logarithms and cosines come from `libm`; the rest
//! is IEEE arithmetic, which every machine does alike.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

#[cfg(test)]
mod tests;

/// One stream of numbers.
#[derive(Debug, Clone)]
pub struct Stream {
    source: ChaCha8Rng,
}

impl Stream {
    /// The stream number `index` of those that `seed` gives for `purpose`.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Stream {
        let mut key = blake3::Hasher::new_derive_key("pipe 2025 random stream 1");
        key.update(&seed.to_le_bytes());
        key.update(purpose.as_bytes());
        let mut source = ChaCha8Rng::from_seed(*key.finalize().as_bytes());
        source.set_stream(index);
        Stream { source }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.source.next_u64()
    }

    /// Random bytes.
    pub fn bytes(&mut self, out: &mut [u8]) {
        self.source.fill_bytes(out);
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `(0, 1]`, for logarithms.
    fn positive(&mut self) -> f64 {
        1.0 - self.uniform()
    }

    /// Uniform below `n`, without bias (Lemire, *Fast random integer generation in an interval*, 2019).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "there is no number below 0");
        let n = u64::from(n);
        let mut product = (self.bits() >> 32) * n;
        let threshold = (1u64 << 32) % n;
        while (product & 0xffff_ffff) < threshold {
            product = (self.bits() >> 32) * n;
        }
        (product >> 32) as u32
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.positive())
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller 1958; the second of each pair is not used, so that
    /// a stream has no hidden state).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.positive())).sqrt();
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// Gamma with this shape and scale 1, thus mean `shape` (Marsaglia and Tsang, *A simple method for generating
    /// gamma variables*, 2000; below 1 by their §6).
    ///
    /// # Panics
    /// When `shape` is not a positive number.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        assert!(shape > 0.0 && shape.is_finite(), "a shape is a positive number");
        if shape < 1.0 {
            let lift = libm::pow(self.positive(), 1.0 / shape);
            return self.gamma(shape + 1.0) * lift;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            if libm::log(self.positive()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }
}
