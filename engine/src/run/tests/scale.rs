//! Many stages: what a run costs must be linear, and a run of hits next to nothing.

use std::time::Instant;

use crate::testing::{From, Project, Sketch, word};

/// Layers of ten; each stage takes from two of the layer before, the first layer from a file.
fn layered(project: &Project, stages: usize) -> Sketch {
    let mut sketch = project.sketch();
    project.write("f", "x");
    for at in 0..stages {
        let (name, layer, place) = (format!("s{at}"), at / 10, at % 10);
        let before = |shift: usize| format!("s{}", (layer - 1) * 10 + (place + shift) % 10);
        // Only a beginning is kept, or the texts would double with each layer.
        let toy = crate::testing::Toy { keep: (layer > 0).then_some(8), ..word(&name) };
        if layer == 0 {
            sketch.toy(&name, toy, &[From::File("f")]);
        } else {
            let (a, b) = (before(0), before(1));
            sketch.toy(&name, toy, &[From::Stage(&a), From::Stage(&b)]);
        }
    }
    sketch
}

#[test]
fn a_thousand_stages_run_once_and_then_are_hits() {
    let project = Project::new();
    let sketch = layered(&project, 1000);
    let first = project.run(&sketch);
    assert_eq!(first.finished.exit, 0);
    let second = project.run(&sketch);
    assert_eq!(second.finished.hits, 1000);
    assert_eq!(second.started(), [""; 0]);
}

#[test]
#[ignore = "a measurement: cargo test --release -p engine --lib ten_thousand -- --ignored --nocapture"]
fn ten_thousand_stages_in_figures() {
    let project = Project::new();
    let began = Instant::now();
    let sketch = layered(&project, 10_000);
    println!("made in {:?}", began.elapsed());
    for run in ["first", "second", "third"] {
        let began = Instant::now();
        let seen = project.run(&sketch);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = crate::exec::peak_memory_bytes(&status) >> 20;
        let (hits, done) = (seen.finished.hits, seen.finished.done);
        println!("{run}: {:?}, {hits} hits, {done} done, peak {peak} MiB", began.elapsed());
    }
    let began = Instant::now();
    project.plan(&sketch);
    println!("plan: {:?}", began.elapsed());
}
