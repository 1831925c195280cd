//! How a stage becomes a process, and how it is watched and ended.
//!
//! [`Local`] starts it on this machine, in a process group of its own, with its lease in the environment. It does not
//! know keys, stores or states. Invariants: after [`Child::wait`] no process of the group lives, so what lies in `out/`
//! stands still; a signal is sent only while the group's number is certainly its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal};

use crate::attempt::{self, Attempt};
use crate::event::Usage;

mod watch;

pub use watch::Said;

#[cfg(test)]
mod tests;

/// What is to be started.
#[derive(Debug)]
pub struct Order<'a> {
    /// Its directory, with manifest and inputs.
    pub attempt: &'a Attempt,
    /// What runs.
    pub work: Work,
    /// Cores it holds.
    pub cpus: u16,
    /// Cards it holds, by UUID.
    pub gpus: Vec<String>,
    /// Locks that its process is to hold: they are freed when the last process that has them is gone.
    pub locks: Vec<&'a File>,
    /// Ended after so long.
    pub timeout: Option<Duration>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A kind of this program, which reads the manifest.
    Kind,
    /// Another program, in the attempt's directory and a clean environment.
    Command {
        /// The program and its words.
        argv: Vec<String>,
        /// Its whole environment, besides what every command gets.
        environment: BTreeMap<String, String>,
    },
}

/// Why something could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program cannot be run.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The log cannot be made.
    #[error("cannot make `{}`", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Where programs are looked for if the environment does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Starts attempts.
pub trait Launcher: Sync {
    /// Starts what `order` says.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, order: &Order<'_>) -> Result<Box<dyn Child>, LaunchError>;
}

/// Something that was started.
pub trait Child: Send {
    /// How to end it from elsewhere.
    fn group(&self) -> Group;

    /// Waits for its end; `said` is told what it reports, and called now and then although it says nothing.
    fn wait(self: Box<Self>, said: &mut dyn FnMut(Option<Said>)) -> End;
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End {
    /// In what way.
    pub status: Status,
    /// What the process and those it waited for used, as the system counts it.
    pub usage: Usage,
}

/// In what way a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It ran out of its time and was ended.
    TimedOut,
}

/// A process group that may be over. Signals go nowhere once it is.
#[derive(Debug, Clone, Default)]
pub struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn of(pid: Option<Pid>) -> Group {
        Group(Arc::new(Mutex::new(pid)))
    }

    /// The number of its first process, as long as that is certainly its own.
    pub fn leader(&self) -> Option<u32> {
        let pid = (*self.0.lock().expect("nothing panics while it holds this lock"))?;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Asks all of it to end.
    pub fn end(&self) {
        self.send(Signal::TERM);
    }

    /// Kills all of it.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let group = self.0.lock().expect("nothing panics while it holds this lock");
        if let Some(pid) = *group {
            // It may have just ended, which is what was wanted.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// The number is no longer ours once the leader is reaped: forget it first.
    fn forget(&self) {
        *self.0.lock().expect("nothing panics while it holds this lock") = None;
    }
}

/// On this machine.
#[derive(Debug, Clone)]
pub struct Local {
    program: PathBuf,
    words: Vec<OsString>,
}

impl Local {
    /// Kinds run as `program words… manifest.json`.
    pub fn new(program: PathBuf, words: Vec<OsString>) -> Local {
        Local { program, words }
    }

    /// Kinds run as this very program, with the words `stage exec`.
    ///
    /// # Errors
    /// When this program cannot be found.
    pub fn this_program() -> std::io::Result<Local> {
        Ok(Local::new(std::env::current_exe()?, vec!["stage".into(), "exec".into()]))
    }

    fn command(&self, order: &Order<'_>) -> Command {
        let mut command = match &order.work {
            Work::Kind => {
                let mut command = Command::new(&self.program);
                command.args(&self.words).arg(order.attempt.manifest_path());
                command
            }
            Work::Command { argv, environment } => {
                let word = argv.first().map_or("", String::as_str);
                // By its path: a program that is still to be looked for in a changed environment can only be started by
                // a fork, which copies the page tables of this process for every stage.
                let mut command = Command::new(find(word).unwrap_or_else(|| word.into()));
                command.arg0(word).args(argv.iter().skip(1)).env_clear();
                command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
                command.env("HOME", &order.attempt.directory).env("TMPDIR", &order.attempt.directory);
                command.env("LANG", "C.UTF-8");
                command.envs(environment);
                command
            }
        };
        command.current_dir(&order.attempt.directory).stdin(Stdio::null()).process_group(0);
        // How many threads a program makes is for the lease to say, not for the machine.
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(name, order.cpus.max(1).to_string());
        }
        // A stage that declared no card sees none.
        command.env("CUDA_VISIBLE_DEVICES", order.gpus.join(",")).env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        command
    }
}

