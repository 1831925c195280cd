//! The plain reference as a backend: candle-transformers' model, one request at a time, its own cache inside. What
//! Hugging Face's transformers is to a serving engine.

use std::time::{Duration, Instant};

use engine::kind::StageError;

use crate::device::cpu::wait_until;
use crate::infer::request::Request;
use crate::infer::serve::{Backend, Batch, Sequences, Timing};
use crate::infer::time::Nanos;
use crate::model::reference::Reference;

/// The model, the sequence it holds and a clock.
pub(super) struct Plain {
    reference: Reference,
    last: Vec<u32>,
    done: Option<(Option<u32>, Timing)>,
    origin: Instant,
}

/// What goes wrong in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlainError {
    /// The schedule is not one for it.
    #[error("it serves one request at a time and was given {0} at once")]
    Together(usize),
    /// The model failed.
    #[error("candle failed")]
    Candle(#[from] candle_core::Error),
}

impl Plain {
    pub(super) fn new(reference: Reference, sequences: usize) -> Plain {
        Plain { reference, last: vec![0; sequences], done: None, origin: Instant::now() }
    }

    /// Sets the clock to 0.
    pub(super) fn restart(&mut self) {
        self.origin = Instant::now();
    }

    /// Runs the first request's prompt and some tokens, over and over for `seconds` and at least twice; ns.
    pub(super) fn warm_up(&mut self, requests: &[Request], seconds: f64) -> Result<u64, StageError> {
        let Some(request) = requests.first() else { return Ok(0) };
        let (begin, least) = (Instant::now(), Duration::from_secs_f64(seconds));
        let mut rounds = 0;
        while rounds < 2 || begin.elapsed() < least {
            let mut once = || -> candle_core::Result<()> {
                self.reference.clear()?;
                self.reference.forward(&request.prompt, 0)?;
                (0..4).try_for_each(|i| self.reference.forward(&[0], request.prompt.len() + i).map(drop))
            };
            once().map_err(|e| StageError::new("warming up failed").because(&e))?;
            rounds += 1;
        }
        Ok(u64::try_from(begin.elapsed().as_nanos()).expect("a warm-up ends within 584 years"))
    }
}

impl Backend for Plain {
    type Error = PlainError;

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).expect("a run ends within 584 years"))
    }

    fn wait_until(&mut self, t: Nanos) {
        wait_until(self.origin, t);
    }

    fn submit(&mut self, batch: &Batch, sequences: &dyn Sequences) -> Result<(), PlainError> {
        let [slice] = batch.slices.as_slice() else { return Err(PlainError::Together(batch.slices.len())) };
        let ids = sequences.token_ids(slice.seq);
        let ids = if ids.is_empty() { &self.last[slice.seq as usize..][..1] } else { ids };
        let start = self.now();
        if slice.context == 0 {
            self.reference.clear()?;
        }
        let logits = self.reference.forward(ids, slice.context as usize)?;
        let id = slice.yields.then(|| largest(&logits));
        if let Some(id) = id {
            self.last[slice.seq as usize] = id;
        }
        let end = self.now();
        self.done = Some((id, Timing { start, end, device: end.since(start) }));
        Ok(())
    }

    fn collect(&mut self, tokens: &mut Vec<u32>) -> Result<Timing, PlainError> {
        let (id, timing) = self.done.take().expect("collect follows a submit");
        tokens.extend(id);
        Ok(timing)
    }
}

fn largest(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}
