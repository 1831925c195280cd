//! What was measured on a card and shipped gives its verdict on any machine, and its gate holds.

#[path = "whole/project.rs"]
#[expect(dead_code, reason = "this file needs little of it")]
mod project;

use project::Project;

#[test]
fn the_recorded_runs_of_an_h100_give_their_verdict_without_a_card() {
    let project = Project::new();
    std::fs::remove_dir_all(project.at("configs")).expect("it is there");
    for path in ["configs", "models/qwen3-0.6b", "pipelines/qwen3_h100_recorded.toml"] {
        project.take(path);
    }
    let outcome = project.pipe(&["run", "qwen3_h100_recorded"]);
    outcome.ends_with(0);
    for workload in ["single", "burst", "poisson-25", "conv"] {
        let at = format!("results/qwen3_h100_recorded/verdict[workload=heldout-{workload}]/verdict.json");
        let verdict: serde_json::Value = serde_json::from_str(&project.text(&at)).expect("a verdict is JSON");
        assert_eq!(verdict["measured"].as_array().map(Vec::len), Some(5), "{workload}: five repeats");
        let gate = verdict["gate"].as_array().expect("a gate is a list");
        assert_eq!(gate.len(), 3, "{workload}");
        assert!(gate.iter().all(|line| line["held"] == true), "{workload}: {gate:?}");
    }
}
