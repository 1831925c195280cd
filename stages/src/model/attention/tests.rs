#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::pool::KvPool;
use crate::model::weights::tests::tiny_card;

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect()
}

/// Attention as its definition says, in f64: `q` `[tokens, heads, d]`, `k` and `v` `[keys, kv_heads, d]`.
fn defined(q: &[f32], k: &[f32], v: &[f32], heads: usize, kv_heads: usize, d: usize) -> Vec<f64> {
    let (tokens, keys) = (q.len() / heads / d, k.len() / kv_heads / d);
    let mut out = Vec::new();
    for token in 0..tokens {
        for head in 0..heads {
            let kv = head * kv_heads / heads;
            let seen = keys - tokens + token + 1;
            let at = |x: &[f32], key: usize, i: usize| f64::from(x[(key * kv_heads + kv) * d + i]);
            let query = &q[(token * heads + head) * d..][..d];
            let score = |key| (0..d).map(|i| f64::from(query[i]) * at(k, key, i)).sum::<f64>();
            let weights: Vec<f64> = (0..seen).map(|key| score(key).exp()).collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..d).map(|i| (0..seen).map(|key| weights[key] / sum * at(v, key, i)).sum::<f64>()));
        }
    }
    out
}

#[test]
fn both_ways_give_what_the_definition_says() {
    let card = tiny_card();
    let (heads, kv_heads, d) = (card.heads as usize, card.kv_heads as usize, card.head_dim as usize);
    let table = [5u32, 2, 9, 0, 7, 1, 3, 8, 4, 6];
    for (context, tokens) in [(0, 1), (0, 2), (3, 1), (7, 1), (8, 1), (5, 9), (0, 80), (40, 40), (63, 2)] {
        let keys = context + tokens;
        let (k, v) = (numbers(keys * kv_heads * d, 1), numbers(keys * kv_heads * d, 2));
        let q: Vec<f32> = numbers(tokens * heads * d, 3).iter().map(|x| x * 0.25).collect();
        let mut pool = KvPool::new(&card, 10, 8);
        let width = kv_heads * d;
        for position in 0..keys {
            let at = position * width..(position + 1) * width;
            pool.layer_mut(0).write(&table, position, &k[at.clone()], &v[at]);
        }
        let want = defined(&q, &k, &v, heads, kv_heads, d);
        let span = Span { table: &table, context };
        let check = |got: &[f32], how: &str| {
            for (got, want) in got.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{how} context {context} tokens {tokens}");
            }
        };
        for threads in [1, 3] {
            let mut out = vec![f32::NAN; q.len()];
            prefill(&q, heads, pool.layer(0), span, threads, &mut out).unwrap();
            check(&out, "tiles");
        }
        if tokens == 1 {
            let mut out = vec![f32::NAN; q.len()];
            decode(&q, pool.layer(0), span, &mut Vec::new(), &mut out);
            check(&out, "loops");
        }
    }
}
