//! Two synthetic runs with known differences, and what the comparison must find in them.
//!
//! [`served`] makes a run from a list of batches, as an engine would leave it: every instant is the start or the end of
//! a batch, so the tables agree with each other.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use engine::kind::Wired;
use serde_json::json;

use super::metric::{Metric, Stat};
use super::side::{Format, Side};
use super::verdict::{Grade, Outcome};
use super::*;
use crate::infer::time::Nanos;
use crate::tables::run::{BatchRow, Named, RequestRow, RunMeta, RunTables, TokenRow};

/// One request of a made-up workload: arrival ms, prompt tokens, output tokens.
pub(crate) type Asked = (u64, u32, u32);

/// How a made-up engine behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine {
    /// Device time of a batch, ns, for each prompt token in it.
    pub(crate) prefill_ns: u64,
    /// Device time of any batch, ns.
    pub(crate) step_ns: u64,
    /// Host time before any batch, ns.
    pub(crate) host_ns: u64,
    /// Most sequences at a time.
    pub(crate) max_sequences: u32,
}

pub(crate) const ENGINE: Engine = Engine { prefill_ns: 10_000, step_ns: 5_000_000, host_ns: 200_000, max_sequences: 8 };

/// Serves requests first come first served: each iteration prefills whole the requests that wait and decodes the rest.
pub(crate) fn served(label: &str, asked: &[Asked], engine: Engine) -> Side {
    let mut requests: Vec<RequestRow> = asked
        .iter()
        .enumerate()
        .map(|(id, (at, prompt, output))| RequestRow {
            id: u32::try_from(id).unwrap(),
            arrival: Nanos(at * 1_000_000),
            prompt_tokens: *prompt,
            output_tokens: *output,
            ..RequestRow::default()
        })
        .collect();
    let mut tokens: Vec<Vec<u64>> = vec![Vec::new(); asked.len()];
    let mut batches: Vec<BatchRow> = Vec::new();
    let mut now = 0_u64;
    let mut admitted = 0_usize;
    let mut running: Vec<usize> = Vec::new();
    loop {
        running.retain(|i| tokens[*i].len() < asked[*i].2 as usize);
        if running.is_empty() {
            match requests.get(admitted) {
                Some(next) => now = now.max(next.arrival.0),
                None => break,
            }
        }
        let decodes = running.len();
        while admitted < asked.len()
            && requests[admitted].arrival.0 <= now
            && running.len() < engine.max_sequences as usize
        {
            running.push(admitted);
            admitted += 1;
        }
        let waiting = requests[admitted..].iter().take_while(|r| r.arrival.0 <= now).count();
        let prefill: u32 = running[decodes..].iter().map(|i| asked[*i].1).sum();
        let device = engine.step_ns + engine.prefill_ns * u64::from(prefill);
        let start = now + engine.host_ns;
        let context = |i: &usize| if tokens[*i].is_empty() { 0 } else { asked[*i].1 + tokens[*i].len() as u32 - 1 };
        let computed = |i: &usize| if tokens[*i].is_empty() { asked[*i].1 } else { 1 };
        let held: u32 = running.iter().map(|i| (context(i) + computed(i)).div_ceil(16)).sum();
        batches.push(BatchRow {
            id: u32::try_from(batches.len()).unwrap(),
            scheduled: Nanos(now),
            start: Nanos(start),
            end: Nanos(start + device),
            device: Nanos(device),
            host: Nanos(engine.host_ns),
            prefill_tokens: prefill,
            decode_tokens: u32::try_from(decodes).unwrap(),
            seqs: running.iter().map(|i| u32::try_from(*i).unwrap()).collect(),
            contexts: running.iter().map(context).collect(),
            tokens: running.iter().map(computed).collect(),
            kv_blocks_used: held,
            running: u32::try_from(running.len()).unwrap(),
            waiting: u32::try_from(waiting).unwrap(),
            preempted: 0,
        });
        now = start + device;
        for i in running.iter().copied() {
            requests[i].scheduled.get_or_insert(Nanos(start));
            requests[i].first_token.get_or_insert(Nanos(now));
            requests[i].completion = Some(Nanos(now));
            requests[i].produced_tokens += 1;
            tokens[i].push(now);
        }
    }
    let mut meta = RunMeta::new("sim", "virtual");
    meta.knobs = json!({ "max_sequences": engine.max_sequences, "max_batched_tokens": 512, "policy": "sarathi" });
    meta.model = Named { name: "toy".to_owned(), digest: "c".repeat(64) };
    meta.requests = Named { name: "workload.requests".to_owned(), digest: "a".repeat(64) };
    Side { label: label.to_owned(), format: Format::Tables, requests, tokens: Some(tokens), batches, meta }
}

