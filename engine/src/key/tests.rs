#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::testing::{Project, Sketch, Toy, word};

fn sketch() -> Sketch {
    let project = Project::new();
    let mut sketch = project.sketch();
    sketch.toy("stage", Toy { number: 0.1, ..word("a\tb") }, &[]);
    sketch
}

fn with(config: serde_json::Value) -> Sketch {
    let mut sketch = sketch();
    sketch.pipeline.stages[0].config = config.into();
    sketch
}

fn text_of(config: serde_json::Value) -> String {
    let all = text(&with(config).pipeline.stages[0], &Inputs::default(), &World::default());
    all.lines().filter(|line| line.starts_with("config")).map(|line| format!("{line}\n")).collect()
}

fn key_of(config: serde_json::Value) -> Key {
    key(&with(config).pipeline.stages[0], &Inputs::default(), &World::default())
}

#[test]
fn the_golden_keys_have_not_moved() {
    let sketch = sketch();
    let stage = &sketch.pipeline.stages[0];
    let plain = key(stage, &Inputs::default(), &World::default());
    assert_eq!(plain.to_string(), GOLDEN_PLAIN);
    let digest = Digest([7; 32]);
    let inputs = Inputs {
        ports: vec![
            ("z", vec![Taken { digest, meaning: None }, Taken { digest, meaning: Some("json/1") }]),
            ("a", vec![Taken { digest, meaning: None }]),
        ],
    };
    let world = World {
        oracles: vec![("host".to_owned(), "Toy 1, 8 cores".to_owned())],
        tools: vec![
            Tool::Executable("sort".to_owned(), digest),
            Tool::Probe("cc --version".to_owned(), "12.2\n".to_owned()),
        ],
        salt: "salt".to_owned(),
    };
    assert_eq!(key(stage, &inputs, &world).to_string(), GOLDEN_FULL);
    let text = text(stage, &inputs, &world);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
    let not_config: Vec<&str> = names.iter().filter(|name| !name.starts_with("config")).copied().collect();
    let expected = [
        "format",
        "kind",
        "code.version",
        "code.module.toy",
        "input.a.0",
        "input.z.0",
        "input.z.1",
        "oracle.host",
        "tool.sort",
        "probe.cc --version",
        "salt",
    ];
    assert_eq!(not_config, expected);
}

const GOLDEN_PLAIN: &str = "388a4289f1085882188e0699c165e801a9b43189274f8cd28ae5b1211da68c8b";
const GOLDEN_FULL: &str = "c7bfd57f3d6923a4eaa5b7caa96b51f561a8cfdb6315167bc69dcdb85ed7a988";

#[test]
fn a_configuration_is_written_a_leaf_a_line_sorted_by_us() {
    let config = serde_json::json!({
        "z": [1, [2.0]], "a": { "y": null, "x": true }, "empty": {}, "none": [], "a.b": "tab\there",
    });
    let expected = "config.a.x\ttrue\nconfig.a.y\tnull\nconfig.\"a.b\"\t\"tab\\\\there\"\nconfig.empty\t{}\n\
        config.none\t[]\nconfig.z.0\t1\nconfig.z.1.0\t2.0\nconfig.z.1.len\t[1]\nconfig.z.len\t[2]\n";
    assert_eq!(text_of(config), expected);
}

#[test]
fn floats_enter_by_value_and_never_pass_for_integers() {
    let same = |a: &str, b: &str| {
        let read = |text: &str| key_of(serde_json::from_str(&format!("{{\"n\": {text}}}")).unwrap());
        read(a) == read(b)
    };
    assert!(same("1000.0", "1e3"));
    assert!(same("0.1", "0.10000000000000000555"));
    assert!(same("0.0", "-0.0"));
    assert!(!same("1", "1.0"));
    assert!(!same("0.1", "0.10000000000000002"));
    assert!(!same("18446744073709551615", "1.8446744073709552e19"));
}

#[test]
fn different_structures_never_look_alike() {
    let configs = [
        serde_json::json!({ "a": { "b": 1 } }),
        serde_json::json!({ "a.b": 1 }),
        serde_json::json!({ "a": [1] }),
        serde_json::json!({ "a": { "0": 1 } }),
        serde_json::json!({ "a": { "0": 1, "len": "[1]" } }),
        serde_json::json!({ "a": "[1]" }),
        serde_json::json!({ "a": [] }),
        serde_json::json!({ "a": "[]" }),
        serde_json::json!({ "a": {} }),
        serde_json::json!({ "a": null }),
        serde_json::json!({ "a": "null" }),
        serde_json::json!({}),
        serde_json::json!({ "": {} }),
        serde_json::json!({ "\"a\"": 1 }),
    ];
    let keys: std::collections::BTreeSet<Key> = configs.iter().map(|c| key_of(c.clone())).collect();
    assert_eq!(keys.len(), configs.len());
}

proptest::proptest! {
    #[test]
    fn fields_are_framed(a in ".{0,6}", b in ".{0,6}", cut in 0usize..7) {
        // The same letters, divided in another way between name and value.
        let all: Vec<char> = a.chars().chain(b.chars()).collect();
        let cut = cut.min(all.len());
        let (c, d): (String, String) = (all[..cut].iter().collect(), all[cut..].iter().collect());
        let hash = |name: &str, value: &str| {
            let mut hasher = KeyHasher::default();
            hasher.field(name, value.as_bytes());
            hasher.finish()
        };
        proptest::prop_assert_eq!(hash(&a, &b) == hash(&c, &d), a == c);
    }

    #[test]
    fn what_is_written_down_reads_back(name in "[a-z\\\\\t\n.]{1,8}", value in ".{0,20}") {
        let mut text = KeyText::default();
        text.field(&name, value.as_bytes());
        let fields = crate::explain::fields(&text.0);
        proptest::prop_assert_eq!(fields.get(&name), Some(&value));
    }
}
