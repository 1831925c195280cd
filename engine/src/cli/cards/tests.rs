use super::*;
use crate::lease::gpu::Worked;
use crate::store::Who;

/// Of another host, so that nobody's life is looked up.
fn entry(stage: &str, cards: &[&str]) -> Entry {
    let who = Who { host: "anna".into(), run: "20261125T080000-1a2b".into(), pid: 7, ..Who::here("", stage) };
    Entry {
        who,
        user: "anna".into(),
        cards: cards.iter().map(|c| (*c).to_owned()).collect(),
        since: "2026-11-25T08:00:00Z".into(),
        budget_mib: 0,
        worked: None,
    }
}

#[test]
fn cards_are_told_with_what_they_do_who_holds_them_and_who_waits() {
    let card =
        |uuid: &str| Card { uuid: uuid.into(), name: "NVIDIA H100".into(), memory_mib: 81_559, bus: String::new() };
    let cards = Cards { cards: vec![card("GPU-1"), card("GPU-2"), card("GPU-3")], ..Cards::default() };
    let standing = |card: &Card| match card.uuid.as_str() {
        "GPU-1" => {
            let worked = Some(Worked { held_s: 720.0, share: 0.64 });
            let held = Entry { worked, ..entry("real", &["GPU-1"]) };
            let now = Reading {
                worked: Some(0.97),
                sm_mhz: Some(1980),
                temperature_c: Some(61),
                power_w: Some(512.3),
                held_back: Some(vec!["power limit"]),
                processes: Some(vec![8, 9]),
                ..Reading::default()
            };
            Standing { holders: Holders::Alone(Some(held.into())), now: Some(now) }
        }
        "GPU-2" => {
            let held = Entry { budget_mib: 8192, ..entry("embed", &["GPU-2"]) };
            Standing { holders: Holders::Shared(vec![held]), now: None }
        }
        _ => Standing { holders: Holders::Free, now: None },
    };
    let waiting = [(4, entry("profile", &["GPU-1", "GPU-2"]))];
    insta::assert_snapshot!(tell(&cards, &standing, &waiting, Paint::Bare), @"
    GPU-1  NVIDIA H100 (79.6 GiB)  held alone
      now    97 % busy, 1980 MHz, 61 °C, 512 W, held back by power limit, process 8, 9
      held   by `real` of run 20261125T080000-1a2b (anna, pid 7 on anna) since 2026-11-25T08:00:00Z; it worked 64 % of 12 min 00 s
    GPU-2  NVIDIA H100 (79.6 GiB)  shared
      held   by `embed` of run 20261125T080000-1a2b (anna, pid 7 on anna) since 2026-11-25T08:00:00Z, at most 8.0 GiB of it
    GPU-3  NVIDIA H100 (79.6 GiB)  free
    waiting  `profile` of run 20261125T080000-1a2b (anna, pid 7 on anna) since 2026-11-25T08:00:00Z for GPU-1 or GPU-2 (ticket 4)
    ");
}

#[test]
fn a_machine_without_cards_says_why() {
    let cards = Cards { trouble: Some("the driver's library cannot be opened".into()), ..Cards::default() };
    let told = tell(&cards, &|_| Standing { holders: Holders::Free, now: None }, &[], Paint::Bare);
    assert_eq!(told, "no card is here: the driver's library cannot be opened\n");
}
