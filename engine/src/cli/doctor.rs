//! `pipe doctor`: tries out, in the cache directory itself, each thing that a run relies on there, and says what was found.
//!
//! It tests and does not guess: a file system's name promises nothing. What it leaves behind is nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::oracle::Facts;
use crate::report::{bytes, counted, duration};

#[cfg(test)]
mod tests;

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// As a run wants it.
    Good,
    /// A run works, and something is slower or less safe.
    Weak,
    /// A run cannot work so.
    Bad,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) finding: Finding,
    pub(super) what: &'static str,
    pub(super) found: String,
}

impl Check {
    pub(super) fn new(finding: Finding, what: &'static str, found: impl Into<String>) -> Check {
        Check { finding, what, found: found.into() }
    }
}

/// Tests the directory that a cache is to be in; made if it is not there.
pub(super) fn cache(directory: &Path) -> Vec<Check> {
    let shown = directory.display();
    if let Err(e) = std::fs::create_dir_all(directory) {
        return vec![Check::new(Finding::Bad, "cache directory", format!("cannot make `{shown}`: {e}"))];
    }
    let scratch = match tempfile::Builder::new().prefix(".doctor-").tempdir_in(directory) {
        Ok(scratch) => scratch,
        Err(e) => return vec![Check::new(Finding::Bad, "cache directory", format!("cannot write in `{shown}`: {e}"))],
    };
    let mut checks = vec![Check::new(Finding::Good, "cache directory", format!("`{shown}` can be written"))];
    checks.push(space(directory));
    for (what, test) in TESTS {
        checks.push(match test(scratch.path()) {
            Ok((finding, found)) => Check::new(finding, what, found),
            Err(e) => Check::new(Finding::Bad, what, format!("the test itself failed: {e}")),
        });
    }
    checks
}

/// What a run may use of this host.
pub(super) fn host(facts: &Facts) -> Check {
    let host = facts.host();
    let found =
        format!("{}, {}, {}", host.processor, counted(u64::from(host.cores), "core"), bytes(host.memory_mib << 20));
    Check::new(Finding::Good, "host", found)
}

/// The cards that a run may use; none is no fault.
pub(super) fn cards(facts: &Facts) -> Check {
    let cards = facts.cards();
    let found = match (cards.cards.as_slice(), &cards.trouble) {
        ([], Some(trouble)) => format!("none: {trouble}"),
        ([], None) => "none".to_owned(),
        (list, _) => {
            let names: Vec<String> =
                list.iter().map(|c| format!("{} ({})", c.name, bytes(c.memory_mib << 20))).collect();
            format!("{}, driver {}", names.join(", "), cards.driver)
        }
    };
    Check::new(Finding::Good, "cards", found)
}

type Test = fn(&Path) -> std::io::Result<(Finding, String)>;

const TESTS: [(&str, Test); 5] = [
    ("hard links", hard_links),
    ("renames", renames),
    ("read-only files", read_only),
    ("clock of the file system", clock),
    ("locks", locks),
];

fn space(directory: &Path) -> Check {
    let what = "free space";
    match rustix::fs::statvfs(directory) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let finding = match free {
                0..=104_857_600 => Finding::Bad,
                104_857_601..=2_147_483_648 => Finding::Weak,
                _ => Finding::Good,
            };
            Check::new(finding, what, format!("{} and {} files", bytes(free), crate::report::count(stat.f_favail)))
        }
        Err(e) => Check::new(Finding::Weak, what, format!("not known: {e}")),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create(path)?.write_all(text.as_bytes())
}

/// The first of two who publish under one name must win: `link` refuses a name that is taken.
fn hard_links(scratch: &Path) -> std::io::Result<(Finding, String)> {
    let (a, b, name) = (scratch.join("a"), scratch.join("b"), scratch.join("name"));
    write(&a, "first")?;
    write(&b, "second")?;
    if let Err(e) = std::fs::hard_link(&a, &name) {
        return Ok((Finding::Weak, format!("not possible ({e}); results are published by exclusive copies")));
    }
    match std::fs::hard_link(&b, &name) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && std::fs::read(&name)? == b"first" => {
            Ok((Finding::Good, "the first to publish a name keeps it".to_owned()))
        }
        Err(e) => Ok((Finding::Bad, format!("a second link onto one name gave `{e}`"))),
        Ok(()) => Ok((Finding::Bad, "a second link onto one name replaced the first".to_owned())),
    }
}

fn renames(scratch: &Path) -> std::io::Result<(Finding, String)> {
    let (old, new) = (scratch.join("old"), scratch.join("new"));
    write(&old, "old")?;
    write(&new, "new")?;
    std::fs::rename(&new, &old)?;
    if std::fs::read(&old)? == b"new" && !new.exists() {
        Ok((Finding::Good, "replace a file in one step".to_owned()))
    } else {
        Ok((Finding::Bad, "a rename onto a file did not replace it".to_owned()))
    }
}

fn read_only(scratch: &Path) -> std::io::Result<(Finding, String)> {
    let path = scratch.join("read-only");
    write(&path, "x")?;
    let mut permissions = std::fs::metadata(&path)?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions)?;
    match std::fs::OpenOptions::new().write(true).open(&path) {
        Err(_) => Ok((Finding::Good, "are protected against writing".to_owned())),
        Ok(_) => {
            Ok((Finding::Weak, "can be written all the same (are you root?); `pipe verify` finds changes".to_owned()))
        }
    }
}

/// A file's time against the host's clock: heartbeats and the memory of files' times compare within one clock only.
fn clock(scratch: &Path) -> std::io::Result<(Finding, String)> {
    let path = scratch.join("time");
    let before = SystemTime::now();
    write(&path, "x")?;
    let stamped = std::fs::metadata(&path)?.modified()?;
    let apart = match before.duration_since(stamped) {
        Ok(behind) => behind,
        Err(ahead) => ahead.duration(),
    };
    let words = duration(apart.as_nanos() as u64);
    if apart < Duration::from_secs(2) {
        Ok((Finding::Good, format!("within {words} of this host's")))
    } else {
        Ok((
            Finding::Weak,
            format!("{words} apart from this host's; ages of reservations are read from the file system's"),
        ))
    }
}

fn locks(scratch: &Path) -> std::io::Result<(Finding, String)> {
    let path = scratch.join("lock");
    let (first, second) = (File::create(&path)?, File::options().read(true).write(true).open(&path)?);
    first.lock()?;
    match second.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Ok((Finding::Good, "exclude each other".to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Ok((Finding::Weak, format!("do not work ({e}); results need none"))),
        Ok(()) => Ok((Finding::Weak, "do not exclude each other; results need none".to_owned())),
    }
}
