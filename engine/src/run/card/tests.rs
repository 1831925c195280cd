#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::event::{Event, Observer, State};
use crate::lease::gpu::Policy;
use crate::run::Stop;
use crate::store::{Found, Record};
use crate::testing::{Asked, InProcess, Project, Seen as Run, Toy, word};

fn reading(worked: f64, processes: &[u32], held_back: &[&'static str]) -> Reading {
    Reading {
        worked: Some(worked),
        sm_mhz: Some(1410),
        held_back: Some(held_back.to_vec()),
        processes: Some(processes.to_vec()),
        ..Reading::default()
    }
}

#[test]
fn what_was_seen_is_told_and_only_others_and_slowdowns_disturb() {
    let whose = |pid: u32| match pid {
        1 => Whose::Ours,
        2 => Whose::Strange("python".to_owned()),
        _ => Whose::Unplaced,
    };
    let mut seen = Seen::default();
    seen.take(&reading(0.5, &[1, 9], &["power limit", "idle"]), &whose);
    assert_eq!(seen.disturbed(), None);
    seen.take(&Reading { sm_mhz: Some(1200), ..reading(1.0, &[1, 2], &["heat (hardware)"]) }, &whose);
    // What is not known is not counted.
    seen.take(&Reading::default(), &whose);
    assert_eq!(seen.disturbed().unwrap(), "process 2 (python), heat (hardware)");
    let told = seen.told("GPU-1", 3.5);
    assert_eq!(told["worked_share"], 0.75);
    assert_eq!(told["sm_mhz"], json!({ "min": 1200.0, "mean": 1305.0, "max": 1410.0 }));
    assert_eq!(told["temperature_c"], Value::Null);
    assert_eq!(told["held_back"], json!({ "heat (hardware)": 1, "idle": 1, "power limit": 1 }));
    assert_eq!(told["strangers"], json!([{ "pid": 2, "name": "python" }]));
    assert_eq!((&told["unplaced_processes"], &told["samples"], &told["held_s"]), (&1.into(), &3.into(), &3.5.into()));
}

#[test]
fn a_process_is_ours_if_it_comes_of_the_stage_and_strange_if_not() {
    let me = std::process::id();
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(whose(child.id(), Some(me)), Whose::Ours);
    assert_eq!(whose(child.id(), Some(child.id())), Whose::Ours);
    assert_eq!(whose(me, Some(child.id())), Whose::Strange(status(me).unwrap().0));
    assert_eq!(whose(child.id(), None), Whose::Strange("cat".to_owned()));
    drop(child.stdin.take());
    let pid = child.id();
    child.wait().unwrap();
    assert_eq!(whose(pid, Some(me)), Whose::Unplaced);
}

/// A driver's library that answers from a file. `None`, and words on what is missing, where it cannot be built.
fn library(into: &Path) -> Option<PathBuf> {
    let build = std::env::var_os("PIPE_TEST_DATA").map(|root| PathBuf::from(root).join("fake-nvml/build.sh"));
    let Some(build) = build.filter(|path| path.exists()) else {
        eprintln!("not run: set PIPE_TEST_DATA to a directory that holds `fake-nvml/build.sh`");
        return None;
    };
    let output = Command::new(build).arg(into).output().unwrap();
    if !output.status.success() {
        eprintln!("not run: the stand-in for the driver's library cannot be built: {output:?}");
        return None;
    }
    Some(into.join("libnvidia-ml.so.1"))
}

/// Two idle cards, the first with this added.
fn state(added: &str) -> String {
    format!("driver 570.1\ngpu\n uuid GPU-1\n pci 00000000:07:00.0\n{added}\ngpu\n uuid GPU-2\n pci 00000000:0F:00.0\n")
}

const STRANGER: &str = " process 1 1024\n util_gpu 50";

/// Changes what the cards say when something happens in a run.
struct Director {
    state: PathBuf,
    on: &'static [(Cue, &'static str)],
    events: Vec<Event>,
}

#[derive(Clone, Copy)]
enum Cue {
    Started,
    Warned,
    Blocked,
}

impl Director {
    fn put(&self, added: &str) {
        let new = self.state.with_extension("new");
        std::fs::write(&new, state(added)).unwrap();
        std::fs::rename(new, &self.state).unwrap();
    }
}

impl Observer for Director {
    fn on(&mut self, _: Duration, event: &Event) {
        self.events.push(event.clone());
        let cue = |cue: &Cue| match cue {
            Cue::Started => matches!(event, Event::StageStarted { .. }),
            Cue::Warned => matches!(event, Event::Warning { .. }),
            Cue::Blocked => matches!(event, Event::StageBlocked { on, .. } if on.contains("to leave")),
        };
        if let Some((_, added)) = self.on.first().filter(|(next, _)| cue(next)) {
            self.put(added);
            self.on = &self.on[1..];
        }
    }
}

