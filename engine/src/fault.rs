//! Named places where a process can be made to die, so that the tests of crashes kill it exactly there.
//!
//! `PIPE_FAULT=commit.record` in the environment kills the process, as by SIGKILL, when it first comes to that place.
//! It does not know what the places mean.

use std::sync::OnceLock;

static CHOSEN: OnceLock<Option<String>> = OnceLock::new();

/// Dies here if the environment says so.
pub(crate) fn point(name: &str) {
    let chosen = CHOSEN.get_or_init(|| std::env::var("PIPE_FAULT").ok());
    if chosen.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal needs no more than the return from the call, and nothing may happen after it.
        std::process::abort();
    }
}

/// The bytes of this file are on the disk now. Tests that cut the power are told by a line with its number in the file
/// that `PIPE_FAULT_FLUSHED` names.
pub(crate) fn flushed(file: &std::fs::File) {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    let (Some(path), Ok(metadata)) = (std::env::var_os("PIPE_FAULT_FLUSHED"), file.metadata()) else { return };
    let told = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let _ = told.and_then(|mut told| writeln!(told, "{}", metadata.ino()));
}
