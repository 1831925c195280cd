//! A file system that is full: the run says so, and the cache is as good as before.

use std::process::Command;

use super::crash::sketch;
use crate::event::Event;
use crate::testing::Project;

/// Runs an engine whose cache is a file system of this size. `None` where this machine lets nobody mount one.
fn run_in(project: &Project, kib: u32) -> Option<Vec<Event>> {
    std::fs::create_dir_all(&project.cache).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={kib}k none '{}' || exit 77; exec \"$0\" run::tests::crash::engine --exact --quiet",
        project.cache.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", &mount]).arg(std::env::current_exe().unwrap());
    let output = command.env("PIPE_TEST_ROOT", &project.root).output().ok()?;
    if output.status.code() == Some(77) || String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        return None;
    }
    let id = crate::run::journal::list(&project.root).pop()?;
    let (lines, _) = crate::run::journal::read(&project.root, &id).unwrap();
    Some(lines.into_iter().map(|line| line.what).collect())
}

#[test]
fn a_full_cache_fails_the_stage_with_a_remedy_and_the_next_run_makes_it_good() {
    let (mut said, mut heard) = (false, Vec::new());
    // Full at another place each time.
    for kib in [40, 48, 56, 64, 80, 96] {
        let project = Project::new();
        let Some(events) = run_in(&project, kib) else { return };
        for event in &events {
            if let Event::StageFailed { message, help, .. } = event {
                // Where the stage itself found no space, not even for its outcome, the engine tells of its end and why.
                let full = message.contains("No space left on device") || message.contains("is full");
                let unsaid = message.starts_with("it panicked");
                assert!(full || unsaid, "{kib} KiB: {message}");
                assert!(unsaid || help.as_deref().unwrap_or_default().contains("pipe gc"), "{kib} KiB: {help:?}");
                said |= full;
                heard.push((kib, message.clone()));
            }
        }
        // The mount is gone with its process: what is left is what the project itself remembers.
        let again = project.run(&sketch(&project.root));
        assert_eq!(again.finished.exit, 0, "{kib} KiB: {again:?}");
    }
    assert!(said, "none of these sizes was too small for the engine: {heard:?}");
}
