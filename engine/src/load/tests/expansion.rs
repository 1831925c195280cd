use super::*;

const NUMBERS: &str = "[stage.numbers]\nkind = \"make\"\nconfig.count = 9\n";

fn sweep(more: &str) -> Folder {
    Folder::new(&format!("{NUMBERS}{more}"))
}

#[test]
fn a_matrix_makes_a_stage_for_each_value_and_what_hangs_on_it_is_expanded_with_it() {
    let loaded = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [256, 512] }
        [stage.other]
        kind = "scale"
        in.numbers = "numbers.numbers"
        [stage.verdict]
        kind = "compare"
        in = { left = "run.run", right = "other.run" }
        "#,
    )
    .load(&[]);
    assert_eq!(
        names(&loaded),
        ["numbers", "run[size=256]", "run[size=512]", "other", "verdict[size=256]", "verdict[size=512]"]
    );
    assert_eq!(stage(&loaded, "run[size=512]").config["batch"]["size"], 512);
    assert_eq!(fed(&loaded, "verdict[size=512]"), ["left: run[size=512].run", "right: other.run"]);
}

#[test]
fn a_port_that_takes_many_gathers_all_points() {
    let loaded = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { batch.size = [8, 16], batch.order = ["fifo", "lifo"] }
        [stage.all]
        kind = "gather"
        in = { runs = ["run.run"] }
        "#,
    )
    .load(&[]);
    assert_eq!(
        fed(&loaded, "all"),
        [concat!(
            "runs: run[size=8,order=fifo].run, run[size=8,order=lifo].run, ",
            "run[size=16,order=fifo].run, run[size=16,order=lifo].run"
        )]
    );
}

#[test]
fn a_gathering_stage_that_is_itself_at_a_point_gathers_what_agrees_with_it() {
    let loaded = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [8, 16], "batch.depth" = [1, 2] }
        [stage.base]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [8, 16] }
        [stage.all]
        kind = "gather"
        in = { runs = "run.run", base = "base.run" }
        "#,
    )
    .load(&[]);
    assert_eq!(
        fed(&loaded, "all[size=16]"),
        ["runs: run[size=16,depth=1].run, run[size=16,depth=2].run", "base: base[size=16].run"]
    );
}

#[test]
fn points_of_equal_value_meet_where_two_matrices_vary_the_same() {
    let loaded = sweep(
        r#"
        [stage.a]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [8, 16] }
        [stage.b]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [8, 16], "batch.depth" = [1, 2] }
        [stage.verdict]
        kind = "compare"
        in = { left = "a.run", right = "b.run" }
        "#,
    )
    .load(&[]);
    let verdicts: Vec<_> = names(&loaded).into_iter().filter(|name| name.starts_with("verdict")).collect();
    assert_eq!(
        verdicts,
        ["verdict[size=8,depth=1]", "verdict[size=8,depth=2]", "verdict[size=16,depth=1]", "verdict[size=16,depth=2]"]
    );
    assert_eq!(fed(&loaded, "verdict[size=16,depth=1]"), ["left: a[size=16].run", "right: b[size=16,depth=1].run"]);
}

#[test]
fn different_matrices_give_every_pair_and_a_diamond_gives_none_twice() {
    let loaded = Folder::new(
        r#"
        [stage.n]
        kind = "make"
        config.count = 1
        matrix.seed = [1, 2]
        [stage.a]
        kind = "scale"
        in.numbers = "n.numbers"
        [stage.b]
        kind = "scale"
        in.numbers = "n.numbers"
        matrix = { "batch.size" = [8, 16] }
        [stage.verdict]
        kind = "compare"
        in = { left = "a.run", right = "b.run" }
        "#,
    )
    .load(&[]);
    assert_eq!(loaded.pipeline.stages.len(), 2 + 2 + 4 + 4);
    assert_eq!(fed(&loaded, "verdict[seed=2,size=8]"), ["left: a[seed=2].run", "right: b[seed=2,size=8].run"]);
}

#[test]
fn a_matrix_over_a_group_chooses_for_the_stage_and_for_all_that_hang_on_it() {
    let loaded = Folder::new(
        r#"
        [choose]
        batch = "small"
        shape = "cube"
        [stage.n]
        kind = "make"
        config.count = 1
        in.source = "@shape.data"
        matrix.shape = ["cube", "ball"]
        [stage.run]
        kind = "scale"
        use = ["batch"]
        in = { numbers = "n.numbers", shape = "@shape" }
        matrix.batch = ["small", "large"]
        "#,
    )
    .file("configs/batch/small.toml", "batch.size = 8")
    .file("configs/batch/large.toml", "batch.size = 80")
    .file("shapes/cube/shape.toml", "files.data = \"d\"")
    .file("shapes/ball/shape.toml", "files.data = \"d\"")
    .file("shapes/cube/d", "")
    .file("shapes/ball/d", "")
    .load(&[]);
    assert_eq!(stage(&loaded, "run[shape=ball,batch=large]").config["batch"]["size"], 80);
    assert_eq!(
        fed(&loaded, "run[shape=ball,batch=large]"),
        ["numbers: n[shape=ball].numbers", "shape: shapes/ball/shape.toml"]
    );
    assert_eq!(fed(&loaded, "n[shape=cube]"), ["source: shapes/cube/d"]);
}

