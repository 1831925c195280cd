#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use super::*;
use crate::compare::align::{Clock, align};
use crate::compare::figures::metrics;
use crate::compare::metric::{Metric, Stat};
use crate::compare::tests::{ENGINE, served, workload, write_run};
use crate::compare::verdict::{Outcome, Thresholds};
use crate::compare::{Config, checks, compare};

/// Real data that is not shipped; where it is absent the test says what it misses and proves nothing.
fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PIPE_TEST_DATA").map(PathBuf::from);
    let found = root.map(|root| root.join(path)).filter(|path| path.exists());
    if found.is_none() {
        eprintln!("not run: set PIPE_TEST_DATA to a directory that holds `{path}`");
    }
    found
}

fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

const METRICS: &str = "request_id,arrival_time_ns,first_token_time_ns,ttft_ns,num_prefill_tokens,num_decode_tokens,\
                       num_decode_tokens_actual,status,completion_time_ns\n";
const TOKEN_METRICS: &str = "request_id,token_index,token_time_ns,token_latency_ns\n";

#[test]
fn our_own_tables_come_back_as_they_were() {
    let side = served("sim.run", &workload(20), ENGINE);
    let directory = tempfile::tempdir().unwrap();
    write_run(&side, &directory.path().join("run"));
    let back = read(&directory.path().join("run"), "sim.run").unwrap();
    assert_eq!(back.requests, side.requests);
    assert_eq!(back.tokens, side.tokens);
    assert_eq!(back.batches, side.batches);
    assert_eq!(back.meta, side.meta);
}

#[test]
fn the_predecessors_columns_are_understood() {
    let requests = format!("{METRICS}1,20,50,30,8,2,2,ok,90\n0,10,30,20,7,3,2,ok,60\n");
    let tokens = format!("{TOKEN_METRICS}0,0,30,0\n0,1,60,30\n1,0,50,0\n1,1,90,40\n");
    let meta = r#"{"run_type":"real","backend":"sarathi","model":"m","scheduler":{"chunk_size":16,"max_num_seqs":4}}"#;
    let run = written(&[("request_metrics.csv", &requests), ("token_metrics.csv", &tokens), ("run_meta.json", meta)]);
    let side = read(run.path(), "real").unwrap();
    assert_eq!(side.requests[0].output_tokens, 3);
    assert_eq!(side.requests[0].produced_tokens, 2);
    assert_eq!(side.tokens.unwrap(), [[30, 60], [50, 90]]);
    assert_eq!(side.meta.knobs, serde_json::json!({ "max_batched_tokens": 16, "max_sequences": 4 }));
    assert_eq!((side.meta.backend.as_str(), side.meta.model.name.as_str()), ("sarathi", "m"));
}

#[test]
fn a_completion_that_the_row_lacks_is_the_last_tokens_time() {
    let requests = "request_id,arrival_time_ns,first_token_time_ns,ttft_ns,num_prefill_tokens,num_decode_tokens,\
                    num_decode_tokens_actual,status\n0,0,5,5,1,2,2,ok\n";
    let run = written(&[
        ("request_metrics.csv", requests),
        ("token_metrics.csv", &format!("{TOKEN_METRICS}0,0,5,0\n0,1,9,4\n")),
    ]);
    assert_eq!(read(run.path(), "r").unwrap().requests[0].completion.unwrap().0, 9);
    let bare = written(&[("request_metrics.csv", requests)]);
    assert!(read(bare.path(), "r").unwrap_err().message.contains("request 0 has no `completion_time_ns`"));
}

