use std::collections::BTreeMap;

use super::*;
use crate::cli::sample::pipeline as sample;
use crate::digest::{Digest, Shape};
use crate::event::Usage;
use crate::key::Key;
use crate::kind::Sort;
use crate::store::{Artifact, Made};

#[test]
fn a_pipeline_is_told_by_its_stages_and_what_feeds_them() {
    insta::assert_snapshot!(pipeline(&sample(), Paint::Bare), @"
    demo  2 stages, pipelines/demo.toml

    profile  toy
    sim      toy  ← profile.ops, data/words.txt
    ");
}

fn record() -> Record {
    let artifact =
        Artifact { digest: Digest([0xab; 32]), bytes: 1536, shape: Shape::File, meaning: None, inline: None };
    Record {
        format: 1,
        key: Key(Digest([0xcd; 32])),
        kind: "toy".into(),
        sort: Sort::Measured,
        outputs: BTreeMap::from([("ops".to_owned(), artifact)]),
        usage: Usage {
            wall_ns: 12_300_000_000,
            user_ns: 9_000_000_000,
            system_ns: 400_000_000,
            peak_memory_bytes: 3 << 20,
        },
        made: Made {
            run: "20261124T090000-aa11".into(),
            host: "otto".into(),
            pipeline: "demo".into(),
            stage: "profile".into(),
            at: "2026-11-24T09:00:12Z".into(),
            trusted: None,
        },
        circumstances: BTreeMap::from([("clock_mhz".to_owned(), 1980.into())]),
        gate: Some("error 7 % is above 5 %".into()),
        log_tail: Vec::new(),
        text: String::new(),
    }
}

#[test]
fn a_stage_is_told_with_what_its_record_says() {
    let pipeline = sample();
    insta::assert_snapshot!(stage(&pipeline, &pipeline.stages[1], Some(&record()), Paint::Bare), @"
    sim  kind toy in demo
      takes  ops ← profile.ops
      takes  words ← data/words.txt
      gives  ops (any)  1.5 KiB, abababababab, at results/demo/sim/ops
      needs  1 cpu

    record cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
      made   2026-11-24T09:00:12Z by run 20261124T090000-aa11 on otto as demo/profile
      used   12.3 s (9.00 s user, 400 ms system), 3.0 MiB at most
      gate   failed: error 7 % is above 5 %
      clock_mhz = 1980
    ");
}

#[test]
fn a_stage_without_a_record_says_so() {
    let pipeline = sample();
    assert!(stage(&pipeline, &pipeline.stages[0], None, Paint::Bare).contains("no result is known"));
}

#[test]
fn settings_are_told_with_the_places_where_they_were_written() {
    let mut pipeline = sample();
    let stage = &mut pipeline.stages[1];
    stage.config =
        serde_json::json!({ "scheduler": { "most": 512, "policy": ["a", "b"] }, "seed": 7, "rate": null }).into();
    insta::assert_snapshot!(resolved(stage, Paint::Bare), @r#"
    [stage.sim]
    rate = not set                # default
    scheduler.most = 512          # configs/scheduler/a.toml:3
    scheduler.policy = ["a","b"]  # configs/scheduler/a.toml:1
    seed = 7                      # default
    "#);
}
