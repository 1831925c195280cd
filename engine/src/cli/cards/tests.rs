use super::*;
use crate::oracle::Card;
use crate::store::Who;

fn entry(stage: &str, cards: &[&str]) -> Entry {
    let who =
        Who { host: "anna".into(), boot: "1".into(), pid: 7, run: "20261125T080000-1a2b".into(), stage: stage.into() };
    Entry { who, cards: cards.iter().map(|c| (*c).to_owned()).collect(), since: "2026-11-25T08:00:00Z".into() }
}

#[test]
fn cards_are_told_with_holders_and_those_who_wait() {
    let card =
        |uuid: &str| Card { uuid: uuid.into(), name: "NVIDIA H100".into(), memory_mib: 81_559, bus: String::new() };
    let cards = Cards { cards: vec![card("GPU-1"), card("GPU-2")], driver: "560".into(), trouble: None };
    let holder = |uuid: &str| (uuid == "GPU-1").then(|| entry("real", &["GPU-1"]));
    let waiting = [(4, entry("profile", &["GPU-1", "GPU-2"]))];
    insta::assert_snapshot!(tell(&cards, &holder, &waiting, Paint::Bare), @"
    GPU-1  NVIDIA H100 (79.6 GiB)  held by `real` of run 20261125T080000-1a2b (pid 7 on anna) since 2026-11-25T08:00:00Z
    GPU-2  NVIDIA H100 (79.6 GiB)  free
    waiting  `profile` of run 20261125T080000-1a2b (pid 7 on anna) since 2026-11-25T08:00:00Z for GPU-1 or GPU-2 (ticket 4)
    ");
}

#[test]
fn a_machine_without_cards_says_why() {
    let cards = Cards { trouble: Some("the driver's library cannot be opened".into()), ..Cards::default() };
    let told = tell(&cards, &|_| None, &[], Paint::Bare);
    assert_eq!(told, "no card is here: the driver's library cannot be opened\n");
}
