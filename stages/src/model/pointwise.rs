//! What happens to numbers one row at a time: norms, rotation, the gate. Plain loops that the compiler turns into
//! vector instructions; knows no tensors.

/// Lanes of a sum that the compiler may keep apart: floating-point addition is not associative, so it will not
/// vectorise a sum by itself.
const LANES: usize = 8;

/// Σ a·b.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// RMSNorm (Zhang & Sennrich 2019): x / √(mean x² + ε) · weight, into `to`.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, to: &mut [f32]) {
    let scale = (dot(x, x) / x.len() as f32 + eps).sqrt().recip();
    for ((to, x), w) in to.iter_mut().zip(x).zip(weight) {
        *to = x * scale * w;
    }
}

/// RMSNorm in place.
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = (dot(x, x) / x.len() as f32 + eps).sqrt().recip();
    for (x, w) in x.iter_mut().zip(weight) {
        *x *= scale * w;
    }
}

/// Cosines and sines of rotary positions (Su et al. 2021), `[positions, head_dim / 2]` each.
#[derive(Debug, Clone)]
pub(super) struct Rotary {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rotary {
    /// For positions below `positions`. Angle of pair `i` at position `p`: p · θ^(−2i / head_dim), the power in f64,
    /// the rest in f32, as the Hugging Face models do.
    pub(super) fn new(positions: usize, head_dim: usize, theta: f64) -> Rotary {
        let half = head_dim / 2;
        let inverse: Vec<f32> = (0..half).map(|i| 1.0 / theta.powf(2.0 * i as f64 / head_dim as f64) as f32).collect();
        let angles = || (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f));
        Rotary { cos: angles().map(f32::cos).collect(), sin: angles().map(f32::sin).collect(), half }
    }

    /// Positions it knows.
    pub(super) fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Rotates the two halves of one head, `[head_dim]`, against each other.
    pub(super) fn rotate(&self, head: &mut [f32], position: usize) {
        let at = position * self.half;
        let (cos, sin) = (&self.cos[at..][..self.half], &self.sin[at..][..self.half]);
        let (low, high) = head.split_at_mut(self.half);
        for i in 0..self.half {
            let (a, b) = (low[i], high[i]);
            low[i] = a * cos[i] - b * sin[i];
            high[i] = b * cos[i] + a * sin[i];
        }
    }
}

/// e^x within 2 units in the last place for −87 ≤ x ≤ 88; outside, the value at the nearer end. NaN stays NaN.
///
/// Reduction by Cody and Waite, polynomial of Cephes' `expf` (Moshier, netlib). Written without a call or a branch so
/// that a loop over it becomes vector code; the library's function would cost more than the products around it.
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it rounds to the nearest integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (p * r * r + r + 1.0) * power
}

/// silu(gate) · up, with silu(g) = g / (1 + e^−g), into `to`.
pub(super) fn silu_mul(gate: &[f32], up: &[f32], to: &mut [f32]) {
    for ((to, g), u) in to.iter_mut().zip(gate).zip(up) {
        *to = g / (1.0 + exp(-g)) * u;
    }
}

/// Replaces scores by e^(score − maximum) and returns their sum.
pub(super) fn exp_scores(scores: &mut [f32]) -> f32 {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] };
        }
    }
    let maximum = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let mut sums = [0f32; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - maximum);
            sums[lane] += chunk[lane];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for x in rest {
        *x = exp(*x - maximum);
        sum += *x;
    }
    sum
}

/// to += x.
pub(super) fn add(to: &mut [f32], x: &[f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x;
    }
}

/// Σ a·b for four b of a's length, one behind the other.
pub(super) fn dot_four(a: &[f32], b: &[f32]) -> [f32; 4] {
    const STEP: usize = 4;
    let (first, b) = b.split_at(a.len());
    let (second, b) = b.split_at(a.len());
    let (third, fourth) = b.split_at(a.len());
    let mut sums = [[0f32; STEP]; 4];
    let (chunks, rest) = a.as_chunks::<STEP>();
    for (i, a) in chunks.iter().enumerate() {
        for (sum, b) in sums.iter_mut().zip([first, second, third, fourth]) {
            let b = &b[i * STEP..][..STEP];
            for lane in 0..STEP {
                sum[lane] += a[lane] * b[lane];
            }
        }
    }
    let tail = chunks.len() * STEP;
    let rest = |b: &[f32]| rest.iter().zip(&b[tail..]).map(|(a, b)| a * b).sum::<f32>();
    let whole = |sum: &[f32; STEP], b: &[f32]| sum.iter().sum::<f32>() + rest(b);
    [whole(&sums[0], first), whole(&sums[1], second), whole(&sums[2], third), whole(&sums[3], fourth)]
}

/// to += Σ factor · x for four x of its length, one behind the other.
pub(super) fn add_scaled_four(to: &mut [f32], x: &[f32], factors: [f32; 4]) {
    let (first, x) = x.split_at(to.len());
    let (second, x) = x.split_at(to.len());
    let (third, fourth) = x.split_at(to.len());
    for ((((to, a), b), c), d) in to.iter_mut().zip(first).zip(second).zip(third).zip(fourth) {
        *to += factors[0] * a + factors[1] * b + (factors[2] * c + factors[3] * d);
    }
}

#[cfg(test)]
mod tests;