/// A workload of some breadth: bursts, long and short prompts, a queue now and then.
pub(crate) fn workload(n: u64) -> Vec<Asked> {
    (0..n).map(|i| (i * 12 + (i * i) % 17, 16 + ((i * 37) % 400) as u32, 2 + ((i * 13) % 40) as u32)).collect()
}

/// Writes a side as a run directory.
pub(crate) fn write_run(side: &Side, directory: &Path) {
    let rows = side.requests.iter().zip(side.tokens.as_ref().unwrap());
    let mut tokens: Vec<TokenRow> = rows
        .flat_map(|(request, times)| {
            times.iter().enumerate().map(|(index, time)| TokenRow {
                request: request.id,
                index: u32::try_from(index).unwrap(),
                time: Nanos(*time),
                batch: side.batches.binary_search_by_key(time, |b| b.end.0).map_or(0, |at| u32::try_from(at).unwrap()),
                token: None,
            })
        })
        .collect();
    tokens.sort_by_key(|t| (t.time, t.request));
    let run =
        RunTables { requests: side.requests.clone(), tokens, batches: side.batches.clone(), meta: side.meta.clone() };
    run.write(directory).unwrap();
}

fn verdict_of(predicted: &Side, measured: &[Side]) -> Verdict {
    compare(&Config::default(), predicted, measured, None, None).unwrap()
}

fn error_of(verdict: &Verdict, metric: Metric, stat: Stat) -> f64 {
    verdict.metric(metric).unwrap().figure(stat).unwrap().error.unwrap()
}

fn outcome(verdict: &Verdict, name: &str) -> Outcome {
    verdict.checks.iter().find(|c| c.name == name).unwrap().outcome
}

#[test]
fn a_run_compared_with_itself_is_right_everywhere() {
    let side = served("sim.run", &workload(120), ENGINE);
    let verdict = verdict_of(&side, std::slice::from_ref(&side));
    assert_eq!(verdict.grade, Grade::Pass);
    assert_eq!(verdict.metrics.len(), Metric::ALL.len());
    for errors in &verdict.metrics {
        assert_eq!((errors.ks, errors.wasserstein_ns), (0.0, 0.0), "{:?}", errors.metric);
        assert!(errors.figures.iter().all(|f| f.error == Some(0.0)), "{:?}", errors.metric);
    }
    assert!(verdict.checks.iter().all(|c| c.outcome == Outcome::Same), "{:?}", verdict.checks);
    assert!(verdict.worst.iter().all(|w| w.error == 0.0));
}

