#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn digest(meaning: Meaning, text: impl AsRef<[u8]>) -> Result<[u8; 32], String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, text).unwrap();
    let told = (meaning.digest)(&path);
    // The directory's name is random: leave it out of what is compared.
    told.map_err(|e| e.replace(&*path.to_string_lossy(), "FILE"))
}

#[track_caller]
fn same(meaning: Meaning, texts: &[&str]) {
    let first = digest(meaning, texts[0]).unwrap();
    for text in &texts[1..] {
        assert_eq!(digest(meaning, text).unwrap(), first, "{text:?} means the same as {:?}", texts[0]);
    }
}

#[track_caller]
fn different(meaning: Meaning, texts: &[&str]) {
    let digests: std::collections::HashSet<_> = texts.iter().map(|text| digest(meaning, text).unwrap()).collect();
    assert_eq!(digests.len(), texts.len(), "all of {texts:?} mean different things");
}

#[test]
fn json_is_blind_to_order_of_keys_to_spaces_and_to_how_numbers_are_written() {
    same(
        JSON,
        &[
            r#"{"a": 1, "b": [true, null, "x\u0041"], "c": 0}"#,
            "{\"c\":-0.0,\"b\":[true,null,\"xA\"],\n\"a\":1.0}\n",
            r#"{"a": 1e0, "b": [true, null, "xA"], "c": 0.0}"#,
        ],
    );
    same(JSON, &["18446744073709551615", " 18446744073709551615"]);
}

#[test]
fn json_counts_every_value_and_the_order_of_lists() {
    different(
        JSON,
        &[
            "1",
            "2",
            "\"1\"",
            "1.5",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            "[1]",
            "[[1]]",
            "[1, 2]",
            "[2, 1]",
            "{\"a\": 1}",
            "{\"b\": 1}",
            "{\"a\": [1]}",
            "\"a\"",
            "[\"a\", \"b\"]",
            "[\"ab\"]",
            "9007199254740993",
            "9007199254740992",
            "1e300",
        ],
    );
}

#[test]
fn toml_is_blind_to_comments_quotes_and_where_tables_are_opened() {
    same(
        TOML,
        &[
            "a = 1\n[t]\nx = \"y\"\nz = [1, 2]\n",
            "\u{feff}# said\nt.z = [1, 2,]\r\nt.x = 'y'\r\na = 1.0 # one\r\n",
            "t = { z = [0x1, 2], x = \"\"\"y\"\"\" }\na = 1\n",
        ],
    );
    different(TOML, &["a = 1", "a = 2", "b = 1", "a = \"1\"", "a = true", "a = 1979-05-27", "a = []", "[a]", ""]);
}

#[test]
fn csv_is_blind_to_quotes_ends_of_lines_and_how_numbers_are_written() {
    same(CSV, &["a,b\n1,x\n2.5,y z\n", "\u{feff}\"a\",b\r\n1.0,\"x\"\r\n25e-1,y z", "a,b\n1e0,x\n2.50,\"y z\""]);
    same(CSV, &["\"a,b\",\"c\"\"d\",\"e\nf\"\n", "\"a,b\",\"c\"\"d\",\"e\nf\""]);
}

#[test]
fn csv_counts_rows_columns_their_order_spaces_and_texts_that_only_look_like_numbers() {
    different(
        CSV,
        &[
            "a,b\n1,2\n3,4\n",
            "a,b\n3,4\n1,2\n",
            "b,a\n2,1\n4,3\n",
            "a,b\n1,2\n3, 4\n",
            "a,b\n1,2\n3,4\n\n",
            "",
            "a\n",
            "a,\n",
            "\n",
            "1\n",
            "01\n",
            "+1\n",
            "1.\n",
            "\"a\nb\"\n",
            "a\nb\n",
            "nan\n",
            "123456789012345678901234567890123456789012345\n",
            "123456789012345678901234567890123456789012346\n",
        ],
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    assert_eq!(digest(CSV, "a\n\"b\nc\n").unwrap_err(), "cannot read `FILE` as CSV, line 2: a quote is never closed");
    let trailing = digest(CSV, "a\n\"b\"c\n").unwrap_err();
    assert_eq!(trailing, "cannot read `FILE` as CSV, line 2: something follows a closed quote");
    assert!(digest(TOML, "a = 1\nb =\n").unwrap_err().starts_with("cannot read `FILE` as TOML, line 2: "));
    assert!(digest(JSON, "{\n\"a\": }").unwrap_err().contains("at line 2 column"));
    assert!((JSON.digest)(Path::new("/nowhere/x")).unwrap_err().starts_with("cannot read `/nowhere/x`: "));
}

#[test]
fn the_digests_are_what_they_were_when_these_versions_were_given_out() {
    let hex = |digest: [u8; 32]| blake3::Hash::from(digest).to_hex()[..16].to_owned();
    let golden = [
        hex(digest(JSON, "{\"a\": [1, 2.5, \"x\", null, true]}").unwrap()),
        hex(digest(TOML, "a = [1, 2.5, \"x\", 1979-05-27]").unwrap()),
        hex(digest(CSV, "a,b\n1,x\n").unwrap()),
    ];
    insta::assert_snapshot!(golden.join("\n"), @r"
    d1af486b892625ef
    042bdbf8836a4c37
    23e08d7aab6c7be8
    ");
}

#[test]
fn a_meaning_is_found_with_its_version_or_without() {
    let more = [Meaning { name: "mine/3", digest: JSON.digest }];
    for (word, name) in [("json", Some("json/1")), ("csv/1", Some("csv/1")), ("mine", Some("mine/3")), ("toml/2", None)]
    {
        assert_eq!(find(word, &more).map(|meaning| meaning.name), name, "{word}");
    }
}
