#![expect(clippy::unwrap_used, reason = "a test")]

use serde::{Deserialize, Serialize};

use super::*;
use crate::exec::Io;
use crate::kind::{Code, Complaint, Contract, StageError, StageKind};

/// A kind with a setting of each sort.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baker {
    loaves: u32,
    #[serde(default = "rye")]
    flour: String,
    #[serde(default)]
    oven: Option<f64>,
}

fn rye() -> String {
    "rye".to_owned()
}

struct Bake;

impl StageKind for Bake {
    type Config = Baker;
    const NAME: &'static str = "bake";
    const ABOUT: &'static str = "makes bread";
    const CODE: Code = Code { version: 1, modules: &[] };
    const EXAMPLE: &'static str = "loaves = 3";

    fn contract(_: &Baker, _: &Wired) -> Result<Contract, Complaint> {
        Ok(Contract {
            inputs: vec![Port::new("dough", "dough", "what is baked").many()],
            outputs: vec![Port::new("bread", "bread", "what comes out").shown()],
            needs: Needs { gpus: 1, gpu_name: Some("H100".into()), memory_mib: 512, ..Needs::default() },
            ..Contract::default()
        })
    }

    fn run(_: &Baker, _: &mut Io) -> Result<(), StageError> {
        Ok(())
    }
}

#[test]
fn a_kind_is_told_with_ports_needs_settings_and_what_ports_carry() {
    let kind = Kind::of::<Bake>();
    let carries = |word: &str| (word == "bread").then(|| "slices  u32  how many".to_owned());
    insta::assert_snapshot!(tell(&kind, carries, Paint::Bare).unwrap(), @r#"
    bake: makes bread

    takes
      dough  dough  what is baked (many)

    gives
      bread  bread  what comes out (shown)

    needs
      1 cpu, 512.0 MiB, 1 card (H100)

    settings
      flour  = "rye"
      loaves = 3  (an example; it has no default)
      oven   = not set

    `bread` carries
      slices  u32  how many
    "#);
}

#[test]
fn an_example_that_does_not_resolve_is_the_programs_mistake() {
    let kind = Kind { example: "loaves = 3\nyeast = true", ..Kind::of::<Bake>() };
    let error = tell(&kind, |_| None, Paint::Bare).unwrap_err();
    assert!(error.starts_with("the example of kind `bake` does not resolve: yeast: unknown field"), "{error}");
}

#[test]
fn the_engines_own_kind_tells_also_what_is_outside_its_key() {
    let told = tell(&crate::command::KIND, |_| None, Paint::Bare).unwrap();
    assert!(told.contains("argv"), "{told}");
    let also = told.lines().find(|l| l.contains("outside the key")).unwrap();
    assert!(also.contains("cpus") && also.contains("gpu_name") && !also.contains("argv"), "{also}");
}
