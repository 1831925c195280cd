//! How somebody stops a run: asked once, nothing more starts and what runs is asked to end; asked twice, it is killed.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use super::Message;

/// A run's bell. Give the same one to the run and to whoever may ring it.
#[derive(Debug, Default)]
pub struct Stop {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: u32,
    to: Option<Sender<Message>>,
}

impl Stop {
    /// One that nobody has rung.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks the run to stop; the second time, to kill.
    pub fn ask(&self) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this lock");
        inner.asked += 1;
        if let Some(to) = &inner.to {
            // The run may be over; then there is nothing to stop.
            let _ = to.send(Message::Stop);
        }
    }

    /// Rings whenever this process gets SIGINT or SIGTERM, from a thread that lives as long as the process.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn on_signals(self: &std::sync::Arc<Stop>) -> std::io::Result<()> {
        use std::io::Read;
        let (mut read, write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register_raw(signal, OwnedFd::from(write.try_clone()?))?;
        }
        let stop = std::sync::Arc::clone(self);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut byte = [0];
            while matches!(read.read(&mut byte), Ok(1)) {
                stop.ask();
            }
        })?;
        Ok(())
    }

    /// Rings at `to` from now on, also for what was asked before.
    pub(super) fn ring_at(&self, to: Sender<Message>) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this lock");
        for _ in 0..inner.asked {
            let _ = to.send(Message::Stop);
        }
        inner.to = Some(to);
    }
}

use signal_hook::consts::{SIGINT, SIGTERM};