#[test]
fn figures_of_one_request_are_those_worked_by_hand() {
    // Arrives at 1 ms; host 0.2 ms; prefill 5 + 100 · 0.01 = 6 ms; then two decodes of 0.2 + 5 ms.
    let asked = [(1, 100, 3)];
    let measured = served("real.run", &asked, ENGINE);
    let predicted = served("sim.run", &asked, Engine { step_ns: 6_000_000, host_ns: 0, ..ENGINE });
    let verdict = verdict_of(&predicted, &[measured]);
    let figure = |metric| verdict.metric(metric).unwrap().figure(Stat::P50).unwrap().clone();
    let pair = |metric| (figure(metric).predicted_ns, figure(metric).measured_ns);
    assert_eq!(pair(Metric::Ttft), (7e6, 6.2e6));
    assert_eq!(pair(Metric::Queue), (0.0, 0.2e6));
    assert_eq!(pair(Metric::Prefill), (7e6, 6e6));
    assert_eq!(pair(Metric::Tbt), (6e6, 5.2e6));
    assert_eq!(pair(Metric::Tpot), (6e6, 5.2e6));
    assert_eq!(pair(Metric::Decode), (12e6, 10.4e6));
    assert_eq!(pair(Metric::E2e), (19e6, 16.6e6));
    assert_eq!(pair(Metric::Normalised), (19e6 / 3.0, 16.6e6 / 3.0));
    let rate = &verdict.throughput[0];
    assert!((rate.predicted_per_s - 3.0 / 0.019).abs() < 1e-9 && (rate.measured_per_s - 3.0 / 0.0166).abs() < 1e-9);
    assert!((error_of(&verdict, Metric::Ttft, Stat::P50) - (0.8 / 6.2)).abs() < 1e-12);
    assert_eq!(verdict.grade, Grade::Fail);
}

#[test]
fn errors_have_their_sign() {
    let asked = workload(60);
    let measured = served("real.run", &asked, ENGINE);
    let low = served("sim.run", &asked, Engine { step_ns: 4_900_000, ..ENGINE });
    let verdict = verdict_of(&low, std::slice::from_ref(&measured));
    assert!(error_of(&verdict, Metric::Tbt, Stat::P50) < 0.0);
    let high = served("sim.run", &asked, Engine { step_ns: 5_100_000, ..ENGINE });
    assert!(error_of(&verdict_of(&high, &[measured]), Metric::Tbt, Stat::P50) > 0.0);
}

#[test]
fn the_parts_of_e2e_add_up_to_its_error() {
    let asked = workload(80);
    let measured = served("real.run", &asked, ENGINE);
    let predicted = served("sim.run", &asked, Engine { prefill_ns: 14_000, ..ENGINE });
    let verdict = verdict_of(&predicted, &[measured]);
    let parts: f64 = verdict.attribution.parts.iter().map(|p| p.predicted_ns - p.measured_ns).sum();
    let e2e = verdict.metric(Metric::E2e).unwrap().figure(Stat::Mean).unwrap();
    assert!((parts - (e2e.predicted_ns - e2e.measured_ns)).abs() < 1.0, "{parts}");
    assert_eq!(verdict.attribution.parts.len(), 3);
}

#[test]
fn errors_that_cancel_fail_although_e2e_is_right() {
    // One request at a time: prefill 5 + 30 against 50 ms, decode 40 tokens at 5.2 against 4.8 ms.
    let asked: Vec<Asked> = (0..40).map(|i| (i * 1000, 3000, 40)).collect();
    let measured = served("real.run", &asked, ENGINE);
    let predicted = served("sim.run", &asked, Engine { prefill_ns: 2_000, step_ns: 5_615_385, ..ENGINE });
    let verdict = verdict_of(&predicted, &[measured]);
    assert!(error_of(&verdict, Metric::E2e, Stat::Mean).abs() < 0.01);
    assert!(error_of(&verdict, Metric::Ttft, Stat::Mean) < -0.5);
    assert!(error_of(&verdict, Metric::Tpot, Stat::Mean) > 0.09);
    assert_eq!(verdict.metric(Metric::E2e).unwrap().grade, Some(Grade::Pass));
    assert_eq!(verdict.grade, Grade::Fail);
    let said = verdict.attribution.cancels.unwrap();
    assert!(said.contains("cancel") && said.contains("TTFT") && said.contains("TPOT"), "{said}");
}

