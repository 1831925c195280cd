#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::exec::Source as Wire;

use super::*;
use crate::infer::time::Nanos;
use crate::model::weights::tests::tiny_card;
use crate::tables::requests::{Row, write_requests};

fn write(directory: &Path, requests: Vec<Request>) {
    let rows: Vec<Row> = requests.into_iter().map(|request| Row { request, source: None }).collect();
    write_requests(&directory.join("requests.parquet"), &[], &rows).unwrap();
}

/// A directory with a card and a workload of five requests, two of them at once.
pub(crate) fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let card = toml::to_string(&tiny_card()).unwrap();
    std::fs::write(directory.path().join("model.toml"), card).unwrap();
    let requests: Vec<Request> =
        [(0u64, 20u32, 6u32), (0, 33, 4), (1_000_000, 5, 9), (2_000_000, 8, 1), (3_000_000, 40, 3)]
            .iter()
            .enumerate()
            .map(|(id, (arrival, prompt, output))| Request {
                id: id as u32,
                arrival: Nanos(*arrival),
                prompt_tokens: *prompt,
                output_tokens: *output,
                prompt: (0..*prompt).map(|i| (i * 13 + id as u32 * 31) % 140).collect(),
                prefix_blocks: [].into(),
                priority: 0,
            })
            .collect();
    write(directory.path(), requests);
    directory
}

pub(crate) fn wire(label: &str, path: PathBuf) -> (String, Vec<Wire>) {
    (label.to_owned(), vec![Wire { label: label.to_owned(), path, digest: "0".repeat(64) }])
}

fn io(directory: &Path) -> Io {
    let inputs: BTreeMap<_, _> =
        [wire("model", directory.join("model.toml")), wire("requests", directory.join("requests.parquet"))]
            .into_iter()
            .collect();
    Io::detached(directory, inputs, &["run", "sample"])
}

fn small() -> Config {
    let scheduler =
        Knobs { max_batched_tokens: 16, max_sequences: 4, block_tokens: 4, kv_blocks: 64, ..Knobs::default() };
    Config { scheduler, warmup_s: 0.0, ..Config::default() }
}

fn benched(config: &Config) -> (RunTables, String) {
    let directory = project();
    Bench::run(config, &mut io(directory.path())).unwrap();
    let out = directory.path().join("out");
    (RunTables::read(&out.join("run")).unwrap(), std::fs::read_to_string(out.join("sample")).unwrap())
}

#[test]
fn a_run_is_written_whole_and_both_engines_say_the_same() {
    let (paged, sample) = benched(&small());
    assert_eq!(paged.requests.len(), 5);
    assert_eq!(paged.tokens.len(), 6 + 4 + 9 + 1 + 3);
    assert!(paged.requests.iter().all(|r| r.produced_tokens == r.output_tokens && r.completion.is_some()));
    assert!(paged.batches.iter().all(|b| b.device.0 > 0));
    assert_eq!((paged.meta.kind.as_str(), paged.meta.backend.as_str()), ("bench", "paged"));
    assert!(sample.starts_with("request 0\nprompt, 20 token ids\n0 13 26"), "{sample}");

    let one = Knobs { max_sequences: 1, ..small().scheduler };
    let (plain, _) = benched(&Config { backend: Engine::Candle, scheduler: one, ..small() });
    assert_eq!(plain.meta.backend, "candle");
    let ids = |run: &RunTables| {
        let mut ids: Vec<_> = run.tokens.iter().map(|t| (t.request, t.index, t.token)).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&paged), ids(&plain));
}

fn complaint(config: Config) -> (String, String) {
    let complaint = Bench::contract(&config, &Wired::default()).unwrap_err();
    assert!(complaint.help.is_some() || complaint.field.starts_with("scheduler"), "{complaint:?}");
    (complaint.field, complaint.message)
}

#[test]
fn a_configuration_that_cannot_be_meant_names_its_field() {
    let knobs = small().scheduler;
    let with = |scheduler: Knobs| Config { scheduler, ..small() };
    assert_eq!(complaint(with(Knobs { kv_blocks: 0, ..knobs.clone() })).0, "scheduler.kv_blocks");
    assert_eq!(complaint(with(Knobs { pipelined: true, ..knobs.clone() })).0, "scheduler.pipelined");
    assert_eq!(complaint(Config { backend: Engine::Candle, ..small() }).0, "scheduler.max_sequences");
    assert_eq!(complaint(Config { warmup_s: f64::NAN, ..small() }).0, "warmup_s");
    let card = Hardware { device: DeviceSort::Cuda, ..Hardware::default() };
    assert_eq!(complaint(Config { backend: Engine::Candle, hardware: card, ..small() }).0, "backend");
}

#[test]
fn what_does_not_fit_or_cannot_be_computed_is_refused_before_the_clock_starts() {
    let directory = project();
    let mut config = small();
    config.hardware.memory_mib = 1;
    config.scheduler.kv_blocks = 4096;
    let error = Bench::run(&config, &mut io(directory.path())).unwrap_err();
    assert!(error.message.starts_with("serving takes "), "{error}");
    assert!(error.help.unwrap().starts_with("`scheduler.kv_blocks` of "));

    let fault = |prompt: &[u32], output_tokens: u32| {
        let request = Request {
            id: 0,
            arrival: Nanos(0),
            prompt_tokens: prompt.len() as u32,
            output_tokens,
            prompt: prompt.into(),
            prefix_blocks: [].into(),
            priority: 0,
        };
        write(directory.path(), vec![request]);
        Bench::run(&Config { scheduler: config.scheduler.clone(), ..small() }, &mut io(directory.path()))
            .unwrap_err()
            .message
    };
    assert_eq!(
        fault(&[150], 1),
        "request 0 cannot be computed: its prompt holds the id 150, the model `tiny` knows ids below 150"
    );
    assert_eq!(
        fault(&[1; 500], 13),
        "request 0 cannot be computed: it is 513 tokens long, the model `tiny` knows 512 positions"
    );
}

#[test]
fn a_real_run_under_orca_prefills_whole_prompts_and_serves_everybody() {
    let scheduler = Knobs {
        policy: crate::infer::schedule::Policy::Orca,
        max_sequence_tokens: Some(48),
        max_batched_tokens: 16,
        max_sequences: 4,
        block_tokens: 4,
        kv_blocks: 64,
        ..Knobs::default()
    };
    let (run, _) = benched(&Config { scheduler, warmup_s: 0.0, ..Config::default() });
    assert!(run.requests.iter().all(|r| r.produced_tokens == r.output_tokens), "{:?}", run.requests);
    let first = &run.batches[0];
    assert_eq!((&first.seqs[..2], &first.tokens[..2]), (&[0u32, 1][..], &[20u32, 33][..]), "no chunk of 16 tokens");
}
