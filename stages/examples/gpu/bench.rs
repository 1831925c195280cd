//! How fast the card serves the Qwen3-0.6B shape: its copy rate, decode steps, time to the first token alone, and
//! nano-vllm's offline bench through the scheduler that also simulates.

use std::sync::Arc;
use std::time::Instant;

use rand_mt::Mt;
use serde_json::{Value, json};
use stages::device::cuda::compile::Cache;
use stages::device::cuda::driver::{Buffer, Event};
use stages::device::cuda::whole::Pacing;
use stages::device::cuda::{CudaBackend, Device, Engine, Limits};
use stages::infer::blocks::Tabled;
use stages::infer::record::Run;
use stages::infer::request::Request;
use stages::infer::schedule::{Knobs, Policy};
use stages::infer::serve::{Backend, Batch, serve};
use stages::infer::time::Nanos;

use crate::drive::{Script, operations, step};
use crate::seeded::{Seeded, qwen3};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const WEIGHT_BYTES: f64 = 1.192e9;
const KV_BYTES_PER_TOKEN: f64 = 114_688.0;
/// Bytes of weights and of a token's keys and values.
const SMALL_QWEN: (f64, f64) = (WEIGHT_BYTES, KV_BYTES_PER_TOKEN);

/// Bytes read and written per second by a copy of 2 GiB on the card, the best of some.
pub(crate) fn copy_rate(device: &std::rc::Rc<Device>) -> Outcome<f64> {
    const BYTES: usize = 2 << 30;
    let (a, b) = (Buffer::zeroed(device, BYTES, "a copy")?, Buffer::zeroed(device, BYTES, "a copy")?);
    let (begun, ended) = (Event::new(device)?, Event::new(device)?);
    let mut best = 0f64;
    for _ in 0..8 {
        begun.mark()?;
        device.copy(b.pointer(), a.pointer(), BYTES)?;
        ended.mark()?;
        ended.wait()?;
        best = best.max(2.0 * BYTES as f64 / (ended.since_ns(&begun)? as f64 * 1e-9));
    }
    Ok(best)
}

/// What to measure.
pub(crate) struct Wanted {
    pub(crate) batches: Vec<usize>,
    pub(crate) prompts: Vec<usize>,
    pub(crate) offline_runs: usize,
    pub(crate) narrow: Vec<usize>,
    /// Sequences up to which a step is one kernel, each tried.
    pub(crate) whole: Vec<usize>,
    /// Pace, stages in flight, patience: three numbers for each way tried.
    pub(crate) pacings: Vec<usize>,
    pub(crate) layers: usize,
    pub(crate) blocks: usize,
}

