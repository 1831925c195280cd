use super::*;

const OLD: &str = "format\t1\nkind\tsim\ncode.version\t1\ncode.module.infer\taaaa\nconfig.rate\t8\nconfig.scheduler.max_batch\t512\ninput.ops.0\t1111111111111111111111111111111111111111111111111111111111111111\n";

fn edited(from: &str, to: &str) -> String {
    let new = OLD.replace(from, to);
    assert_ne!(new, OLD, "the edit must change something");
    new
}

#[test]
fn equal_texts_have_no_difference() {
    assert_eq!(first_difference(OLD, OLD), None);
    assert!(differences(OLD, OLD).is_empty());
}

#[test]
fn a_changed_setting_is_told_with_both_values() {
    let new = edited("\t512", "\t256");
    assert_eq!(first_difference(OLD, &new).as_deref(), Some("config scheduler.max_batch: 512 → 256"));
}

#[test]
fn a_table_that_was_empty_is_told_by_the_fields_it_got() {
    let (empty, filled) = (edited("rate\t8", "gate\t{}"), edited("rate\t8", "gate.ttft\t0.5"));
    assert_eq!(first_difference(&empty, &filled).as_deref(), Some("config gate.ttft: new, 0.5"));
    assert_eq!(first_difference(&filled, &empty).as_deref(), Some("config gate.ttft: gone, was 0.5"));
    assert_eq!(first_difference(&empty, OLD).as_deref(), Some("config gate: gone, was {} (and 1 more)"));
}

#[test]
fn a_setting_is_told_before_code_and_the_rest_is_counted() {
    let new = edited("\t512", "\t256").replace("aaaa", "bbbb");
    assert_eq!(first_difference(OLD, &new).as_deref(), Some("config scheduler.max_batch: 512 → 256 (and 1 more)"));
}

#[test]
fn changed_code_names_its_module() {
    assert_eq!(first_difference(OLD, &edited("aaaa", "bbbb")).as_deref(), Some("code of `infer` changed"));
}

#[test]
fn a_changed_input_names_what_feeds_it_and_shortens_digests() {
    let new = edited(&"1".repeat(64), &"2".repeat(64));
    let all = differences(OLD, &new);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].say(&|_, _| None), "input ops changed: 11111111 → 22222222");
    let producer = |port: &str, index: usize| (port == "ops" && index == 0).then(|| "profile.ops".to_owned());
    assert_eq!(all[0].say(&producer), "input ops (`profile.ops`) changed: 11111111 → 22222222");
}

#[test]
fn what_came_and_what_went_is_told() {
    let new = edited("config.rate\t8", "config.seed\t7");
    let said: Vec<String> = differences(OLD, &new).iter().map(|d| d.say(&|_, _| None)).collect();
    assert_eq!(said, ["config rate: gone, was 8", "config seed: new, 7"]);
}

#[test]
fn escaped_values_come_back_whole() {
    let value = "a\tb\nc\\d\\te\r";
    let text = format!("config.text\t{}\n", escape(value));
    assert_eq!(text.lines().count(), 1);
    assert_eq!(fields(&text)["config.text"], value);
}

#[test]
fn a_long_value_is_clipped_to_a_line() {
    let new = edited("\t8", &format!("\t{}", "x".repeat(500)));
    let said = first_difference(OLD, &new).expect("they differ");
    assert!(said.chars().count() < 100, "{said}");
    assert!(said.ends_with('…'));
}
