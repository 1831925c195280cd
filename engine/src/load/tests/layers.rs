use super::*;

const TWO_LAYERS: &str = r#"
name = "layers"
[choose]
batch = "small"
machine = "here"

[stage.numbers]
kind = "make"
config = { count = 9 }

[stage.run]
kind = "scale"
use = ["batch", "machine"]
in = { numbers = "numbers.numbers" }
config.batch.depth = 2
"#;

fn two_layers() -> Folder {
    Folder::new(TWO_LAYERS)
        .file("configs/batch/small.toml", "about = \"small\"\n[batch]\nsize = 8\ndepth = 5\n")
        .file("configs/batch/large.toml", "[batch]\nsize = 800\n")
        .file("configs/machine/here.toml", "[machine]\ncpus = 2\n")
        .file("configs/machine/card.toml", "[machine]\ncard = \"X100\"\n")
        .file("configs/machine/huge.toml", "[machine]\ncpus = 999\n")
        .file("configs/machine/fit.toml", "[machine]\ncpus = 2\nmemory_mib = 0\n")
}

fn origins(stage: &Stage) -> Vec<String> {
    stage.origins.iter().map(|origin| format!("{} {}", origin.field, origin.place)).collect()
}

#[test]
fn the_command_line_wins_over_the_stage_over_the_fragment_over_the_default() {
    let loaded = two_layers().load(&["run.batch.order=lifo"]);
    let run = stage(&loaded, "run");
    let expected = serde_json::json!({
        "batch": { "size": 8, "order": "lifo", "depth": 2 },
        "machine": { "cpus": 2, "memory_mib": 0, "card": null },
    });
    assert_eq!(run.config, expected);
    assert_eq!(
        origins(run),
        [
            "batch.depth p.toml:15",
            "batch.order command line",
            "batch.size configs/batch/small.toml:3",
            "machine.cpus configs/machine/here.toml:2",
        ]
    );
}

#[test]
fn a_later_fragment_wins_over_an_earlier_one() {
    let folder = two_layers().file("configs/machine/here.toml", "[batch]\nsize = 77\n");
    assert_eq!(stage(&folder.load(&[]), "run").config["batch"]["size"], 77);
}

#[test]
fn a_choice_of_the_command_line_swaps_the_fragment() {
    let loaded = two_layers().load(&["batch=large"]);
    assert_eq!(stage(&loaded, "run").config["batch"]["size"], 800);
    assert_eq!(loaded.pipeline.choices["batch"], "large");
    assert_eq!(loaded.pipeline.choices["machine"], "here");
}

#[test]
fn what_describes_a_fragment_and_what_it_names_for_ports_is_no_setting() {
    let text = "about = \"x\"\n[files]\nnone = \"n\"\n[batch]\nsize = 9\n";
    let loaded = two_layers().file("configs/batch/small.toml", text).load(&[]);
    assert_eq!(stage(&loaded, "run").config["batch"]["size"], 9);
}

#[test]
fn a_group_may_have_a_directory_for_each_choice_and_name_files_for_ports() {
    let folder = Folder::new(
        r#"
        [choose]
        shape = "cube"
        [stage.numbers]
        kind = "make"
        in = { source = "@shape.data" }
        config.count = 1
        [stage.run]
        kind = "scale"
        in = { numbers = "numbers.numbers", shape = "@shape" }
        "#,
    )
    .file("shapes/cube/shape.toml", "sides = 6\n[files]\ndata = \"deep/../data.bin\"\n")
    .file("shapes/cube/data.bin", "")
    .file("shapes/cube/deep/x", "");
    let loaded = folder.load(&[]);
    assert_eq!(fed(&loaded, "run"), ["numbers: numbers.numbers", "shape: shapes/cube/shape.toml"]);
    assert_eq!(fed(&loaded, "numbers"), ["source: shapes/cube/deep/../data.bin"]);
    let Feed::File { path, .. } = &stage(&loaded, "run").inputs[1].from[0] else { panic!("a file") };
    assert_eq!(*path, folder.0.path().join("shapes/cube/shape.toml"));
}