#[test]
fn of_several_repeats_a_figure_is_the_median_with_its_range() {
    let asked = workload(40);
    let repeats: Vec<Side> = [5_000_000, 5_200_000, 5_900_000]
        .into_iter()
        .enumerate()
        .map(|(i, step_ns)| served(&format!("real.run#{i}"), &asked, Engine { step_ns, ..ENGINE }))
        .collect();
    let predicted = served("sim.run", &asked, Engine { step_ns: 5_200_000, ..ENGINE });
    let verdict = verdict_of(&predicted, &repeats);
    let figure = verdict.metric(Metric::Tbt).unwrap().figure(Stat::P50).unwrap();
    assert_eq!(figure.error, Some(0.0));
    assert!(figure.measured_low_ns < figure.measured_ns && figure.measured_ns < figure.measured_high_ns);
    assert!(verdict.attribution.words.iter().any(|w| w.contains("range")), "{:?}", verdict.attribution.words);
}

#[test]
fn a_percentile_with_no_value_beyond_it_is_shown_and_not_graded() {
    let asked = workload(40);
    let side = served("sim.run", &asked, ENGINE);
    let verdict = verdict_of(&side, std::slice::from_ref(&side));
    let ttft = verdict.metric(Metric::Ttft).unwrap();
    assert_eq!(ttft.figure(Stat::P99).unwrap().grade, None);
    assert_eq!(ttft.figure(Stat::P95).unwrap().grade, Some(Grade::Pass));
    assert!(Stat::P90.supported(10) && !Stat::P90.supported(9) && Stat::P99.supported(100));
}

#[test]
fn the_first_batch_that_differs_is_named() {
    let asked = workload(30);
    let measured = served("real.run", &asked, ENGINE);
    let mut predicted = measured.clone();
    predicted.label = "sim.run".to_owned();
    predicted.batches[7].tokens[0] += 1;
    let verdict = verdict_of(&predicted, &[measured]);
    let check = verdict.checks.iter().find(|c| c.name == "batches").unwrap();
    assert_eq!(check.outcome, Outcome::Differs);
    assert!(check.said.contains("the first 7 are the same, batch 7 is"), "{}", check.said);
}

#[test]
fn other_requests_are_refused_by_name() {
    let asked = workload(10);
    let measured = served("real.run", &asked, ENGINE);
    let mut other = asked.clone();
    other[3].1 += 1;
    let predicted = served("sim.run", &other, ENGINE);
    let error = compare(&Config::default(), &predicted, std::slice::from_ref(&measured), None, None).unwrap_err();
    assert!(error.message.contains("request 3 has"), "{}", error.message);
    assert!(error.help.unwrap().contains("allow_mismatch"));
    let config = Config { allow_mismatch: true, ..Config::default() };
    let verdict = compare(&config, &predicted, &[measured], None, None).unwrap();
    assert_eq!(outcome(&verdict, "requests"), Outcome::Differs);
    assert!(verdict.notes[0].contains("not comparable"), "{:?}", verdict.notes);
}

#[test]
fn other_digests_are_other_requests() {
    let asked = workload(10);
    let measured = served("real.run", &asked, ENGINE);
    let mut predicted = measured.clone();
    predicted.meta.requests.digest = "b".repeat(64);
    let error = compare(&Config::default(), &predicted, &[measured], None, None).unwrap_err();
    assert!(error.message.contains("digests differ"), "{}", error.message);
}

#[test]
fn other_knobs_are_refused_and_every_one_is_named() {
    let asked = workload(10);
    let measured = served("real.run", &asked, ENGINE);
    let mut predicted = measured.clone();
    predicted.meta.knobs = json!({ "max_sequences": 8.0, "max_batched_tokens": 256, "policy": "orca" });
    let error = compare(&Config::default(), &predicted, std::slice::from_ref(&measured), None, None).unwrap_err();
    assert!(error.message.contains("`max_batched_tokens` is 256 predicted and 512 measured"), "{}", error.message);
    assert!(error.message.contains("`policy`") && !error.message.contains("max_sequences"), "{}", error.message);
    predicted.meta.knobs = json!({ "max_sequences": 8.0 });
    let verdict = verdict_of(&predicted, &[measured]);
    assert_eq!(outcome(&verdict, "knobs"), Outcome::Unknown);
    let known: Vec<_> = verdict.knobs.iter().map(|k| (k.name.as_str(), k.outcome)).collect();
    assert_eq!(
        known,
        [("max_batched_tokens", Outcome::Unknown), ("max_sequences", Outcome::Same), ("policy", Outcome::Unknown)]
    );
}

