#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::exec::Source;

use super::*;
use crate::infer::time::Nanos;
use crate::tables::requests::{Row, write_requests};
use crate::tables::run::{RunTables, Status};

const CARD: &str = r#"
name = "toy"
architecture = "llama"
layers = 2
hidden = 8
heads = 2
kv_heads = 1
head_dim = 4
ffn = 16
vocab = 100
tokenizer_size = 100
tied_embeddings = true
qk_norm = false
rope_theta = 10000.0
norm_eps = 1e-5
max_positions = 300
dtype = "f32"
"#;

/// 1 µs an operation and 10 ns a token; attention by context.
fn profile() -> Vec<ops::Row> {
    let row = |op: &str, tokens: u32, sequences: u32, context: u32, median_ns: f64| ops::Row {
        op: op.to_owned(),
        tokens,
        sequences,
        context,
        calls_per_step: 1,
        samples: 5,
        median_ns,
        mad_ns: 1.0,
        min_ns: median_ns,
        p90_ns: median_ns,
    };
    let mut rows = Vec::new();
    for n in [1u32, 8, 64, 512] {
        let time = 1000.0 + 10.0 * f64::from(n);
        for op in ["embed", "norm", "qkv", "qk_rope", "kv_write", "o", "gate_up", "silu_mul", "down", "add"] {
            rows.push(row(op, n, 1, 0, time));
        }
        for op in ["head", "sample", "host"] {
            rows.push(row(op, n, n, 0, time));
        }
        for context in [0u32, 256] {
            rows.push(row("attention_decode", n, n, context, time * (1.0 + f64::from(context))));
            rows.push(row("attention_prefill", n.max(2), 1, context, time * (1.0 + f64::from(context))));
        }
    }
    rows
}

fn requests(count: u32, prompt_tokens: u32) -> Vec<Row> {
    let request = |id| Request {
        id,
        arrival: Nanos(u64::from(id) * 30_000),
        prompt_tokens: prompt_tokens + id % 7,
        output_tokens: 1 + id % 11,
        prompt: Arc::default(),
        prefix_blocks: Arc::default(),
        priority: 0,
    };
    (0..count).map(|id| Row { request: request(id), source: None }).collect()
}

/// Runs the kind in `directory` on what is given.
fn run(directory: &Path, config: &Config, requests: &[Row], rows: &[ops::Row]) -> Result<RunTables, StageError> {
    let at = |name: &str| directory.join(name);
    std::fs::create_dir_all(at("ops")).unwrap();
    std::fs::write(at("model.toml"), CARD).unwrap();
    write_requests(&at("requests.parquet"), &[], requests).unwrap();
    crate::tables::write(&at("ops/ops.parquet"), &[], rows).unwrap();
    let source = |name: &str, path: &str| {
        (name.to_owned(), vec![Source { label: path.to_owned(), path: at(path), digest: String::new() }])
    };
    let inputs = [source("requests", "requests.parquet"), source("ops", "ops"), source("model", "model.toml")];
    let mut io = Io::detached(directory, BTreeMap::from(inputs), &["run"]);
    Sim::run(config, &mut io)?;
    Ok(RunTables::read(&at("out/run")).unwrap())
}

fn bytes(directory: &Path) -> Vec<Vec<u8>> {
    ["requests.parquet", "tokens.parquet", "batches.parquet", "meta.json"]
        .map(|name| std::fs::read(directory.join("out/run").join(name)).unwrap())
        .to_vec()
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = Config::default();
    let tables = run(a.path(), &config, &requests(60, 20), &profile()).unwrap();
    run(b.path(), &config, &requests(60, 20), &profile()).unwrap();
    assert_eq!(bytes(a.path()), bytes(b.path()));
    assert_eq!(tables.requests.len(), 60);
    assert!(tables.requests.iter().all(|r| r.status == Status::Ok && r.produced_tokens == r.output_tokens));
    assert!(tables.tokens.iter().all(|t| t.token.is_none()), "nobody computed them");
    assert_eq!(tables.meta.knobs, serde_json::to_value(Knobs::default()).unwrap());
    assert_eq!(tables.meta.facts["completed_requests"], 60);
}

#[test]
fn a_run_outside_of_the_profile_ends_or_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let short: Vec<ops::Row> = profile().into_iter().filter(|r| r.op != "attention_decode" || r.context < 9).collect();
    let error = run(directory.path(), &Config::default(), &requests(4, 20), &short).unwrap_err();
    assert!(error.to_string().contains("`attention_decode` up to 0 tokens of context"), "{error}");
    assert!(error.help.unwrap().contains("extrapolate"));
    let directory = tempfile::tempdir().unwrap();
    let config = Config { outside: Outside::Extrapolate, ..Config::default() };
    let tables = run(directory.path(), &config, &requests(4, 20), &short).unwrap();
    assert!(tables.meta.notes.iter().any(|n| n.contains("rest on extrapolation")), "{:?}", tables.meta.notes);
}

#[test]
fn a_request_longer_than_the_model_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { outside: Outside::Extrapolate, ..Config::default() };
    let tables = run(directory.path(), &config, &requests(2, 299), &profile()).unwrap();
    assert_eq!(tables.requests[0].status, Status::Ok);
    assert_eq!(tables.requests[1].status, Status::Refused);
    assert!(tables.requests[1].error.as_deref().unwrap().contains("`max_sequence_tokens` = 300"));
}

#[test]
fn a_profile_that_cannot_be_true_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut rows = profile();
    rows[3].median_ns = 0.0;
    let error = run(directory.path(), &Config::default(), &requests(2, 9), &rows).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("ops.parquet") && told.contains("row 3") && told.contains("`qk_rope`"), "{told}");
}

#[test]
fn a_knob_that_cannot_be_is_a_complaint_about_its_field() {
    let config = Config { scheduler: Knobs { kv_blocks: 0, ..Knobs::default() }, ..Config::default() };
    let complaint = Sim::contract(&config, &Wired::default()).unwrap_err();
    assert_eq!(complaint.field, "scheduler.kv_blocks");
}

#[test]
fn printed_and_parsed_again_a_configuration_is_the_same() {
    let config = Config { outside: Outside::Extrapolate, ..Config::default() };
    let printed = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&printed).unwrap(), config);
}
