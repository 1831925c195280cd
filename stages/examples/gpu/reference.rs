//! A plain f32 forward pass over a whole sequence on the host, one row at a time, to compare the card with.

use half::bf16;
use rayon::prelude::*;
use stages::device::cuda::kernels::Dimensions;
use stages::device::cuda::weights::Tensors;

/// Weights widened to f32.
pub(crate) struct Reference {
    d: Dimensions,
    embedding: Vec<f32>,
    norm: Vec<f32>,
    layers: Vec<Layer>,
}

struct Layer {
    attention_norm: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    q_norm: Vec<f32>,
    k_norm: Vec<f32>,
    o: Vec<f32>,
    ffn_norm: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

/// Keys and values of one sequence, `[layer][token][kv_heads · head_dim]`.
#[derive(Default, Clone)]
pub(crate) struct Past {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    tokens: usize,
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> Vec<f32> {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let inverse = 1.0 / (mean + eps as f32).sqrt();
    x.iter().zip(weight).map(|(v, w)| v * inverse * w).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    for (x, y) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for i in 0..16 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum()
}

/// w x, w being `[rows][x.len()]`.
fn product(weights: &[f32], x: &[f32]) -> Vec<f32> {
    weights.par_chunks_exact(x.len()).with_min_len(64).map(|row| dot(row, x)).collect()
}

impl Reference {
    pub(crate) fn new(d: Dimensions, tensors: &dyn Tensors) -> Result<Reference, String> {
        let get = |name: String, shape: &[usize]| -> Result<Vec<f32>, String> {
            let bytes = tensors.tensor(&name, shape)?;
            Ok(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
        };
        let (h, q, kv) = (d.hidden, d.attended(), d.kv_heads * d.head_dim);
        let layer = |i: usize| -> Result<Layer, String> {
            let part = |part: &str, shape: &[usize]| get(format!("model.layers.{i}.{part}.weight"), shape);
            let head_norm = |name: &str| if d.qk_norm { part(name, &[d.head_dim]) } else { Ok(Vec::new()) };
            Ok(Layer {
                attention_norm: part("input_layernorm", &[h])?,
                q: part("self_attn.q_proj", &[q, h])?,
                k: part("self_attn.k_proj", &[kv, h])?,
                v: part("self_attn.v_proj", &[kv, h])?,
                q_norm: head_norm("self_attn.q_norm")?,
                k_norm: head_norm("self_attn.k_norm")?,
                o: part("self_attn.o_proj", &[h, q])?,
                ffn_norm: part("post_attention_layernorm", &[h])?,
                gate: part("mlp.gate_proj", &[d.ffn, h])?,
                up: part("mlp.up_proj", &[d.ffn, h])?,
                down: part("mlp.down_proj", &[h, d.ffn])?,
            })
        };
        Ok(Reference {
            embedding: get("model.embed_tokens.weight".to_owned(), &[d.vocab, h])?,
            norm: get("model.norm.weight".to_owned(), &[h])?,
            layers: (0..d.layers).map(layer).collect::<Result<_, _>>()?,
            d,
        })
    }

    /// Takes one token; the residual after the last layer.
    pub(crate) fn step(&self, past: &mut Past, token: u32) -> Vec<f32> {
        let d = &self.d;
        if past.keys.is_empty() {
            past.keys = vec![Vec::new(); d.layers];
            past.values = vec![Vec::new(); d.layers];
        }
        let position = past.tokens;
        past.tokens += 1;
        let at = token as usize * d.hidden;
        let mut residual = self.embedding[at..at + d.hidden].to_vec();
        for (i, layer) in self.layers.iter().enumerate() {
            let x = rms_norm(&residual, &layer.attention_norm, d.eps);
            let mut q = product(&layer.q, &x);
            let mut k = product(&layer.k, &x);
            let v = product(&layer.v, &x);
            self.heads(&mut q, &layer.q_norm, position);
            self.heads(&mut k, &layer.k_norm, position);
            past.keys[i].extend_from_slice(&k);
            past.values[i].extend_from_slice(&v);
            let attended = self.attend(&q, &past.keys[i], &past.values[i]);
            add(&mut residual, &product(&layer.o, &attended));
            let x = rms_norm(&residual, &layer.ffn_norm, d.eps);
            let (gate, up) = (product(&layer.gate, &x), product(&layer.up, &x));
            let hidden: Vec<f32> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            add(&mut residual, &product(&layer.down, &hidden));
        }
        residual
    }

    /// Logits of a residual.
    pub(crate) fn logits(&self, residual: &[f32]) -> Vec<f32> {
        product(&self.embedding, &rms_norm(residual, &self.norm, self.d.eps))
    }

    fn heads(&self, x: &mut [f32], weight: &[f32], position: usize) {
        let (width, half) = (self.d.head_dim, self.d.head_dim / 2);
        for head in x.chunks_exact_mut(width) {
            if self.d.qk_norm {
                head.copy_from_slice(&rms_norm(head, weight, self.d.eps));
            }
            for i in 0..half {
                let angle = position as f64 * self.d.rope_theta.powf(-2.0 * i as f64 / width as f64);
                let (sine, cosine) = (angle.sin() as f32, angle.cos() as f32);
                let (a, b) = (head[i], head[i + half]);
                head[i] = a * cosine - b * sine;
                head[i + half] = b * cosine + a * sine;
            }
        }
    }

    fn attend(&self, q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f32> {
        let (width, kv) = (self.d.head_dim, self.d.kv_heads * self.d.head_dim);
        let group = self.d.heads / self.d.kv_heads;
        let scale = 1.0 / (width as f32).sqrt();
        let one = |head: usize| {
            let q = &q[head * width..(head + 1) * width];
            let from = head / group * width;
            let scores: Vec<f32> = keys.chunks_exact(kv).map(|k| dot(q, &k[from..from + width]) * scale).collect();
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
            let total: f32 = weights.iter().sum();
            let mut out = vec![0f32; width];
            for (weight, v) in weights.iter().zip(values.chunks_exact(kv)) {
                for (o, v) in out.iter_mut().zip(&v[from..from + width]) {
                    *o += weight / total * v;
                }
            }
            out
        };
        (0..self.d.heads).into_par_iter().flat_map_iter(one).collect()
    }
}

fn add(to: &mut [f32], what: &[f32]) {
    for (a, b) in to.iter_mut().zip(what) {
        *a += b;
    }
}
