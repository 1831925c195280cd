//! README's blocks are what it says they are: every command runs in order in a fresh copy of the project, every pipeline in
//! it is written to the file that its first line names, and what stands below a command is what it prints.

use std::path::Path;
use std::process::Command;

#[expect(dead_code, reason = "other files of tests use the rest")]
#[path = "whole/project.rs"]
mod project;

use project::{PIPE, Project, outcome};

/// A fenced block: its language and its lines.
type Block<'a> = (&'a str, Vec<&'a str>);

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut out: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(_), true) => open = false,
            (Some(language), false) => {
                open = true;
                out.push((language, Vec::new()));
            }
            (None, true) => out.last_mut().expect("a block is open").1.push(line),
            (None, false) => {}
        }
    }
    out
}

/// The command as this test can run it: the program that cargo has built, or nothing for cargo's own work.
fn runnable(line: &str) -> Option<String> {
    match line.strip_prefix("cargo run --release -- ") {
        Some(words) => Some(format!("pipe {words}")),
        None if line.starts_with("cargo ") => None,
        None => Some(line.to_owned()),
    }
}

#[test]
fn every_block_runs_as_it_is_printed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(here.join("README.md")).expect("README.md can be read");
    let project = Project::new();
    for path in ["models/qwen3-0.6b", "pipelines"] {
        let target = project.at(path);
        let parent = target.parent().expect("it lies in the project");
        let done = Command::new("cp").arg("-rn").arg(here.join(path)).arg(parent).status().expect("cp starts");
        assert!(done.success(), "cannot copy {path}");
    }
    let bin = Path::new(PIPE).parent().expect("the program lies in a directory");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for (language, lines) in blocks(&readme) {
        match language {
            "toml" => {
                let name = lines[0].strip_prefix("# ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
                assert!(name.ends_with(".toml"), "the first line of a TOML block names its file: {}", lines[0]);
                project.write(name, lines.join("\n"));
            }
            "console" => {
                for (at, line) in lines.iter().enumerate() {
                    let Some(command) = line.strip_prefix("$ ").and_then(runnable) else { continue };
                    let done = outcome(project.command("sh").args(["-c", &command]).env("PATH", &path));
                    assert_eq!(done.code, Some(0), "`{command}`\n{}\n{}", done.out, done.err);
                    let shown = lines[at + 1..].iter().take_while(|line| !line.starts_with("$ "));
                    for wanted in shown.filter(|line| !line.is_empty() && **line != "…") {
                        done.names(&[&wanted.split_whitespace().collect::<Vec<_>>().join(" ")]);
                    }
                    ran += 1;
                }
            }
            other => panic!("nobody knows how to try a block of `{other}`"),
        }
    }
    assert!(ran >= 4, "README shows how to run things; only {ran} commands were found");
}
