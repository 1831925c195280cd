#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::*;

const CAPACITY: Capacity = Capacity { cpus: 4, memory_mib: 100 };

fn ask(cpus: u16, memory_mib: u64) -> Ask {
    Ask { cpus, memory_mib, quiet: false, gpus: 0, cards: Vec::new(), how: gpu::How::Alone }
}

fn granted(pool: &mut Pool) -> Vec<(Waiter, Lease)> {
    std::iter::from_fn(|| pool.grant()).collect()
}

#[test]
fn what_fits_is_granted_in_order_of_priority_then_of_arrival() {
    let mut pool = Pool::new(CAPACITY, None);
    for (waiter, priority) in [(1, 5), (2, 9), (3, 5), (4, 9)] {
        pool.ask(waiter, priority, ask(1, 0));
    }
    let order: Vec<Waiter> = granted(&mut pool).into_iter().map(|(waiter, _)| waiter).collect();
    assert_eq!(order, [2, 4, 1, 3]);
}

#[test]
fn a_large_one_is_not_overtaken_by_small_ones() {
    let mut pool = Pool::new(CAPACITY, None);
    pool.ask(1, 0, ask(1, 0));
    let (_, small) = pool.grant().unwrap();
    pool.ask(2, 1, ask(4, 0));
    pool.ask(3, 0, ask(1, 0));
    assert!(pool.grant().is_none());
    assert_eq!(pool.lacking(), [(2, "4 cpus".to_owned())]);
    pool.give_back(small);
    assert_eq!(pool.grant().unwrap().0, 2);
}

#[test]
fn one_that_needs_nothing_of_what_is_lacking_goes_ahead() {
    let mut pool = Pool::new(CAPACITY, None);
    pool.ask(1, 0, ask(1, 80));
    let first = pool.grant().unwrap();
    pool.ask(2, 9, ask(1, 50));
    pool.ask(3, 5, ask(1, 10));
    pool.ask(4, 0, ask(1, 0));
    let order: Vec<Waiter> = granted(&mut pool).into_iter().map(|(waiter, _)| waiter).collect();
    assert_eq!(order, [4], "3 would take memory that 2 lacks");
    drop(first);
}

#[test]
fn a_stage_for_more_cores_than_are_to_be_used_runs_alone() {
    let needs = Needs { cpus: 16, ..Needs::default() };
    let mut pool = Pool::new(CAPACITY, None);
    pool.ask(1, 0, Ask::of(&needs, Sort::Computed, &[], CAPACITY));
    assert_eq!(pool.grant().unwrap().1.cpus, 4);
}

#[test]
fn one_that_withdraws_gets_nothing() {
    let mut pool = Pool::new(CAPACITY, None);
    pool.ask(1, 0, ask(1, 0));
    pool.withdraw(1);
    assert!(pool.grant().is_none());
    assert_eq!(pool.waiting(), 0);
}

/// What happens to a pool.
#[derive(Debug, Clone)]
enum Step {
    Ask { cpus: u16, memory_mib: u64, quiet: bool, priority: u64 },
    GiveBack(prop::sample::Index),
    GiveBackFirst,
    Withdraw(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u16..5, prop_oneof![Just(0u64), 1u64..100], prop::bool::weighted(0.2), 0u64..3)
            .prop_map(|(cpus, memory_mib, quiet, priority)| Step::Ask { cpus, memory_mib, quiet, priority }),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        1 => any::<prop::sample::Index>().prop_map(Step::Withdraw),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_leased_twice_nobody_is_overtaken_unfairly_and_all_are_served(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut pool = Pool::new(CAPACITY, None);
        // In order: (priority, arrival) and what is asked.
        let mut waiting: Vec<(Reverse<u64>, Waiter, Ask)> = Vec::new();
        let mut running: Vec<(Waiter, Lease)> = Vec::new();
        let mut next = 0;
        let drain = (0..200).map(|_| Step::GiveBackFirst);
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Ask { cpus, memory_mib, quiet, priority } => {
                    let ask = Ask { quiet, ..ask(cpus, memory_mib) };
                    pool.ask(next, priority, ask.clone());
                    waiting.push((Reverse(priority), next, ask));
                    waiting.sort_by_key(|(priority, waiter, _)| (*priority, *waiter));
                    next += 1;
                }
                Step::GiveBack(index) if !running.is_empty() => {
                    let lease = running.swap_remove(index.index(running.len())).1;
                    pool.give_back(lease);
                }
                Step::GiveBackFirst if !running.is_empty() => pool.give_back(running.remove(0).1),
                Step::Withdraw(index) if !waiting.is_empty() => {
                    let (_, waiter, _) = waiting.remove(index.index(waiting.len()));
                    pool.withdraw(waiter);
                }
                Step::GiveBack(_) | Step::GiveBackFirst | Step::Withdraw(_) => {}
            }
            while let Some((waiter, lease)) = pool.grant() {
                let at = waiting.iter().position(|(_, other, _)| *other == waiter).unwrap();
                let free_cpus = CAPACITY.cpus - running.iter().map(|(_, l)| l.cpus).sum::<u16>();
                let free_memory = CAPACITY.memory_mib - running.iter().map(|(_, l)| l.memory_mib).sum::<u64>();
                let mine = waiting[at].2.clone();
                let mut memory_is_kept = false;
                for (_, _, ahead) in &waiting[..at] {
                    let lacks_cpus = ahead.cpus > free_cpus || (ahead.quiet && !running.is_empty());
                    memory_is_kept |= ahead.memory_mib > free_memory;
                    let held_back = memory_is_kept && ahead.memory_mib > 0;
                    prop_assert!(!lacks_cpus, "{:?} went ahead of {:?}, both of which need cores", mine, ahead);
                    prop_assert!(held_back && mine.memory_mib == 0, "{:?} went ahead of {:?}", mine, ahead);
                }
                waiting.remove(at);
                running.push((waiter, lease));
                let cpus: u16 = running.iter().map(|(_, l)| l.cpus).sum();
                let memory: u64 = running.iter().map(|(_, l)| l.memory_mib).sum();
                prop_assert!(cpus <= CAPACITY.cpus && memory <= CAPACITY.memory_mib);
                prop_assert!(running.len() == 1 || running.iter().all(|(_, l)| !l.quiet));
            }
            prop_assert!(waiting.is_empty() || !running.is_empty(), "{:?} could run", waiting);
        }
        prop_assert_eq!((waiting.len(), running.len(), pool.waiting()), (0, 0, 0));
    }
}
