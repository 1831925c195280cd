//! A small pipeline, for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::graph::{Feed, Origin, Pipeline, Policy, Stage, StageId, Wire};
use crate::kind::{Code, Contract, Kind, Port, Resolved};

/// `profile.ops` and `data/words.txt` feed `sim`.
pub(super) fn pipeline() -> Pipeline {
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
        config: serde_json::Value::Null.into(),
        origins: origins.into(),
        contract: Contract {
            inputs: vec![Port::new("ops", "any", ""), Port::new("words", "any", "").many()],
            outputs: vec![Port::new("ops", "any", "")],
            ..Contract::default()
        }
        .into(),
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
        recalled: false,
        name: "demo".into(),
        file: PathBuf::from("pipelines/demo.toml"),
        root: PathBuf::from("/nowhere"),
        choices: BTreeMap::new(),
        stages: vec![stage("profile", Vec::new(), Vec::new()), stage("sim", wires, origins)],
    }
}
