//! `profile` on a card: whole iterations by the very path that serves, single operations by the card's own events, the
//! pauses between iterations by the serving loop.
//!
//! The engine fuses: the cache write is part of `qk_rope` (of attention where a batch only decodes), the additions to
//! the residual are part of `o` and `down`; the table has no rows of their own for them. Where few rows only decode, a
//! layer is five kernels and not these operations: the whole iterations tell the difference.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::exec::Io;
use engine::kind::StageError;

use super::figures::Timings;
use super::grid::{Grid, Limits, Point, Sort};
use super::host::row_of;
use super::{Config, write};
use crate::device::cpu::rehearsal::Rehearsal;
use crate::device::cuda::engine::Operation;
use crate::device::cuda::{CudaBackend, CudaError, open};
use crate::device::setup::{positions, weights};
use crate::infer::blocks::Tabled;
use crate::infer::record::Run;
use crate::infer::request::Request;
use crate::infer::serve::{Backend, Batch, Slice, serve};
use crate::infer::time::Nanos;
use crate::model::card::Card;
use crate::tables::ops::Row;

/// Rounds that every point gets, however long they take.
const ROUNDS_MIN: u32 = 5;
/// Rounds after which more would not tell more.
const ROUNDS_MAX: u32 = 60;
/// Decodes of each sequence in a run that times the host.
const HOST_TOKENS: u32 = 40;

/// Operations that are timed, by their name in the table.
const TIMED: [(Operation, &str); 13] = [
    (Operation::Begin, "embed"),
    (Operation::AttentionNorm, "norm"),
    (Operation::FfnNorm, "norm"),
    (Operation::Qkv, "qkv"),
    (Operation::Rotate, "qk_rope"),
    (Operation::AttendPrefill, "attention_prefill"),
    (Operation::AttendDecode, "attention_decode"),
    (Operation::O, "o"),
    (Operation::GateUp, "gate_up"),
    (Operation::Silu, "silu_mul"),
    (Operation::Down, "down"),
    (Operation::Head, "head"),
    (Operation::Choose, "sample"),
];

pub(super) fn on_card(config: &Config, io: &mut Io, card: &Card) -> Result<(), StageError> {
    let failed = |e: CudaError| StageError::new("cannot profile the card").because(&e);
    let knobs = &config.scheduler;
    let source = weights(io, card, config.weights_seed)?;
    let about = source.about();
    let mut backend = open::open(card, knobs, source.as_ref()).map_err(failed)?;
    drop(source);
    let limits = Limits::of(knobs, positions(card, knobs));
    let grid = Grid::new(&limits, config.grid);
    let mut timed = Timed::new(&grid);
    let rehearsal = Rehearsal::new(knobs);
    let (begin, budget) = (Instant::now(), Duration::from_secs_f64(config.seconds));
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || (rounds < ROUNDS_MAX && begin.elapsed() < budget) {
        for i in 0..grid.points.len() {
            // There and back again, so that a drift of the clocks hits all alike.
            let at = if rounds % 2 == 0 { i } else { grid.points.len() - 1 - i };
            timed.visit(at, &mut backend, &rehearsal).map_err(failed)?;
        }
        rounds += 1;
        let share = (begin.elapsed().as_secs_f64() / config.seconds).min(1.0);
        io.progress((share * 1000.0) as u64, 1000, "operations and iterations");
    }
    let mut rows = timed.rows(card)?;
    io.progress(0, 0, "the host between iterations");
    rows.extend(host(&mut backend, config, &grid, card)?);
    let machine = open::machine(backend.engine().device()).map_err(failed)?;
    let facts = BTreeMap::from([("rounds".to_owned(), rounds.into()), ("weights".to_owned(), about.into())]);
    write(config, io, card, &rows, facts, machine)
}

/// Timings of all points.
struct Timed<'a> {
    points: &'a [Point],
    operations: Vec<[Timings; TIMED.len()]>,
    steps: Vec<Timings>,
    /// What runs between others when it serves.
    decode: Batch,
}