#[test]
fn a_group_axis_reaches_the_settings_of_a_stage_that_hangs_on_it() {
    let loaded = sweep(
        r#"
        [choose]
        batch = "small"
        [stage.a]
        kind = "scale"
        use = ["batch"]
        in.numbers = "numbers.numbers"
        matrix.batch = ["small", "large"]
        [stage.b]
        kind = "scale"
        use = ["batch"]
        in = { numbers = "numbers.numbers", shape = "a.run" }
        [stage.c]
        kind = "scale"
        in = { numbers = "numbers.numbers", shape = "a.run" }
        "#,
    )
    .file("configs/batch/small.toml", "batch.size = 8")
    .file("configs/batch/large.toml", "batch.size = 80")
    .load(&[]);
    assert_eq!(stage(&loaded, "b[batch=large]").config["batch"]["size"], 80);
    assert_eq!(stage(&loaded, "b[batch=small]").config["batch"]["size"], 8);
    assert_eq!(stage(&loaded, "c[batch=large]").config["batch"]["size"], 4);
}

#[test]
fn samples_are_points_and_only_the_measured_stage_knows_its_number() {
    let loaded = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        repeat = 3
        [stage.verdict]
        kind = "compare"
        in = { left = "run.run", right = "run.run" }
        [stage.all]
        kind = "gather"
        in.runs = ["run.run"]
        "#,
    )
    .load(&[]);
    let samples: Vec<_> =
        loaded.pipeline.stages.iter().map(|stage| (stage.name.as_str(), stage.policy.sample)).collect();
    assert_eq!(
        samples,
        [
            ("numbers", 0),
            ("run[sample=0]", 0),
            ("run[sample=1]", 1),
            ("run[sample=2]", 2),
            ("verdict[sample=0]", 0),
            ("verdict[sample=1]", 0),
            ("verdict[sample=2]", 0),
            ("all", 0),
        ]
    );
    assert_eq!(fed(&loaded, "verdict[sample=1]"), ["left: run[sample=1].run", "right: run[sample=1].run"]);
    assert_eq!(fed(&loaded, "all"), ["runs: run[sample=0].run, run[sample=1].run, run[sample=2].run"]);
}

#[test]
fn one_sample_is_no_point() {
    let text = "[stage.run]\nkind = \"scale\"\nin.numbers = \"numbers.numbers\"\nrepeat = 1\n";
    assert_eq!(names(&sweep(text).load(&[])), ["numbers", "run"]);
}

#[test]
fn samples_of_two_stages_are_told_apart() {
    let loaded = sweep(
        r#"
        [stage.a]
        kind = "scale"
        in.numbers = "numbers.numbers"
        repeat = 2
        [stage.b]
        kind = "scale"
        in.numbers = "numbers.numbers"
        repeat = 2
        [stage.verdict]
        kind = "compare"
        in = { left = "a.run", right = "b.run" }
        "#,
    )
    .load(&[]);
    assert_eq!(fed(&loaded, "verdict[a.sample=0,b.sample=1]"), ["left: a[sample=0].run", "right: b[sample=1].run"]);
}

#[test]
fn a_command_gathers_where_a_list_is_written_and_is_expanded_where_not() {
    let loaded = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [8, 16] }
        [stage.each]
        kind = "command"
        in.run = "run.run"
        config = { argv = ["cp", "{in.run}", "{out.copy}"], outputs.copy = "copy" }
        [stage.all]
        kind = "command"
        in.runs = ["run.run"]
        config = { argv = ["cat", "{in.runs}"], outputs.copy = "copy" }
        "#,
    )
    .load(&[]);
    assert_eq!(names(&loaded)[3..], ["each[size=8]", "each[size=16]", "all"]);
    assert_eq!(fed(&loaded, "all"), ["runs: run[size=8].run, run[size=16].run"]);
}

#[test]
fn values_that_cannot_stand_in_a_name_are_numbered() {
    let loaded = Folder::new(
        r#"
        [stage.n]
        kind = "make"
        config.count = 1
        matrix = { sizes = [[1], [1, 2]], rate_per_s = [0.5, 1e3] }
        [stage.c]
        kind = "command"
        config = { argv = ["true"], outputs.o = "o" }
        matrix = { "env.A" = ["a/b", "a:b"], "env.B" = ["x/y"] }
        "#,
    )
    .load(&[]);
    assert_eq!(
        names(&loaded),
        [
            "n[sizes=0,rate_per_s=0.5]",
            "n[sizes=0,rate_per_s=1000.0]",
            "n[sizes=1,rate_per_s=0.5]",
            "n[sizes=1,rate_per_s=1000.0]",
            "c[A=0,B=x-y]",
            "c[A=1,B=x-y]"
        ]
    );
}

#[test]
fn a_broken_point_is_told_once_and_what_hangs_on_it_is_not_blamed() {
    let folder = sweep(
        r#"
        [stage.run]
        kind = "scale"
        in.numbers = "numbers.numbers"
        matrix = { "batch.size" = [1, 2, 80] }
        [stage.all]
        kind = "gather"
        in.runs = ["run.run"]
        "#,
    );
    assert_eq!(folder.codes(&[]), ["bad-setting"]);
}
