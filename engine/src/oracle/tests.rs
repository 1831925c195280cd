#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn card(n: u8, name: &str, memory_mib: u64) -> Card {
    Card { uuid: format!("GPU-{n}"), name: name.to_owned(), memory_mib, bus: format!("0{n}") }
}

fn facts(cards: &[Card]) -> Facts {
    let host = Host { processor: "Toy".to_owned(), cores: 4, memory_mib: 100 };
    Facts::given(host, Cards { cards: cards.to_vec(), driver: "580.1".to_owned(), trouble: None })
}

fn needs(gpus: u8, name: Option<&str>, memory_mib: u64) -> Needs {
    Needs { gpus, gpu_name: name.map(str::to_owned), gpu_memory_mib: memory_mib, ..Needs::default() }
}

fn two_sorts() -> Facts {
    let names = ["NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"];
    facts(&[card(1, names[0], 40_960), card(2, names[1], 81_559), card(3, names[2], 81_559)])
}

fn eligible(needs: &Needs) -> Vec<String> {
    let facts = two_sorts();
    facts.eligible(needs).unwrap().iter().map(|card| card.uuid.clone()).collect()
}

#[test]
fn every_declared_word_must_occur_in_the_cards_name_case_aside() {
    assert_eq!(eligible(&needs(1, Some("h100 80gb"), 0)), ["GPU-2", "GPU-3"]);
    assert_eq!(eligible(&needs(1, Some("HBM3 H100"), 0)), ["GPU-2", "GPU-3"]);
    assert_eq!(eligible(&needs(1, Some("A100"), 0)), ["GPU-1"]);
    assert!(two_sorts().eligible(&needs(1, Some("A100 80GB"), 0)).is_err());
}

#[test]
fn cards_of_two_sorts_are_never_mixed() {
    assert_eq!(eligible(&needs(1, None, 0)), ["GPU-1"]);
    assert_eq!(eligible(&needs(2, None, 0)), ["GPU-2", "GPU-3"]);
    assert!(two_sorts().eligible(&needs(3, None, 0)).is_err());
    assert_eq!(eligible(&needs(1, None, 50_000)), ["GPU-2", "GPU-3"]);
    assert_eq!(eligible(&needs(0, None, 0)), [""; 0]);
}

#[test]
fn what_was_declared_and_what_was_found_are_said() {
    let absent = two_sorts().eligible(&needs(1, Some("H200"), 0)).unwrap_err();
    assert_eq!(absent.declared, "1 GPU named `H200`");
    assert_eq!(absent.found, "1 × NVIDIA A100-SXM4-40GB, 40960 MiB; 2 × NVIDIA H100 80GB HBM3, 81559 MiB");
}

#[test]
fn facts_that_are_asked_for_come_once_in_one_order_without_numbers_of_the_card() {
    let asked = [Oracle::Driver, Oracle::Gpu, Oracle::Host, Oracle::Gpu];
    let facts = two_sorts().ask(&asked, &needs(2, Some("H100"), 0)).unwrap();
    let expected = [("host", "Toy, 4 cores"), ("gpu", "2 × NVIDIA H100 80GB HBM3, 81559 MiB"), ("driver", "580.1")];
    assert_eq!(facts, expected.map(|(name, fact)| (name.to_owned(), fact.to_owned())));
}

#[test]
fn visible_devices_are_the_allowed_set_by_uuid_or_number() {
    let cards = || vec![card(1, "A", 1), card(2, "B", 1), card(3, "C", 1)];
    let uuids = |words: &str| allow(cards(), words).into_iter().map(|c| c.uuid).collect::<Vec<_>>();
    assert_eq!(uuids("2,0"), ["GPU-3", "GPU-1"]);
    assert_eq!(uuids("GPU-2"), ["GPU-2"]);
    assert_eq!(uuids("GPU-2,GPU-2"), ["GPU-2"]);
    assert_eq!(uuids("0,-1,1"), ["GPU-1"], "the driver stops at the first that is none");
    assert_eq!(uuids(""), [""; 0]);
}

#[test]
fn this_machine_has_a_processor_and_a_library_that_is_not_there_is_no_card() {
    let facts = Facts { library: Some("/nowhere/libnvidia-ml.so".into()), ..Facts::default() };
    assert!(facts.host().cores > 0 && facts.host().memory_mib > 0 && !facts.host().processor.is_empty());
    assert_eq!(facts.cards().cards, []);
    assert_eq!(facts.found(), "no GPU (no NVIDIA driver)");
}

#[test]
fn slurm_says_which_cards_may_be_used_where_nobody_else_does() {
    let say = |set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        allowed(move |name| set.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    };
    assert_eq!(say(&[("SLURM_JOB_GPUS", "0,1"), ("SLURM_STEP_GPUS", "1")]).as_deref(), Some("1"));
    assert_eq!(say(&[("SLURM_JOB_GPUS", "0,1"), ("CUDA_VISIBLE_DEVICES", "GPU-7")]).as_deref(), Some("GPU-7"));
    // What Slurm sets for a job that asked for none names no card.
    assert_eq!(allow(vec![card(1, "A", 1)], "NoDevFiles"), []);
    assert_eq!(say(&[]), None);
}
