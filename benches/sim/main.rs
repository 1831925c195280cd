//! How fast the simulator is: `benches/sim/run.sh`. Every figure is wall time of a process or of a call, the least and
//! the median of several; no figure is asserted.
//!
//! The work is that of three recorded Vidur workloads (`PIPE_VIDUR_SPEED`, unpacked folders) with a profile near the
//! times that they were recorded with, and of made-up workloads of growing size.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stages::infer::request::Request;
use stages::infer::schedule::Knobs;
use stages::infer::time::Nanos;
use stages::predict::{Outside, Predictor};
use stages::random::Stream;
use stages::tables::ops;
use stages::tables::requests::{Row, write_requests};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Llama-2-70B on two A100, as the recorded workloads have it.
const CARD: &str = r#"
name = "llama-2-70b"
architecture = "llama"
layers = 80
hidden = 8192
heads = 64
kv_heads = 8
head_dim = 128
ffn = 28672
vocab = 32768
tokenizer_size = 32000
tied_embeddings = false
qk_norm = false
rope_theta = 10000.0
norm_eps = 1e-5
max_positions = 8192
dtype = "bf16"
"#;

fn main() -> Outcome<()> {
    let work = tempfile::tempdir()?;
    let folder = work.path();
    std::fs::create_dir_all(folder.join("ops"))?;
    std::fs::write(folder.join("model.toml"), CARD)?;
    stages::tables::write(&folder.join("ops/ops.parquet"), &[], &profile())?;
    println!("{:<34} {:>9} {:>9}  what", "case", "least", "median");
    match std::env::var_os("PIPE_VIDUR_SPEED") {
        Some(cases) => recorded(folder, Path::new(&cases))?,
        None => println!("PIPE_VIDUR_SPEED is not set: the recorded workloads are left out"),
    }
    grown(folder)?;
    steps()?;
    sweep()
}

/// The recorded workloads as stages, and in the exact mode.
fn recorded(folder: &Path, cases: &Path) -> Outcome<()> {
    for (name, max_sequences, kv_blocks) in [("sarathi-16k", 128, 3328), ("short-4k", 128, 3360), ("decode-1", 1, 3328)]
    {
        let requests = read(&cases.join(name).join("requests.csv"))?;
        let knobs = serde_json::json!({ "max_sequences": max_sequences, "kv_blocks": kv_blocks });
        for (tokens, batches) in [("none", "summary"), ("full", "summary"), ("full", "full")] {
            let label = format!("{name}, tokens {tokens}, batches {batches}");
            let config = serde_json::json!({
                "scheduler": knobs, "outside": "extrapolate", "tokens": tokens, "batches": batches
            });
            stage(folder, &label, &config, &requests, 7)?;
        }
        let out = folder.join("exact");
        let times = timed(5, || {
            let mut exact = Command::new(pipe());
            succeed(exact.arg("vidur-case").arg(cases.join(name)).arg(&out))
        })?;
        told(&format!("{name}, exact mode"), times, "process start to files written, every batch listed");
    }
    Ok(())
}

/// Cost by the number of requests.
fn grown(folder: &Path) -> Outcome<()> {
    for count in [10_000u32, 100_000, 1_000_000] {
        for tokens in ["none", "full"] {
            let config = serde_json::json!({
                "scheduler": { "kv_blocks": 3328 }, "outside": "extrapolate", "tokens": tokens, "batches": "summary"
            });
            let tries = if count > 100_000 { 1 } else { 3 };
            stage(folder, &format!("{count} requests, tokens {tokens}"), &config, &made(count, 1.1), tries)?;
        }
    }
    Ok(())
}

