//! `bench` on a card: the paged engine of `device/cuda`, warmed at the shapes that come.

use std::time::{Duration, Instant};

use engine::exec::Io;
use engine::kind::StageError;

use super::{Config, meta, served, warm, write};
use crate::device::cpu::rehearsal::Rehearsal;
use crate::device::cuda::{CudaBackend, CudaError, open};
use crate::device::setup::weights;
use crate::infer::request::Request;
use crate::infer::serve::Backend;
use crate::model::card::Card;

pub(super) fn on_card(config: &Config, io: &mut Io, card: &Card, requests: &[Request]) -> Result<(), StageError> {
    let failed = |e: CudaError| StageError::new("cannot serve on the card").because(&e);
    io.progress(0, 3, "reading weights");
    let source = weights(io, card, config.weights_seed)?;
    let about = source.about();
    let mut backend = open::open(card, &config.scheduler, source.as_ref()).map_err(failed)?;
    drop(source);
    io.progress(1, 3, "warming up");
    let warmup_ns = warm_up(&mut backend, config, requests).map_err(failed)?;
    io.progress(2, 3, "serving");
    let runs = served(config, requests, &mut backend, CudaBackend::restart)?;
    io.progress(3, 3, "writing");
    let mut meta = meta(config, io, card)?;
    meta.hardware = Some(open::machine(backend.engine().device()).map_err(failed)?);
    meta.facts.insert("warmup_ns".to_owned(), warmup_ns.into());
    meta.facts.insert("weights".to_owned(), about.into());
    write(io, requests, runs, meta)
}

/// Runs the shapes that will come, over and over for as long as asked and at least twice; the time it took, ns.
fn warm_up(backend: &mut CudaBackend, config: &Config, requests: &[Request]) -> Result<u64, CudaError> {
    let batches = warm::batches(&config.scheduler, requests);
    let rehearsal = Rehearsal::new(&config.scheduler);
    let (begin, least) = (Instant::now(), Duration::from_secs_f64(config.warmup_s));
    let mut ids = Vec::new();
    let mut rounds = 0;
    while rounds < 2 || begin.elapsed() < least {
        for batch in &batches {
            backend.submit(batch, &rehearsal.scene(batch))?;
            ids.clear();
            backend.collect(&mut ids)?;
        }
        rounds += 1;
    }
    Ok(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