#[test]
fn another_model_is_refused() {
    let measured = served("real.run", &workload(5), ENGINE);
    let mut predicted = measured.clone();
    predicted.meta.model = Named { name: "other".to_owned(), digest: "d".repeat(64) };
    let error = compare(&Config::default(), &predicted, &[measured], None, None).unwrap_err();
    assert!(error.message.contains("model: `other` predicted, `toy` measured"), "{}", error.message);
}

#[test]
fn a_card_that_no_side_served_is_refused() {
    let side = served("sim.run", &workload(5), ENGINE);
    let text = "name = \"other\"\narchitecture = \"qwen3\"\nlayers = 1\nhidden = 64\nheads = 2\nkv_heads = 1\n\
                head_dim = 32\nffn = 64\nvocab = 100\ntokenizer_size = 100\ntied_embeddings = true\nqk_norm = true\n\
                rope_theta = 1e6\nnorm_eps = 1e-6\nmax_positions = 128\ndtype = \"f32\"\n";
    let card = card::parse(text).unwrap();
    let error = compare(&Config::default(), &side, std::slice::from_ref(&side), None, Some(&card)).unwrap_err();
    assert!(error.message.contains("the card is `other`, `sim.run` served `toy`"), "{}", error.message);
    let mut right = side.clone();
    right.meta.model.digest = card.digest();
    let verdict = compare(&Config::default(), &right, std::slice::from_ref(&right), None, Some(&card)).unwrap();
    assert_eq!(outcome(&verdict, "card"), Outcome::Same);
}

#[test]
fn a_request_that_one_side_refused_is_left_out_and_said() {
    let asked = workload(20);
    let measured = served("real.run", &asked, ENGINE);
    let mut predicted = measured.clone();
    predicted.requests[4].status = Status::Refused;
    predicted.requests[4].error = Some("needs 9 blocks".to_owned());
    let verdict = verdict_of(&predicted, &[measured]);
    assert_eq!(verdict.compared, 19);
    assert_eq!(verdict.left_out[0].request, 4);
    assert!(verdict.left_out[0].because.contains("needs 9 blocks"));
    assert_eq!(outcome(&verdict, "served"), Outcome::Differs);
    assert_eq!(verdict.predicted.refused, 1);
}

#[test]
fn the_worst_requests_come_worst_first() {
    let asked = workload(30);
    let measured = served("real.run", &asked, ENGINE);
    let mut predicted = measured.clone();
    for (id, factor) in [(7, 3.0), (3, 2.0)] {
        let request = &mut predicted.requests[id];
        let span = request.completion.unwrap().0 - request.arrival.0;
        let last = request.arrival.0 + (span as f64 * factor) as u64;
        request.completion = Some(Nanos(last));
        *predicted.tokens.as_mut().unwrap()[id].last_mut().unwrap() = last;
    }
    let verdict = verdict_of(&predicted, &[measured]);
    assert_eq!(verdict.worst.len(), 10);
    assert_eq!((verdict.worst[0].request, verdict.worst[1].request), (7, 3));
    assert!((verdict.worst[0].error - 2.0).abs() < 1e-6);
}

