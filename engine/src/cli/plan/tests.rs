use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::graph::{Policy, Stage, StageId, Wire};
use crate::kind::{Code, Contract, Kind, Port, Resolved};

/// `a → b → d`, `a → c → d`, and `e` alone.
fn pipeline() -> Pipeline {
    let kind = Kind {
        name: "toy",
        about: "",
        code: Code { version: 1, modules: &[] },
        example: "",
        resolve: |_, _| Ok(Resolved { config: serde_json::Value::Null, contract: Contract::default() }),
        run: |_, _| Ok(()),
    };
    let stage = |name: &str, from: &[u32]| Stage {
        name: name.to_owned(),
        kind,
        config: serde_json::Value::Null.into(),
        origins: Vec::new().into(),
        contract: Contract { outputs: vec![Port::new("out", "any", "")], ..Contract::default() }.into(),
        inputs: from
            .iter()
            .map(|&s| Wire { port: 0, from: vec![Feed::Output { stage: StageId(s), port: 0 }] })
            .collect(),
        policy: Policy::default(),
    };
    Pipeline {
        recalled: false,
        name: "demo".into(),
        file: PathBuf::from("pipelines/demo.toml"),
        root: PathBuf::from("/nowhere"),
        choices: BTreeMap::new(),
        stages: vec![stage("a", &[]), stage("b", &[0]), stage("c", &[0]), stage("d", &[1, 2]), stage("e", &[])],
    }
}

fn planned(stage: &str, answer: Answer, seconds: u64) -> Planned {
    Planned { stage: stage.into(), kind: "toy".into(), answer, expected_ns: seconds * 1_000_000_000 }
}

fn plan() -> Plan {
    let hit = Answer::Hit { key: "0".repeat(64), from: "20261124T090000-aa11 on otto".into() };
    let run = || Answer::Run { key: "1".repeat(64), text: String::new(), reason: "config rate: 8 → 9".into() };
    let depends = |on: &[&str]| Answer::Depends { on: on.iter().map(|s| (*s).to_owned()).collect() };
    Plan {
        stages: vec![
            planned("a", hit, 100),
            planned("b", run(), 3),
            planned("c", run(), 20),
            planned("d", depends(&["b", "c"]), 7),
            planned("e", Answer::Blocked { because: "cannot read `data/e.csv`".into() }, 50),
        ],
    }
}

#[test]
fn a_plan_tells_answers_times_and_the_longest_chain() {
    insta::assert_snapshot!(tell(&pipeline(), &plan(), 2, Paint::Bare), @"
    hit      a  toy  from 20261124T090000-aa11 on otto
    run      b  toy  config rate: 8 → 9 · about 3.00 s
    run      c  toy  config rate: 8 → 9 · about 20.0 s
    depends  d  toy  on `b`, `c` · about 7.00 s
    blocked  e  toy  cannot read `data/e.csv`

    1 hit, 2 to run, 1 that depends on those, 1 blocked
    at most about 27.0 s; longest chain 27.0 s: c → d
    ");
}

#[test]
fn what_is_known_costs_nothing_and_the_longest_chain_runs_through_the_slowest() {
    assert_eq!(longest_chain(&pipeline(), &plan()), (vec!["c", "d"], 27_000_000_000));
}

#[test]
fn a_plan_as_json_has_an_object_for_each_stage() {
    let json = json(&plan());
    assert_eq!(json["stages"].as_array().map(Vec::len), Some(5));
    assert_eq!(json["stages"][3]["plan"]["on"][1], "c");
}
