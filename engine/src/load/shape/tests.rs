use super::patch::Patches;
use super::phrase::Phrase;

#[test]
fn a_parsers_words_are_taken_apart() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        (
            "unknown field `siez`, expected one of `size`, `order`",
            Phrase::Unknown { name: "siez".into(), names: names(&["size", "order"]) },
        ),
        ("unknown field `x`, there are no fields", Phrase::Unknown { name: "x".into(), names: Vec::new() }),
        ("missing field `size`", Phrase::Missing { name: "size".into() }),
        ("unknown variant `a`, expected `b` or `c`", Phrase::Variant { given: "a".into(), names: names(&["b", "c"]) }),
        (
            "invalid type: string \"a, expected b\", expected u8",
            Phrase::Type {
                given: "the string \"a, expected b\"".into(),
                wanted: "a whole number from 0 to 255".into(),
            },
        ),
        (
            "invalid value: integer `0`, expected a nonzero u16",
            Phrase::Type { given: "`0`".into(), wanted: "a whole number from 1 to 65535".into() },
        ),
        ("invalid type: map, expected a sequence", Phrase::Type { given: "a table".into(), wanted: "a list".into() }),
        (
            "invalid length 3, expected an array of length 2",
            Phrase::Type { given: "3 of them".into(), wanted: "an array of length 2".into() },
        ),
        ("a rate is above 0", Phrase::Other { words: "a rate is above 0".into() }),
    ];
    for (message, phrase) in cases {
        assert_eq!(Phrase::of(message), phrase, "{message}");
    }
}

#[test]
fn a_field_is_named_by_its_whole_path() {
    let unknown = Phrase::of("unknown field `x`, expected `y`");
    assert_eq!(unknown.field("a.x"), "a.x");
    assert_eq!(unknown.field("a"), "a.x");
    assert_eq!(unknown.field(""), "x");
    assert_eq!(Phrase::of("missing field `x`").field("a.b"), "a.b.x");
    assert_eq!(Phrase::of("invalid type: map, expected u8").field("a.b[2]"), "a.b[2]");
}

#[test]
fn what_is_put_there_is_tried_as_one_sort_after_another_and_then_given_up() {
    let mut patches = Patches::default();
    let wrong = Phrase::of("invalid type: integer `1`, expected something else");
    let mut tried = Vec::new();
    while patches.add("t.x", &wrong) {
        let mut value = toml::Value::Table("t = { x = { y = 1 } }".parse().expect("it is TOML"));
        patches.apply(&mut value);
        tried.push(value["t"]["x"].type_str());
    }
    assert_eq!(tried, ["integer", "string", "float", "boolean", "array", "table"]);
    assert!(patches.concerns("t.x.y") && patches.concerns("t.x") && !patches.concerns("t.xy"));
}

#[test]
fn an_unknown_field_is_taken_out_and_a_missing_one_is_put_in() {
    let mut patches = Patches::default();
    assert!(patches.add("t.x", &Phrase::of("unknown field `x`, expected `y`")));
    assert!(patches.add("t.y", &Phrase::of("missing field `y`")));
    assert!(patches.add("l[0].z", &Phrase::of("missing field `z`")));
    let mut value = toml::Value::Table("t = { x = 1 }\nl = [{}]".parse().expect("it is TOML"));
    patches.apply(&mut value);
    let expected = toml::Value::Table("t = { y = 1 }\nl = [{ z = 1 }]".parse().expect("it is TOML"));
    assert_eq!(value, expected);
}