/// Everything wanted, as one JSON value; printed as it comes.
pub(crate) fn all(wanted: &Wanted) -> Outcome<Value> {
    let device = Device::open()?;
    let rate = copy_rate(&device)?;
    println!("{}: copy {:.3} TB/s", device.name()?, rate / 1e12);
    let began = Instant::now();
    let limits = Limits { tokens: 8192, sequences: 256, blocks: wanted.blocks, block_tokens: 16 };
    let engine =
        Engine::new(&device, &qwen3(wanted.layers as u32, 151_936), limits, &Seeded { seed: 7 }, &Cache::of_user())?;
    let loaded = began.elapsed().as_secs_f64();
    let mut backend = CudaBackend::new(engine)?;
    backend.engine_mut().warm()?;
    println!("loaded in {loaded:.1} s, warm after {:.1} s", began.elapsed().as_secs_f64());
    let mut decode = Vec::new();
    for narrow in &wanted.narrow {
        backend.engine_mut().set_narrow_rows_max(*narrow);
        backend.engine_mut().warm()?;
        for batch in &wanted.batches {
            let row = decode_step(&mut backend, *batch, rate, SMALL_QWEN)?;
            println!("narrow to {narrow}: {row}");
            decode.push(json!({ "narrow_rows_max": narrow, "row": row }));
        }
    }
    for whole in &wanted.whole {
        backend.engine_mut().set_whole_rows_max(*whole);
        backend.engine_mut().warm()?;
        for batch in wanted.batches.iter().filter(|b| **b <= 8) {
            let row = decode_step(&mut backend, *batch, rate, SMALL_QWEN)?;
            println!("whole to {whole}: {row}");
            decode.push(json!({ "whole_rows_max": whole, "row": row }));
        }
    }
    let usual = backend.engine().pacing();
    for way in wanted.pacings.chunks_exact(3) {
        let [pace, in_flight, patience] = [way[0] as i32, way[1] as i32, way[2] as i32];
        backend.engine_mut().set_pacing(Pacing { pace, in_flight, patience });
        for batch in wanted.batches.iter().copied() {
            if !backend.engine().is_whole(batch) {
                continue;
            }
            let row = decode_step(&mut backend, batch, rate, SMALL_QWEN)?;
            println!("pacing {way:?}, batch {batch}: {} ms, device {} ms", row["step_ms"], row["device_ms"]);
            decode.push(json!({ "pacing": way, "row": row }));
        }
    }
    if let Some(usual) = usual {
        backend.engine_mut().set_pacing(usual);
    }
    let mut first = Vec::new();
    for prompt in &wanted.prompts {
        let row = first_token(&mut backend, *prompt)?;
        println!("{row}");
        first.push(row);
    }
    let mut offline_rows = Vec::new();
    for run in 0..wanted.offline_runs {
        for (policy, tokens) in [(Policy::VllmV1, 8192), (Policy::Sarathi, 1024)] {
            let row = offline(&mut backend, policy, tokens, limits, rate)?;
            println!("run {run}: {row}");
            offline_rows.push(row);
        }
    }
    Ok(json!({
        "card": device.name()?, "copy_bytes_per_s": rate, "loaded_s": loaded,
        "decode": decode, "first_token": first, "offline": offline_rows,
    }))
}

/// Prompt 512, the slope between 33 and 289 output tokens, two steps in flight; then each operation alone.
pub(crate) fn decode_step(
    backend: &mut CudaBackend,
    batch: usize,
    rate: f64,
    (weight_bytes, kv_bytes): (f64, f64),
) -> Outcome<Value> {
    const PROMPT: usize = 512;
    let lengths = vec![PROMPT + 300; batch];
    let mut script = Script::scattered(&lengths, 16, backend.engine().limits().blocks);
    let ids: Vec<u32> = (0..PROMPT as u32).map(|i| i * 577 % 151_000).collect();
    for seq in 0..batch {
        let slice = script.slice(seq, 0, &ids, true);
        step(backend, &script, vec![slice])?;
    }
    let mut tokens = Vec::new();
    let mut device = Vec::new();
    let mut at = [Instant::now(); 2];
    let slices = |script: &mut Script, made: usize| -> Vec<_> {
        if made == 1 {
            (0..batch).map(|i| script.slice(i, PROMPT, &[1], true)).collect()
        } else {
            (0..batch).map(|i| script.next(i, PROMPT + made - 1)).collect()
        }
    };
    let first = slices(&mut script, 1);
    backend.submit(&Batch { slices: first }, &script)?;
    for made in 2..=290 {
        let next = slices(&mut script, made);
        backend.submit(&Batch { slices: next }, &script)?;
        tokens.clear();
        let timing = backend.collect(&mut tokens)?;
        if made == 33 {
            at[0] = Instant::now();
        }
        if made == 289 {
            at[1] = Instant::now();
        }
        if made > 33 {
            device.push(timing.device.0);
        }
    }
    backend.collect(&mut tokens)?;
    let ms = (at[1] - at[0]).as_secs_f64() * 1e3 / 256.0;
    device.sort_unstable();
    let floor = (weight_bytes + kv_bytes * 673.0 * batch as f64) / rate * 1e3;
    let alone = operations(backend)?;
    Ok(json!({
        "batch": batch, "step_ms": ms, "floor_ms": floor, "of_floor": floor / ms,
        "device_ms": device[device.len() / 2] as f64 / 1e6, "operations_ns": alone,
    }))
}