/// Decode steps a second where the batch does not change.
fn steps() -> Outcome<()> {
    let predictor = Predictor::new(&profile(), Outside::Extrapolate)?;
    for sequences in [1u32, 8, 64] {
        let output_tokens = 400_000 / sequences.max(8) * 8;
        let requests: Vec<Request> = (0..sequences).map(|id| request(id, 0, 64, output_tokens)).collect();
        let knobs = Knobs { kv_blocks: 4_000_000, max_sequences: 128, ..Knobs::default() };
        let times = timed(5, || {
            stages::sim::outcome(&requests, &knobs, &predictor)?;
            Ok(())
        })?;
        let rate = f64::from(output_tokens) / times[0].as_secs_f64();
        told(
            &format!("{output_tokens} steps of {sequences} sequences"),
            times,
            &format!("{:.2} million steps/s", rate / 1e6),
        );
    }
    Ok(())
}

/// A thousand configurations on two threads.
fn sweep() -> Outcome<()> {
    let predictor = Predictor::new(&profile(), Outside::Extrapolate)?;
    let requests = made(16_000, 1.1);
    let configurations: Vec<Knobs> = (0..1000u32)
        .map(|n| Knobs {
            max_batched_tokens: 256 + 8 * (n % 100),
            kv_blocks: 3000 + 40 * (n / 100),
            ..Knobs::default()
        })
        .collect();
    let start = Instant::now();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::thread::scope(|scope| {
        let run = || {
            while let Some(knobs) = configurations.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                stages::sim::outcome(&requests, knobs, &predictor).map_err(|e| e.to_string())?;
            }
            Ok::<(), String>(())
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().find_map(|t| t.join().map_err(|_| "a thread ended".to_owned()).and_then(|r| r).err())
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    told("1,000 configurations", vec![start.elapsed()], "16,000 requests each, two threads");
    Ok(())
}

fn pipe() -> &'static str {
    env!("CARGO_BIN_EXE_pipe")
}

/// Times the stage's process: `pipe stage exec` from its start to its end, when all files are written.
fn stage(folder: &Path, label: &str, config: &serde_json::Value, requests: &[Request], tries: usize) -> Outcome<()> {
    let rows: Vec<Row> = requests.iter().map(|r| Row { request: r.clone(), source: None }).collect();
    write_requests(&folder.join("requests.parquet"), &[], &rows)?;
    drop(rows);
    let attempt = folder.join("attempt");
    let source = |path: &str| serde_json::json!([{ "label": path, "path": folder.join(path), "digest": "" }]);
    let config: stages::sim::Config = serde_json::from_value(config.clone())?;
    let manifest = serde_json::json!({
        "format": 1, "kind": "sim", "key": "0".repeat(64), "run": "bench", "pipeline": "bench", "stage": "sim",
        "config": config, "outputs": ["run"], "cpus": 1, "gpus": [],
        "inputs": { "requests": source("requests.parquet"), "ops": source("ops"), "model": source("model.toml") },
    });
    let mut peak = 0;
    let times = timed(tries, || {
        let _ = std::fs::remove_dir_all(&attempt);
        std::fs::create_dir_all(attempt.join("out"))?;
        std::fs::write(attempt.join("manifest.json"), manifest.to_string())?;
        let mut exec = Command::new("/usr/bin/env");
        exec.arg(pipe()).args(["stage", "exec"]).arg(attempt.join("manifest.json"));
        succeed(&mut exec)?;
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(attempt.join("outcome.json"))?)?;
        peak = said.pointer("/usage/peak_memory_bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(())
    })?;
    let written = written_bytes(&attempt.join("out"))?;
    let what = format!("process start to files written, {:.1} MB, peak {} MiB", written as f64 / 1e6, peak >> 20);
    told(label, times, &what);
    Ok(())
}

fn written_bytes(folder: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        total += if entry.path().is_dir() { written_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}

fn succeed(command: &mut Command) -> Outcome<()> {
    let done = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned().into()) }
}

