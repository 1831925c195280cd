#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::attempt::Attempt;

struct Bench {
    _root: tempfile::TempDir,
    attempt: Attempt,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let attempt = Attempt { directory: root.path().join("attempt") };
    std::fs::create_dir_all(attempt.directory.join("out")).unwrap();
    Bench { _root: root, attempt }
}

impl Bench {
    fn start(&self, script: &str, timeout: Option<Duration>) -> Result<Box<dyn Child>, LaunchError> {
        self.start_words(&["sh", "-c", script], timeout)
    }

    fn start_words(&self, words: &[&str], timeout: Option<Duration>) -> Result<Box<dyn Child>, LaunchError> {
        let argv = words.iter().map(|word| (*word).to_owned()).collect();
        let environment = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        crate::testing::processes().start(&Order {
            attempt: &self.attempt,
            work: Work::Command { argv, environment },
            cpus: 3,
            gpus: vec!["GPU-1".to_owned(), "GPU-2".to_owned()],
            locks: Vec::new(),
            timeout,
        })
    }

    fn run(&self, script: &str) -> (End, Vec<Said>) {
        let mut all = Vec::new();
        let end = self.start(script, None).unwrap().wait(&mut |said| all.extend(said));
        (end, all)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.attempt.log_path()).unwrap()
    }
}

#[test]
fn both_streams_go_to_the_log_and_the_exit_code_is_told() {
    let bench = bench();
    let (end, _) = bench.run("echo to out; echo to err >&2; exit 7");
    assert_eq!(end.status, Status::Exited(7));
    assert_eq!(bench.log(), "to out\nto err\n");
}

#[test]
fn the_lease_and_the_declared_environment_are_all_that_a_command_sees() {
    let bench = bench();
    let (end, _) =
        bench.run("echo $GREETING $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $LANG; test -z \"$CARGO\" -a -z \"$USER\"");
    assert_eq!(bench.log(), "hello GPU-1,GPU-2 3 C.UTF-8\n");
    assert_eq!(end.status, Status::Exited(0));
}

#[test]
fn a_signal_is_told_as_such() {
    assert_eq!(bench().run("kill -SEGV $$").0.status, Status::Signalled(11));
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let bench = bench();
    let error = bench.start_words(&["no-such-program-here"], None).err().unwrap();
    assert_eq!(error.to_string(), "cannot start `no-such-program-here`");
}

#[test]
fn what_the_leader_leaves_behind_is_gone_when_it_is_over() {
    let bench = bench();
    let (end, _) = bench.run("sh -c 'while :; do echo late >> out/late; done' & echo $! > pid");
    assert_eq!(end.status, Status::Exited(0));
    let pid = std::fs::read_to_string(bench.attempt.directory.join("pid")).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let gone = state.is_empty() || state.contains(") Z ");
    assert!(gone, "{state}");
}

#[test]
fn a_program_that_heeds_no_signal_is_killed() {
    let bench = bench();
    let child =
        bench.start("trap '' TERM; echo '{\"warning\":\"deaf\"}' >> events.jsonl; while :; do sleep 9; done", None);
    let child = child.unwrap();
    let group = child.group();
    let end = child.wait(&mut |said| {
        if said.is_some() {
            group.end();
            group.kill();
        }
    });
    assert_eq!(end.status, Status::Signalled(9));
    // Over is over: nothing is sent to whoever has the number now.
    group.kill();
}

#[test]
fn time_that_is_up_ends_the_whole_group() {
    let bench = bench();
    let child = bench.start("sleep 100 & sleep 100", Some(Duration::from_millis(30))).unwrap();
    assert_eq!(child.wait(&mut |_| {}).status, Status::TimedOut);
}

#[test]
fn reports_are_told_in_order_and_what_is_no_report_is_not() {
    let bench = bench();
    let (_, said) = bench.run(
        r#"{
        echo '{"metric":{"name":"loss","value":0.5,"unit":"1"}}'
        echo 'no json'
        echo '{"other":1}'
        echo '{"progress":{"done":1,"total":3,"note":"x"}}'
        echo '{"warning":"beware"}'
        printf '{"warning":"cut'
        } >> events.jsonl"#,
    );
    let metric = Said::Metric { name: "loss".to_owned(), value: 0.5, unit: "1".to_owned() };
    let progress = Said::Progress { done: 1, total: 3, note: "x".to_owned() };
    assert_eq!(said.iter().filter(|s| !matches!(s, Said::Progress { .. })).count(), 2);
    assert!(said.contains(&metric) && said.contains(&progress) && said.contains(&Said::Warning("beware".to_owned())));
}

#[test]
fn what_was_used_is_counted_with_the_children() {
    let bench = bench();
    let (end, _) = bench.run("i=0; sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'");
    assert!(end.usage.user_ns > 0, "{:?}", end.usage);
    assert!(end.usage.wall_ns >= end.usage.user_ns / 2, "{:?}", end.usage);
}

#[test]
fn a_lock_passes_to_the_child_and_to_no_other() {
    let bench = bench();
    let path = bench.attempt.directory.join("lock");
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    let child = crate::testing::processes()
        .start(&Order {
            attempt: &bench.attempt,
            work: Work::Command {
                argv: [
                    "sh",
                    "-c",
                    "echo '{\"warning\":\"up\"}' >> events.jsonl; while [ ! -e go ]; do sleep 0.01; done",
                ]
                .map(str::to_owned)
                .to_vec(),
                environment: BTreeMap::new(),
            },
            cpus: 1,
            gpus: Vec::new(),
            locks: vec![&lock],
            timeout: None,
        })
        .unwrap();
    drop(lock);
    let again = File::open(&path).unwrap();
    let go = bench.attempt.directory.join("go");
    let mut held = None;
    child.wait(&mut |said| {
        if said.is_some() {
            held = Some(again.try_lock().is_err());
            std::fs::write(&go, "").unwrap();
        }
    });
    assert_eq!(held, Some(true), "the child has it");
    assert!(again.try_lock().is_ok(), "and took it with it");
}