/// One request alone from its arrival to its token on the host: median of 7.
fn first_token(backend: &mut CudaBackend, prompt: usize) -> Outcome<Value> {
    let mut script = Script::scattered(&[prompt], 16, backend.engine().limits().blocks);
    let ids: Vec<u32> = (0..prompt as u32).map(|i| i * 577 % 151_000).collect();
    let mut took = Vec::new();
    let mut device = 0;
    for _ in 0..9 {
        let slice = script.slice(0, 0, &ids, true);
        let began = Instant::now();
        let (_, timing) = step(backend, &script, vec![slice])?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        device = timing.device.0;
    }
    took.drain(..2);
    took.sort_by(f64::total_cmp);
    let alone = operations(backend)?;
    Ok(json!({ "prompt": prompt, "ttft_ms": took[3], "device_ms": device as f64 / 1e6, "operations_ns": alone }))
}

/// `random.randint(least, most)` of CPython: as many bits as needed, drawn again when too large.
fn randint(rng: &mut Mt, least: u32, most: u32) -> u32 {
    let span = most - least + 1;
    let bits = 32 - span.leading_zeros();
    loop {
        let drawn = rng.next_u32() >> (32 - bits);
        if drawn < span {
            return least + drawn;
        }
    }
}

/// The workload of nano-vllm's bench.py: `random.seed(0)`, 256 prompt lengths, then 256 output lengths.
pub(crate) fn offline_requests() -> Vec<Request> {
    // CPython seeds with the integer's 32-bit digits as a key.
    let mut rng = Mt::new_with_key([0u32]);
    let prompts: Vec<u32> = (0..256).map(|_| randint(&mut rng, 100, 1024)).collect();
    let outputs: Vec<u32> = (0..256).map(|_| randint(&mut rng, 100, 1024)).collect();
    let request = |(id, (prompt, output)): (usize, (u32, u32))| Request {
        id: id as u32,
        arrival: Nanos(0),
        prompt_tokens: prompt,
        output_tokens: output,
        prompt: (0..prompt).map(|i| (i * 7919 + id as u32 * 104_729) % 10_000).collect::<Vec<u32>>().into(),
        prefix_blocks: Arc::from([]),
        priority: 0,
    };
    prompts.into_iter().zip(outputs).enumerate().map(request).collect()
}

fn offline(backend: &mut CudaBackend, policy: Policy, tokens: u32, limits: Limits, rate: f64) -> Outcome<Value> {
    let requests = offline_requests();
    let knobs = Knobs {
        policy,
        max_batched_tokens: tokens,
        max_sequences: 256,
        kv_blocks: limits.blocks as u32,
        pipelined: true,
        ..Knobs::default()
    };
    let mut run = Run::default();
    backend.restart();
    let began = Instant::now();
    let served = serve(&requests, &knobs, Tabled::Kept, backend, &mut run).map_err(|e| e.to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    let busy: u64 = run.batches.iter().map(|b| b.device.0).sum();
    let kv_read: f64 = requests
        .iter()
        .map(|r| (0..r.output_tokens).map(|i| f64::from(r.prompt_tokens + i)).sum::<f64>() * KV_BYTES_PER_TOKEN)
        .sum();
    let floor = (kv_read + WEIGHT_BYTES * 1024.0) / rate;
    Ok(json!({
        "policy": policy.name(), "max_batched_tokens": tokens, "tokens": served.tokens, "seconds": seconds,
        "tokens_per_s": served.tokens as f64 / seconds, "batches": served.batches,
        "device_busy": busy as f64 * 1e-9 / seconds, "floor_s": floor,
    }))
}
