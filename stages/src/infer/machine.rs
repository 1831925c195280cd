//! A virtual machine: a [`Backend`] whose clock is a counter and whose work takes the time that somebody says.
//!
//! Time never comes from the host, so equal runs are equal to the bit. The host prepares one iteration at a time;
//! the device works on them in order, one at a time.

use std::collections::VecDeque;

use super::serve::{Backend, Batch, Lap, Sequences, Timing};
use super::time::Nanos;

/// The time of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTime {
    /// What the host adds before the device can begin: scheduling, preparing, taking up results.
    pub host: Nanos,
    /// What the device takes.
    pub device: Nanos,
}

/// Says how long an iteration takes.
pub trait Predict {
    /// Why it cannot say.
    type Error;
    /// The time of `batch`.
    ///
    /// # Errors
    /// When the batch lies outside of what it knows.
    fn step_time(&mut self, batch: &Batch) -> Result<StepTime, Self::Error>;

    /// The times of the decodes that follow `batch`, each with every context one longer, until `take` wants no more.
    /// Whoever has a shorter way gives the same times to the nanosecond. `batch` is left as the last of them.
    ///
    /// # Errors
    /// As [`Predict::step_time`].
    fn repeat(&mut self, batch: &mut Batch, take: &mut dyn FnMut(StepTime) -> Again) -> Result<(), Self::Error> {
        loop {
            batch.lengthen();
            if take(self.step_time(batch)?) == Again::No {
                return Ok(());
            }
        }
    }
}

/// Whether one more iteration is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// The virtual machine.
#[derive(Debug, Clone)]
pub struct Machine<P> {
    predictor: P,
    now: Nanos,
    device_free: Nanos,
    flights: VecDeque<(Timing, u32)>,
}

impl<P: Predict> Machine<P> {
    /// A machine at time 0.
    pub fn new(predictor: P) -> Machine<P> {
        let flights = VecDeque::with_capacity(2);
        Machine { predictor, now: Nanos::default(), device_free: Nanos::default(), flights }
    }

    /// What tells the time of its iterations.
    pub fn predictor(&self) -> &P {
        &self.predictor
    }
}

/// The id that stands for every token here; nobody reads it.
const MADE_UP: u32 = 0;

impl<P: Predict> Backend for Machine<P> {
    type Error = P::Error;

    fn now(&self) -> Nanos {
        self.now
    }

    fn wait_until(&mut self, t: Nanos) {
        self.now = self.now.max(t);
    }

    fn submit(&mut self, batch: &Batch, _: &dyn Sequences) -> Result<(), P::Error> {
        let step = self.predictor.step_time(batch)?;
        self.now = self.now + step.host;
        let start = self.now.max(self.device_free);
        let end = start + step.device;
        self.device_free = end;
        let yields = batch.slices.iter().filter(|s| s.yields).count() as u32;
        self.flights.push_back((Timing { start, end, device: step.device }, yields));
        Ok(())
    }

    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, P::Error> {
        let (timing, yields) = self.flights.pop_front().expect("collect follows a submit");
        self.now = self.now.max(timing.end);
        tokens.resize(tokens.len() + yields as usize, MADE_UP);
        Ok(timing)
    }

    fn repeat(&mut self, batch: &mut Batch, most: u32, until: Nanos, laps: &mut Vec<Lap>) -> Result<(), P::Error> {
        if most == 0 || self.now >= until || !self.flights.is_empty() {
            return Ok(());
        }
        let (mut now, mut device_free, mut left) = (self.now, self.device_free, most);
        let outcome = self.predictor.repeat(batch, &mut |step| {
            let start = (now + step.host).max(device_free);
            let end = start + step.device;
            laps.push(Lap { scheduled: now, timing: Timing { start, end, device: step.device } });
            (now, device_free, left) = (end, end, left - 1);
            if left > 0 && now < until { Again::Yes } else { Again::No }
        });
        (self.now, self.device_free) = (now, device_free);
        outcome
    }
}