/// Where a word leads that names a program: to itself if it is a path, else to the first executable of that name in
/// `PATH`.
pub(crate) fn find(word: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if word.contains('/') {
        return Some(PathBuf::from(word)).filter(runs);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    std::env::split_paths(&path).map(|directory| directory.join(word)).find(runs)
}

impl Launcher for Local {
    fn start(&self, order: &Order<'_>) -> Result<Box<dyn Child>, LaunchError> {
        let log_failed = |source| LaunchError::Log { path: order.attempt.log_path(), source };
        let log = attempt::open_log(&order.attempt.directory).map_err(log_failed)?;
        let mut command = self.command(order);
        command.stdout(log.try_clone().map_err(log_failed)?).stderr(log);
        let inherited = Inherited::of(&order.locks);
        let started = Instant::now();
        let child = command.spawn();
        drop(inherited);
        let child = child.map_err(|source| LaunchError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        // Our own descriptors of the log go with the command: from here the child's are the last ones.
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Box::new(Process {
            group: Group::of(pid),
            child,
            events: order.attempt.events_path(),
            started,
            deadline: order.timeout.and_then(|timeout| started.checked_add(timeout)),
        }))
    }
}

/// Descriptors that pass to a child which is started while this lives. Children are started by one thread, so
/// no other child gets them.
struct Inherited<'a>(Vec<&'a File>);

impl<'a> Inherited<'a> {
    fn of(files: &[&'a File]) -> Inherited<'a> {
        for file in files {
            let _ = fcntl_setfd(file.as_fd(), FdFlags::empty());
        }
        Inherited(files.to_vec())
    }
}

impl Drop for Inherited<'_> {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fcntl_setfd(file.as_fd(), FdFlags::CLOEXEC);
        }
    }
}

/// A process of this machine.
struct Process {
    group: Group,
    child: std::process::Child,
    events: PathBuf,
    started: Instant,
    deadline: Option<Instant>,
}

impl Child for Process {
    fn group(&self) -> Group {
        self.group.clone()
    }

    fn wait(mut self: Box<Self>, said: &mut dyn FnMut(Option<Said>)) -> End {
        let watched = watch::until_over(&self.child, &self.group, self.deadline, &self.events, said);
        // The leader is a zombie now and keeps the group's number: whatever it left behind goes with it.
        self.group.kill();
        let pid = *self.group.0.lock().expect("nothing panics while it holds this lock");
        self.group.forget();
        let status = match self.child.wait() {
            _ if watched.timed_out => Status::TimedOut,
            Ok(status) => match status.signal() {
                Some(signal) => Status::Signalled(signal),
                None => Status::Exited(status.code().unwrap_or(-1)),
            },
            // Somebody else reaped it; the outcome alone will say how it went.
            Err(_) => Status::Exited(0),
        };
        if let Some(pid) = pid {
            watch::until_gone(pid);
        }
        let wall_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        End { status, usage: Usage { wall_ns, ..watched.usage } }
    }
}
