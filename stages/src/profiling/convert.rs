//! From the root's tables to rows of `ops`.

use std::collections::BTreeMap;
use std::path::Path;

use engine::kind::StageError;
use rayon::prelude::*;

use crate::fit::{Pairs, Sizes};
use crate::model::card::Card;
use crate::tables::ops::Row;

use super::Config;
use super::source::{Op, Points, Source};

/// What came of a root.
#[derive(Debug, Clone)]
pub struct Converted {
    /// The profile.
    pub rows: Vec<Row>,
    /// What a reader of its results should know.
    pub notes: Vec<String>,
    /// Mean absolute relative error at points held out, by operation as the root calls it.
    pub fits: BTreeMap<String, f64>,
}

/// An operation as the root calls it, how often a layer calls it, and the one of ours that it becomes.
const TOKEN_WISE: [(&str, &str); 8] = [
    ("input_layernorm", "norm"),
    ("attn_pre_proj", "qkv"),
    ("attn_rope", "qk_rope"),
    ("attn_post_proj", "o"),
    ("mlp_up_proj", "gate_up"),
    ("mlp_act", "silu_mul"),
    ("mlp_down_proj", "down"),
    ("add", "add"),
];
const NS_PER_MS: f64 = 1e6;
/// Bytes of a number that cards exchange.
const ELEMENT: f64 = 2.0;
/// Lines named in a note.
const NAMED: usize = 8;

/// Reads what `config` names under `root` and makes a profile of it.
///
/// # Errors
/// When a table or a column is missing, nothing fits the model's shape, or too much of a table is missing or broken.
pub fn convert(root: &Path, config: &Config, card: &Card) -> Result<Converted, StageError> {
    let profiling = root.join("data/profiling");
    let compute = profiling.join("compute").join(&config.device).join(&config.model);
    let tp = u64::from(config.tensor_parallel);
    let shape = [
        ("n_embd", u64::from(card.hidden)),
        ("n_kv_head", u64::from(card.kv_heads)),
        ("num_tensor_parallel_workers", tp),
    ];
    let mlp = Source::open(&compute.join("mlp.csv"))?
        .select(&shape)?
        .select(&[("n_head", u64::from(card.heads)), ("n_expanded_embd", u64::from(card.ffn))])?;
    let attention = Source::open(&compute.join("attention.csv"))?
        .select(&shape)?
        .select(&[("n_q_head", u64::from(card.heads)), ("block_size", u64::from(config.block_tokens))])?;
    let mut work = Work { config, notes: Vec::new(), fits: BTreeMap::new(), rows: Vec::new() };
    let exchange = work.exchange(&profiling, card)?;
    let sizes = work.token_wise(&mlp, card, exchange.as_ref())?;
    work.derived(&sizes, card);
    work.attention(&attention, card)?;
    work.host(&profiling)?;
    Ok(Converted { rows: work.rows, notes: work.notes, fits: work.fits })
}

struct Work<'a> {
    config: &'a Config,
    notes: Vec<String>,
    fits: BTreeMap<String, f64>,
    rows: Vec<Row>,
}

