use super::*;

fn of(messages: &[(&str, &str)]) -> Diagnostics {
    let mut sources = Sources::default();
    let mistakes = messages.iter().map(|(file, message)| {
        let start = sources.add(*file, "a = 1\n");
        Mistake::new("toy", *message).at(Span { start, end: start + 1 }, "")
    });
    let mistakes = mistakes.collect();
    Diagnostics::new(mistakes, Arc::new(sources))
}

#[test]
fn exit_codes_are_what_they_always_were() {
    let codes = [Exit::Good, Exit::Internal, Exit::Author, Exit::StageFailed, Exit::GateFailed, Exit::Stopped];
    assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 130]);
    assert_eq!(ExitCode::from(Exit::Stopped), ExitCode::from(130));
}

#[test]
fn mistakes_stand_in_the_order_of_their_places_and_warnings_behind_errors() {
    let mut diagnostics = of(&[("one", "first"), ("two", "second")]);
    diagnostics.list.reverse();
    diagnostics.list.insert(0, Mistake::new("toy", "warned").warning());
    diagnostics.list.push(Mistake::new("toy", "without a place"));
    let again = Diagnostics::new(diagnostics.list, diagnostics.sources);
    let messages: Vec<&str> = again.mistakes().iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(messages, ["without a place", "first", "second", "warned"]);
    assert_eq!(again.to_string(), "without a place\none:1:1: first\ntwo:1:1: second\nwarned");
}

#[test]
fn the_same_words_about_the_same_place_are_said_once() {
    let mut diagnostics = of(&[("one", "first")]);
    diagnostics.list.push(diagnostics.list[0].clone());
    assert_eq!(Diagnostics::new(diagnostics.list, diagnostics.sources).mistakes().len(), 1);
}

#[test]
fn of_a_flood_of_mistakes_twenty_are_shown_and_the_rest_is_counted() {
    let flood: Vec<_> = (0..50).map(|at| format!("mistake {at}")).collect();
    let flood: Vec<_> = flood.iter().map(|message| ("file", message.as_str())).collect();
    let text = of(&flood).render(Look::Ascii, 80);
    assert_eq!(text.matches("x mistake").count(), 20);
    assert!(text.ends_with("\nand 30 more\n"), "{text}");
}

#[test]
fn a_plain_look_has_neither_colours_nor_other_characters_than_ascii() {
    let diagnostics = of(&[("one", "first")]);
    assert!(diagnostics.render(Look::Ascii, 80).is_ascii());
    assert!(!diagnostics.render(Look::Unicode, 80).contains('\u{1b}'));
    assert!(diagnostics.render(Look::Colour, 80).contains('\u{1b}'));
}
