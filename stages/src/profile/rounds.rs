//! The timing itself: every point of the grid in turn, over and over, so that a drift of the machine hits all alike.
//!
//! A visit to a point warms its shape up with one pass, listens to the operations of the next, and takes the time of
//! the one after as a whole, exactly as it is served.

use std::time::{Duration, Instant};

use engine::exec::Io;
use engine::kind::StageError;

use super::figures::Timings;
use super::grid::{Grid, Point, Sort};
use crate::device::cpu::Cpu;
use crate::device::cpu::rehearsal::Rehearsal;
use crate::infer::schedule::Knobs;
use crate::infer::serve::Backend;
use crate::model::card::Card;
use crate::model::forward::ModelError;
use crate::model::probe::{Operation, Stopwatch};
use crate::tables::ops::Row;

/// Rounds that every point gets, however long they take.
const ROUNDS_MIN: u32 = 3;
/// Rounds after which more would not tell more.
const ROUNDS_MAX: u32 = 60;
/// A visit repeats a short pass until it has spent this time, four times at most.
const VISIT: Duration = Duration::from_millis(4);

/// Timings of all points.
pub(super) struct Measured<'a> {
    points: &'a [Point],
    operations: Vec<[Timings; Operation::COUNT]>,
    steps: Vec<Timings>,
    rounds: u32,
}

/// Times `grid` for `seconds`, single operations through the first `depth` layers.
///
/// # Errors
/// When the device fails.
pub(super) fn measure<'a>(
    cpu: &mut Cpu,
    knobs: &Knobs,
    grid: &'a Grid,
    depth: usize,
    seconds: f64,
    io: &mut Io,
) -> Result<Measured<'a>, StageError> {
    let points = grid.points.as_slice();
    let mut measured = Measured {
        points,
        operations: points.iter().map(|_| Default::default()).collect(),
        steps: vec![Timings::default(); points.len()],
        rounds: 0,
    };
    let rehearsal = Rehearsal::new(knobs);
    let (begin, budget) = (Instant::now(), Duration::from_secs_f64(seconds));
    while measured.rounds < ROUNDS_MIN || (measured.rounds < ROUNDS_MAX && begin.elapsed() < budget) {
        for i in 0..points.len() {
            // There and back again: neighbours in one round are not always in the same order.
            let at = if measured.rounds.is_multiple_of(2) { i } else { points.len() - 1 - i };
            measured.visit(at, cpu, &rehearsal, depth).map_err(|e| {
                let Point { tokens, sequences, context, .. } = &points[at];
                StageError::new(format!(
                    "cannot time {tokens} tokens of {sequences} sequences with {context} tokens of context"
                ))
                .because(&e)
            })?;
        }
        measured.rounds += 1;
        let share = (begin.elapsed().as_secs_f64() / seconds).min(1.0);
        io.progress((share * 1000.0) as u64, 1000, "operations and iterations");
    }
    Ok(measured)
}

impl Measured<'_> {
    /// Rounds over the grid.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    fn visit(&mut self, at: usize, cpu: &mut Cpu, rehearsal: &Rehearsal, depth: usize) -> Result<(), ModelError> {
        let batch = &self.points[at].batch;
        let scene = rehearsal.scene(batch);
        let mut watch = Stopwatch::new();
        let mut ids = Vec::with_capacity(batch.slices.len());
        cpu.set_depth(depth);
        cpu.submit(batch, &scene)?;
        cpu.collect(&mut ids)?;
        let begin = Instant::now();
        for _ in 0..4 {
            cpu.observe(batch, &scene, &mut watch)?;
            for operation in Operation::ALL {
                if let Some(ns) = watch.per_call_ns(operation) {
                    self.operations[at][operation as usize].push(ns);
                }
            }
            cpu.set_depth(usize::MAX);
            cpu.submit(batch, &scene)?;
            ids.clear();
            let timing = cpu.collect(&mut ids)?;
            self.steps[at].push(timing.device.0 as f64);
            if begin.elapsed() > VISIT {
                break;
            }
            cpu.set_depth(depth);
        }
        Ok(())
    }

    /// The rows of the table.
    ///
    /// # Errors
    /// When timings cannot be true: the operation and the point.
    pub(super) fn rows(&self, card: &Card) -> Result<Vec<Row>, StageError> {
        let mut rows = Vec::new();
        for (i, point) in self.points.iter().enumerate() {
            for operation in Operation::ALL.into_iter().filter(|o| told_by(*o, point)) {
                let timings = &self.operations[i][operation as usize];
                rows.push(row(operation.name(), point, calls(operation, card), timings)?);
            }
            if point.sort != Sort::Wide {
                rows.push(row("step", point, 1, &self.steps[i])?);
            }
        }
        rows.sort_by(|a, b| {
            let key = |r: &Row| (r.op.clone(), r.tokens, r.sequences, r.context);
            key(a).cmp(&key(b))
        });
        Ok(rows)
    }
}

/// Whether a point is the one that says how long an operation takes: attention at every point of its own sort, the
/// rest where context does not matter.
fn told_by(operation: Operation, point: &Point) -> bool {
    match operation {
        Operation::AttentionPrefill => point.sort == Sort::Chunk,
        Operation::AttentionDecode => point.sort == Sort::Decodes,
        Operation::Head | Operation::Sample => point.sort == Sort::Decodes && point.context == 0,
        _ => match point.sort {
            Sort::Chunk => point.context == 0,
            Sort::Decodes => point.context == 0 && point.tokens == 1,
            Sort::Wide => true,
            Sort::Mixed => false,
        },
    }
}

/// How often one iteration of the whole model calls an operation.
fn calls(operation: Operation, card: &Card) -> u32 {
    match operation {
        Operation::Embed | Operation::Head | Operation::Sample => 1,
        Operation::Norm | Operation::Add => 2 * card.layers,
        _ => card.layers,
    }
}

fn row(op: &str, point: &Point, calls_per_step: u32, timings: &Timings) -> Result<Row, StageError> {
    let Point { tokens, sequences, context, .. } = *point;
    super::host::row_of(op, (tokens, sequences, context), calls_per_step, timings)
}