#[test]
fn a_fault_names_file_line_and_column() {
    let cases = [
        ("0,-5,30,20,7,2,2,ok,60\n", "line 2: `arrival_time_ns` is `-5`, wanted a whole number of at least 0"),
        ("0,10,30,21,7,2,2,ok,60\n", "line 2: `ttft_ns` is 21, but first token - arrival = 30 - 10"),
        ("0,10,30,20,7,2,2,ok,60\n0,10,30,20,7,2,2,ok,60\n", "holds request 0 twice"),
        ("0,10,30,20,7,2,2,lost,60\n", "line 2: `status` is `lost`"),
        ("0,10,30,20,7,2,2,ok,29\n", "line 2: `completion_time_ns` lies before"),
        ("0,10,,20,7,2,2,ok,29\n", "line 2: `first_token_time_ns` is empty"),
        ("0,10,30,20,7,nan,2,ok,60\n", "line 2: `num_decode_tokens` is `nan`"),
        ("", "holds no request"),
    ];
    for (rows, wanted) in cases {
        let run = written(&[("request_metrics.csv", &format!("{METRICS}{rows}"))]);
        let error = read(run.path(), "r").unwrap_err();
        assert!(error.message.contains(wanted), "{rows:?}: {}", error.message);
    }
    let run = written(&[("request_metrics.csv", "request_id,status\n0,ok\n")]);
    let error = read(run.path(), "r").unwrap_err();
    assert!(error.message.contains("request_metrics.csv` has no column `arrival_time_ns`"), "{}", error.message);
    assert_eq!(error.help.as_deref(), Some("it has: request_id, status"));
}

#[test]
fn a_token_file_that_contradicts_the_requests_is_refused() {
    let requests = format!("{METRICS}0,10,30,20,7,2,2,ok,60\n");
    let cases = [
        ("0,0,30,0\n", "holds 1 tokens of request 0"),
        ("0,0,30,0\n0,2,60,30\n", "line 3: `token_index` is not 1"),
        ("0,0,30,0\n0,1,20,30\n", "line 3: `token_time_ns` falls"),
        ("5,0,30,0\n", "line 2: `request_id` 5 is not in"),
    ];
    for (rows, wanted) in cases {
        let tokens = format!("{TOKEN_METRICS}{rows}");
        let run = written(&[("request_metrics.csv", &requests), ("token_metrics.csv", &tokens)]);
        let error = read(run.path(), "r").unwrap_err();
        assert!(error.message.contains(wanted), "{rows:?}: {}", error.message);
    }
}

#[test]
fn a_row_of_status_error_may_lack_its_times() {
    let run = written(&[("request_metrics.csv", &format!("{METRICS}0,10,,,7,2,0,error,\n1,10,30,20,7,2,2,ok,60\n"))]);
    let side = read(run.path(), "r").unwrap();
    assert_eq!(side.requests[0].first_token, None);
}

#[test]
fn a_recording_says_its_completions_through_its_tokens() {
    let run = written(&[
        ("requests.csv", "request_id,arrival_ns,sent_ns,prompt_tokens,output_tokens\n0,100,105,8,2\n"),
        ("tokens.csv", "request_id,token_index,time_ns\n0,1,400\n0,0,300\n"),
    ]);
    let side = read(run.path(), "r").unwrap();
    let request = &side.requests[0];
    assert_eq!(
        (request.sent.unwrap().0, request.first_token.unwrap().0, request.completion.unwrap().0),
        (105, 300, 400)
    );
    assert_eq!(request.produced_tokens, 2);
}

#[test]
fn what_is_no_run_is_said_with_what_would_be_one() {
    let empty = written(&[]);
    assert!(read(empty.path(), "r").unwrap_err().help.unwrap().contains("requests.parquet"));
    let packed = written(&[("requests.csv.gz", ""), ("tokens.csv.gz", "")]);
    assert!(read(packed.path(), "r").unwrap_err().help.unwrap().contains("gunzip"));
    let pair = written(&[]);
    std::fs::create_dir(pair.path().join("real")).unwrap();
    std::fs::create_dir(pair.path().join("sim")).unwrap();
    assert!(read(pair.path(), "r").unwrap_err().help.unwrap().contains("wire its `sim` to `predicted`"));
}

#[test]
fn the_example_of_the_predecessors_layout_gives_its_known_percentiles() {
    let Some(root) = data("traces/predecessor") else { return };
    let real = [read(&root.join("real_run"), "real").unwrap()];
    let sim = read(&root.join("vidur_run"), "sim").unwrap();
    let aligned = align(&sim, &real, Clock::Arrival);
    assert_eq!(aligned.cut, [4, 9]);
    let found = metrics(&aligned, &Thresholds::default());
    let ttft = found.iter().find(|m| m.metric == Metric::Ttft).unwrap();
    let wanted = [
        (Stat::P50, 138_012_104.5, 2_008_000.0),
        (Stat::P90, 268_098_446.1, 14_088_318.3),
        (Stat::P99, 338_736_899.64, 15_482_475.02),
    ];
    for (stat, measured, predicted) in wanted {
        let figure = ttft.figure(stat).unwrap();
        assert!((figure.measured_ns - measured).abs() < 1e-3, "{figure:?}");
        assert!((figure.predicted_ns - predicted).abs() < 1e-3, "{figure:?}");
    }
    let verdict = compare(&Config::default(), &sim, &real, None, None).unwrap();
    let chunk = verdict.knobs.iter().find(|k| k.name == "max_batched_tokens").unwrap();
    assert_eq!((chunk.predicted.as_deref(), chunk.outcome), (Some("16"), Outcome::Same));
    assert!(verdict.notes.iter().any(|n| n.contains("interpolated")));
}