#[test]
fn a_verdict_printed_and_parsed_is_the_same() {
    let asked = workload(25);
    let measured = served("real.run", &asked, ENGINE);
    let predicted = served("sim.run", &asked, Engine { step_ns: 5_432_100, ..ENGINE });
    let config = Config { gate: [("ttft_p50_error_max".to_owned(), 0.01)].into(), ..Config::default() };
    let verdict = compare(&config, &predicted, &[measured], None, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("verdict");
    std::fs::write(&path, verdict.to_json()).unwrap();
    assert_eq!(Verdict::read(&path).unwrap(), verdict);
}

#[test]
fn the_gate_names_what_does_not_hold() {
    let asked = workload(40);
    let measured = served("real.run", &asked, ENGINE);
    let predicted = served("sim.run", &asked, Engine { step_ns: 6_000_000, ..ENGINE });
    let gate =
        [("ttft_p50_error_max", 10.0), ("tbt_p50_error_max", 0.05), ("tbt_ks_max", 0.2), ("throughput_error_max", 9.0)];
    let gate: BTreeMap<String, f64> = gate.into_iter().map(|(name, limit)| (name.to_owned(), limit)).collect();
    let verdict = compare(&Config { gate, ..Config::default() }, &predicted, &[measured], None, None).unwrap();
    let held: Vec<_> = verdict.gate.iter().map(|l| (l.name.as_str(), l.held)).collect();
    assert_eq!(
        held,
        [
            ("tbt_ks_max", false),
            ("tbt_p50_error_max", false),
            ("throughput_error_max", true),
            ("ttft_p50_error_max", true)
        ]
    );
    let failure = gate::failure(&verdict.gate).unwrap();
    assert!(failure.contains("tbt_p50_error_max is 0.05 (found 0.1") && !failure.contains("ttft"), "{failure}");
}

#[test]
fn a_bound_that_does_not_exist_is_complained_of_with_those_that_do() {
    let config = Config { gate: [("ttft_p42_error_max".to_owned(), 0.05)].into(), ..Config::default() };
    let complaint = Compare::contract(&config, &Wired::default()).unwrap_err();
    assert_eq!(complaint.field, "gate.ttft_p42_error_max");
    assert!(complaint.help.unwrap().contains("p99"));
    let config = Config { thresholds: Thresholds { pass: 0.1, warn: 0.05 }, ..Config::default() };
    assert_eq!(Compare::contract(&config, &Wired::default()).unwrap_err().field, "thresholds.warn");
    let config = Config { gate: [("ttft_p50_error_max".to_owned(), f64::NAN)].into(), ..Config::default() };
    assert!(Compare::contract(&config, &Wired::default()).is_err());
}

#[test]
fn the_kind_reads_runs_and_writes_a_verdict_and_its_table() {
    let asked = workload(40);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write_run(&served("sim.run", &asked, Engine { step_ns: 5_050_000, ..ENGINE }), &at("sim"));
    write_run(&served("real.run", &asked, ENGINE), &at("real"));
    let source = |name: &str| Source { label: format!("{name}.run"), path: at(name), digest: "0".repeat(64) };
    let inputs = [("predicted".to_owned(), vec![source("sim")]), ("measured".to_owned(), vec![source("real")])];
    let mut io = Io::detached(directory.path(), inputs.into(), &["verdict", "summary"]);
    Compare::run(&Config::default(), &mut io).unwrap();
    let verdict = Verdict::read(&at("out/verdict")).unwrap();
    assert_eq!(verdict.predicted.label, "sim.run");
    assert!(error_of(&verdict, Metric::Tbt, Stat::P50) > 0.0);
    let summary = std::fs::read_to_string(at("out/summary")).unwrap();
    assert!(summary.contains("TTFT") && summary.contains("p99"), "{summary}");
}

#[test]
fn an_unknown_field_of_the_configuration_is_refused() {
    assert!(serde_json::from_value::<Config>(json!({ "treshold": 1 })).is_err());
    let config: Config = serde_json::from_value(json!({ "thresholds": { "pass": 0.02 }, "clock": "sent" })).unwrap();
    assert_eq!(config.thresholds, Thresholds { pass: 0.02, warn: 0.09 });
    let again: Config = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(again, config);
}
