//! How fast the processor itself is at the moment: the time of a fixed loop that touches no memory.
//!
//! On a machine that is shared, the same instructions take 1.3 times as long in one minute as in the next, whoever
//! measures. The loop's time is taken before and after a measurement and stands beside it; nothing is corrected by it.

use std::time::Instant;

/// Multiplications and additions of a sample: about a millisecond.
const LENGTH: u32 = 250_000;
/// Samples at a time.
const SAMPLES: usize = 9;

/// The loop's time now, ns: the median of a few.
pub fn sample() -> u64 {
    let mut times = [0; SAMPLES];
    for time in &mut times {
        let begin = Instant::now();
        let mut x = std::hint::black_box([0.5f64, 0.25, 0.75, 0.125]);
        for _ in 0..LENGTH {
            // Each turn waits for the one before it.
            x = x.map(|x| x * 0.999_999 + 0.000_001);
        }
        std::hint::black_box(x);
        *time = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }
    times.sort_unstable();
    times[SAMPLES / 2]
}

#[cfg(test)]
mod tests;
