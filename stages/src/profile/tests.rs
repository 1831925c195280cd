#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use super::*;
use crate::bench::tests::{project, wire};
use crate::infer::machine::Predict;
use crate::infer::serve::{Batch, Slice};
use crate::model::weights::tests::tiny_card;
use crate::predict::{Outside, Predictor};
use crate::tables::ops::Row;

fn config() -> Config {
    let scheduler =
        Knobs { max_batched_tokens: 32, max_sequences: 4, block_tokens: 4, kv_blocks: 64, ..Knobs::default() };
    Config { scheduler, seconds: 0.05, ..Config::default() }
}

fn profiled(config: &Config) -> Vec<Row> {
    let directory = project();
    let inputs = [wire("model", directory.path().join("model.toml"))].into_iter().collect();
    let mut io = Io::detached(directory.path(), inputs, &["ops"]);
    Profile::run(config, &mut io).unwrap();
    let ops = directory.path().join("out/ops");
    let meta = RunMeta::read(&ops.join(META)).unwrap();
    assert_eq!((meta.kind.as_str(), meta.model.name.as_str()), ("profile", "tiny"));
    tables::read(&ops.join("ops.parquet")).unwrap()
}

#[test]
fn a_profile_names_every_operation_of_the_schema_and_predicts_every_batch_of_its_scheduler() {
    let rows = profiled(&config());
    let about = tables::OPS.columns[0].about;
    let named: BTreeSet<&str> = about.split(": ").nth(1).unwrap().split(", ").collect();
    let measured: BTreeSet<&str> = rows.iter().map(|r| r.op.as_str()).collect();
    assert_eq!(measured, named);
    let layers = tiny_card().layers;
    let calls = |op: &str| rows.iter().find(|r| r.op == op).unwrap().calls_per_step;
    assert_eq!((calls("norm"), calls("qkv"), calls("head"), calls("step")), (2 * layers, layers, 1, 1));

    let mut predictor = Predictor::new(&rows, Outside::Refuse).unwrap();
    let slice = |seq, context, tokens| Slice { seq, context, tokens, yields: true };
    for slices in [
        vec![slice(0, 0, 32)],
        vec![slice(0, 224, 32)],
        vec![slice(0, 255, 1)],
        vec![slice(0, 63, 1), slice(1, 63, 1), slice(2, 63, 1), slice(3, 63, 1)],
        vec![slice(0, 9, 1), slice(1, 60, 1), slice(2, 0, 30)],
        vec![slice(0, 0, 13), slice(1, 0, 19)],
    ] {
        let time = predictor.step_time(&Batch { slices }).unwrap();
        assert!(time.device.0 > 0 && time.host.0 > 0);
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_names_its_field() {
    let field = |config: Config| Profile::contract(&config, &Wired::default()).unwrap_err().field;
    assert_eq!(field(Config { seconds: 0.0, ..config() }), "seconds");
    let pipelined = Knobs { pipelined: true, ..config().scheduler };
    assert_eq!(field(Config { scheduler: pipelined, ..config() }), "scheduler.pipelined");
    assert!(Profile::contract(&config(), &Wired::default()).is_ok());
}
