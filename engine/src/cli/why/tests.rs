use super::*;
use crate::cli::sample::pipeline;

#[test]
fn differences_name_the_place_of_a_setting_and_the_source_of_an_input() {
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let old = format!("config.scheduler.most\t512\nconfig.seed\t1\ninput.ops.0\t{one}\ninput.words.0\t{one}\n");
    let new = format!("config.scheduler.most\t256\nconfig.seed\t2\ninput.ops.0\t{two}\ninput.words.0\t{two}\n");
    let pipeline = pipeline();
    insta::assert_snapshot!(differences(&pipeline, &pipeline.stages[1], &old, &new, Paint::Bare), @"
    config scheduler.most: 512 → 256
        from configs/scheduler/a.toml:3
    config seed: 1 → 2
        the kind's default
    input ops (`profile.ops`) changed: 11111111 → 22222222
    input words (`data/words.txt`) changed: 11111111 → 22222222
    ");
}

#[test]
fn the_nearest_place_that_covers_a_field_counts() {
    let pipeline = pipeline();
    let sim = &pipeline.stages[1];
    assert_eq!(origin(sim, "scheduler.most").as_deref(), Some("configs/scheduler/a.toml:3"));
    assert_eq!(origin(sim, "scheduler.policy.0").as_deref(), Some("configs/scheduler/a.toml:1"));
    assert_eq!(origin(sim, "schedulers"), None);
}

fn planned(answer: Answer, seconds: u64) -> Planned {
    Planned { stage: "sim".into(), kind: "toy".into(), answer, expected_ns: seconds * 1_000_000_000 }
}

#[test]
fn each_answer_of_a_plan_is_told() {
    let pipeline = pipeline();
    let key = "0123456789abcdef".repeat(4);
    let told = |answer, old| tell(&pipeline, &pipeline.stages[1], &planned(answer, 12), old, Paint::Bare);
    let hit = Answer::Hit { key: key.clone(), from: "20261124T090000-aa11 on otto".into() };
    assert_eq!(told(hit, None), "sim is known: record 0123456789ab of 20261124T090000-aa11 on otto; it took 12.0 s\n");
    let run = || Answer::Run { key: key.clone(), text: "config.seed\t2\n".into(), reason: "first run".into() };
    assert_eq!(told(run(), None), "sim would run: first run\n");
    assert_eq!(
        told(run(), Some("config.seed\t1\n")),
        "sim would run, because since it was last good\n  config seed: 1 → 2\n      the kind's default\n"
    );
    assert_eq!(told(run(), Some("config.seed\t2\n")), "sim would run: first run\n");
    let depends = Answer::Depends { on: vec!["profile".into(), "load".into()] };
    assert_eq!(told(depends, None), "sim depends on what `profile` and `load` will give\n");
    let blocked = Answer::Blocked { because: "cannot read `x`".into() };
    assert_eq!(told(blocked, None), "sim cannot run: cannot read `x`\n");
}
