use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::graph::{Origin, Policy, StageId, Wire};
use crate::kind::{Code, Contract, Kind, Port, Resolved};

/// `profile.ops` and `data/words.txt` feed `sim`.
fn pipeline() -> Pipeline {
    let kind = Kind {
        name: "toy",
        about: "",
        code: Code { version: 1, modules: &[] },
        example: "",
        resolve: |_, _| Ok(Resolved { config: serde_json::Value::Null, contract: Contract::default() }),
        run: |_, _| Ok(()),
    };
    let stage = |name: &str, inputs: Vec<Wire>, origins: Vec<Origin>| Stage {
        name: name.to_owned(),
        kind,
        config: serde_json::Value::Null,
        origins,
        contract: Contract {
            inputs: vec![Port::new("ops", "any", ""), Port::new("words", "any", "").many()],
            outputs: vec![Port::new("ops", "any", "")],
            ..Contract::default()
        },
        inputs,
        policy: Policy::default(),
    };
    let wires = vec![
        Wire { port: 0, from: vec![Feed::Output { stage: StageId(0), port: 0 }] },
        Wire { port: 1, from: vec![Feed::File { label: "data/words.txt".into(), path: PathBuf::from("/x") }] },
    ];
    let origin = |field: &str, place: &str| Origin { field: field.into(), place: place.into() };
    let origins =
        vec![origin("scheduler", "configs/scheduler/a.toml:1"), origin("scheduler.most", "configs/scheduler/a.toml:3")];
    Pipeline {
        name: "demo".into(),
        file: PathBuf::from("pipelines/demo.toml"),
        root: PathBuf::from("/nowhere"),
        choices: BTreeMap::new(),
        stages: vec![stage("profile", Vec::new(), Vec::new()), stage("sim", wires, origins)],
    }
}

#[test]
fn differences_name_the_place_of_a_setting_and_the_source_of_an_input() {
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let old = format!("config.scheduler.most\t512\nconfig.seed\t1\ninput.ops.0\t{one}\ninput.words.0\t{one}\n");
    let new = format!("config.scheduler.most\t256\nconfig.seed\t2\ninput.ops.0\t{two}\ninput.words.0\t{two}\n");
    let pipeline = pipeline();
    insta::assert_snapshot!(differences(&pipeline, &pipeline.stages[1], &old, &new, Paint::Bare), @"");
}

#[test]
fn the_nearest_place_that_covers_a_field_counts() {
    let pipeline = pipeline();
    let sim = &pipeline.stages[1];
    assert_eq!(origin(sim, "scheduler.most"), Some("configs/scheduler/a.toml:3"));
    assert_eq!(origin(sim, "scheduler.policy.0"), Some("configs/scheduler/a.toml:1"));
    assert_eq!(origin(sim, "schedulers"), None);
}
