#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use engine::exec::Source;
use tempfile::TempDir;

use super::*;
use crate::tables::{self, Reader};

/// One run of the kind in a directory of its own.
struct Bench {
    directory: TempDir,
    inputs: BTreeMap<String, Vec<Source>>,
}

impl Bench {
    fn new() -> Bench {
        Bench { directory: TempDir::new().unwrap(), inputs: BTreeMap::new() }
    }

    fn wire(mut self, port: &str, path: PathBuf) -> Bench {
        let source = Source { label: port.to_owned(), path, digest: String::new() };
        self.inputs.insert(port.to_owned(), vec![source]);
        self
    }

    fn file(self, port: &str, text: &str) -> Bench {
        let path = self.directory.path().join(port);
        std::fs::write(&path, text).unwrap();
        self.wire(port, path)
    }

    fn data(self, port: &str, name: &str) -> Bench {
        self.wire(port, Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/traces").join(name))
    }

    /// The tiny model with 4,096 ids; 4,096 positions.
    fn model(self) -> Bench {
        let card = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-qwen3/model.toml");
        let card = std::fs::read_to_string(card).unwrap();
        assert_eq!(card.matches("= 1024\n").count(), 2, "its ids and its tokenizer's");
        self.file("model", &card.replace("= 1024\n", "= 4096\n"))
    }

    fn run(&self, config: &str) -> Result<PathBuf, StageError> {
        let config: Config = toml::from_str(config).unwrap();
        let mut wired = Wired::default();
        wired.inputs.extend(self.inputs.keys().cloned());
        let contract = Workload::contract(&config, &wired).unwrap();
        for name in self.inputs.keys() {
            assert!(contract.inputs.iter().any(|port| port.name == *name), "{name}");
        }
        let mut io = Io::detached(self.directory.path(), self.inputs.clone(), &["requests"]);
        Workload::run(&config, &mut io)?;
        io.output("requests")
    }

    fn rows(&self, config: &str) -> Vec<Row> {
        let path = self.run(config).unwrap();
        tables::requests::read_requests(&path).unwrap();
        tables::read(&path).unwrap()
    }

    fn refused(&self, config: &str) -> StageError {
        self.run(config).unwrap_err()
    }
}

fn fragment(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/workload").join(format!("{name}.toml"));
    std::fs::read_to_string(path).unwrap()
}

fn lengths(rows: &[Row]) -> Vec<(u64, u32, u32)> {
    rows.iter().map(|r| (r.request.arrival.0, r.request.prompt_tokens, r.request.output_tokens)).collect()
}

/// The figures of other machines: whoever changes them changes what every published result rests on.
#[test]
fn a_seed_gives_the_same_workload_on_every_machine() {
    let digest =
        |bench: &Bench, config: &str| tables::meaning::hex(&bench.run(config).unwrap()).unwrap()[..16].to_owned();
    let laws = Bench::new().model();
    let gamma = "requests = 500\nseed = 7\nrate_per_s = 3.0\narrivals = { law = \"gamma\", cv = 2.0 }\n\
        prompt_tokens = { law = \"lognormal\", median = 90.0, sigma = 0.7, max = 1000 }\n\
        output_tokens = { law = \"zipf\", min = 1, max = 300, exponent = 0.8 }\n";
    let quantiles = |more: &str| format!("requests = 400\nseed = 7\n{more}\n{}", fragment("azure-conv"));
    let all = [
        digest(&laws, gamma),
        digest(
            &laws,
            &quantiles("rate_per_s = 8.0\nlength_scale = 0.125\nover_limit = \"clip\"\nmax_prompt_tokens = 256"),
        ),
        digest(&laws, &quantiles("max_total_tokens = 2000\nover_limit = \"drop\"")),
        digest(&Bench::new().model().data("trace", "mooncake_conversation.jsonl"), "length_scale = 0.01\nseed = 3"),
    ];
    insta::assert_snapshot!(all.join(" "), @"ff49d1ab6855e7e8 501edb9f924826aa 40b3e16a70f045b8 47f18691a791da73");
    assert_eq!(all[0], digest(&laws, gamma), "and again on this one");
}

#[test]
fn the_example_resolves_without_anything_wired() {
    let config: Config = toml::from_str(Workload::EXAMPLE).unwrap();
    Workload::contract(&config, &Wired::default()).unwrap();
    assert_eq!(Bench::new().rows(Workload::EXAMPLE).len(), 400);
}

#[test]
fn the_law_of_the_azure_trace_has_its_rate_and_its_mean_lengths() {
    let bench = Bench::new().model();
    let config = format!(
        "requests = 20000\nseed = 1\ntoken_ids = \"none\"\nover_limit = \"clip\"\nmax_total_tokens = 4096\n{}",
        fragment("azure-conv")
    );
    let rows = bench.rows(&config);
    let last = rows.last().unwrap().request.arrival.as_secs_f64();
    let rate = (rows.len() - 1) as f64 / last;
    // The trace has 5.530; twelve points of a law keep the mean gap within some percent.
    assert!((rate / 5.5301 - 1.0).abs() < 0.06, "{rate}");
    let output: f64 = rows.iter().map(|r| f64::from(r.request.output_tokens)).sum::<f64>() / rows.len() as f64;
    assert!((output / 211.13 - 1.0).abs() < 0.1, "{output}");
}

#[test]
fn one_law_changed_leaves_what_the_others_draw() {
    let config = |rate: f64, prompt: u32| {
        format!(
            "requests = 20\nseed = 5\nrate_per_s = {rate:?}\narrivals = {{ law = \"poisson\" }}\n\
             prompt_tokens = {{ law = \"fixed\", value = {prompt} }}\noutput_tokens = {{ law = \"uniform\", min = 1, max = 90 }}\n"
        )
    };
    let bench = Bench::new().model();
    let (one, two) = (bench.rows(&config(2.0, 10)), bench.rows(&config(2.0, 30)));
    for (a, b) in one.iter().zip(&two) {
        assert_eq!((a.request.arrival, a.request.output_tokens), (b.request.arrival, b.request.output_tokens));
        assert_eq!(a.request.prompt[..], b.request.prompt[..10], "a longer prompt begins alike");
    }
    assert_ne!(lengths(&one), lengths(&bench.rows(&config(4.0, 10))));
}

#[test]
fn token_ids_lie_below_the_smallest_vocabulary_that_is_known() {
    let laws = "requests = 50\narrivals = { law = \"at-once\" }\nprompt_tokens = { law = \"fixed\", value = 100 }\n\
        output_tokens = { law = \"fixed\", value = 1 }\n";
    let largest = |bench: &Bench, more: &str| {
        let rows = bench.rows(&format!("{more}{laws}"));
        rows.iter().flat_map(|r| r.request.prompt.to_vec()).max().unwrap()
    };
    assert!((4_000..4_096).contains(&largest(&Bench::new().model(), "")));
    assert!((15..20).contains(&largest(&Bench::new().model(), "token_ids_below = 20\n")));
    assert_eq!(largest(&Bench::new().file("tokenizer", prompts::tests::WORDS), ""), 3);
    let none = Bench::new().rows(&format!("token_ids = \"none\"\n{laws}"));
    assert!(none.iter().all(|r| r.request.prompt.is_empty() && r.request.prompt_tokens == 100));
    let error = Bench::new().model().refused(&format!("token_ids_below = 5000\n{laws}"));
    assert_eq!(error.message, "`token_ids_below` is 5000, the vocabulary has 4096 tokens");
}

#[test]
fn a_timed_trace_comes_out_as_it_was_with_its_first_request_at_0() {
    let bench = Bench::new().data("trace", "azure_conv.csv");
    let rows = bench.rows("token_ids_below = 4096");
    assert_eq!((rows.len(), lengths(&rows)[0], lengths(&rows)[1]), (50, (0, 374, 44), (4_314_579_000, 396, 109)));
    assert_eq!(rows[1].source.as_deref(), Some("row 1"));
    assert!(rows.iter().all(|r| r.request.prompt.len() == r.request.prompt_tokens as usize));
    let three = bench.rows("token_ids = \"none\"\nsubset = { range = [1, 40] }\nrequests = 3\ntime_scale = 0.5");
    assert_eq!(lengths(&three), [(0, 396, 109), (113_649_000, 879, 55), (197_924_000, 91, 16)]);
    assert_eq!(three[0].source.as_deref(), Some("row 1"));
    let rated = bench.rows("token_ids = \"none\"\nrate_per_s = 100.0");
    assert_eq!(rated[49].request.arrival.0, 490_000_000);
}

#[test]
fn lengths_of_a_trace_take_their_arrivals_from_a_law() {
    let bench = Bench::new().model().data("trace", "vidur_arxiv_lengths.csv");
    let rows = bench.rows("rate_per_s = 4.0\narrivals = { law = \"fixed-interval\" }\nrequests = 3");
    assert_eq!(lengths(&rows), [(0, 3772, 54), (250_000_000, 2015, 156), (500_000_000, 3858, 133)]);
    let error = bench.refused("");
    assert_eq!(error.message, "`trace` has no arrivals, and no law gives them");
    let drawn = bench.rows("rows = \"drawn\"\nrequests = 100\narrivals = { law = \"at-once\" }");
    assert_eq!(drawn.len(), 100);
}

#[test]
fn prompts_that_share_blocks_share_their_ids_and_nothing_else() {
    let text = r#"{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [7, 8, 9]}
{"timestamp": 5, "input_length": 1030, "output_length": 5, "hash_ids": [7, 8, 10]}
{"timestamp": 9, "input_length": 700, "output_length": 5, "hash_ids": [11, 8]}
"#;
    let bench = Bench::new().model().file("trace", text);
    let rows = bench.rows("");
    let ids: Vec<&[u32]> = rows.iter().map(|r| &*r.request.prompt).collect();
    assert_eq!(ids[0][..1024], ids[1][..1024]);
    assert_ne!(ids[0][1024..1030], ids[1][1024..1030]);
    assert_ne!(ids[0][..512], ids[2][..512]);
    assert_eq!(ids[0][512..700], ids[2][512..700], "the same block at the same place");
    assert_eq!(&*rows[1].request.prefix_blocks, [7, 8, 10]);
    // Cut prompts keep the blocks that they still reach, whole or in part.
    let cut = bench.rows("max_prompt_tokens = 600\nover_limit = \"clip\"");
    assert_eq!((&*cut[0].request.prefix_blocks, &cut[0].request.prompt[..]), ([7, 8].as_slice(), &ids[0][..600]));
    // Scaled prompts have scaled blocks.
    let scaled = bench.rows("length_scale = 0.125");
    assert_eq!(scaled[0].request.prompt[..128], scaled[1].request.prompt[..128]);
    assert_eq!(
        Reader::<Row>::open(&bench.run("length_scale = 0.125").unwrap()).unwrap().note("prefix_block_tokens"),
        Some("64")
    );
}

#[test]
fn failed_requests_of_a_trace_are_left_out() {
    let rows = Bench::new().model().data("trace", "burstgpt_3.csv").rows("");
    assert_eq!(lengths(&rows), [(0, 12, 34), (2_000_000_000, 78, 90)]);
}

#[test]
fn too_long_requests_are_refused_with_their_row_unless_they_may_be_cut_or_dropped() {
    let bench = Bench::new().model().data("trace", "mooncake_conversation.jsonl");
    let error = bench.refused("");
    assert_eq!(error.message, "the request of row 0 is too long: its 6758 + 500 tokens are more than 4096");
    assert!(error.help.unwrap().contains("over_limit"));
    let clipped = bench.rows("over_limit = \"clip\"");
    assert!(clipped.len() == 30 && clipped.iter().all(|r| r.request.prompt_tokens + r.request.output_tokens <= 4_096));
    let dropped = bench.rows("over_limit = \"drop\"");
    assert!(!dropped.is_empty() && dropped.len() < 30);
    assert!(dropped.iter().all(|r| r.request.prompt_tokens + r.request.output_tokens <= 4_096));
    let error = bench.refused("over_limit = \"drop\"\nrequests = 30");
    assert!(error.message.starts_with("`requests` asks for 30, the trace gives "), "{}", error.message);
    let error = bench.refused("over_limit = \"drop\"\nmax_prompt_tokens = 1");
    assert_eq!(error.message, "all 30 requests are longer than the limits");
}

#[test]
fn laws_draw_again_what_is_dropped_and_give_up_where_nothing_fits() {
    let config = |max: u32| {
        format!(
            "requests = 200\nmax_prompt_tokens = {max}\nover_limit = \"drop\"\narrivals = {{ law = \"at-once\" }}\n\
             prompt_tokens = {{ law = \"uniform\", min = 50, max = 100 }}\noutput_tokens = {{ law = \"fixed\", value = 1 }}\n"
        )
    };
    let rows = Bench::new().model().rows(&config(60));
    assert!(rows.len() == 200 && rows.iter().all(|r| r.request.prompt_tokens <= 60));
    let error = Bench::new().model().refused(&config(49));
    assert!(error.message.starts_with("1000 draws in a row are longer than the limits"), "{}", error.message);
}

#[test]
fn prompts_travel_as_the_tokenizers_ids() {
    let text = "{\"prompt_id\": \"a\", \"text\": \"rain falls\"}\n{\"prompt_id\": \"b\", \"text\": \"softly\", \"output_tokens\": 9}\n";
    let bench = Bench::new().file("tokenizer", prompts::tests::WORDS).file("prompts", text);
    let at_once = "arrivals = { law = \"at-once\" }\n";
    let rows = bench.rows(&format!("{at_once}output_tokens = {{ law = \"fixed\", value = 5 }}"));
    assert_eq!(lengths(&rows), [(0, 2, 5), (0, 1, 9)]);
    assert_eq!((&*rows[0].request.prompt, rows[0].source.as_deref()), ([1, 2].as_slice(), Some("a")));
    let error = bench.refused(at_once);
    assert_eq!(error.message, "nothing says how many tokens to produce for the prompt `a`");
}

#[test]
fn prompts_beside_a_trace_take_its_times_and_output_lengths_by_name() {
    let trace = "arrival_time_ns,num_prefill_tokens,num_decode_tokens,prompt_id\n10,2,4,b\n30,2,6,a\n";
    let text = "{\"prompt_id\": \"a\", \"text\": \"rain falls\"}\n{\"prompt_id\": \"b\", \"text\": \"softly\"}\n";
    let bench = || Bench::new().file("tokenizer", prompts::tests::WORDS).file("prompts", text);
    let rows = bench().file("trace", trace).rows("");
    assert_eq!(lengths(&rows), [(0, 1, 4), (20, 2, 6)]);
    assert_eq!((&*rows[0].request.prompt, rows[0].source.as_deref()), ([3].as_slice(), Some("row 0 (b)")));
    let error = bench().file("trace", &trace.replace(",a\n", ",c\n")).refused("");
    assert_eq!(error.message, "row 1 of `trace` names the prompt `c`, which is not among the prompts");
}

#[test]
fn a_faulty_trace_is_an_error_of_the_stage_that_names_the_wire() {
    let bench = Bench::new().model().file("trace", "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,-3,4\n");
    let error = bench.refused("");
    assert_eq!(error.message, "`trace`, line 2, column `num_prefill_tokens`: `-3` is negative");
}

#[test]
fn prompts_that_are_no_text_are_refused_with_their_line() {
    let bench = Bench::new().file("tokenizer", prompts::tests::WORDS).file("prompts", "");
    let path = bench.directory.path().join("prompts");
    std::fs::write(path, b"{\"prompt_id\": \"a\", \"text\": \"rain\"}\n{\"prompt_id\": \"b\", \"text\": \"\xff\"}\n")
        .unwrap();
    assert_eq!(bench.refused("arrivals = { law = \"at-once\" }").message, "`prompts`, line 2: is not UTF-8");
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused_by_name() {
    let bench = Bench::new().file("tokenizer", "{}").file("prompts", "{}");
    let error = bench.refused("arrivals = { law = \"at-once\" }");
    assert!(error.message.starts_with("cannot read the tokenizer `tokenizer`"), "{}", error.message);
}

#[test]
fn the_predecessors_prompts_are_replayed_as_text_at_its_times() {
    let bench = Bench::new()
        .file("tokenizer", prompts::tests::WORDS)
        .data("prompts", "predecessor/workload/prompts.jsonl")
        .data("trace", "predecessor/workload");
    let rows = bench.rows("");
    assert_eq!(rows.len(), 12);
    assert_eq!((rows[1].request.arrival.0, rows[1].request.output_tokens), (5_718_481, 12));
    // "Explain what a cache line is." is seven words and signs to this tokenizer.
    assert_eq!((rows[0].request.prompt.len(), rows[0].source.as_deref()), (7, Some("row 0 (p000)")));
}

#[test]
fn as_many_rows_as_the_largest_public_trace_has_are_read() {
    let mut text = String::from("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n");
    for row in 0..1_430_000u32 {
        text.push_str(&format!("{},ChatGPT,{},{},0,API log\n", row / 3, 1 + row % 900, row % 50));
    }
    let bench = Bench::new().file("trace", &text);
    let rows = bench.run("token_ids = \"none\"").unwrap();
    // Every fiftieth row has no output.
    assert_eq!(Reader::<Row>::open(&rows).unwrap().rows(), 1_430_000 / 50 * 49);
}
