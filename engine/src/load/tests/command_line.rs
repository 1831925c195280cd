use super::*;

const TEXT: &str = r#"
[choose]
batch = "small"
idle = "x"

[stage.numbers]
kind = "make"
config = { count = 9 }
retries = 1

[stage.run]
kind = "scale"
use = ["batch"]
in = { numbers = "numbers.numbers" }
matrix = { "batch.size" = [8, 16], "batch.order" = ["fifo", "lifo"] }
"#;

fn folder() -> Folder {
    Folder::new(TEXT).file("configs/batch/small.toml", "[batch]\ndepth = 1\n").file("configs/idle/x.toml", "")
}

#[test]
fn a_value_is_toml_and_a_bare_word_is_a_text() {
    let words = ["numbers.count=3", "numbers.rate_per_s=1e3", "numbers.sizes=[1, 2]", "run.batch.order=lifo"];
    let loaded = folder().load(&words);
    let expected = serde_json::json!({ "count": 3, "seed": 0, "rate_per_s": 1000.0, "sizes": [1, 2] });
    assert_eq!(stage(&loaded, "numbers").config, expected);
    assert_eq!(stage(&loaded, "run[size=8]").config["batch"]["order"], "lifo");
    let quoted = folder().load(&["run.batch.order=\"lifo\""]);
    assert_eq!(stage(&quoted, "run[size=8]").config["batch"]["order"], "lifo");
}

#[test]
fn the_later_word_wins() {
    let loaded = folder().load(&["numbers.count=3", "numbers.config.count=5"]);
    assert_eq!(stage(&loaded, "numbers").config["count"], 5);
}

#[test]
fn a_word_over_a_line_of_a_matrix_ends_the_variation() {
    let loaded = folder().load(&["run.batch.size=99"]);
    assert_eq!(names(&loaded), ["numbers", "run[order=fifo]", "run[order=lifo]"]);
    assert_eq!(stage(&loaded, "run[order=lifo]").config["batch"]["size"], 99);
}

#[test]
fn how_a_stage_is_run_can_be_told_too() {
    let loaded = folder().load(&["numbers.repeat=2", "numbers.timeout_s=1.5", "numbers.retries=7"]);
    let policy = &stage(&loaded, "numbers[sample=1]").policy;
    assert_eq!((policy.sample, policy.retries, policy.timeout_s), (1, 7, Some(1.5)));
}

#[test]
fn words_that_cannot_be_meant_are_shown_where_they_stand() {
    let words = [
        "batch",
        "bath=small",
        "batch=smal",
        "run=3",
        "rum.batch.size=3",
        "batch.size=3",
        "run.kind=make",
        "run.in.numbers=x",
        "run[size=8].batch.depth=1",
        "run.batch..depth=1",
        "numbers.count=",
        "numbers.count=[1,",
        "numbers.seeds=1",
        "numbers.repeat=0",
        "idle=x",
    ];
    insta::assert_snapshot!(folder().mistakes(&words), @r#"
    bad-override

      × `batch` sets nothing
       ╭─[command line:1:1]
     1 │ batch
       · ─────
     2 │ bath=small
       ╰────
      help: write `group=choice` or `stage.field=value`

    unknown-group

      × this pipeline does not choose a group `bath`
       ╭─[command line:2:1]
     1 │ batch
     2 │ bath=small
       · ────
     3 │ batch=smal
       ╰────
      help: did you mean `batch`? the groups are `batch`, `idle`

    unknown-choice

      × the group `batch` has no choice `smal`
       ╭─[command line:3:7]
     2 │ bath=small
     3 │ batch=smal
       ·       ────
     4 │ run=3
       ╰────
      help: the only choice is `small`: did you mean that?

    unknown-group

      × this pipeline does not choose a group `run`
       ╭─[command line:4:1]
     3 │ batch=smal
     4 │ run=3
       · ───
     5 │ rum.batch.size=3
       ╰────
      help: `run` is a stage: write `run.field=value`

    unknown-stage

      × there is no stage `rum`
       ╭─[command line:5:1]
     4 │ run=3
     5 │ rum.batch.size=3
       · ──────────────
     6 │ batch.size=3
       ╰────
      help: did you mean `run`? the stages are `numbers`, `run`

    unknown-stage

      × there is no stage `batch`
       ╭─[command line:6:1]
     5 │ rum.batch.size=3
     6 │ batch.size=3
       · ──────────
     7 │ run.kind=make
       ╰────
      help: `batch` is a group; give the setting to each stage that uses it: `run`

    bad-override

      × `kind` of a stage cannot be changed from the command line
       ╭─[command line:7:1]
     6 │ batch.size=3
     7 │ run.kind=make
       · ────────
     8 │ run.in.numbers=x
       ╰────
      help: edit the pipeline file

    bad-override

      × `in` of a stage cannot be changed from the command line
       ╭─[command line:8:1]
     7 │ run.kind=make
     8 │ run.in.numbers=x
       · ──────────────
     9 │ run[size=8].batch.depth=1
       ╰────
      help: edit the pipeline file

    bad-override

      × `run[size=8].batch.depth=1` would set one point of a matrix alone
        ╭─[command line:9:1]
      8 │ run.in.numbers=x
      9 │ run[size=8].batch.depth=1
        · ─────────────────────────
     10 │ run.batch..depth=1
        ╰────
      help: settings are given to the stage as written, and so to all its points

    bad-override

      × `run.batch..depth` is no dotted name
        ╭─[command line:10:1]
      9 │ run[size=8].batch.depth=1
     10 │ run.batch..depth=1
        · ──────────────────
     11 │ numbers.count=
        ╰────
      help: write `group=choice` or `stage.field=value`

    bad-override

      × `numbers.count=` gives no value
        ╭─[command line:11:1]
     10 │ run.batch..depth=1
     11 │ numbers.count=
        · ──────────────
     12 │ numbers.count=[1,
        ╰────
      help: for the empty text write `numbers.count='""'`

    bad-override

      × `[1,` begins like TOML and is not
        ╭─[command line:12:15]
     11 │ numbers.count=
     12 │ numbers.count=[1,
        ·               ───
     13 │ numbers.seeds=1
        ╰────
      help: mind what the shell does with quotes

    unknown-field

      × the kind `make` has no setting `seeds`
        ╭─[command line:13:9]
     12 │ numbers.count=[1,
     13 │ numbers.seeds=1
        ·         ─────
     14 │ numbers.repeat=0
        ╰────
      help: did you mean `seed`? the settings are `count`, `seed`, `rate_per_s`, `sizes`

    bad-value

      × `repeat` takes a whole number from 1 to 10000
        ╭─[command line:14:16]
     13 │ numbers.seeds=1
     14 │ numbers.repeat=0
        ·                ─
     15 │ idle=x
        ╰────

    unused-override

      × `idle=x` changes nothing: no stage uses the group `idle`
        ╭─[command line:15:6]
     14 │ numbers.repeat=0
     15 │ idle=x
        ·      ─
        ╰────
      help: `use = ["idle"]` lays the chosen file under a stage's settings, `@idle` wires it
    "#);
}