impl Work<'_> {
    /// Timings of an operation without what is missing or broken, which is told.
    fn sound(&mut self, source: &Source, op: &str, by: Op) -> Result<Points, StageError> {
        let found = source.points(&format!("time_stats.{op}.median"), by)?;
        let bad = found.missing.len() + found.broken.len();
        let all = bad + found.points.len();
        if bad > 0 {
            let mut told = format!("`{op}`: of {all} rows {} have no value", found.missing.len());
            tell_lines(&mut told, found.missing.iter().map(u64::to_string));
            told.push_str(&format!(", {} cannot be true", found.broken.len()));
            tell_lines(&mut told, found.broken.iter().map(|(line, why)| format!("{line}: {why}")));
            told.push_str("; they are left out");
            if found.points.is_empty() || bad as f64 > self.config.broken_at_most * all as f64 {
                return Err(StageError::new(told)
                    .help("profile it again; or, knowing what is missing, set `broken_at_most` to a larger share"));
            }
            self.notes.push(told);
        }
        Ok(found)
    }

    fn sizes(&mut self, source: &Source, op: &str, by: Op) -> Result<(Sizes, Vec<u32>), StageError> {
        let found = self.sound(source, op, by)?;
        let points: Vec<(f64, f64)> = found.points.iter().map(|p| (p.0, p.2 * NS_PER_MS)).collect();
        let fit = Sizes::fit(&points);
        self.fits.insert(op.to_owned(), fit.held_out_error());
        let mut measured: Vec<u32> = points.iter().map(|p| p.0 as u32).collect();
        measured.sort_unstable();
        measured.dedup();
        Ok((fit, measured))
    }

    /// What an exchange of the sums of `n` tokens takes, ns, where there is more than one card.
    fn exchange(&mut self, profiling: &Path, card: &Card) -> Result<Option<Sizes>, StageError> {
        let tp = u64::from(self.config.tensor_parallel);
        let (2.., Some(network)) = (tp, &self.config.network_device) else { return Ok(None) };
        let table = Source::open(&profiling.join("network").join(network).join("all_reduce.csv"))?
            .select(&[("num_workers", tp), ("devices_per_node", tp)])?;
        let found = self.sound(&table, "all_reduce", Op::By("size"))?;
        let tokens = |bytes: f64| bytes / (f64::from(card.hidden) * ELEMENT);
        let points: Vec<(f64, f64)> = found.points.iter().map(|p| (tokens(p.0), p.2 * NS_PER_MS)).collect();
        let fit = Sizes::fit(&points);
        self.fits.insert("all_reduce".to_owned(), fit.held_out_error());
        self.notes.push("exchanges between cards (`all_reduce`) are part of `o` and `down`".to_owned());
        Ok(Some(fit))
    }

    /// Rows of what works on every token. The fits are kept for what is derived from them.
    fn token_wise(
        &mut self,
        mlp: &Source,
        card: &Card,
        exchange: Option<&Sizes>,
    ) -> Result<BTreeMap<&'static str, (Sizes, Vec<u32>)>, StageError> {
        let by = Op::By("num_tokens");
        let mut fits = BTreeMap::new();
        for (op, ours) in TOKEN_WISE {
            fits.insert(ours, self.sizes(mlp, op, by)?);
        }
        let after = self.sizes(mlp, "post_attention_layernorm", by)?.0;
        let embed = self.sizes(mlp, "emb", by)?;
        for (ours, (fit, measured)) in &fits {
            let calls = if matches!(*ours, "norm" | "add") { 2 * card.layers } else { card.layers };
            let time = |n: f64| match (*ours, exchange) {
                ("norm", _) => 0.5 * (fit.at(n) + after.at(n)),
                ("o" | "down", Some(exchange)) => fit.at(n) + exchange.at(n),
                _ => fit.at(n),
            };
            self.put_sizes(ours, calls, measured, &time);
        }
        self.put_sizes("embed", 1, &embed.1, &|n| embed.0.at(n));
        Ok(fits)
    }

    /// What the root does not hold: the output projection, in proportion to that of the feed-forward layer; the choice
    /// of a token, in proportion to the gate's reading and writing.
    fn derived(&mut self, fits: &BTreeMap<&'static str, (Sizes, Vec<u32>)>, card: &Card) {
        let (vocab, ffn) = (f64::from(card.vocab), f64::from(card.ffn));
        let derived = [("head", "gate_up", vocab / (2.0 * ffn)), ("sample", "silu_mul", 2.0 * vocab / (3.0 * ffn))];
        for (ours, from, ratio) in derived {
            let Some((fit, measured)) = fits.get(from) else { continue };
            let sizes: Vec<u32> = measured.iter().copied().filter(|n| *n <= SEQUENCES).collect();
            self.put_sizes(ours, 1, &sizes, &|n| ratio * fit.at(n));
            self.notes.push(format!("`{ours}` is not in the root: {ratio:.3} × `{from}`, by columns and bytes"));
        }
    }

    fn attention(&mut self, attention: &Source, card: &Card) -> Result<(), StageError> {
        let (chunks, decodes) = attention.split("prefill_chunk_size")?;
        if attention.has("time_stats.attn_kv_cache_save.median") {
            let found = self.sound(attention, "attn_kv_cache_save", Op::KvWrite)?;
            let points: Vec<(f64, f64, f64)> = found.points.iter().map(|p| (p.0, p.1, p.2 * NS_PER_MS)).collect();
            let fit = Pairs::fit(&points);
            self.fits.insert("attn_kv_cache_save".to_owned(), fit.held_out_error());
            let plain: Vec<(f64, f64)> = points.iter().map(|p| (p.0, fit.at(p.0, p.1))).collect();
            let mut sizes: Vec<u32> = plain.iter().map(|p| p.0 as u32).collect();
            sizes.sort_unstable();
            sizes.dedup();
            let mean = |n: f64| {
                let of: Vec<f64> = plain.iter().filter(|p| p.0 == n).map(|p| p.1).collect();
                of.iter().sum::<f64>() / of.len() as f64
            };
            self.put_sizes("kv_write", card.layers, &sizes, &mean);
        } else {
            self.notes.push("`attn_kv_cache_save` is not in the root: taken for a part of attention".to_owned());
        }
        let by = [
            ("attn_prefill", "attention_prefill", chunks, Op::ByTwo("kv_cache_size", "prefill_chunk_size")),
            ("attn_decode", "attention_decode", decodes, Op::ByTwo("kv_cache_size", "batch_size")),
        ];
        for (op, ours, source, sizes) in by {
            let found = self.sound(&source, op, sizes)?;
            let points: Vec<(f64, f64, f64)> = found.points.iter().map(|p| (p.1, p.0, p.2 * NS_PER_MS)).collect();
            let fit = Pairs::fit(&points);
            self.fits.insert(op.to_owned(), fit.held_out_error());
            let mut places: Vec<(u32, u32)> = points.iter().map(|p| (p.0 as u32, p.1 as u32)).collect();
            places.sort_unstable();
            places.dedup();
            let times: Vec<f64> = places.par_iter().map(|p| fit.at(f64::from(p.0), f64::from(p.1))).collect();
            for ((n, context), time) in places.into_iter().zip(times) {
                let sequences = if ours == "attention_decode" { n } else { 1 };
                self.rows.push(row(ours, n, sequences, context, card.layers, time));
            }
        }
        Ok(())
    }

    /// The host between iterations: the root's table, or the one figure of the configuration.
    fn host(&mut self, profiling: &Path) -> Result<(), StageError> {
        let path = self.config.network_device.as_ref().map(|network| {
            let folder = profiling.join("cpu_overhead").join(network).join(&self.config.model);
            folder.join("cpu_overheads.csv")
        });
        if let Some(us) = self.config.host_us {
            self.rows.push(row("host", 1, 1, 0, 1, us * 1e3));
            self.rows.push(row("host", SEQUENCES, SEQUENCES, 0, 1, us * 1e3));
            self.notes.push(format!("the host takes {us} µs between iterations because the configuration says so"));
            return Ok(());
        }
        let Some(path) = path.filter(|p| p.is_file()) else {
            return Err(StageError::new("the root has no table of what the host takes between iterations")
                .help("set `host_us` to what your engine's host takes: it is never nothing"));
        };
        let table =
            Source::open(&path)?.select(&[("tensor_parallel_degree", u64::from(self.config.tensor_parallel))])?;
        let mut times: BTreeMap<u32, f64> = BTreeMap::new();
        for column in HOST {
            let found = table.points(column, Op::By("batch_size"))?;
            if !found.missing.is_empty() || !found.broken.is_empty() || found.points.is_empty() {
                let mut told = format!("`{}`, column `{column}`: values are missing or cannot be true", path.display());
                tell_lines(
                    &mut told,
                    found.missing.iter().chain(found.broken.iter().map(|b| &b.0)).map(u64::to_string),
                );
                return Err(StageError::new(told).help("profile it again, or set `host_us`"));
            }
            for (size, _, ms) in found.points {
                *times.entry(size as u32).or_default() += ms * NS_PER_MS;
            }
        }
        for (size, ns) in times {
            self.rows.push(row("host", size, size, 0, 1, ns));
        }
        Ok(())
    }

    fn put_sizes(&mut self, op: &str, calls: u32, sizes: &[u32], time: &(dyn Fn(f64) -> f64 + Sync)) {
        let times: Vec<f64> = sizes.par_iter().map(|n| time(f64::from(*n))).collect();
        for (n, ns) in sizes.iter().zip(times) {
            let sequences = if matches!(op, "head" | "sample") { *n } else { 1 };
            self.rows.push(row(op, *n, sequences, 0, calls, ns));
        }
    }
}

/// Columns of the host's table that add up, ms.
const HOST: [&str; 5] = [
    "schedule_median",
    "sampler_e2e_median",
    "prepare_inputs_e2e_median",
    "process_model_outputs_median",
    "ray_comm_time_mean",
];
/// Most sequences that derived rows go to.
const SEQUENCES: u32 = 1024;

fn row(op: &str, tokens: u32, sequences: u32, context: u32, calls_per_step: u32, ns: f64) -> Row {
    Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step,
        samples: 1,
        median_ns: ns,
        mad_ns: 0.0,
        min_ns: ns,
        p90_ns: ns,
    }
}

fn tell_lines(told: &mut String, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let named = lines.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = if lines.len() > NAMED { format!(" and {} more", lines.len() - NAMED) } else { String::new() };
    told.push_str(&format!(" (line {named}{more})"));
}
