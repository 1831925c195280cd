use engine::exec::{Io, Source};
use engine::kind::StageKind;
use stages::infer::{
    blocks::Tabled, machine::Machine, record::Run, request::Request, schedule::Knobs, serve::serve, time::Nanos,
};
use stages::predict::{Outside, Predictor};
use stages::tables::{
    self,
    requests::{Row, write_requests},
    run::{RunMeta, RunTables, TokenIds},
};
use std::collections::BTreeMap;
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let model = std::env::args().nth(2).unwrap();
    let rate: f64 = std::env::args().nth(3).unwrap().parse().unwrap();
    let n: u32 = std::env::args().nth(4).unwrap().parse().unwrap();
    let secs: f64 = std::env::args().nth(5).unwrap().parse().unwrap();
    let (pmax, omax): (u32, u32) =
        (std::env::args().nth(6).unwrap().parse().unwrap(), std::env::args().nth(7).unwrap().parse().unwrap());
    let reps: u32 = std::env::args().nth(8).map_or(1, |s| s.parse().unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    let knobs =
        Knobs { max_batched_tokens: 64, max_sequences: 8, block_tokens: 16, kv_blocks: 512, ..Knobs::default() };
    let mut s = stages::random::Stream::new(7, "x", 0);
    let mut t = 0.0;
    let rows: Vec<Row> = (0..n)
        .map(|id| {
            t += s.exponential() / rate;
            let p = (1 + s.below(pmax)).max(1);
            let o = 1 + s.below(omax);
            Row {
                source: None,
                request: Request {
                    id,
                    arrival: Nanos((t * 1e9) as u64),
                    prompt_tokens: p,
                    output_tokens: o,
                    prompt: (0..p).map(|_| s.below(4096)).collect(),
                    prefix_blocks: [].into(),
                    priority: 0,
                },
            }
        })
        .collect();
    write_requests(&dir.join("requests.parquet"), &[], &rows).unwrap();
    let wire = |l: &str, p: std::path::PathBuf| {
        (l.to_owned(), vec![Source { label: l.into(), path: p, digest: "0".repeat(64) }])
    };
    let inputs: BTreeMap<_, _> =
        [wire("model", model.clone().into()), wire("requests", dir.join("requests.parquet"))].into();
    if secs > 0.0 {
        let begin = std::time::Instant::now();
        let mut io = Io::detached(&dir, inputs.clone(), &["ops"]);
        let cfg = stages::profile::Config { scheduler: knobs.clone(), seconds: secs, ..Default::default() };
        stages::profile::Profile::run(&cfg, &mut io).unwrap();
        println!("profile took {:.1?}", begin.elapsed());
    }
    let ops: Vec<tables::ops::Row> = tables::read(&dir.join("out/ops/ops.parquet")).unwrap();
    let requests: Vec<Request> = rows.iter().map(|r| r.request.clone()).collect();
    let mut machine = Machine::new(Predictor::new(&ops, Outside::Refuse).unwrap());
    for n in machine.predictor().notes() {
        println!("note {n}");
    }
    let mut run = Run::for_requests(&requests);
    serve(&requests, &knobs, Tabled::Counted, &mut machine, &mut run).unwrap();
    let sim = RunTables::of(run, TokenIds::MadeUp, RunMeta::new("sim", "virtual"));
    for _ in 0..reps {
        let mut io = Io::detached(&dir, inputs.clone(), &["run", "sample"]);
        let _ = std::fs::remove_dir_all(dir.join("out/run"));
        stages::bench::Bench::run(&stages::bench::Config { scheduler: knobs.clone(), ..Default::default() }, &mut io)
            .unwrap();
        let real = RunTables::read(&dir.join("out/run")).unwrap();
        let metrics = |r: &RunTables| {
            let ttft: Vec<f64> =
                r.requests.iter().map(|q| (q.first_token.unwrap().0 - q.arrival.0) as f64 / 1e6).collect();
            let e2e: Vec<f64> =
                r.requests.iter().map(|q| (q.completion.unwrap().0 - q.arrival.0) as f64 / 1e6).collect();
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            let mut tbt = vec![];
            for t in &r.tokens {
                if let Some(l) = last.insert(t.request, t.time.0) {
                    tbt.push((t.time.0 - l) as f64 / 1e6);
                }
            }
            let host: Vec<f64> = r.batches.iter().map(|b| b.host.0 as f64 / 1e6).collect();
            let dev: Vec<f64> = r.batches.iter().map(|b| b.device.0 as f64 / 1e6).collect();
            [("ttft", ttft), ("tbt", tbt), ("e2e", e2e), ("host", host), ("device", dev)]
        };
        println!("batches sim {} real {}", sim.batches.len(), real.batches.len());
        for ((name, mut a), (_, mut b)) in metrics(&sim).into_iter().zip(metrics(&real)) {
            a.sort_by(f64::total_cmp);
            b.sort_by(f64::total_cmp);
            print!("{name:7}");
            for q in [0.5, 0.9, 0.99] {
                let (x, y) = (a[((a.len() - 1) as f64 * q) as usize], b[((b.len() - 1) as f64 * q) as usize]);
                print!("  p{:.0} sim {x:.3} real {y:.3} {:+.1}%", q * 100.0, (x / y - 1.0) * 100.0);
            }
            println!();
        }
        // replay: predicted time of real batches by sort
        let mut p = Predictor::new(&ops, Outside::Refuse).unwrap();
        let mut groups: BTreeMap<String, (f64, f64, u32)> = BTreeMap::new();
        let mut prev_end = 0u64;
        for b in &real.batches {
            use stages::infer::machine::Predict;
            let batch = stages::infer::serve::Batch {
                slices: b
                    .seqs
                    .iter()
                    .zip(&b.contexts)
                    .zip(&b.tokens)
                    .map(|((s, c), t)| stages::infer::serve::Slice { seq: *s, context: *c, tokens: *t, yields: true })
                    .collect(),
            };
            let t = p.step_time(&batch).unwrap();
            let dec = b.tokens.iter().filter(|t| **t == 1).count();
            let idle = if b.start.0 - prev_end > 2_000_000 { "idle " } else { "" };
            prev_end = b.end.0;
            let key = if dec == b.tokens.len() {
                format!("{idle}decode {dec}")
            } else if dec == 0 {
                format!("{idle}chunk")
            } else {
                format!("{idle}mixed")
            };
            let g = groups.entry(key).or_default();
            g.0 += t.device.0 as f64;
            g.1 += b.device.0 as f64;
            g.2 += 1;
        }
        for (k, (a, b, n)) in groups {
            println!("  {k}: n {n} predicted/real {:.3} mean real {:.3} ms", a / b, b / n as f64 / 1e6);
        }
    }
}
