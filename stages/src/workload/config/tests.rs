#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

const LAWS: &str = "requests = 3\narrivals = { law = \"at-once\" }\ntoken_ids_below = 100\n\
    prompt_tokens = { law = \"fixed\", value = 4 }\noutput_tokens = { law = \"fixed\", value = 2 }\n";

fn wired(inputs: &[&str]) -> Wired {
    let mut wired = Wired::default();
    wired.inputs.extend(inputs.iter().map(|s| (*s).to_owned()));
    wired
}

fn field(text: &str, inputs: &[&str]) -> String {
    let config: Config = toml::from_str(text).unwrap();
    config.check(&wired(inputs)).unwrap_err().field
}

#[test]
fn every_shipped_fragment_is_a_whole_configuration_with_a_rate_and_a_count() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/workload");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut fragment: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        // What a group's choice calls its files is no setting of the stage.
        fragment.remove("files");
        let mut config: Config = fragment.try_into().unwrap();
        config.requests = config.requests.or(Some(5));
        config.check(&wired(&["model"])).unwrap();
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn a_printed_configuration_is_read_back_the_same() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/workload/azure-conv.toml");
    for text in [LAWS.to_owned(), std::fs::read_to_string(directory).unwrap(), String::new()] {
        let config: Config = toml::from_str(&text).unwrap();
        let printed = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&printed).unwrap(), config);
    }
}

#[test]
fn whatever_passes_the_check_is_printed_and_read_back_the_same() {
    use proptest::prelude::*;
    let number = || prop_oneof![Just(f64::NAN), Just(0.1), Just(1e-300), any::<f64>(), 0.01..100.0];
    let laws = prop_oneof![Just("poisson"), Just("gamma"), Just("fixed-interval"), Just("quantiles"), Just("at-once")];
    proptest!(|(law in laws, rate in proptest::option::of(number()), scale in number(), cv in proptest::option::of(number()),
                value in number(), seed in any::<u64>(), requests in proptest::option::of(any::<u32>()))| {
        let mut config: Config = toml::from_str(LAWS).unwrap();
        let law = serde_json::from_value(serde_json::json!({ "law": law, "quantiles": [[0, 0.5], [100, 2.5]] })).unwrap();
        config.arrivals = Some(Arrivals { cv, ..law });
        if let Some(arrivals) = &mut config.arrivals {
            arrivals.quantiles = Some(vec![[0.0, 0.25], [100.0, value]]);
        }
        (config.rate_per_s, config.time_scale, config.seed, config.requests) = (rate, scale, seed, requests);
        if config.check(&wired(&[])).is_ok() {
            let printed = serde_json::to_string(&config).unwrap();
            prop_assert_eq!(serde_json::from_str::<Config>(&printed).unwrap(), config);
        }
    });
}

#[test]
fn laws_are_complete_or_the_missing_part_is_named() {
    let config: Config = toml::from_str(LAWS).unwrap();
    config.check(&wired(&[])).unwrap();
    let without = |line: &str| LAWS.lines().filter(|l| !l.starts_with(line)).collect::<Vec<_>>().join("\n");
    assert_eq!(field(&without("requests"), &[]), "requests");
    assert_eq!(field(&without("arrivals"), &[]), "arrivals");
    let no_prompt = LAWS.replace("prompt_tokens = { law = \"fixed\", value = 4 }", "");
    assert_eq!(field(&no_prompt, &[]), "prompt_tokens");
    assert_eq!(field(&without("output_tokens"), &[]), "output_tokens");
    assert_eq!(field(&LAWS.replace("token_ids_below = 100", ""), &[]), "token_ids");
    assert_eq!(field(&LAWS.replace("value = 4", "value = 0"), &[]), "prompt_tokens.value");
}

#[test]
fn numbers_that_cannot_be_meant_are_refused() {
    let with = |line: &str| field(&format!("{LAWS}{line}\n"), &[]);
    assert_eq!(field(&LAWS.replace("requests = 3", "requests = 0"), &[]), "requests");
    assert_eq!(with("rate_per_s = nan"), "rate_per_s");
    assert_eq!(with("rate_per_s = 0.0"), "rate_per_s");
    assert_eq!(with("rate_per_s = -2.0"), "rate_per_s");
    assert_eq!(with("rate_per_s = inf"), "rate_per_s");
    assert_eq!(with("time_scale = 0.0"), "time_scale");
    assert_eq!(with("length_scale = nan"), "length_scale");
    assert_eq!(with("max_prompt_tokens = 0"), "max_prompt_tokens");
    assert_eq!(with("max_total_tokens = 1"), "max_total_tokens");
    assert_eq!(with("subset = { range = [0, 1] }"), "subset");
    let rated = LAWS.replace("at-once", "poisson");
    assert_eq!(field(&format!("{rated}rate_per_s = 2.0\ntime_scale = 2.0"), &[]), "time_scale");
}

#[test]
fn a_trace_and_laws_do_not_both_say_the_same() {
    assert_eq!(field("prompt_tokens = { law = \"fixed\", value = 4 }", &["model", "trace"]), "prompt_tokens");
    assert_eq!(field("output_tokens = { law = \"fixed\", value = 4 }", &["model", "trace"]), "output_tokens");
    assert_eq!(field("subset = { range = [4, 4] }", &["model", "trace"]), "subset.range");
    assert_eq!(field("subset = { range = [0, 4], indices = [1] }", &["model", "trace"]), "subset");
    assert_eq!(field("subset = { indices = [] }", &["model", "trace"]), "subset.indices");
    assert_eq!(field("rows = \"drawn\"\nrequests = 3", &["model", "trace"]), "arrivals");
    assert_eq!(field("rows = \"drawn\"", &["model", "trace"]), "requests");
    assert_eq!(field("", &["trace"]), "token_ids");
    toml::from_str::<Config>("").unwrap().check(&wired(&["model", "trace"])).unwrap();
    toml::from_str::<Config>("token_ids = \"none\"").unwrap().check(&wired(&["trace"])).unwrap();
}

#[test]
fn prompts_need_a_tokenizer_and_arrivals() {
    assert_eq!(field("arrivals = { law = \"at-once\" }", &["prompts"]), "");
    assert_eq!(field("", &["prompts", "tokenizer"]), "arrivals");
    toml::from_str::<Config>("").unwrap().check(&wired(&["prompts", "tokenizer", "trace"])).unwrap();
}

#[test]
fn an_unknown_key_is_refused() {
    assert!(toml::from_str::<Config>("rate = 3.0").is_err());
    assert!(toml::from_str::<Config>("arrivals = { law = \"poisson\", shape = 3.0 }").is_err());
}