/// A scene: what the first card says at first, what changes it, and the project's word on cards.
fn scene(name: &str) -> (&'static str, &'static [(Cue, &'static str)], Policy) {
    let policy = Policy { wait_s: 0.0, ..Policy::default() };
    match name {
        "quiet" => (" util_gpu 40", &[], policy),
        "passer-by" => ("", &[(Cue::Started, STRANGER), (Cue::Warned, "")], policy),
        "neighbour" => (STRANGER, &[], policy),
        "heat" => (" throttle 0x44\n temperature 91\n clock_sm 1200", &[], Policy { retries: 0, ..policy }),
        "leaves" => (STRANGER, &[(Cue::Blocked, "")], Policy { wait_s: 3600.0, ..policy }),
        other => panic!("no scene is called {other}"),
    }
}

/// Not a test but an engine in a process of its own: the library reads its environment.
#[test]
fn engine() {
    let Ok(name) = std::env::var("PIPE_TEST_SCENE") else { return };
    let project = Project::at(Path::new(&std::env::var_os("PIPE_TEST_ROOT").unwrap()));
    let (first, on, gpu) = scene(&name);
    let mut director = Director { state: std::env::var_os("FAKE_NVML_STATE").unwrap().into(), on, events: Vec::new() };
    director.put(first);
    let mut sketch = project.sketch();
    sketch.toy("a", Toy { gpus: 1, measured: true, ..word("w") }, &[]);
    let (asked, stop) = (Asked { gpu, ..Asked::default() }, Stop::new());
    project.observed(&sketch, &asked, &Facts::here(), &InProcess, &stop, &mut director).unwrap();
    assert!(director.on.is_empty(), "the scene was not played to its end");
    std::fs::write(project.root.join("events.json"), serde_json::to_vec(&director.events).unwrap()).unwrap();
}

/// Plays a scene on two cards: what happened and the record. `None` where there is no library.
fn play(name: &str) -> Option<(Run, Record)> {
    let project = Project::new();
    let library = library(&project.root.join("library"))?;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["run::card::tests::engine", "--exact", "--nocapture"]);
    command.env("PIPE_TEST_ROOT", &project.root).env("PIPE_TEST_SCENE", name).env("PIPE_NVML", library);
    command.env("FAKE_NVML_STATE", project.root.join("state")).env("PIPE_GPU_BOARD", project.root.join("board"));
    command.env_remove("CUDA_VISIBLE_DEVICES").env_remove("SLURM_JOB_GPUS").env_remove("SLURM_STEP_GPUS");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let events = serde_json::from_slice(&std::fs::read(project.root.join("events.json")).unwrap()).unwrap();
    let finished = crate::run::Finished {
        run: String::new(),
        hits: 0,
        done: 0,
        failed: 0,
        skipped: 0,
        gates: 0,
        stopped: false,
        exit: 0,
    };
    let run = Run { finished, events };
    let Found::Record(record) = project.store().find(run.key("a")).unwrap() else { panic!("{run:?}") };
    Some((run, *record))
}

#[test]
fn a_measurement_records_what_its_card_did() {
    let Some((run, record)) = play("quiet") else { return };
    assert_eq!((run.started().len(), run.warnings().len()), (1, 0), "{run:?}");
    let card = &record.circumstances[CIRCUMSTANCE][0];
    assert_eq!((card["uuid"].as_str(), card["worked_share"].as_f64()), (Some("GPU-1"), Some(0.4)));
    assert!(card["samples"].as_u64().unwrap() >= 2, "before and after: {card}");
    assert_eq!(card["sm_mhz"]["max"], 1410.0);
    assert!(!record.circumstances.contains_key(DISTURBED));
}

#[test]
fn a_disturbed_measurement_is_thrown_away_and_taken_again() {
    let Some((run, record)) = play("passer-by") else { return };
    assert_eq!(run.started(), ["a", "a"]);
    let warning = run.warnings()[0];
    assert!(warning.starts_with("the measurement was disturbed by process 1 ("), "{warning}");
    assert!(warning.ends_with("on GPU-1; it is taken again (1 of 1)"), "{warning}");
    assert_eq!(run.all(State::Done), ["a"]);
    assert!(!record.circumstances.contains_key(DISTURBED), "{record:?}");
}

#[test]
fn a_measurement_that_is_disturbed_every_time_is_kept_and_marked() {
    let Some((run, record)) = play("neighbour") else { return };
    assert_eq!((run.started().len(), run.warnings().len()), (2, 2), "{run:?}");
    assert!(run.warnings()[1].ends_with("it is kept, and its record says so"), "{run:?}");
    assert!(record.circumstances[DISTURBED].as_str().unwrap().contains("process 1 ("));
}

#[test]
fn heat_disturbs_and_the_power_limit_does_not() {
    let Some((run, record)) = play("heat") else { return };
    assert_eq!(run.started(), ["a"]);
    assert_eq!(record.circumstances[DISTURBED], "heat (hardware) on GPU-1");
    let card = &record.circumstances[CIRCUMSTANCE][0];
    assert_eq!((&card["temperature_c"]["max"], &card["sm_mhz"]["min"]), (&91.0.into(), &1200.0.into()));
    assert!(card["held_back"]["power limit"].as_u64().unwrap() >= 2);
}

#[test]
fn a_measurement_waits_for_others_to_leave_its_card() {
    let Some((run, record)) = play("leaves") else { return };
    assert_eq!((run.started().len(), run.warnings().len()), (1, 0), "{run:?}");
    assert!(!record.circumstances.contains_key(DISTURBED), "{record:?}");
}
