//! Every mistake as a person sees it.

use super::*;

/// A pipeline in which only one thing is wrong.
fn with(stages: &str) -> Folder {
    Folder::new(&format!(
        "name = \"p\"\n\n[stage.numbers]\nkind = \"make\"\nconfig = {{ count = 9 }}\n\n{}",
        stages.trim_start_matches('\n')
    ))
}

const RUN: &str = "[stage.run]\nkind = \"scale\"\nin = { numbers = \"numbers.numbers\" }\n";

#[test]
fn keys_that_do_not_exist() {
    let folder = Folder::new(
        "nam = \"p\"\n[stages.numbers]\n[stage.numbers]\nkind = \"make\"\ncount = 9\nconfg = {}\ninput = {}\nconfig.count = 1\n",
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-key

      × a pipeline file has no key `nam`
       ╭─[p.toml:1:1]
     1 │ nam = "p"
       · ───
     2 │ [stages.numbers]
       ╰────
      help: did you mean `name`? the keys are `about`, `choose`, `name`, `stage`

    unknown-key

      × a pipeline file has no key `stages`
       ╭─[p.toml:2:2]
     1 │ nam = "p"
     2 │ [stages.numbers]
       ·  ──────
     3 │ [stage.numbers]
       ╰────
      help: did you mean `stage`? the keys are `about`, `choose`, `name`, `stage`

    unknown-key

      × the stage `numbers` has no key `count`
       ╭─[p.toml:5:1]
     4 │ kind = "make"
     5 │ count = 9
       · ─────
     6 │ confg = {}
       ╰────
      help: what the kind can be told goes into `config`; beside it stand `config`, `in`, `kind`,
            `matrix`, `use`, `launcher`, `repeat`, `retries`, `timeout_s`

    unknown-key

      × the stage `numbers` has no key `confg`
       ╭─[p.toml:6:1]
     5 │ count = 9
     6 │ confg = {}
       · ─────
     7 │ input = {}
       ╰────
      help: did you mean `config`? what the kind can be told goes into `config`; beside it stand
            `config`, `in`, `kind`, `matrix`, `use`, `launcher`, `repeat`, `retries`, `timeout_s`

    unknown-key

      × the stage `numbers` has no key `input`
       ╭─[p.toml:7:1]
     6 │ confg = {}
     7 │ input = {}
       · ─────
     8 │ config.count = 1
       ╰────
      help: did you mean `in`? what the kind can be told goes into `config`; beside it stand `config`,
            `in`, `kind`, `matrix`, `use`, `launcher`, `repeat`, `retries`, `timeout_s`
    "#);
}

#[test]
fn values_of_the_wrong_sort() {
    let folder = Folder::new(
        r#"name = 3
about = true
choose = []
[stage]
flat = "make"
[stage.a]
kind = 1
use = 2
in = "x"
config = "y"
matrix = []
repeat = 0
retries = -1
timeout_s = "1m"
launcher = "cloud"
[stage.b]
kind = "make"
in = { source = [1], other = true }
matrix = { count = 1, seed = [] }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    wrong-type

      × `name` takes a string, not a whole number
       ╭─[p.toml:1:8]
     1 │ name = 3
       ·        ─
     2 │ about = true
       ╰────

    wrong-type

      × `about` takes a string, not a boolean
       ╭─[p.toml:2:9]
     1 │ name = 3
     2 │ about = true
       ·         ────
     3 │ choose = []
       ╰────

    wrong-type

      × `choose` takes a table, not a list
       ╭─[p.toml:3:10]
     2 │ about = true
     3 │ choose = []
       ·          ──
     4 │ [stage]
       ╰────

    wrong-type

      × `stage.flat` takes a table, not a string
       ╭─[p.toml:5:8]
     4 │ [stage]
     5 │ flat = "make"
       ·        ──────
     6 │ [stage.a]
       ╰────
      help: stages are tables: `[stage.flat]`

    wrong-type

      × `kind` takes a string, not a whole number
       ╭─[p.toml:7:8]
     6 │ [stage.a]
     7 │ kind = 1
       ·        ─
     8 │ use = 2
       ╰────

    wrong-type

      × `use` takes a string or a list of strings, not a whole number
       ╭─[p.toml:8:7]
     7 │ kind = 1
     8 │ use = 2
       ·       ─
     9 │ in = "x"
       ╰────

    wrong-type

      × `in` takes a table, not a string
        ╭─[p.toml:9:6]
      8 │ use = 2
      9 │ in = "x"
        ·      ───
     10 │ config = "y"
        ╰────

    wrong-type

      × `config` takes a table, not a string
        ╭─[p.toml:10:10]
      9 │ in = "x"
     10 │ config = "y"
        ·          ───
     11 │ matrix = []
        ╰────

    wrong-type

      × `matrix` takes a table, not a list
        ╭─[p.toml:11:10]
     10 │ config = "y"
     11 │ matrix = []
        ·          ──
     12 │ repeat = 0
        ╰────

    bad-value

      × `repeat` takes a whole number from 1 to 10000
        ╭─[p.toml:12:10]
     11 │ matrix = []
     12 │ repeat = 0
        ·          ─
     13 │ retries = -1
        ╰────

    bad-value

      × `retries` takes a whole number from 0 to 100
        ╭─[p.toml:13:11]
     12 │ repeat = 0
     13 │ retries = -1
        ·           ──
     14 │ timeout_s = "1m"
        ╰────

    bad-value

      × `timeout_s` takes a number of seconds above 0
        ╭─[p.toml:14:13]
     13 │ retries = -1
     14 │ timeout_s = "1m"
        ·             ────
     15 │ launcher = "cloud"
        ╰────

    unknown-launcher

      × there is no launcher `cloud`
        ╭─[p.toml:15:12]
     14 │ timeout_s = "1m"
     15 │ launcher = "cloud"
        ·            ───────
     16 │ [stage.b]
        ╰────
      help: the launchers are `local`, `slurm`

    missing-field

      × the kind `make` needs the setting `count`
        ╭─[p.toml:16:8]
     15 │ launcher = "cloud"
     16 │ [stage.b]
        ·        ┬
        ·        ╰── not given here
     17 │ kind = "make"
        ╰────

    wrong-type

      × `source` takes a list of strings, not a whole number
        ╭─[p.toml:18:18]
     17 │ kind = "make"
     18 │ in = { source = [1], other = true }
        ·                  ─
     19 │ matrix = { count = 1, seed = [] }
        ╰────

    wrong-type

      × `other` takes a string or a list of strings, not a boolean
        ╭─[p.toml:18:30]
     17 │ kind = "make"
     18 │ in = { source = [1], other = true }
        ·                              ────
     19 │ matrix = { count = 1, seed = [] }
        ╰────

    wrong-type

      × `count` takes a list of values, not a whole number
        ╭─[p.toml:19:20]
     18 │ in = { source = [1], other = true }
     19 │ matrix = { count = 1, seed = [] }
        ·                    ─
        ╰────

    bad-value

      × the matrix has no values for `seed`
        ╭─[p.toml:19:30]
     18 │ in = { source = [1], other = true }
     19 │ matrix = { count = 1, seed = [] }
        ·                              ─┬
        ·                               ╰── a list with at least one value
        ╰────
    "#);
}

#[test]
fn settings_of_the_wrong_sort_are_told_in_one_go() {
    let folder = Folder::new(
        r#"[stage.numbers]
kind = "make"
config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    wrong-type

      × `count` takes a whole number from 0 to 4294967295, not the string "nine"
       ╭─[p.toml:3:20]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                    ──────
       ╰────

    wrong-type

      × `seed` takes a whole number, 0 or more, not `-1`
       ╭─[p.toml:3:35]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                                   ──
       ╰────

    wrong-type

      × `rate_per_s` takes a number, not `true`
       ╭─[p.toml:3:52]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                                                    ────
       ╰────

    wrong-type

      × `sizes[1]` takes a whole number from 0 to 65535, not `70000`
       ╭─[p.toml:3:70]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                                                                      ─────
       ╰────

    wrong-type

      × `sizes[2]` takes a whole number from 0 to 65535, not the string "x"
       ╭─[p.toml:3:77]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                                                                             ───
       ╰────

    unknown-field

      × the kind `make` has no setting `sede`
       ╭─[p.toml:3:83]
     2 │ kind = "make"
     3 │ config = { count = "nine", seed = -1, rate_per_s = true, sizes = [1, 70000, "x"], sede = 1 }
       ·                                                                                   ────
       ╰────
      help: did you mean `seed`? the settings are `count`, `seed`, `rate_per_s`, `sizes`
    "#);
}

#[test]
fn settings_that_are_missing() {
    let folder = Folder::new(
        "[stage.numbers]\nkind = \"make\"\n[stage.run]\nkind = \"scale\"\nin.numbers = \"numbers.numbers\"\nconfig.batch.order = \"lifo\"\n[stage.c]\nkind = \"command\"\n",
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    missing-field

      × the kind `make` needs the setting `count`
       ╭─[p.toml:1:8]
     1 │ [stage.numbers]
       ·        ───┬───
       ·           ╰── not given here
     2 │ kind = "make"
       ╰────

    missing-field

      × the kind `scale` needs the setting `batch.size`
       ╭─[p.toml:6:8]
     5 │ in.numbers = "numbers.numbers"
     6 │ config.batch.order = "lifo"
       ·        ──┬──
       ·          ╰── not given here
     7 │ [stage.c]
       ╰────

    missing-field

      × the kind `command` needs the setting `argv`
       ╭─[p.toml:7:8]
     6 │ config.batch.order = "lifo"
     7 │ [stage.c]
       ·        ┬
       ·        ╰── not given here
     8 │ kind = "command"
       ╰────

    missing-field

      × the kind `command` needs the setting `outputs`
       ╭─[p.toml:7:8]
     6 │ config.batch.order = "lifo"
     7 │ [stage.c]
       ·        ┬
       ·        ╰── not given here
     8 │ kind = "command"
       ╰────
    "#);
}

#[test]
fn a_setting_of_a_fragment_is_shown_in_the_fragment() {
    let folder = with(&format!("[choose]\nbatch = \"small\"\n{RUN}use = [\"batch\"]\n"))
        .file("configs/batch/small.toml", "# small batches\n[batch]\nsize = 8\nordr = \"lifo\"\ndepth = \"deep\"\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-field

      × the kind `scale` has no setting `batch.ordr`
       ╭─[configs/batch/small.toml:4:1]
     3 │ size = 8
     4 │ ordr = "lifo"
       · ────
     5 │ depth = "deep"
       ╰────
      help: did you mean `order`? the settings are `size`, `order`, `depth`

    wrong-type

      × `batch.depth` takes a whole number from 0 to 4294967295, not the string "deep"
       ╭─[configs/batch/small.toml:5:9]
     4 │ ordr = "lifo"
     5 │ depth = "deep"
       ·         ──────
       ╰────
    "#);
}

#[test]
fn a_word_that_is_none_of_those_that_there_are() {
    let folder = with(&format!("{RUN}config.batch = {{ size = 8, order = \"filo\" }}\n"));
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    bad-value

      × `batch.order` cannot be `filo`
        ╭─[p.toml:10:36]
      9 │ in = { numbers = "numbers.numbers" }
     10 │ config.batch = { size = 8, order = "filo" }
        ·                                    ──────
        ╰────
      help: did you mean `fifo`? the values are `fifo`, `lifo`, `shortest-first`
    "#);
}

#[test]
fn settings_that_fit_and_cannot_be_meant() {
    let folder = with(
        "[stage.none]\nkind = \"make\"\nconfig.count = 0\n\n[stage.run]\nkind = \"scale\"\nin.numbers = \"numbers.numbers\"\nconfig = { batch = { size = 2 } }\n",
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    bad-setting

      × `count`: at least one number is wanted
        ╭─[p.toml:9:16]
      8 │ kind = "make"
      9 │ config.count = 0
        ·                ─
     10 │ 
        ╰────
      help: raise it to 1

    bad-setting

      × `batch.depth`: a batch is no deeper than it is large
        ╭─[p.toml:14:12]
     13 │ in.numbers = "numbers.numbers"
     14 │ config = { batch = { size = 2 } }
        ·            ──┬──
        ·              ╰── by default, as it is not given here
        ╰────
    "#);
}

#[test]
fn numbers_that_cannot_be_kept() {
    let folder =
        with("[stage.a]\nkind = \"make\"\nconfig = { count = 1, rate_per_s = nan, seed = 99999999999999999999 }\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    bad-value

      × `nan` is not a finite number
       ╭─[p.toml:9:36]
     8 │ kind = "make"
     9 │ config = { count = 1, rate_per_s = nan, seed = 99999999999999999999 }
       ·                                    ───
       ╰────
      help: a result is kept under the values that made it, and these can only be finite numbers

    bad-value

      × `99999999999999999999` is beyond what a whole number can hold
       ╭─[p.toml:9:48]
     8 │ kind = "make"
     9 │ config = { count = 1, rate_per_s = nan, seed = 99999999999999999999 }
       ·                                                ────────────────────
       ╰────
      help: whole numbers go from -9223372036854775808 to 9223372036854775807
    "#);
}

#[test]
fn kinds_stages_outputs_and_inputs_that_do_not_exist() {
    let folder = with(
        r#"[stage.a]
kind = "scail"
[stage.b]
config = {}
[stage.c]
kind = "scale"
in = { number = "numbers.numbers" }
[stage.d]
kind = "scale"
in = { numbers = "nubmers.numbers" }
[stage.e]
kind = "scale"
in = { numbers = "numbers.runs" }
[stage.f]
kind = "scale"
in = { numbers = "numbers" }
[stage.g]
kind = "scale"
in = { numbers = "p.toml" }
[stage.h]
kind = "scale"
in = { numbers = "" }
[stage."i.j"]
kind = "make"
config.count = 1
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-kind

      × there is no kind `scail`
       ╭─[p.toml:8:8]
     7 │ [stage.a]
     8 │ kind = "scail"
       ·        ───────
     9 │ [stage.b]
       ╰────
      help: did you mean `scale`? the kinds are `make`, `scale`, `compare`, `gather`, `command`

    missing-field

      × the stage `b` does not say of which kind it is
        ╭─[p.toml:9:8]
      8 │ kind = "scail"
      9 │ [stage.b]
        ·        ─
     10 │ config = {}
        ╰────
      help: add `kind = "…"`; `pipe kinds` lists them

    unknown-port

      × the kind `scale` has no input `number`
        ╭─[p.toml:13:8]
     12 │ kind = "scale"
     13 │ in = { number = "numbers.numbers" }
        ·        ──────
     14 │ [stage.d]
        ╰────
      help: did you mean `numbers`? the inputs are `numbers`, `shape`

    unknown-stage

      × there is no stage `nubmers`
        ╭─[p.toml:16:18]
     15 │ kind = "scale"
     16 │ in = { numbers = "nubmers.numbers" }
        ·                  ─────────────────
     17 │ [stage.e]
        ╰────
      help: did you mean `numbers`? the stages are `numbers`, `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h`,
            `i.j`

    unknown-output

      × the stage `numbers` has no output `runs`
        ╭─[p.toml:19:18]
     18 │ kind = "scale"
     19 │ in = { numbers = "numbers.runs" }
        ·                  ──────────────
     20 │ [stage.f]
        ╰────
      help: the outputs are `numbers`, `notes`

    unknown-output

      × `numbers` is a stage: name one of its outputs, as in `numbers.OUTPUT`
        ╭─[p.toml:22:18]
     21 │ kind = "scale"
     22 │ in = { numbers = "numbers" }
        ·                  ─────────
     23 │ [stage.g]
        ╰────
      help: the outputs are `numbers`, `notes`

    unknown-stage

      × `p.toml` is no output of a stage
        ╭─[p.toml:25:18]
     24 │ kind = "scale"
     25 │ in = { numbers = "p.toml" }
        ·                  ────────
     26 │ [stage.h]
        ╰────
      help: to name the file, write `./p.toml`

    bad-value

      × this text cannot name anything
        ╭─[p.toml:28:18]
     27 │ kind = "scale"
     28 │ in = { numbers = "" }
        ·                  ──
     29 │ [stage."i.j"]
        ╰────

    bad-name

      × `i.j` cannot name a stage
        ╭─[p.toml:29:8]
     28 │ in = { numbers = "" }
     29 │ [stage."i.j"]
        ·        ─────
     30 │ kind = "make"
        ╰────
      help: use letters, digits, `_` and `-`
    "#);
}

#[test]
fn inputs_that_are_missing_are_lists_or_hold_another_thing() {
    let folder = with(
        r#"[stage.a]
kind = "scale"
[stage.b]
kind = "scale"
in = { numbers = ["numbers.numbers"] }
[stage.c]
kind = "scale"
in = { numbers = "numbers.notes" }
[stage.d]
kind = "gather"
in = { runs = [] }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    missing-input

      × the stage `a` needs something on its input `numbers`
       ╭─[p.toml:7:8]
     6 │ 
     7 │ [stage.a]
       ·        ─
     8 │ kind = "scale"
       ╰────
      help: `numbers.numbers` holds what it takes: `in = { numbers = "numbers.numbers" }`

    list-on-single-port

      × the input `numbers` takes one source, not a list
        ╭─[p.toml:11:18]
     10 │ kind = "scale"
     11 │ in = { numbers = ["numbers.numbers"] }
        ·                  ───────────────────
     12 │ [stage.c]
        ╰────

    wrong-holding

      × `numbers.notes` holds `text`, and the input `numbers` takes `numbers`
        ╭─[p.toml:14:18]
     13 │ kind = "scale"
     14 │ in = { numbers = "numbers.notes" }
        ·                  ───────────────
     15 │ [stage.d]
        ╰────
      help: `numbers.numbers` holds `numbers`

    missing-input

      × the stage `d` needs something on its input `runs`
        ╭─[p.toml:17:15]
     16 │ kind = "gather"
     17 │ in = { runs = [] }
        ·               ─┬
        ·                ╰── an empty list
        ╰────
      help: the kind `gather` takes what holds `run` there: `in = { runs = "…" }`
    "#);
}

#[test]
fn a_cycle_shows_each_line_that_makes_it() {
    let folder = with(
        r#"[stage.a]
kind = "command"
in = { x = "c.o" }
config = { argv = ["true"], outputs.o = "o" }

[stage.b]
kind = "command"
in = { x = "a.o", seed = "numbers.numbers" }
config = { argv = ["true"], outputs.o = "o" }

[stage.c]
kind = "command"
in = { x = ["b.o"] }
config = { argv = ["true"], outputs.o = "o" }

[stage.self]
kind = "command"
in = { x = "self.o" }
config = { argv = ["true", "{out.p}"], outputs.o = "o" }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    cycle

      × these stages wait for one another: a → b → c → a
        ╭─[p.toml:14:12]
      8 │ kind = "command"
      9 │ in = { x = "c.o" }
        ·            ──┬──
        ·              ╰── `a` waits for `c`
     10 │ config = { argv = ["true"], outputs.o = "o" }
     11 │ 
     12 │ [stage.b]
     13 │ kind = "command"
     14 │ in = { x = "a.o", seed = "numbers.numbers" }
        ·            ──┬──
        ·              ╰── `b` waits for `a`
     15 │ config = { argv = ["true"], outputs.o = "o" }
     16 │ 
     17 │ [stage.c]
     18 │ kind = "command"
     19 │ in = { x = ["b.o"] }
        ·             ──┬──
        ·               ╰── `c` waits for `b`
     20 │ config = { argv = ["true"], outputs.o = "o" }
        ╰────
      help: take one of these wires away

    cycle

      × the stage `self` takes its own output
        ╭─[p.toml:24:12]
     23 │ kind = "command"
     24 │ in = { x = "self.o" }
        ·            ────┬───
        ·                ╰── `self` waits for `self`
     25 │ config = { argv = ["true", "{out.p}"], outputs.o = "o" }
        ╰────
      help: take one of these wires away

    bad-setting

      × `argv[1]`: nothing is called `{out.p}` here
        ╭─[p.toml:25:28]
     24 │ in = { x = "self.o" }
     25 │ config = { argv = ["true", "{out.p}"], outputs.o = "o" }
        ·                            ─────────
        ╰────
      help: did you mean `out.o`? the placeholders are `in.x`, `out.o`, `cpus`; for the braces
            themselves write `{{out.p}}`
    "#);
}

#[test]
fn two_stages_of_one_name_and_keys_given_twice() {
    let folder = Folder::new(
        r#"name = "p"
[stage.numbers]
kind = "make"
config = { count = 1, count = 2 }

[stage.run]
kind = "scale"
kind = "scale"
in.numbers = "numbers.numbers"

[stage.numbers] # again
kind = "make"
config = { count = 2 }

[choose]
x = "y"

[choose]
[stage.last]
kind = "mak"
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    duplicate-key

      × `count` is given twice
       ╭─[p.toml:4:23]
     3 │ kind = "make"
     4 │ config = { count = 1, count = 2 }
       ·            ──┬──      ──┬──
       ·              │          ╰── again here
       ·              ╰── first here
     5 │ 
       ╰────
      help: leave one of them out

    duplicate-key

      × `kind` is given twice
       ╭─[p.toml:8:1]
     6 │ [stage.run]
     7 │ kind = "scale"
       · ──┬─
       ·   ╰── first here
     8 │ kind = "scale"
       · ──┬─
       ·   ╰── again here
     9 │ in.numbers = "numbers.numbers"
       ╰────
      help: leave one of them out

    duplicate-stage

      × two stages are called `numbers`
       ╭─[p.toml:2:1]
     1 │ name = "p"
     2 │ [stage.numbers]
       · ───────┬───────
       ·        ╰── first here
     3 │ kind = "make"
       ╰────
        ╭─[p.toml:11:8]
     10 │ 
     11 │ [stage.numbers] # again
        ·        ───┬───
        ·           ╰── again here
     12 │ kind = "make"
        ╰────
      help: give one of them another name

    duplicate-key

      × the table `choose` is opened twice
        ╭─[p.toml:18:2]
     14 │ 
     15 │ [choose]
        · ────┬───
        ·     ╰── first here
     16 │ x = "y"
     17 │ 
     18 │ [choose]
        ·  ───┬──
        ·     ╰── again here
     19 │ [stage.last]
        ╰────
      help: put both into one

    unknown-kind

      × there is no kind `mak`
        ╭─[p.toml:20:8]
     19 │ [stage.last]
     20 │ kind = "mak"
        ·        ─────
        ╰────
      help: did you mean `make`? the kinds are `make`, `scale`, `compare`, `gather`, `command`

    unused-group

      ⚠ no stage uses the group `x`
        ╭─[p.toml:16:1]
     15 │ [choose]
     16 │ x = "y"
        · ┬
        · ╰── chosen here
     17 │ 
        ╰────
      help: `use = ["x"]` lays the chosen file under a stage's settings, `@x` wires it
    "#);
}

#[test]
fn files_that_are_not_there() {
    let folder = with(
        r#"[choose]
shape = "cube"
[stage.a]
kind = "make"
config.count = 1
in.source = "data/none.csv"
[stage.b]
kind = "make"
config.count = 1
in.source = "@shape.data"
[stage.c]
kind = "make"
config.count = 1
in.source = "@shape.date"
[stage.d]
kind = "make"
config.count = 1
in.source = "@shapes"
"#,
    )
    .file("shapes/cube/shape.toml", "sides = 6\n[files]\ndata = \"data.bin\"\n")
    .file("shapes/cube/bootstrap.sh", "");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    missing-file

      × there is no file `data/none.csv`
        ╭─[p.toml:12:13]
     11 │ config.count = 1
     12 │ in.source = "data/none.csv"
        ·             ───────────────
     13 │ [stage.b]
        ╰────
      help: paths begin at the project's root

    unknown-file

      × `shapes/cube/shape.toml` names no file `date`
        ╭─[p.toml:20:13]
     19 │ config.count = 1
     20 │ in.source = "@shape.date"
        ·             ─────────────
     21 │ [stage.d]
        ╰────
      help: under `[files]`: the only file is `data`: did you mean that?

    unknown-group

      × this pipeline does not choose a group `shapes`
        ╭─[p.toml:24:13]
     23 │ config.count = 1
     24 │ in.source = "@shapes"
        ·             ─────────
        ╰────
      help: the only group is `shape`: did you mean that?

    missing-file

      × there is no file `shapes/cube/data.bin`
        ╭─[p.toml:16:13]
     15 │ config.count = 1
     16 │ in.source = "@shape.data"
        ·             ──────┬──────
        ·                   ╰── wanted here
     17 │ [stage.c]
        ╰────
       ╭─[shapes/cube/shape.toml:3:8]
     2 │ [files]
     3 │ data = "data.bin"
       ·        ─────┬────
       ·             ╰── named here
       ╰────
      help: `sh shapes/cube/bootstrap.sh` brings it
    "#);
}

#[test]
fn groups_and_choices_that_do_not_exist() {
    let folder = with(&format!(
        "[choose]\nbatch = \"smal\"\nother = \"x\"\nup = \"../x\"\n{RUN}use = [\"batch\", \"bath\", \"other\", \"up\"]\n"
    ))
    .file("configs/batch/small.toml", "")
    .file("configs/batch/large.toml", "");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-choice

      × the group `batch` has no choice `smal`
       ╭─[p.toml:8:9]
     7 │ [choose]
     8 │ batch = "smal"
       ·         ──────
     9 │ other = "x"
       ╰────
      help: did you mean `small`? the choices are `large`, `small`

    unknown-group

      × the group `other` has no choices here
        ╭─[p.toml:9:9]
      8 │ batch = "smal"
      9 │ other = "x"
        ·         ───
     10 │ up = "../x"
        ╰────
      help: a choice is a file `configs/other/<choice>.toml` or `others/<choice>/other.toml`

    bad-name

      × `../x` cannot name a choice of the group `up`
        ╭─[p.toml:10:6]
      9 │ other = "x"
     10 │ up = "../x"
        ·      ──────
     11 │ [stage.run]
        ╰────
      help: a choice is the name of a file without `.toml`: letters, digits, `_`, `-`, `+` and `.`

    unknown-group

      × this pipeline does not choose a group `bath`
        ╭─[p.toml:14:17]
     13 │ in = { numbers = "numbers.numbers" }
     14 │ use = ["batch", "bath", "other", "up"]
        ·                 ──────
        ╰────
      help: did you mean `batch`? the groups are `batch`, `other`, `up`
    "#);
}

#[test]
fn a_choice_that_is_there_twice() {
    let folder = with(&format!("[choose]\nbatch = \"a\"\n{RUN}use = [\"batch\"]\n"))
        .file("configs/batch/a.toml", "")
        .file("batchs/a/batch.toml", "");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-choice

      × the choice `a` of the group `batch` is there twice
       ╭─[p.toml:8:9]
     7 │ [choose]
     8 │ batch = "a"
       ·         ───
     9 │ [stage.run]
       ╰────
      help: keep one of `configs/batch/a.toml` and `batchs/a/batch.toml`
    "#);
}

#[test]
fn needs_beyond_the_machine() {
    let folder = with(&format!(
        "{RUN}config.machine = {{ cpus = 64, memory_mib = 999999 }}\n[stage.c]\nkind = \"command\"\nconfig = {{ argv = [\"true\"], outputs.o = \"o\", cpus = 9 }}\n"
    ));
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    too-large

      × the stage `run` needs 64 cpus, and this machine has 8
        ╭─[p.toml:10:27]
      9 │ in = { numbers = "numbers.numbers" }
     10 │ config.machine = { cpus = 64, memory_mib = 999999 }
        ·                           ──
     11 │ [stage.c]
        ╰────
      help: ask for less, or give the stage another `launcher`

    too-large

      × the stage `run` needs 999999 MiB of memory, and this machine has 4096 MiB
        ╭─[p.toml:10:44]
      9 │ in = { numbers = "numbers.numbers" }
     10 │ config.machine = { cpus = 64, memory_mib = 999999 }
        ·                                            ──────
     11 │ [stage.c]
        ╰────
      help: ask for less, or give the stage another `launcher`

    too-large

      × the stage `c` needs 9 cpus, and this machine has 8
        ╭─[p.toml:13:53]
     12 │ kind = "command"
     13 │ config = { argv = ["true"], outputs.o = "o", cpus = 9 }
        ·                                                     ─
        ╰────
      help: ask for less, or give the stage another `launcher`
    "#);
}

#[test]
fn a_group_that_nobody_uses_is_worth_a_look() {
    let folder = with("[choose]\nbatch = \"small\"\n").file("configs/batch/small.toml", "");
    let loaded = folder.load(&[]);
    insta::assert_snapshot!(loaded.warnings.render(Look::Unicode, 100), @r#"
    unused-group

      ⚠ no stage uses the group `batch`
       ╭─[p.toml:8:1]
     7 │ [choose]
     8 │ batch = "small"
       · ──┬──
       ·   ╰── chosen here
       ╰────
      help: `use = ["batch"]` lays the chosen file under a stage's settings, `@batch` wires it
    "#);
}

#[test]
fn matrices_that_cannot_be_meant() {
    let folder = with(
        r#"[stage.a]
kind = "scale"
in.numbers = "numbers.numbers"
matrix = { "batch.size" = [8, 16] }
[stage.b]
kind = "scale"
in.numbers = "numbers.numbers"
matrix = { "batch.size" = [8, 32], "batch.depth" = [1, 2, 1] }
[stage.verdict]
kind = "compare"
in = { left = "a.run", right = "b.run" }
[stage.wide]
kind = "make"
config.count = 1
repeat = 10000
matrix = { seed = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    bad-value

      × the matrix has a value of `batch.depth` twice
        ╭─[p.toml:14:59]
     13 │ in.numbers = "numbers.numbers"
     14 │ matrix = { "batch.size" = [8, 32], "batch.depth" = [1, 2, 1] }
        ·                                                     ┬     ┬
        ·                                                     │     ╰── again here
        ·                                                     ╰── first here
     15 │ [stage.verdict]
        ╰────

    bad-matrix

      × the stage `verdict` hangs on two matrices of `batch.size` with different values
        ╭─[p.toml:15:8]
      9 │ in.numbers = "numbers.numbers"
     10 │ matrix = { "batch.size" = [8, 16] }
        ·            ──────┬─────
        ·                  ╰── one
     11 │ [stage.b]
     12 │ kind = "scale"
     13 │ in.numbers = "numbers.numbers"
     14 │ matrix = { "batch.size" = [8, 32], "batch.depth" = [1, 2, 1] }
        ·            ──────┬─────
        ·                  ╰── the other
     15 │ [stage.verdict]
        ·        ───────
     16 │ kind = "compare"
        ╰────
      help: give both the same values, and points of equal value meet

    too-large

      × the stage `wide` would be 110000 stages
        ╭─[p.toml:18:8]
     17 │ in = { left = "a.run", right = "b.run" }
     18 │ [stage.wide]
        ·        ────
     19 │ kind = "make"
        ╰────
      help: 100000 are the most
    "#);
}

#[test]
fn commands_that_cannot_be_run() {
    let folder = with(
        r#"[stage.a]
kind = "command"
in = { words = "./p.toml" }
config = { argv = ["sort", "{in.word}"], outputs.o = "o" }
[stage.b]
kind = "command"
config = { argv = ["bin/sort"], outputs.o = "o" }
[stage.c]
kind = "command"
config = { argv = ["true"], outputs = { o = "../o" } }
[stage.d]
kind = "command"
config = { argv = ["true"], outputs = { o = "a/b", p = "a" } }
[stage.e]
kind = "command"
config = { argv = ["true"], outputs = {} }
[stage.f]
kind = "command"
config = { argv = [], outputs.o = "o" }
[stage.g]
kind = "command"
config = { argv = ["true"], outputs.o = { path = "o", meaning = "jsn" } }
[stage.h]
kind = "command"
config = { argv = ["true"], outputs.o = { pth = "o" } }
[stage.i]
kind = "command"
config = { argv = ["true", [1]], outputs.o = "o", env = { "A=B" = 1 }, sort = "measurd" }
"#,
    );
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    bad-setting

      × `argv[1]`: nothing is called `{in.word}` here
        ╭─[p.toml:10:28]
      9 │ in = { words = "./p.toml" }
     10 │ config = { argv = ["sort", "{in.word}"], outputs.o = "o" }
        ·                            ───────────
     11 │ [stage.b]
        ╰────
      help: did you mean `in.words`? the placeholders are `in.words`, `out.o`, `cpus`; for the braces
            themselves write `{{in.word}}`

    bad-setting

      × `argv[0]`: `bin/sort` is a path of the project
        ╭─[p.toml:13:20]
     12 │ kind = "command"
     13 │ config = { argv = ["bin/sort"], outputs.o = "o" }
        ·                    ──────────
     14 │ [stage.c]
        ╰────
      help: files come in by ports: `in = { tool = "./path" }`, then `{in.tool}`

    bad-setting

      × `outputs.o`: `../o` is no path below `out/`
        ╭─[p.toml:16:45]
     15 │ kind = "command"
     16 │ config = { argv = ["true"], outputs = { o = "../o" } }
        ·                                             ──────
     17 │ [stage.d]
        ╰────
      help: write it without `.`, `..` and a leading `/`

    bad-setting

      × `outputs.p`: `out/a` lies within the output `out/a/b`
        ╭─[p.toml:19:56]
     18 │ kind = "command"
     19 │ config = { argv = ["true"], outputs = { o = "a/b", p = "a" } }
        ·                                                        ───
     20 │ [stage.e]
        ╰────
      help: two outputs cannot share a path

    bad-setting

      × `outputs`: a stage without outputs cannot be remembered
        ╭─[p.toml:22:39]
     21 │ kind = "command"
     22 │ config = { argv = ["true"], outputs = {} }
        ·                                       ──
     23 │ [stage.f]
        ╰────
      help: a stage is known by what it makes; a program that only checks can write its findings to a
            file

    bad-setting

      × `argv`: there is no program to run
        ╭─[p.toml:25:19]
     24 │ kind = "command"
     25 │ config = { argv = [], outputs.o = "o" }
        ·                   ──
     26 │ [stage.g]
        ╰────
      help: argv = ["program", "word", …]

    bad-setting

      × `outputs.o.meaning`: nothing is known of a meaning called `jsn`
        ╭─[p.toml:28:65]
     27 │ kind = "command"
     28 │ config = { argv = ["true"], outputs.o = { path = "o", meaning = "jsn" } }
        ·                                                                 ─────
     29 │ [stage.h]
        ╰────
      help: there are `json`, `csv` and `toml`

    missing-field

      × the kind `command` needs the setting `outputs.o.path`
        ╭─[p.toml:31:37]
     30 │ kind = "command"
     31 │ config = { argv = ["true"], outputs.o = { pth = "o" } }
        ·                                     ┬
        ·                                     ╰── not given here
     32 │ [stage.i]
        ╰────

    unknown-field

      × the kind `command` has no setting `outputs.o.pth`
        ╭─[p.toml:31:43]
     30 │ kind = "command"
     31 │ config = { argv = ["true"], outputs.o = { pth = "o" } }
        ·                                           ───
     32 │ [stage.i]
        ╰────
      help: did you mean `path`? the settings are `path`, `meaning`, `holds`, `shown`, `about`

    wrong-type

      × `argv[1]` takes a string, a number or a boolean, not a list
        ╭─[p.toml:34:28]
     33 │ kind = "command"
     34 │ config = { argv = ["true", [1]], outputs.o = "o", env = { "A=B" = 1 }, sort = "measurd" }
        ·                            ───
        ╰────

    bad-value

      × `sort` cannot be `measurd`
        ╭─[p.toml:34:79]
     33 │ kind = "command"
     34 │ config = { argv = ["true", [1]], outputs.o = "o", env = { "A=B" = 1 }, sort = "measurd" }
        ·                                                                               ─────────
        ╰────
      help: did you mean `measured`? the values are `computed`, `measured`
    "#);
}

#[test]
fn text_that_is_not_toml() {
    let folder = with("[stage.a\nkind = 'x\n").file("pipe.toml", "[cache\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r"
    syntax

      × this is not TOML: unclosed table, expected `]`
       ╭─[pipe.toml:1:7]
     1 │ [cache
       ·       ▲
       ·       ╰── here
       ╰────

    syntax

      × this is not TOML: unclosed table, expected `]`
       ╭─[p.toml:7:9]
     6 │ 
     7 │ [stage.a
       ·         ▲
       ·         ╰── here
     8 │ kind = 'x
       ╰────
    ");
}

#[test]
fn text_that_is_not_utf8() {
    let folder = with("").file("p.toml", b"name = \"p\"\n# caf\xe9\n[stage.a]\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    not-utf8

      × `p.toml` is not UTF-8: byte 0xE9 cannot stand here
       ╭─[p.toml:2:6]
     1 │ name = "p"
     2 │ # caf�
       ·      ─
     3 │ [stage.a]
       ╰────
      help: save it as UTF-8
    "#);
}

#[test]
fn a_pipeline_file_that_is_not_there_or_is_a_directory() {
    let folder = with("");
    std::fs::remove_file(folder.0.path().join("p.toml")).unwrap();
    insta::assert_snapshot!(folder.mistakes(&[]), @r"
    unreadable-file

      × cannot read `p.toml`: there is no such file
    ");
    std::fs::create_dir(folder.0.path().join("p.toml")).unwrap();
    insta::assert_snapshot!(folder.mistakes(&[]), @r"
    unreadable-file

      × cannot read `p.toml`: it is a directory
    ");
}

#[test]
fn a_pipeline_without_stages() {
    insta::assert_snapshot!(Folder::new("name = \"p\"\n").mistakes(&[]), @r#"
    no-stages

      × `p.toml` has no stages
      help: a stage is a table: `[stage.NAME]` with `kind = "…"`; `pipe kinds` lists the kinds
    "#);
}

#[test]
fn a_project_that_says_what_cannot_be_meant() {
    let folder = with("").file("pipe.toml", "[cache]\ndirectry = \"x\"\nsalt = 3\n[launcher]\ndefault = \"slrum\"\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    unknown-field

      × `pipe.toml` has no setting `cache.directry`
       ╭─[pipe.toml:2:1]
     1 │ [cache]
     2 │ directry = "x"
       · ────────
     3 │ salt = 3
       ╰────
      help: did you mean `directory`? the settings are `directory`, `shared`, `push`, `check`,
            `trust`, `salt`

    wrong-type

      × `cache.salt` takes a string, not `3`
       ╭─[pipe.toml:3:8]
     2 │ directry = "x"
     3 │ salt = 3
       ·        ─
     4 │ [launcher]
       ╰────
    "#);
}

#[test]
fn tabs_and_crlf_do_not_move_the_place() {
    let folder = with("").file("p.toml", "[stage.numbers]\r\n\tkind = \"make\"\r\n\tconfig = {\tcuont = 9 }\r\n");
    insta::assert_snapshot!(folder.mistakes(&[]), @r#"
    missing-field

      × the kind `make` needs the setting `count`
       ╭─[p.toml:1:8]
     1 │ [stage.numbers]
       ·        ───┬───
       ·           ╰── not given here
     2 │     kind = "make"
       ╰────

    unknown-field

      × the kind `make` has no setting `cuont`
       ╭─[p.toml:3:13]
     2 │     kind = "make"
     3 │     config = {  cuont = 9 }
       ·                 ─────
       ╰────
      help: did you mean `count`? the settings are `count`, `seed`, `rate_per_s`, `sizes`
    "#);
}

#[test]
fn several_mistakes_in_several_files_are_told_in_one_go() {
    let folder = with(&format!(
        "[choose]\nbatch = \"small\"\n{RUN}use = [\"batch\"]\n[stage.verdict]\nkind = \"compair\"\n[stage.more]\nkind = \"make\"\nconfig.count = 1\n[stage.all]\nkind = \"gather\"\nin = {{ runs = [\"run.runs\", \"more.notes\"] }}\n"
    ))
    .file("configs/batch/small.toml", "[batch]\nsize = \"eight\"\n")
    .file("pipe.toml", "[cash]\n");
    assert_eq!(
        folder.codes(&["numbers.cuont=3"]),
        ["unknown-field", "unknown-kind", "wrong-holding", "unknown-field", "wrong-type",]
    );
}
