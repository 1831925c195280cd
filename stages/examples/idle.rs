use stages::device::cpu::{Cpu, rehearsal::Rehearsal};
use stages::infer::{schedule::Knobs, serve::*};
use stages::model::{card, forward::Model, weights::Seeded};
use std::time::{Duration, Instant};
fn main() {
    let card = card::load(std::path::Path::new("models/tiny-qwen3/model.toml")).unwrap();
    let knobs =
        Knobs { max_batched_tokens: 64, max_sequences: 8, block_tokens: 16, kv_blocks: 512, ..Knobs::default() };
    let model = Model::new(&card, &Seeded::new(&card, 0), 4096, 1).unwrap();
    let mut cpu = Cpu::new(model, 512, 16, 8);
    cpu.pool_mut().fill();
    let r = Rehearsal::new(&knobs);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let mut sums = [[0f64; 24]; 3];
        for rep in 0..24 {
            for (mode, row) in sums.iter_mut().enumerate() {
                let t = Instant::now();
                match mode {
                    0 => {}
                    1 => std::thread::sleep(Duration::from_millis(200)),
                    _ => {
                        while t.elapsed() < Duration::from_millis(200) {
                            std::hint::spin_loop()
                        }
                    }
                }
                for (i, cell) in row.iter_mut().enumerate() {
                    let (ctx, tok) = if i < 3 { (i as u32 * 64, 64) } else { (190 + i as u32, 1) };
                    let b = Batch { slices: vec![Slice { seq: 0, context: ctx, tokens: tok, yields: i >= 2 }] };
                    cpu.submit(&b, &r.scene(&b)).unwrap();
                    let mut v = vec![];
                    let t = cpu.collect(&mut v).unwrap();
                    if rep > 3 {
                        *cell += t.device.0 as f64 / 1e6 / 20.0;
                    }
                }
            }
        }
        for (n, row) in ["none", "sleep", "spin"].iter().zip(sums) {
            println!("{n:6} {}", row.map(|x| format!("{x:.2}")).join(" "));
        }
    });
}
