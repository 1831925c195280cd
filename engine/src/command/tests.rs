#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

fn command(text: &str) -> Command {
    toml::from_str(text).unwrap()
}

fn given() -> [Given<'static>; 2] {
    [Given { name: "one", list: None }, Given { name: "more", list: Some(2) }]
}

#[test]
fn placeholders_are_replaced_and_a_list_becomes_words_of_its_own() {
    let command = command(
        r#"
        argv = ["cat", "{in.more}", "{in.one}", "-j{cpus}", "a {in.more} b", "{out.o}", "{in.one}{in.one}"]
        env = { WHERE = "{out.o}", N = 3, ON = true, R = 0.5 }
        outputs = { o = "deep/o.txt" }
        "#,
    );
    let expected =
        ["cat", "in/more/0", "in/more/1", "in/one", "-j4", "a in/more/0 in/more/1 b", "out/deep/o.txt", "in/onein/one"];
    assert_eq!(command.words(&given(), 4), expected);
    let environment = command.environment(&given(), 4);
    let expected = [("N", "3"), ("ON", "true"), ("R", "0.5"), ("WHERE", "out/deep/o.txt")];
    assert_eq!(environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn braces_of_shell_awk_and_json_are_left_alone() {
    for text in [
        "${HOME}",
        "awk '{print $1}'",
        "{\"a\": {\"b\": 1}}",
        "{}",
        "{ in.one }",
        "a{b,c}d",
        "{in.one",
        "in.one}",
        "{1}",
        "{a.b.c}",
        "${in.one}",
    ] {
        assert_eq!(placeholder::names(text).count(), 0, "{text}");
        assert_eq!(placeholder::replace(text, &|_| Some("!".to_owned())), text);
    }
}

#[test]
fn doubled_braces_stand_for_themselves() {
    let fill = |name: &str| (name == "cpus").then(|| "4".to_owned());
    assert_eq!(placeholder::replace("{{cpus}} {cpus} {{x.y}} {{}}", &fill), "{cpus} 4 {x.y} {{}}");
    assert_eq!(placeholder::names("{{x}} {y} {z.w}").collect::<Vec<_>>(), ["y", "z.w"]);
}

#[test]
fn the_program_itself_is_its_tool_unless_something_else_is_said() {
    let identities = |more: &str| command(&format!("argv = [\"sort\", \"x\"]\noutputs.o = \"o\"\n{more}")).identities();
    let executable = |word: &str| Identity::Executable(word.to_owned());
    assert_eq!(identities(""), [executable("sort")]);
    assert_eq!(identities("tools = []"), []);
    assert_eq!(identities("tools = [\"sort\", \"/bin/sh\"]"), [executable("sort"), executable("/bin/sh")]);
    let probe = Identity::Probe(vec!["sort".to_owned(), "--version".to_owned()]);
    assert_eq!(identities("probes = [[\"sort\", \"--version\"]]"), [probe]);
    assert_eq!(command("argv = [\"{in.tool}\"]\noutputs.o = \"o\"").identities(), []);
}

#[test]
fn needs_and_what_is_shown_are_told_to_the_engine_and_not_printed() {
    let text = r#"
        argv = ["true"]
        outputs.o = { path = "o", shown = true, holds = "words", about = "what it says" }
        cpus = 3
        memory_mib = 100
        gpus = 1
        gpu_name = "X100"
        quiet = true
        sort = "measured"
    "#;
    let contract = Command::contract(&command(text), &Wired::default()).unwrap();
    let needs = Needs {
        cpus: 3,
        memory_mib: 100,
        gpus: 1,
        gpu_name: Some("X100".into()),
        gpu_memory_mib: 0,
        gpu_budget_mib: 0,
        quiet: true,
    };
    assert_eq!(contract.needs, needs);
    assert_eq!(contract.sort, Sort::Measured);
    assert_eq!(contract.oracles, [Oracle::Host, Oracle::Gpu, Oracle::Driver]);
    assert!(contract.outputs[0].shown && contract.outputs[0].holds == "words");
    let plain = command("argv = [\"true\"]\noutputs.o = \"o\"");
    assert_eq!(serde_json::to_value(command(text)).unwrap(), serde_json::to_value(plain).unwrap());
}

#[test]
fn inputs_are_whatever_is_wired_and_lists_where_lists_are_written() {
    let wired = Wired { inputs: vec!["a".into(), "b".into()], lists: vec!["b".into()] };
    let contract = Command::contract(&command("argv = [\"true\"]\noutputs.o = \"o\""), &wired).unwrap();
    let ports: Vec<_> =
        contract.inputs.iter().map(|port| (port.name.as_ref(), port.many, port.holds.as_ref())).collect();
    assert_eq!(ports, [("a", false, "any"), ("b", true, "any")]);
}

#[test]
fn an_output_is_called_after_its_port_with_the_extension_of_its_file() {
    let text = "argv = [\"true\"]\noutputs = { counts = \"deep.d/table.csv\", plain = \"plain\", all = \"all\" }";
    let contract = Command::contract(&command(text), &Wired::default()).unwrap();
    let names: Vec<String> = contract.outputs.iter().map(crate::kind::Port::file_name).collect();
    assert_eq!(names, ["all", "counts.csv", "plain"]);
}

fn texts() -> impl Strategy<Value = Vec<Text>> {
    proptest::collection::vec("[^\0]{0,8}".prop_map(Text), 1..4)
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_as_the_same_and_printed_the_same(
        argv in texts(),
        env in proptest::collection::btree_map("[A-Z]{1,4}", "[^\0]{0,8}".prop_map(Text), 0..3),
        pass_env in proptest::collection::vec("[A-Z]{1,4}", 0..3),
        outputs in proptest::collection::btree_map("[a-z]{1,3}", ("[a-z]{1,3}", any::<bool>()), 1..3),
        tools in proptest::option::of(proptest::collection::vec("[a-z]{1,4}", 0..3)),
        probes in proptest::collection::vec(texts(), 0..2),
    ) {
        let outputs: toml::Table = outputs
            .into_iter()
            .map(|(name, (path, json))| {
                let mut table = toml::Table::new();
                table.insert("path".to_owned(), path.into());
                if json {
                    table.insert("meaning".to_owned(), "json/1".into());
                }
                (name, toml::Value::Table(table))
            })
            .collect();
        let outputs: BTreeMap<String, Output> = outputs.try_into().unwrap();
        let plain = command("argv = [\"true\"]\noutputs.o = \"o\"");
        let command = Command { argv, env, pass_env, outputs, tools, probes, ..plain };
        let printed = serde_json::to_string(&command).unwrap();
        let read: Command = serde_json::from_str(&printed).unwrap();
        prop_assert_eq!(&read, &command);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), printed);
    }
}
