use proptest::prelude::*;

use super::layout::{Size, layout};
use super::*;

/// Sim and real, their verdict, and a name that wants escaping.
fn small() -> Drawing {
    let stage = |name: &str, note: &str| Node { name: name.into(), note: note.into(), shape: Shape::Stage };
    Drawing {
        title: "demo".into(),
        nodes: vec![
            stage("workload", ""),
            stage("sim[x=\"a<b\"]", "sim"),
            Node { name: "real".into(), note: "bench".into(), shape: Shape::CardStage },
            stage("verdict", "compare"),
            Node { name: "data/words.txt".into(), note: String::new(), shape: Shape::File },
        ],
        edges: [
            (0, 1, "requests"),
            (0, 2, "requests"),
            (1, 3, "run → predicted"),
            (2, 3, "run → measured"),
            (4, 2, "words"),
        ]
        .map(|(from, to, label)| Edge { from, to, label: label.into() })
        .into(),
    }
}

#[test]
fn mermaid_text_is_what_it_was() {
    insta::assert_snapshot!(small().mermaid(), @r#"
    flowchart LR
        n0["workload"]
        n1["sim[x=#quot;a#lt;b#quot;]<br/><small>sim</small>"]
        n2[["real<br/><small>bench</small>"]]
        n3["verdict<br/><small>compare</small>"]
        n4(["data/words.txt"])
        n0 -->|"requests"| n1
        n0 -->|"requests"| n2
        n1 -->|"run → predicted"| n3
        n2 -->|"run → measured"| n3
        n4 -->|"words"| n2
    "#);
}

#[test]
fn dot_text_is_what_it_was() {
    insta::assert_snapshot!(small().dot(), @r#"
    digraph "demo" {
        rankdir = LR;
        node [shape = box, style = rounded, fontname = "sans-serif"];
        edge [fontname = "sans-serif", fontsize = 10];
        n0 [label = "workload"];
        n1 [label = "sim[x=\"a<b\"]\nsim"];
        n2 [label = "real\nbench", peripheries = 2];
        n3 [label = "verdict\ncompare"];
        n4 [label = "data/words.txt", shape = note, style = solid];
        n0 -> n1 [label = "requests"];
        n0 -> n2 [label = "requests"];
        n1 -> n3 [label = "run → predicted"];
        n2 -> n3 [label = "run → measured"];
        n4 -> n2 [label = "words"];
    }
    "#);
}

#[test]
fn an_svg_escapes_names_and_knows_the_dark() {
    let text = svg(&small());
    assert!(text.contains("sim[x=&quot;a&lt;b&quot;]"), "{text}");
    assert!(text.contains("prefers-color-scheme: dark"));
    assert_eq!(text.matches("<rect").count(), 5);
    assert_eq!(text.matches("class=\"arrow\"").count(), 5);
}

#[test]
fn nothing_to_draw_is_drawn_as_nothing() {
    let empty = Drawing { title: "empty".into(), ..Drawing::default() };
    assert!(svg(&empty).contains("width=\"40\""));
    assert_eq!(empty.mermaid(), "flowchart LR\n");
}

#[test]
fn a_straight_chain_lies_on_one_line() {
    let places = layout(&[Size { width: 50.0, height: 30.0 }; 4], &[(0, 1), (1, 2), (2, 3)]);
    assert!(places.nodes.iter().all(|p| (p.y - places.nodes[0].y).abs() < 1e-9), "{places:?}");
}

proptest! {
    /// Random acyclic graphs: arrows go from a lower to a higher number.
    #[test]
    fn boxes_never_overlap_and_arrows_lead_to_the_right(
        sizes in proptest::collection::vec((20.0..200.0f64, 20.0..60.0f64), 1..30),
        pairs in proptest::collection::vec((0usize..30, 0usize..30), 0..60),
    ) {
        let sizes: Vec<Size> = sizes.into_iter().map(|(width, height)| Size { width, height }).collect();
        let edges: Vec<(usize, usize)> =
            pairs.into_iter().filter(|(a, b)| a < b && *b < sizes.len()).collect();
        let places = layout(&sizes, &edges);
        for (i, (a, at)) in sizes.iter().zip(&places.nodes).enumerate() {
            prop_assert!(at.x - a.width / 2.0 >= 0.0 && at.x + a.width / 2.0 <= places.width);
            prop_assert!(at.y - a.height / 2.0 >= -1e-6 && at.y + a.height / 2.0 <= places.height + 1e-6);
            for (b, other) in sizes.iter().zip(&places.nodes).take(i) {
                let apart_x = (at.x - other.x).abs() + 1e-6 >= (a.width + b.width) / 2.0;
                let apart_y = (at.y - other.y).abs() + 1e-6 >= (a.height + b.height) / 2.0;
                prop_assert!(apart_x || apart_y, "{at:?} {other:?}");
            }
        }
        for &(from, to) in &edges {
            prop_assert!(places.nodes[from].x < places.nodes[to].x);
        }
    }
}