#[test]
fn a_path_of_the_project_begins_at_its_root() {
    let text = "[stage.n]\nkind = \"make\"\nin.source = \"./data.csv\"\nconfig.count = 1\n";
    let folder = Folder::new("").file("pipelines/deep/p.toml", text).file("data.csv", "");
    let file = folder.0.path().join("pipelines/deep/p.toml");
    let request = Load { file, overrides: Vec::new(), machine: Machine { cpus: 1, memory_mib: 0 } };
    let loaded = load(&toys::PROGRAM, &request).unwrap();
    let Feed::File { path, label } = &stage(&loaded, "n").inputs[0].from[0] else { panic!("a file") };
    assert_eq!((path, label.as_str()), (&folder.0.path().join("data.csv"), "./data.csv"));
    assert_eq!(loaded.pipeline.name, "p");
    assert_eq!(loaded.pipeline.root, folder.0.path());
    assert_eq!(loaded.project.cache.directory, folder.0.path().join("cache"));
}

#[test]
fn the_project_says_where_its_cache_is_and_how_stages_start() {
    let text = "[cache]\ndirectory = \"/elsewhere\"\nsalt = \"s\"\n[launcher]\ndefault = \"slurm\"\n";
    let loaded = two_layers().file("pipe.toml", text).load(&["numbers.launcher=local"]);
    assert_eq!(loaded.project.cache.directory, PathBuf::from("/elsewhere"));
    assert_eq!(loaded.project.cache.salt, "s");
    assert_eq!(stage(&loaded, "run").policy.launcher, "slurm");
    assert_eq!(stage(&loaded, "numbers").policy.launcher, "local");
}

#[test]
fn what_is_too_large_for_this_machine_may_run_on_another() {
    assert_eq!(two_layers().codes(&["machine=huge"]), ["too-large"]);
    two_layers().load(&["machine=huge", "run.launcher=slurm"]);
}

#[test]
fn alternatives_are_the_choices_that_load_and_change_what_a_stage_needs() {
    let folder = two_layers();
    let loaded = folder.load(&[]);
    let found = alternatives(&toys::PROGRAM, &loaded, "run");
    let words: Vec<String> = found.iter().map(|a| format!("{}={} {} gpus", a.group, a.choice, a.needs.gpus)).collect();
    // `huge` does not load on this machine, `fit` needs the same, and the group `batch` changes no needs.
    assert_eq!(words, ["machine=card 1 gpus"]);
    assert_eq!(alternatives(&toys::PROGRAM, &loaded, "numbers"), []);
}

#[test]
fn a_byte_order_mark_tabs_and_crlf_are_read_as_if_they_were_not_there() {
    let odd = format!("\u{feff}{}", TWO_LAYERS.replace("kind = ", "\tkind\t=\t").replace('\n', "\r\n"));
    let odd = two_layers().file("p.toml", odd).load(&[]);
    let plain = two_layers().load(&[]);
    assert_eq!(stage(&odd, "run").config, stage(&plain, "run").config);
    assert_eq!(origins(stage(&odd, "run")), origins(stage(&plain, "run")));
}

#[test]
fn stages_keep_the_order_of_the_file_where_the_wires_leave_it() {
    let text = r#"
        [stage.z]
        kind = "scale"
        in.numbers = "m.numbers"
        [stage.b]
        kind = "make"
        config.count = 1
        [stage.m]
        kind = "make"
        config.count = 1
        [stage.a]
        kind = "make"
        config.count = 1
    "#;
    assert_eq!(names(&Folder::new(text).load(&[])), ["b", "m", "z", "a"]);
}

#[test]
fn a_command_stage_may_ask_for_a_meaning_that_the_program_brings() {
    let text = r#"
        [stage.c]
        kind = "command"
        config.argv = ["true"]
        config.outputs = { a = { path = "a", meaning = "length" }, b = { path = "b", meaning = "json" }, c = "c" }
    "#;
    let loaded = Folder::new(text).load(&[]);
    let stage = stage(&loaded, "c");
    let names: Vec<_> = stage.contract.outputs.iter().map(|port| port.meaning.map(|meaning| meaning.name)).collect();
    assert_eq!(names, [Some("length/1"), Some("json/1"), None]);
    assert_eq!(stage.config["outputs"]["a"]["meaning"], "length/1");
    assert_eq!(stage.config["outputs"]["b"]["meaning"], "json/1");
}
