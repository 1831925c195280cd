use super::*;

const NAMES: [&str; 4] = ["batch", "depth", "order", "timeout_s"];

#[test]
fn the_nearest_name_is_a_few_edits_away() {
    for (word, near) in [
        ("batch", Some("batch")),
        ("bacth", Some("batch")),
        ("Batch", Some("batch")),
        ("bach", Some("batch")),
        ("batches", Some("batch")),
        ("timeout", Some("timeout_s")),
        ("odrer", Some("order")),
        ("xyz", None),
        ("", None),
        ("b", None),
    ] {
        assert_eq!(nearest(word, NAMES), near, "{word}");
    }
}

#[test]
fn two_neighbours_that_changed_places_are_one_edit() {
    let chars = |word: &str| word.chars().collect::<Vec<_>>();
    assert_eq!(distance(&chars("abcd"), &chars("abdc")), 1);
    assert_eq!(distance(&chars("abcd"), &chars("bcd")), 1);
    assert_eq!(distance(&chars(""), &chars("abc")), 3);
    assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
}

#[test]
fn a_remedy_names_the_nearest_and_what_there_is() {
    assert_eq!(remedy("bacth", "key", ["batch", "depth"]), "did you mean `batch`? the keys are `batch`, `depth`");
    assert_eq!(remedy("xyz", "key", ["batch", "depth"]), "the keys are `batch`, `depth`");
    assert_eq!(remedy("xyz", "key", ["batch"]), "the only key is `batch`");
    assert_eq!(remedy("xyz", "key", []), "there is no key at all");
}

#[test]
fn a_long_list_is_cut() {
    let names: Vec<String> = (0..40).map(|at| format!("n{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(list(&names).ends_with("`n11`, and 28 more"));
}
