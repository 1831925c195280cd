#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use super::order::{Order, order};
use super::*;
use crate::command;
use crate::kind::Contract;

/// A pipeline of stages that take each other, by the names of what they take.
fn pipeline(stages: &[(&str, &[&str])]) -> Pipeline {
    let id = |name: &str| StageId(u32::try_from(stages.iter().position(|(stage, _)| *stage == name).unwrap()).unwrap());
    let stage = |(name, from): &(&str, &[&str])| {
        let from = from.iter().map(|producer| Feed::Output { stage: id(producer), port: 0 }).collect();
        Stage {
            name: (*name).to_owned(),
            kind: command::KIND,
            config: serde_json::Value::Null.into(),
            origins: Vec::new().into(),
            contract: Contract::default().into(),
            inputs: vec![Wire { port: 0, from }],
            policy: Policy::default(),
        }
    };
    Pipeline {
        recalled: false,
        name: String::new(),
        file: PathBuf::new(),
        root: PathBuf::new(),
        choices: BTreeMap::new(),
        stages: stages.iter().map(stage).collect(),
    }
}

fn diamond() -> Pipeline {
    pipeline(&[("a", &[]), ("b[x=1]", &["a"]), ("b[x=2]", &["a", "a"]), ("c", &["b[x=1]", "b[x=2]"]), ("d", &[])])
}

fn marked(pipeline: &Pipeline, marks: &[bool]) -> Vec<String> {
    pipeline.stages.iter().zip(marks).filter(|(_, mark)| **mark).map(|(stage, _)| stage.name.clone()).collect()
}

#[test]
fn a_word_names_a_stage_or_all_its_points() {
    let pipeline = diamond();
    assert_eq!(pipeline.named("b[x=2]"), [StageId(2)]);
    assert_eq!(pipeline.named("b"), [StageId(1), StageId(2)]);
    assert_eq!(pipeline.named("e"), []);
    assert_eq!(pipeline.by_name()["c"], StageId(3));
}

#[test]
fn what_a_target_needs_is_all_that_it_hangs_on() {
    let pipeline = diamond();
    assert_eq!(marked(&pipeline, &pipeline.needed_for(&[StageId(2)])), ["a", "b[x=2]"]);
    assert_eq!(marked(&pipeline, &pipeline.needed_for(&[StageId(3), StageId(4)])), ["a", "b[x=1]", "b[x=2]", "c", "d"]);
    assert_eq!(marked(&pipeline, &pipeline.needed_for(&[])), Vec::<String>::new());
}

#[test]
fn what_is_behind_a_stage_is_all_that_hangs_on_it() {
    let pipeline = diamond();
    assert_eq!(marked(&pipeline, &pipeline.behind(&[StageId(1)])), ["b[x=1]", "c"]);
}

#[test]
fn a_dependent_is_listed_once_however_much_it_takes() {
    let dependents = diamond().dependents();
    assert_eq!(dependents[0], [StageId(1), StageId(2)]);
    assert_eq!(dependents[3], []);
}

#[test]
fn an_order_keeps_the_numbers_where_the_edges_leave_it() {
    assert_eq!(order(4, &[(3, 0), (3, 1)]).sequence, [2, 3, 0, 1]);
    assert_eq!(order(0, &[]), Order::default());
}

#[test]
fn a_cycle_is_given_by_its_edges_and_what_hangs_on_it_is_held() {
    let found = order(5, &[(0, 1), (1, 2), (2, 0), (2, 3), (4, 4)]);
    assert_eq!(found.sequence, Vec::<usize>::new());
    assert_eq!(found.cycles, [vec![0, 1, 2], vec![4]]);
    assert_eq!(found.held, [0, 1, 2, 3, 4]);
}

#[test]
fn of_a_knot_the_shortest_cycle_is_given() {
    assert_eq!(order(3, &[(0, 1), (1, 2), (2, 0), (1, 0)]).cycles, [vec![0, 3]]);
}

#[test]
fn a_long_chain_does_not_exhaust_the_stack() {
    let nodes = 200_000;
    let mut edges: Vec<_> = (1..nodes).map(|at| (at - 1, at)).collect();
    assert_eq!(order(nodes, &edges).sequence.len(), nodes);
    edges.push((nodes - 1, 0));
    assert_eq!(order(nodes, &edges).cycles[0].len(), nodes);
}

proptest! {
    #[test]
    fn an_order_has_every_node_behind_what_it_hangs_on_or_shows_a_cycle(
        nodes in 1usize..12,
        edges in proptest::collection::vec((0usize..12, 0usize..12), 0..24),
    ) {
        let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a % nodes, b % nodes)).collect();
        let found = order(nodes, &edges);
        let place = |node: usize| found.sequence.iter().position(|at| *at == node);
        for (from, to) in &edges {
            if let Some(to) = place(*to) {
                prop_assert!(place(*from).is_some_and(|from| from < to));
            }
        }
        let mut all: Vec<usize> = found.sequence.iter().chain(&found.held).copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..nodes).collect::<Vec<_>>());
        prop_assert_eq!(found.cycles.is_empty(), found.held.is_empty());
        for cycle in &found.cycles {
            let next = cycle.iter().skip(1).chain(cycle.first());
            for (edge, next) in cycle.iter().zip(next) {
                prop_assert_eq!(edges[*edge].1, edges[*next].0);
            }
        }
    }

    #[test]
    fn what_is_reached_is_what_a_walk_by_hand_reaches(
        edges in proptest::collection::vec((0usize..9, 0usize..9), 0..20),
        from in proptest::collection::vec(0usize..9, 0..3),
    ) {
        let mut by_hand = [false; 9];
        from.iter().for_each(|at| by_hand[*at] = true);
        for _ in 0..9 {
            for (a, b) in &edges {
                by_hand[*b] |= by_hand[*a];
            }
        }
        prop_assert_eq!(order::reach(9, &edges, &from), by_hand);
    }
}
