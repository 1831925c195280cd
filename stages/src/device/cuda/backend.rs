//! The serving loop's backend on a card: two steps in flight, tokens fed back on the card.
//!
//! `submit` only writes a description and hands work over; the host's next move overlaps the card's step. A decode
//! whose id the host does not know yet takes it from the step before, on the card.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::infer::serve::{Backend, Batch, Sequences, Timing};
use crate::infer::time::Nanos;

use super::driver::{Event, Pinned};
use super::engine::{Engine, Operation};
use super::error::CudaError;
use super::step::{Describer, Step};

/// Steps that may be handed over and not collected.
pub const IN_FLIGHT_MAX: usize = 2;

/// Below this the clock is watched instead of sleeping: a thread that slept comes back to cold caches, and the launches of
/// the next step with a prefill are the host's work.
const WATCH: Duration = Duration::from_secs(1);

/// One step's memory on the host and its instants on the card.
#[derive(Debug)]
struct Slot {
    staged: Pinned,
    tokens: Pinned,
    begun: Event,
    ended: Event,
    step: Step,
}

/// A card that serves.
#[derive(Debug)]
pub struct CudaBackend {
    engine: Engine,
    describer: Describer,
    slots: Vec<Slot>,
    flying: VecDeque<usize>,
    next: usize,
    /// The slot collected last and when its tokens were there.
    before: Option<(usize, Nanos)>,
    origin: Instant,
}

impl CudaBackend {
    /// Around an engine; the run starts now.
    ///
    /// # Errors
    /// When the host has no memory to pin.
    pub fn new(engine: Engine) -> Result<CudaBackend, CudaError> {
        let capacity = engine.capacity();
        let device = engine.device();
        let slot = |_| {
            Ok(Slot {
                staged: Pinned::zeroed(device, capacity.staged_words())?,
                tokens: Pinned::zeroed(device, capacity.sequences)?,
                begun: Event::new(device)?,
                ended: Event::new(device)?,
                step: Step::default(),
            })
        };
        let slots = (0..=IN_FLIGHT_MAX).map(slot).collect::<Result<_, CudaError>>()?;
        let describer = Describer::new(capacity);
        Ok(CudaBackend {
            engine,
            describer,
            slots,
            flying: VecDeque::new(),
            next: 0,
            before: None,
            origin: Instant::now(),
        })
    }

    /// The clock starts at zero again.
    pub fn restart(&mut self) {
        self.origin = Instant::now();
        self.before = None;
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same, to warm or to set up.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Nanoseconds of one call of an operation of the step collected last; nothing may be in flight.
    ///
    /// # Errors
    /// When the card refuses.
    pub fn time(&self, operation: Operation) -> Result<f64, CudaError> {
        let slot = &self.slots[(self.next + IN_FLIGHT_MAX) % (IN_FLIGHT_MAX + 1)];
        self.engine.time(operation, &slot.step, slot.staged.pointer())
    }

    /// The step collected last.
    pub fn last_step(&self) -> &Step {
        &self.slots[(self.next + IN_FLIGHT_MAX - self.flying.len()) % (IN_FLIGHT_MAX + 1)].step
    }
}

impl Backend for CudaBackend {
    type Error = CudaError;

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wait_until(&mut self, t: Nanos) {
        loop {
            let left = Duration::from_nanos(t.since(self.now()).0);
            if left.is_zero() {
                return;
            }
            if left > WATCH {
                std::thread::sleep(left - WATCH);
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), CudaError> {
        if self.flying.len() == IN_FLIGHT_MAX {
            let what = format!("{IN_FLIGHT_MAX} steps are in flight, and no more may be handed over");
            return Err(CudaError::Unsupported(what));
        }
        let slot = &mut self.slots[self.next];
        self.describer.describe(batch, sequences, slot.staged.words_mut(), &mut slot.step)?;
        slot.begun.mark()?;
        self.engine.run(&slot.step, slot.staged.pointer())?;
        if slot.step.outputs > 0 {
            slot.tokens.fetch(self.engine.device(), self.engine.made(), slot.step.outputs)?;
        }
        slot.ended.mark()?;
        self.flying.push_back(self.next);
        self.next = (self.next + 1) % self.slots.len();
        Ok(())
    }

    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, CudaError> {
        let nothing = || CudaError::Unsupported("no step is in flight".to_owned());
        let at = self.flying.pop_front().ok_or_else(nothing)?;
        let slot = &self.slots[at];
        slot.ended.wait()?;
        let end = self.now();
        let made = slot.tokens.words();
        tokens.extend(slot.step.order.iter().map(|place| made[*place as usize] as u32));
        let device = Nanos(slot.ended.since_ns(&slot.begun)?);
        // The card's clock tells the pause since the step before; the host saw that one end.
        let start = match self.before {
            Some((before, ended)) => ended + Nanos(slot.begun.since_ns(&self.slots[before].ended)?),
            None => end.since(device),
        };
        self.before = Some((at, end));
        Ok(Timing { start: start.min(end), end, device })
    }
}