impl Timed<'_> {
    fn new(grid: &Grid) -> Timed<'_> {
        let points = grid.points.as_slice();
        let operations = points.iter().map(|_| Default::default()).collect();
        let slice = Slice { seq: 0, context: 64, tokens: 1, yields: true };
        Timed {
            points,
            operations,
            steps: vec![Timings::default(); points.len()],
            decode: Batch { slices: vec![slice] },
        }
    }

    /// Takes the time of whole iterations as they come when it serves, after a decode and after one of their own sort;
    /// then of the operations that the point tells.
    fn visit(&mut self, at: usize, backend: &mut CudaBackend, rehearsal: &Rehearsal) -> Result<(), CudaError> {
        let point = &self.points[at];
        let scene = rehearsal.scene(&point.batch);
        let mut ids = Vec::with_capacity(point.batch.slices.len());
        if point.sort != Sort::Decodes {
            // The host comes to the launches of a prefill from a recorded decode, its caches full of other things.
            backend.submit(&self.decode, &rehearsal.scene(&self.decode))?;
            backend.collect(&mut ids)?;
        }
        for _ in 0..2 {
            backend.submit(&point.batch, &scene)?;
            ids.clear();
            let timing = backend.collect(&mut ids)?;
            self.steps[at].push(timing.device.0 as f64);
        }
        for (i, (operation, name)) in TIMED.iter().enumerate() {
            if told_by(name, point) {
                backend.time(*operation)?;
                self.operations[at][i].push(backend.time(*operation)?);
            }
        }
        Ok(())
    }

    fn rows(&self, card: &Card) -> Result<Vec<Row>, StageError> {
        let mut rows = Vec::new();
        for (at, point) in self.points.iter().enumerate() {
            let place = (point.tokens, point.sequences, point.context);
            for (i, (_, name)) in TIMED.iter().enumerate() {
                if told_by(name, point) {
                    rows.push(row_of(name, place, calls(name, card), &self.operations[at][i])?);
                }
            }
            if point.sort != Sort::Wide {
                rows.push(row_of("step", place, 1, &self.steps[at])?);
            }
        }
        let key = |r: &Row| (r.op.clone(), r.tokens, r.sequences, r.context);
        rows.sort_by_key(key);
        Ok(rows)
    }
}

/// Whether a point is the one that says how long an operation takes: as on the processor, but token-wise operations
/// come from chunks alone, since a single decode goes another way.
fn told_by(name: &str, point: &Point) -> bool {
    match name {
        "attention_prefill" => point.sort == Sort::Chunk,
        "attention_decode" => point.sort == Sort::Decodes,
        "head" | "sample" => point.sort == Sort::Decodes && point.context == 0,
        "qk_rope" => point.sort == Sort::Wide || (point.sort == Sort::Chunk && point.context == 0),
        _ => match point.sort {
            Sort::Chunk | Sort::Decodes => point.context == 0 && (point.sort == Sort::Chunk || point.tokens == 1),
            Sort::Wide => true,
            Sort::Mixed => false,
        },
    }
}

/// How often one iteration calls an operation.
fn calls(name: &str, card: &Card) -> u32 {
    match name {
        "embed" | "head" | "sample" => 1,
        "norm" => 2 * card.layers,
        _ => card.layers,
    }
}

/// Rows of `host`: the pauses before iterations in which all of some sequences decode.
fn host(backend: &mut CudaBackend, config: &Config, grid: &Grid, card: &Card) -> Result<Vec<Row>, StageError> {
    let mut rows = Vec::new();
    for sequences in &grid.host {
        let mut timings = Timings::default();
        let request = |id| Request {
            id,
            arrival: Nanos(0),
            prompt_tokens: 1,
            output_tokens: HOST_TOKENS,
            prompt: [id % card.tokenizer_size].into(),
            prefix_blocks: [].into(),
            priority: 0,
        };
        let requests: Vec<Request> = (0..*sequences).map(request).collect();
        let mut run = Run::for_requests(&requests);
        backend.restart();
        serve(&requests, &config.scheduler, Tabled::Kept, backend, &mut run)
            .map_err(|e| StageError::new(format!("cannot serve {sequences} sequences to time the host: {e}")))?;
        for (before, batch) in run.batches.iter().zip(run.batches.iter().skip(1)) {
            if before.decode_tokens == *sequences && batch.decode_tokens == *sequences && batch.prefill_tokens == 0 {
                timings.push(batch.host.0 as f64);
            }
        }
        // A pool too small for so many sequences to decode together leaves no pause to measure.
        if !timings.is_empty() {
            rows.push(row_of("host", (*sequences, *sequences, 0), 1, &timings)?);
        }
    }
    Ok(rows)
}
