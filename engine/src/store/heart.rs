//! Shows that the holders of reservations live, from one thread for all of them, so that a holder that hashes a large
//! output, or waits for a slow disk, is not taken for dead.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a holder shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The reservations of one store in this process.
#[derive(Debug, Default)]
pub(super) struct Heart {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    /// Each reservation with its words.
    words: BTreeMap<PathBuf, Vec<u8>>,
    beats: bool,
    over: bool,
}

impl Heart {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds this lock")
    }

    /// Beats for the reservation at `path` from now on.
    pub(super) fn add(self: &Arc<Heart>, path: &Path, words: &[u8]) {
        let mut held = self.held();
        held.words.insert(path.to_owned(), words.to_vec());
        if !std::mem::replace(&mut held.beats, true) {
            let heart = Arc::clone(self);
            // Without a thread it only looks dead after a while, and somebody may do the work as well.
            let _ = std::thread::Builder::new().name("heart".to_owned()).spawn(move || heart.run());
        }
    }

    /// Beats no more for the reservation at `path`.
    pub(super) fn remove(&self, path: &Path) {
        self.held().words.remove(path);
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.held().over = true;
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut held = self.held();
        while !held.over {
            held = self.changed.wait_timeout(held, HEARTBEAT).expect("nothing panics while it holds this lock").0;
            if !held.over {
                drop(held);
                self.beat();
                held = self.held();
            }
        }
    }

    /// Shows once that all holders live: the files' times move, by their server's clock. A reservation that says other
    /// words is somebody else's by now and is left alone.
    pub(super) fn beat(&self) {
        let all = self.held().words.clone();
        for (path, words) in all {
            if std::fs::read(&path).is_ok_and(|now| now == words) {
                // Written anew and not touched: that works also for who may write a file but does not own it.
                let _ = std::fs::OpenOptions::new().write(true).open(&path).and_then(|mut f| f.write_all(&words));
            } else {
                self.remove(&path);
            }
        }
    }
}
