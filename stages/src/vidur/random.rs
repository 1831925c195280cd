//! CPython's `random` as far as Vidur uses it for routing.

use rand_mt::Mt;

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
