//! Orders and cycles of plain graphs, before there are stages.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// The order of a graph, and what keeps it from having one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Every node that is in no cycle and hangs on none, each behind what it hangs on; where that leaves a choice, by
    /// number.
    pub sequence: Vec<usize>,
    /// One shortest cycle of each knot: the numbers of its edges, head to tail.
    pub cycles: Vec<Vec<usize>>,
    /// Every node that is in a cycle or hangs on one, by number.
    pub held: Vec<usize>,
}

/// Orders `nodes` nodes with edges `(producer, consumer)`. Linear, but for the logarithm of a heap.
pub fn order(nodes: usize, edges: &[(usize, usize)]) -> Order {
    let graph = graph(nodes, edges);
    let mut missing: Vec<usize> = vec![0; nodes];
    edges.iter().for_each(|(_, consumer)| missing[*consumer] += 1);
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes).filter(|at| missing[*at] == 0).map(Reverse).collect();
    let mut sequence = Vec::with_capacity(nodes);
    while let Some(Reverse(at)) = ready.pop() {
        sequence.push(at);
        for next in graph.neighbors(NodeIndex::new(at)) {
            missing[next.index()] -= 1;
            if missing[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    if sequence.len() == nodes {
        return Order { sequence, ..Order::default() };
    }
    let mut cycles: Vec<Vec<usize>> =
        petgraph::algo::kosaraju_scc(&graph).into_iter().filter_map(|knot| shortest_cycle(&graph, &knot)).collect();
    cycles.sort();
    let held = (0..nodes).filter(|at| missing[*at] > 0).collect();
    Order { sequence, cycles, held }
}

/// Everything that can be reached from `from` along edges, with `from` itself, by number.
pub(super) fn reach(nodes: usize, edges: &[(usize, usize)], from: &[usize]) -> Vec<bool> {
    let graph = graph(nodes, edges);
    let mut seen = vec![false; nodes];
    let mut walk = petgraph::visit::Dfs::empty(&graph);
    for start in from {
        walk.move_to(NodeIndex::new(*start));
        while let Some(node) = walk.next(&graph) {
            seen[node.index()] = true;
        }
    }
    seen
}

/// Edges carry their number.
fn graph(nodes: usize, edges: &[(usize, usize)]) -> DiGraph<(), usize> {
    let mut graph = DiGraph::with_capacity(nodes, edges.len());
    (0..nodes).for_each(|_| {
        graph.add_node(());
    });
    for (number, (producer, consumer)) in edges.iter().enumerate() {
        graph.add_edge(NodeIndex::new(*producer), NodeIndex::new(*consumer), number);
    }
    graph
}

/// The edges of a shortest cycle through the lowest node of a knot (a strongly connected component); `None` for a node
/// that stands alone.
fn shortest_cycle(graph: &DiGraph<(), usize>, knot: &[NodeIndex]) -> Option<Vec<usize>> {
    let start = *knot.iter().min()?;
    let within: HashSet<NodeIndex> = knot.iter().copied().collect();
    let mut came_by: HashMap<NodeIndex, (NodeIndex, usize)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for edge in graph.edges(at).filter(|edge| within.contains(&edge.target())) {
            if edge.target() == start {
                let mut path = vec![*edge.weight()];
                let mut back = at;
                while back != start {
                    let (previous, number) = came_by[&back];
                    path.push(number);
                    back = previous;
                }
                path.reverse();
                return Some(path);
            }
            came_by.entry(edge.target()).or_insert_with(|| {
                queue.push_back(edge.target());
                (at, *edge.weight())
            });
        }
    }
    None
}
