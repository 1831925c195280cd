//! Programs that do what a stage should not: nothing is lost, nothing wrong is kept, and it is told.

use crate::launch::Local;
use crate::load::{Load, Machine, load};
use crate::run::Stop;
use crate::testing::{Asked, PROGRAM, Project, Seen, Sketch, facts};

/// Runs a shell's `script` as a stage with one input and the output `out/out`; `more` stands beside it.
fn run_with(project: &Project, script: &str, more: &str) -> Seen {
    project.write("pipe.toml", "");
    project.write("data/in.txt", "given\n");
    let script = serde_json::to_string(script).unwrap();
    let stage = format!(
        "[stage.s]\nkind = \"command\"\nin = {{ text = \"data/in.txt\" }}\n{more}\n\
         config = {{ argv = [\"sh\", \"-c\", {script}], outputs = {{ out = \"out\" }} }}\n"
    );
    project.write("p.toml", &stage);
    let machine = Machine { cpus: 8, memory_mib: 0 };
    let request = Load { file: project.root.join("p.toml"), overrides: Vec::new(), machine };
    let pipeline = load(&PROGRAM, &request).unwrap().pipeline;
    let launcher = Local::new("/bin/false".into(), Vec::new());
    project.run_with(&Sketch { pipeline }, &Asked::default(), &facts(), &launcher, &Stop::new()).unwrap()
}

fn run(project: &Project, script: &str) -> Seen {
    run_with(project, script, "")
}

fn result(project: &Project) -> std::path::PathBuf {
    project.root.join("results/p/s/out")
}

/// That `script` ends well, is known the second time, and leaves a cache in which every byte is what it should be.
fn assert_good(script: &str) -> Project {
    let project = Project::new();
    let seen = run(&project, script);
    assert_eq!(seen.finished.exit, 0, "{script}: {}", seen.failure("s"));
    assert_eq!(run(&project, script).finished.hits, 1, "{script}");
    assert_eq!(project.store().verify(&mut |_, _| {}).unwrap().damaged, [], "{script}");
    project
}

#[test]
fn a_stage_that_deletes_its_inputs_deletes_a_link() {
    let project = assert_good("rm -rf in; echo x > out/out");
    assert_eq!(std::fs::read_to_string(project.root.join("data/in.txt")).unwrap(), "given\n");
}

#[test]
fn what_a_stage_writes_beside_its_outputs_goes_with_its_attempt() {
    let project = assert_good("echo litter > litter; mkdir -p deep/er; echo more > out/more; echo x > out/out");
    assert_eq!(std::fs::read_dir(project.cache.join("attempts")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(project.root.join("results/p/s")).unwrap().count(), 1);
}

#[test]
fn a_stage_that_fills_its_log_leaves_a_tail_of_it() {
    let project = Project::new();
    let seen = run(&project, "yes a rather long line of the log | head -c 20000000; exit 3");
    let tail = seen.events.iter().find_map(|event| match event {
        crate::event::Event::StageFailed { tail, .. } => Some(tail.clone()),
        _ => None,
    });
    let tail = tail.unwrap();
    assert!(tail.len() <= 20 && tail.iter().map(String::len).sum::<usize>() <= 4096, "{tail:?}");
}

#[test]
fn a_stage_that_leaves_a_process_of_its_own_group_behind_is_not_believed() {
    let project = Project::new();
    let script = "head -c 10000 /dev/zero > out/out; setsid sh -c 'exec 3>>out/out; : > begun; sleep 5; echo late >&3' & \
                  while [ ! -e begun ]; do :; done";
    let seen = run(&project, script);
    assert!(seen.failure("s").contains("left a process running"), "{}", seen.failure("s"));
    assert_eq!(project.cached("records").len(), 0);
}

#[test]
fn ten_thousand_files_in_one_output_are_kept() {
    let project = assert_good("mkdir out/out; cd out/out; seq 10000 | xargs touch");
    assert_eq!(std::fs::read_dir(result(&project)).unwrap().count(), 10_000);
}

#[test]
fn names_of_any_bytes_are_kept_in_a_tree() {
    use std::os::unix::ffi::OsStrExt;
    let project = assert_good(
        "mkdir out/out; cd out/out; echo 1 > 'a b'; echo 2 > \"$(printf 'n\\nl')\"; echo 3 > \"$(printf '\\377\\376')\"",
    );
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(std::fs::read_to_string(result(&project).join(name)).unwrap(), "3\n");
    assert_eq!(std::fs::read_to_string(result(&project).join("n\nl")).unwrap(), "2\n");
}

#[test]
fn links_that_turn_in_a_circle_are_kept_as_links() {
    let project = assert_good("mkdir out/out; cd out/out; ln -s b a; ln -s a b; ln -s . here");
    assert_eq!(std::fs::read_link(result(&project).join("a")).unwrap(), std::path::Path::new("b"));
}

#[test]
fn a_link_out_of_an_output_is_refused() {
    let project = Project::new();
    for script in ["mkdir out/out; ln -s /etc/passwd out/out/x", "ln -s /etc/passwd out/out", "mkfifo out/out"] {
        let seen = run(&project, script);
        assert_eq!(seen.finished.exit, 3, "{script}");
        assert_eq!(project.cached("records").len(), 0, "{script}");
    }
}

#[test]
fn a_stage_beyond_its_largest_file_fails_by_the_signal() {
    let project = Project::new();
    let seen = run(&project, "ulimit -f 1; exec head -c 100000 /dev/zero > out/out");
    assert!(seen.failure("s").contains("signal 25"), "{}", seen.failure("s"));
    assert_eq!(project.cached("records").len(), 0);
}

#[test]
#[ignore = "hashes three gigabytes, and waits out a stage that will not end"]
fn a_sparse_file_of_three_gigabytes_is_kept_and_a_deaf_stage_is_killed() {
    assert_good("truncate -s 3G out/out");
    let project = Project::new();
    let seen = run_with(&project, "trap '' TERM; while :; do sleep 1; done", "timeout_s = 0.2");
    assert!(seen.failure("s").contains("its time being up"), "{}", seen.failure("s"));
}
