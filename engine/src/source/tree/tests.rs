#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (Sources, Table) {
    let mut sources = Sources::default();
    sources.add("before", "# in front\n");
    let mut mistakes = Vec::new();
    let Parsed::Whole(table) = parse(&mut sources, "t.toml", text, &mut mistakes) else { panic!("{mistakes:?}") };
    assert_eq!(mistakes, []);
    (sources, table)
}

fn leaves(table: &Table) -> Vec<String> {
    let mut leaves = Vec::new();
    table.leaves(&mut |path, _| leaves.push(path.to_owned()));
    leaves
}

#[test]
fn a_value_remembers_where_it_stands() {
    let (sources, table) = read("a = 1\n[t]\nb = { c = \"x\", d = [1, 2.5] }\n");
    for (path, key, value) in [
        ("a", Some("a"), "1"),
        ("t.b.c", Some("c"), "\"x\""),
        ("t.b.d", Some("d"), "[1, 2.5]"),
        ("t.b.d[1]", None, "2.5"),
        ("t", Some("t"), "[t]"),
    ] {
        let (found, whole) = table.locate(path).unwrap();
        assert!(whole, "{path}");
        assert_eq!(found.key.map(|key| sources.text(key)), key, "{path}");
        assert_eq!(sources.text(found.value), value, "{path}");
    }
}

#[test]
fn a_path_that_leads_further_than_the_text_ends_at_the_deepest_value() {
    let (sources, table) = read("[t]\nb = { c = 1 }\nl = [1]\n");
    for (path, value) in [("t.b.x.y", "{ c = 1 }"), ("t.b.c.z", "1"), ("t.l[7]", "[1]"), ("t.x", "[t]")] {
        let (found, whole) = table.locate(path).unwrap();
        assert!(!whole);
        assert_eq!(sources.text(found.value), value, "{path}");
    }
    assert_eq!(table.locate("nowhere"), None);
    assert_eq!(table.locate("tt"), None);
}

#[test]
fn a_key_with_a_dot_in_it_is_found_by_its_path() {
    let (sources, table) = read("\"a.b\" = { c = 1 }\na.c = 2\n");
    assert_eq!(sources.text(table.locate("a.b.c").unwrap().0.value), "1");
    assert_eq!(sources.text(table.locate("a.c").unwrap().0.value), "2");
    assert_eq!(leaves(&table), ["a.c", "\"a.b\".c"]);
}

#[test]
fn laying_over_replaces_values_and_joins_tables() {
    let (_, mut below) = read("a = 1\nl = [1, 2]\n[t]\nx = 1\ny = 1\n");
    let (_, over) = read("l = [3]\n[t]\ny = 2\nz = 2\n[u]\n");
    below.overlay(&over);
    let expected: toml::Table = "a = 1\nl = [3]\nt = { x = 1, y = 2, z = 2 }\nu = {}".parse().unwrap();
    assert_eq!(below.to_toml(), toml::Value::Table(expected));
}

#[test]
fn a_table_over_a_value_and_a_value_over_a_table_replace_it() {
    let (_, mut a) = read("x = 1\ny = { z = 1 }\n");
    a.overlay(&read("x = { z = 1 }\ny = 1\n").1);
    assert_eq!(a.to_toml(), read("x = { z = 1 }\ny = 1\n").1.to_toml());
}

#[test]
fn entries_come_in_the_order_in_which_they_were_written() {
    let (_, table) = read("c = 1\na = 2\nb = 3\n");
    let names: Vec<_> = table.into_written_order().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["c", "a", "b"]);
}

#[test]
fn a_dotted_key_of_a_command_line_is_taken_apart_with_its_places() {
    let path = parse_key("run.\"a.b\".c", 100).unwrap();
    let names: Vec<_> = path.iter().map(|(name, span)| (name.as_str(), span.start, span.end)).collect();
    assert_eq!(names, [("run", 100, 103), ("a.b", 104, 109), ("c", 110, 111)]);
    for bad in ["", "a..b", "a b", "a=1\nb", "[a]"] {
        assert_eq!(parse_key(bad, 0), None, "{bad}");
    }
}

/// A value as an author may write it, and what it is.
fn value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(toml::Value::Float),
        any::<bool>().prop_map(toml::Value::Boolean),
        ".{0,12}".prop_map(toml::Value::String),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::Array),
            proptest::collection::btree_map("[a-z.\"]{0,4}", inner, 0..4)
                .prop_map(|table| toml::Value::Table(table.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_printed(table in proptest::collection::btree_map("[a-z ]{0,5}", value(), 0..5)) {
        let table = toml::Value::Table(table.into_iter().collect());
        let (_, read) = read(&toml::to_string(&table).unwrap());
        prop_assert_eq!(read.to_toml(), table);
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_place_inside_it(text in "([a-c =.\\[\\]{}\"'#\n,1]){0,60}") {
        let mut sources = Sources::default();
        sources.add("before", "x");
        let mut mistakes = Vec::new();
        let parsed = parse(&mut sources, "t.toml", &text, &mut mistakes);
        prop_assert!(matches!(parsed, Parsed::Whole(_)) || !mistakes.is_empty());
        for label in mistakes.iter().flat_map(|mistake| &mistake.labels) {
            prop_assert_eq!(sources.place(label.span).file, "t.toml");
            let end = Span { start: label.span.end, end: label.span.end };
            prop_assert_eq!(sources.place(end).file, "t.toml");
        }
    }
}