/// Their table: `TTFT Mean  65456.6  65820.2  +0.6%`, in ms.
#[test]
fn every_published_figure_of_llmservingsim_comes_out() {
    let folders = [
        "llmservingsim_rtx4090_llama3.1_8b",
        "llmservingsim_rtxpro6000_llama3.1_8b",
        "llmservingsim_rtxpro6000_qwen3_32b_tp2",
        "llmservingsim_rtxpro6000_qwen3_30b_a3b",
    ];
    let mut figures = 0;
    for folder in folders {
        let Some(root) = data(&format!("traces/{folder}")) else { return };
        let real = [read(&root.join("real"), "real").unwrap()];
        let sim = read(&root.join("sim"), "sim").unwrap();
        assert!(checks::refusals(&checks::all(&sim, &real, &[])).is_empty(), "{folder}");
        let aligned = align(&sim, &real, Clock::Sent);
        assert_eq!(aligned.predicted.len(), 300, "{folder}");
        let found = metrics(&aligned, &Thresholds::default());
        let published = std::fs::read_to_string(root.join("published_summary.txt")).unwrap();
        for line in published.lines().skip(2).filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [metric, stat, measured, predicted, difference] = words[..] else { panic!("{line}") };
            let metric = match metric {
                "TTFT" => Metric::Ttft,
                "TPOT" => Metric::Tpot,
                _ => Metric::E2e,
            };
            let stat = match stat {
                "Mean" => Stat::Mean,
                "Median" => Stat::P50,
                "P90" => Stat::P90,
                "P95" => Stat::P95,
                _ => Stat::P99,
            };
            let figure = found.iter().find(|m| m.metric == metric).unwrap().figure(stat).unwrap();
            let ours = [
                format!("{:.1}", figure.measured_ns / 1e6),
                format!("{:.1}", figure.predicted_ns / 1e6),
                format!("{:+.1}%", figure.error.unwrap() * 100.0),
            ];
            assert_eq!(ours, [measured, predicted, difference], "{folder}: {line}");
            figures += 3;
        }
    }
    assert_eq!(figures, 180);
}

#[test]
fn a_recording_of_a_real_engine_gives_its_known_percentiles() {
    let Some(root) = data("recordings/vllm_h100/r08") else { return };
    let unpacked = tempfile::tempdir().unwrap();
    for name in ["requests.csv", "tokens.csv"] {
        let packed = std::fs::File::open(root.join(format!("{name}.gz"))).unwrap();
        let plain = std::fs::File::create(unpacked.path().join(name)).unwrap();
        let status = std::process::Command::new("gzip").arg("-dc").stdin(packed).stdout(plain).status().unwrap();
        assert!(status.success());
    }
    let side = read(unpacked.path(), "r08").unwrap();
    let aligned = align(&side, std::slice::from_ref(&side), Clock::Arrival);
    let found = metrics(&aligned, &Thresholds::default());
    let wanted = [
        (Metric::Ttft, ["22.182", "45.811", "89.464"]),
        (Metric::Tpot, ["2.648", "3.616", "4.903"]),
        (Metric::E2e, ["363.5", "739.6", "1306.5"]),
    ];
    for (metric, texts) in wanted {
        let errors = found.iter().find(|m| m.metric == metric).unwrap();
        for (stat, text) in [Stat::P50, Stat::P90, Stat::P99].into_iter().zip(texts) {
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let ours = errors.figure(stat).unwrap().predicted_ns / 1e6;
            assert_eq!(format!("{ours:.digits$}"), text, "{metric:?} {stat:?}");
        }
    }
}