/// Wall times, sorted.
fn timed(tries: usize, mut work: impl FnMut() -> Outcome<()>) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(tries);
    for _ in 0..tries {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

fn told(label: &str, times: Vec<Duration>, what: &str) {
    let (least, median) = (times[0].as_secs_f64(), times[times.len() / 2].as_secs_f64());
    println!("{label:<34} {least:>7.3} s {median:>7.3} s  {what}");
}

fn request(id: u32, arrival: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    let (prompt, prefix_blocks) = (Arc::default(), Arc::default());
    Request { id, arrival: Nanos(arrival), prompt_tokens, output_tokens, prompt, prefix_blocks, priority: 0 }
}

/// Poisson arrivals; lengths geometric about those of the recorded conversations (1,147 and 211 tokens on average).
fn made(count: u32, rate_per_s: f64) -> Vec<Request> {
    let mut stream = Stream::new(7, "bench", 0);
    let mut now = 0.0;
    let mut draw = |mean: f64, most: f64| (-mean * (1.0 - stream.uniform()).ln()).min(most);
    (0..count)
        .map(|id| {
            now += draw(1e9 / rate_per_s, f64::INFINITY);
            request(id, now as u64, 1 + draw(1147.0, 3000.0) as u32, 1 + draw(211.0, 1000.0) as u32)
        })
        .collect()
}

fn read(path: &Path) -> Outcome<Vec<Request>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    let row = |(id, line): (u32, &str)| -> Outcome<Request> {
        let mut cells = line.split(',');
        let mut cell = || cells.next().ok_or_else(|| format!("row {id} of `{}` is too short", path.display()));
        let arrival = Nanos::from_secs_f64(cell()?.parse()?);
        Ok(request(id, arrival.0, cell()?.parse()?, cell()?.parse()?))
    };
    (0..).zip(text.lines().skip(1)).map(row).collect()
}

/// The coefficients of the recorded workloads' closed form, collectives counted with the products before them; what it
/// leaves out (embedding, head, sampling, host) costs next to nothing.
fn profile() -> Vec<ops::Row> {
    let row = |op: &str, tokens: u32, sequences: u32, context: u32, calls_per_step: u32, ns: f64| ops::Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step,
        samples: 9,
        median_ns: ns,
        mad_ns: 0.0,
        min_ns: ns,
        p90_ns: ns,
    };
    let mut rows = Vec::new();
    for n in [1u32, 64, 128, 256, 512, 1024, 4096] {
        let size = f64::from(n);
        for (op, calls, fixed, each) in [
            ("embed", 1, 1_000.0, 1.0),
            ("norm", 160, 2_950.0, 38.5),
            ("qkv", 80, 46_900.0, 360.0),
            ("qk_rope", 80, 2_900.0, 17.0),
            ("kv_write", 80, 1_500.0, 5.0),
            ("o", 80, 108_500.0, 358.0),
            ("gate_up", 80, 202_600.0, 1_961.0),
            ("silu_mul", 80, 6_100.0, 81.0),
            ("down", 80, 139_200.0, 1_091.0),
            ("add", 80, 900.0, 24.0),
        ] {
            rows.push(row(op, n, 1, 0, calls, fixed + each * size));
        }
    }
    for n in [1u32, 16, 64, 128] {
        for (op, fixed) in [("head", 1_000.0), ("sample", 1_000.0), ("host", 1_000.0)] {
            rows.push(row(op, n, n, 0, 1, fixed + f64::from(n)));
        }
        for context in [0u32, 512, 1024, 4096, 8192] {
            let work = f64::from(n) * f64::from(context);
            rows.push(row("attention_decode", n, n, context, 80, 21_000.0 + 22.0 * f64::from(n) + 1.375 * work));
        }
    }
    for n in [2u32, 64, 128, 256, 512, 1024] {
        for context in [0u32, 512, 2048, 8192] {
            let (size, before) = (f64::from(n), f64::from(context));
            let time = 33_700.0 + 0.176 * size * size + 0.11 * size * before;
            rows.push(row("attention_prefill", n, 1, context, 80, time));
        }
    }
    rows
}
