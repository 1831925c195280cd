//! A step's work on the card, from ids to tokens: which kernels and products run, in which order, on what.
//!
//! Three ways through a layer: few rows through products fused with what stands around them; more rows through
//! cublasLt; and a batch with prefills, whose rows share the products and part for attention. Steps that only decode
//! are recorded as graphs, one a bucket; everything else is launched piece by piece.

use std::collections::HashMap;
use std::rc::Rc;

use crate::model::card::Card;

use super::compile::Cache;
use super::driver::{Buffer, Device, Event, Graph, Start};
use super::error::CudaError;
use super::kernels::{
    Ahead, BeginStep, Decode, Dimensions, Greatest, Kernels, Narrow, NarrowOperands, Partial, Prefill, Rotate,
    TILE_TOKENS,
};
use super::operation::NARROW;
pub use super::operation::{Operation, WIDE};
use super::product::{Operands, Products, Shape, Writes};
use super::step::{Areas, Capacity, Step, bucket, buckets};
use super::weights::{Tensors, Weights};
use super::whole::{self, Pacing, Whole};

/// What the engine is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of a batch.
    pub tokens: usize,
    /// Sequences of a batch.
    pub sequences: usize,
    /// Blocks of the KV pool.
    pub blocks: usize,
    /// Tokens of a block, a multiple of 16.
    pub block_tokens: usize,
}

/// Rows up to which the fused products are faster than cublasLt with its neighbours.
pub const NARROW_ROWS_MAX: usize = 32;

/// Sequences up to which a step that only decodes is faster as one kernel, where there is one.
pub const WHOLE_ROWS_MAX: usize = 4;

/// Activations and the step's area.
#[derive(Debug)]
struct Room {
    residual: Buffer,
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    gate_up: Buffer,
    activated: Buffer,
    logits: Buffer,
    made: Buffer,
    best: Buffer,
    arrived: Buffer,
    step: Buffer,
    part_sums: Buffer,
    part_maxima: Buffer,
    parts_arrived: Buffer,
}

/// The model on the card.
#[derive(Debug)]
pub struct Engine {
    device: Rc<Device>,
    d: Dimensions,
    limits: Limits,
    capacity: Capacity,
    areas: Areas,
    kernels: Kernels,
    products: Products,
    weights: Weights,
    pool: Buffer,
    room: Room,
    graphs: HashMap<usize, Graph>,
    narrow_rows_max: usize,
    whole: Option<Whole>,
    whole_rows_max: usize,
}

/// Rows that a product is made with: more than asked for, so that few shapes need a plan.
fn padded(rows: usize) -> usize {
    match rows {
        0..=256 => bucket(rows),
        257..=1024 => rows.next_multiple_of(64),
        1025..=4096 => rows.next_multiple_of(128),
        _ => rows.next_multiple_of(512),
    }
}

impl Engine {
    /// Compiles the kernels, loads the weights and takes the pool.
    ///
    /// # Errors
    /// When the shape is not supported, a tensor cannot be had or the card's memory does not suffice.
    pub fn new(
        device: &Rc<Device>,
        card: &Card,
        limits: Limits,
        tensors: &dyn Tensors,
        cache: &Cache,
    ) -> Result<Engine, CudaError> {
        let d = Dimensions::of(card)?;
        if limits.block_tokens == 0 || !limits.block_tokens.is_multiple_of(TILE_TOKENS) {
            let what = format!("a block must hold a multiple of {TILE_TOKENS} tokens, not {}", limits.block_tokens);
            return Err(CudaError::Unsupported(what));
        }
        let tiles_per_block = limits.block_tokens / TILE_TOKENS;
        let sequences = bucket(limits.sequences);
        let pool_tiles = limits.blocks * tiles_per_block;
        let capacity = Capacity {
            rows: padded(limits.tokens.max(sequences)),
            sequences,
            pool_tiles,
            // Shared prefixes may be named by many; no more than every sequence at full length.
            table: (4 * pool_tiles).min(sequences * d.positions.div_ceil(TILE_TOKENS)),
            positions: d.positions,
            tiles_per_block,
            vocab: d.vocab,
        };
        let kernels = Kernels::load(device, d, cache)?;
        let products = Products::open(device)?;
        let weights = Weights::load(device, &d, card.tied_embeddings, tensors)?;
        let whole = Whole::load(device, &d, &weights, cache)?;
        let room = Room::new(device, &d, &capacity, &kernels)?;
        let pool = Buffer::zeroed(device, d.layers * pool_tiles * d.tile_bytes(), "the KV pool")?;
        device.synchronize()?;
        let areas = capacity.areas();
        Ok(Engine {
            device: Rc::clone(device),
            d,
            limits,
            capacity,
            areas,
            kernels,
            products,
            weights,
            pool,
            room,
            graphs: HashMap::new(),
            narrow_rows_max: NARROW_ROWS_MAX,
            whole,
            whole_rows_max: WHOLE_ROWS_MAX,
        })
    }

    /// The card.
    pub fn device(&self) -> &Rc<Device> {
        &self.device
    }

    /// The model's numbers.
    pub fn dimensions(&self) -> &Dimensions {
        &self.d
    }

    /// What its buffers hold.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What it was set up for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Rows up to which the fused products are used; recorded graphs are dropped.
    pub fn set_narrow_rows_max(&mut self, rows: usize) {
        self.narrow_rows_max = rows;
        self.graphs.clear();
    }

    /// Sequences up to which a step is one kernel, where there is one; 0 for never.
    pub fn set_whole_rows_max(&mut self, rows: usize) {
        self.whole_rows_max = rows;
    }

    /// How such a kernel holds its streaming back; none without one.
    pub fn pacing(&self) -> Option<Pacing> {
        self.whole.as_ref().map(Whole::pacing)
    }

    /// Has it hold back another way.
    pub fn set_pacing(&mut self, pacing: Pacing) {
        if let Some(whole) = &mut self.whole {
            whole.set_pacing(pacing);
        }
    }

    /// Whether a step that decodes `rows` rows is one kernel.
    pub fn is_whole(&self, rows: usize) -> bool {
        rows <= self.whole_rows_max && self.whole.as_ref().is_some_and(|w| w.does(rows))
    }

    /// Where the tokens of the last step lie, u32 each.
    pub fn made(&self) -> u64 {
        self.room.made.pointer()
    }

    /// Logits of the last step's output `place`, after it is done.
    ///
    /// # Errors
    /// When the card failed.
    pub fn logits(&self, place: usize) -> Result<Vec<f32>, CudaError> {
        let mut row = vec![0f32; self.d.vocab];
        self.room.logits.read(place * self.d.vocab * 4, &mut row)?;
        Ok(row)
    }

    /// Plans every product and records every graph that batches within the limits can need, so that no later step
    /// stops for it.
    ///
    /// # Errors
    /// When the card refuses.
    pub fn warm(&mut self) -> Result<(), CudaError> {
        let mut sizes: Vec<usize> = (1..=self.limits.tokens).map(padded).collect();
        sizes.dedup();
        for rows in sizes {
            self.plan_layers(rows)?;
        }
        for sequences in buckets(self.limits.sequences) {
            self.plan_layers(sequences)?;
            self.plan_head(sequences)?;
            if !self.is_whole(sequences) {
                self.graph(sequences)?;
            }
        }
        Ok(())
    }

    fn is_narrow(&self, rows: usize) -> bool {
        rows <= self.narrow_rows_max && self.kernels.has_narrow()
    }

    /// The four products of a layer with `rows` rows.
    fn shapes(&self, rows: usize) -> [Shape; 4] {
        let d = &self.d;
        let shape = |n, k, into| Shape { m: rows, n, k, into };
        [
            shape(d.qkv(), d.hidden, Writes::Bf16),
            shape(d.hidden, d.attended(), Writes::AddedBf16),
            shape(2 * d.ffn, d.hidden, Writes::Bf16),
            shape(d.hidden, d.ffn, Writes::AddedBf16),
        ]
    }

    fn head_shape(&self, rows: usize) -> Shape {
        Shape { m: rows, n: self.d.vocab, k: self.d.hidden, into: Writes::F32 }
    }

    fn plan_layers(&mut self, rows: usize) -> Result<(), CudaError> {
        let shapes = self.shapes(rows);
        if shapes.iter().all(|shape| self.products.knows(*shape)) {
            return Ok(());
        }
        // Enough different weights that none is found in the card's cache, fewer where the product itself is long.
        let samples = self.d.layers.min((28 * 256 / rows).max(4));
        for (i, shape) in shapes.iter().enumerate() {
            let of_layer = |layer: usize| self.operands(layer)[i];
            let operands: Vec<Operands> = (0..samples).map(of_layer).collect();
            self.products.plan(*shape, &operands)?;
        }
        Ok(())
    }

    fn plan_head(&mut self, rows: usize) -> Result<(), CudaError> {
        let operands = [self.head_operands()];
        self.products.plan(self.head_shape(rows), &operands)
    }

    /// Operands of a layer's four products.
    fn operands(&self, layer: usize) -> [Operands; 4] {
        let (w, r) = (&self.weights.layers[layer], &self.room);
        let operands = |weights: &Buffer, input: &Buffer, output: &Buffer| Operands {
            weights: weights.pointer(),
            input: input.pointer(),
            output: output.pointer(),
        };
        [
            operands(&w.qkv, &r.normed, &r.qkv),
            operands(&w.o, &r.attended, &r.residual),
            operands(&w.gate_up, &r.normed, &r.gate_up),
            operands(&w.down, &r.activated, &r.residual),
        ]
    }

    fn head_operands(&self) -> Operands {
        let (weights, r) = (self.weights.head().pointer(), &self.room);
        Operands { weights, input: r.normed.pointer(), output: r.logits.pointer() }
    }

    /// Hands a step over, its description being at `staged`.
    ///
    /// # Errors
    /// When the card refuses.
    pub fn run(&mut self, step: &Step, staged: u64) -> Result<(), CudaError> {
        self.device.bind()?;
        if step.prefill_rows == 0 && self.is_whole(step.decode_rows) {
            self.begin(step, staged)?;
            return self.run_whole(step.decode_rows);
        }
        if step.prefill_rows == 0 {
            self.graph(step.decode_rows)?;
            self.begin(step, staged)?;
            return self.graphs[&step.decode_rows].launch();
        }
        let rows = padded(step.rows());
        self.plan_layers(rows)?;
        if step.outputs > 0 {
            self.plan_head(bucket(step.outputs))?;
        }
        self.begin(step, staged)?;
        for layer in 0..self.d.layers {
            self.layer(layer, step, rows)?;
        }
        self.finish(step.outputs, self.area(self.areas.picked))
    }

    fn run_whole(&mut self, rows: usize) -> Result<(), CudaError> {
        let places = whole::Places {
            residual: self.room.residual.pointer(),
            norm: self.weights.norm.pointer(),
            head: self.weights.head().pointer(),
            layer_bytes: self.capacity.pool_tiles * self.d.tile_bytes(),
            decode: self.decode(0),
            greatest: self.greatest(),
        };
        let missing = || CudaError::Unsupported("this shape has no kernel for whole steps".to_owned());
        self.whole.as_mut().ok_or_else(missing)?.run(&self.d, rows, &places)
    }

    /// Records the graph of a step that decodes `rows` sequences, unless it is there.
    fn graph(&mut self, rows: usize) -> Result<(), CudaError> {
        if self.graphs.contains_key(&rows) {
            return Ok(());
        }
        self.plan_layers(rows)?;
        self.plan_head(rows)?;
        let device = Rc::clone(&self.device);
        let graph = device.record(|| self.decode_step(rows))?;
        self.graphs.insert(rows, graph);
        Ok(())
    }

    fn decode_step(&self, rows: usize) -> Result<(), CudaError> {
        let step = Step { decodes: rows, decode_rows: rows, outputs: rows, ..Step::default() };
        for layer in 0..self.d.layers {
            self.layer(layer, &step, rows)?;
        }
        self.finish(rows, 0)
    }

    /// What a layer of such a step consists of, in order.
    pub fn operations(&self, step: &Step) -> &'static [Operation] {
        if step.prefill_rows == 0 && self.is_narrow(step.decode_rows) { &NARROW } else { &WIDE }
    }

    fn layer(&self, layer: usize, step: &Step, rows: usize) -> Result<(), CudaError> {
        for (i, operation) in self.operations(step).iter().enumerate() {
            // The first of a step reads what a kernel wrote that does not announce itself.
            let start = if layer == 0 && i == 0 { Start::After } else { Start::Early };
            self.operation(*operation, layer, step, rows, (start, self.ahead(*operation, layer, step)))?;
        }
        Ok(())
    }

    /// What a kernel of a narrow layer brings near: the weights of the one after the next.
    fn ahead(&self, operation: Operation, layer: usize, step: &Step) -> Ahead {
        let w = &self.weights.layers[layer];
        let weights = match operation {
            Operation::NarrowQkv => Some(&w.o),
            Operation::AttendDecode if self.operations(step) == NARROW.as_slice() => Some(&w.gate_up),
            Operation::NarrowO => Some(&w.down),
            Operation::NarrowFfn => self.weights.layers.get(layer + 1).map(|next| &next.qkv),
            _ => None,
        };
        weights.map_or_else(Ahead::default, |w| Ahead { pointer: w.pointer(), bytes: w.bytes() })
    }

    /// Hands over one operation of a layer; `rows` is what cublasLt's products are made with.
    fn operation(
        &self,
        operation: Operation,
        layer: usize,
        step: &Step,
        rows: usize,
        (start, ahead): (Start, Ahead),
    ) -> Result<(), CudaError> {
        let (w, r, k) = (&self.weights.layers[layer], &self.room, &self.kernels);
        let [qkv, o, gate_up, down] = self.shapes(rows);
        let [of_qkv, of_o, of_gate_up, of_down] = self.operands(layer);
        let real = step.rows();
        let norm =
            |weight: &Buffer| k.rms_norm(r.normed.pointer(), r.residual.pointer(), weight.pointer(), 0, real, start);
        let narrow = |which, output: &Buffer, input: &Buffer, weights: &Buffer, norm: u64| {
            let (output, input, weights) = (output.pointer(), input.pointer(), weights.pointer());
            k.narrow(which, NarrowOperands { output, input, weights, norm }, real, start, ahead)
        };
        match operation {
            Operation::Begin => Err(CudaError::Unsupported("a step begins by its description".to_owned())),
            Operation::Head => self.head(step.outputs, 0),
            Operation::Choose => self.choose(step.outputs),
            Operation::AttentionNorm => norm(&w.attention_norm),
            Operation::Qkv => self.products.multiply(qkv, of_qkv),
            Operation::Rotate if step.prefill_rows > 0 => {
                let rotate = self.decode(layer).rotate;
                let skipped = (step.decode_rows * self.d.qkv() * 2) as u64;
                k.rotate_and_cache(&Rotate { qkv: rotate.qkv + skipped, ..rotate }, step.prefill_rows)
            }
            Operation::AttendDecode if step.decodes > 0 => {
                k.attend_decode(&self.decode(layer), step.decode_rows, ahead)
            }
            Operation::AttendPrefill if step.work > 0 => k.attend_prefill(&self.prefill(layer), step.work),
            Operation::Rotate | Operation::AttendDecode | Operation::AttendPrefill => Ok(()),
            Operation::O => self.products.multiply(o, of_o),
            Operation::FfnNorm => norm(&w.ffn_norm),
            Operation::GateUp => self.products.multiply(gate_up, of_gate_up),
            Operation::Silu => k.silu_multiply(r.activated.pointer(), r.gate_up.pointer(), real),
            Operation::Down => self.products.multiply(down, of_down),
            Operation::NarrowQkv => narrow(Narrow::Qkv, &r.qkv, &r.residual, &w.qkv, w.attention_norm.pointer()),
            Operation::NarrowO => narrow(Narrow::O, &r.residual, &r.attended, &w.o, 0),
            Operation::NarrowFfn => narrow(Narrow::Ffn, &r.activated, &r.residual, &w.gate_up, w.ffn_norm.pointer()),
            Operation::NarrowDown => narrow(Narrow::Down, &r.residual, &r.activated, &w.down, 0),
        }
    }

    /// Nanoseconds of one call of an operation of the step run last, whose description is at `staged`: the mean over
    /// all layers, or over some calls where there is one a step. Activations are spoilt; the pool gets the same tokens.
    ///
    /// # Errors
    /// When the card refuses.
    pub fn time(&self, operation: Operation, step: &Step, staged: u64) -> Result<f64, CudaError> {
        const ONCE: usize = 8;
        let (begun, ended) = (Event::new(&self.device)?, Event::new(&self.device)?);
        let rows = if step.prefill_rows == 0 { step.decode_rows } else { padded(step.rows()) };
        let once = matches!(operation, Operation::Begin | Operation::Head | Operation::Choose);
        let calls = if once { ONCE } else { self.d.layers };
        begun.mark()?;
        for call in 0..calls {
            match operation {
                Operation::Begin => self.begin(step, staged)?,
                _ => self.operation(operation, call % self.d.layers, step, rows, (Start::Early, Ahead::default()))?,
            }
        }
        ended.mark()?;
        ended.wait()?;
        Ok(ended.since_ns(&begun)? as f64 / calls as f64)
    }

    fn begin(&self, step: &Step, staged: u64) -> Result<(), CudaError> {
        let r = &self.room;
        let begin = BeginStep {
            residual: r.residual.pointer(),
            embedding: self.weights.embedding.pointer(),
            staged,
            step: r.step.pointer(),
            made: r.made.pointer(),
        };
        self.kernels.begin_step(&begin, step.rows(), step.pieces)
    }

    fn prefill(&self, layer: usize) -> Prefill {
        let decode = self.decode(layer);
        Prefill {
            output: decode.output,
            qkv: decode.rotate.qkv,
            pool: decode.rotate.pool,
            work: self.area(self.areas.work),
            tiles: decode.tiles,
        }
    }

    fn decode(&self, layer: usize) -> Decode {
        let (w, r) = (&self.weights.layers[layer], &self.room);
        let layer_bytes = self.capacity.pool_tiles * self.d.tile_bytes();
        Decode {
            output: r.attended.pointer(),
            rotate: Rotate {
                qkv: r.qkv.pointer(),
                pool: self.pool.pointer() + (layer * layer_bytes) as u64,
                q_norm: w.q_norm.pointer(),
                k_norm: w.k_norm.pointer(),
                angles: self.weights.angles.pointer(),
                positions: self.area(self.areas.positions),
                slots: self.area(self.areas.slots),
            },
            contexts: self.area(self.areas.contexts),
            tile_starts: self.area(self.areas.tile_starts),
            tiles: self.area(self.areas.tiles),
            partial: Partial {
                sums: r.part_sums.pointer(),
                maxima: r.part_maxima.pointer(),
                arrived: r.parts_arrived.pointer(),
            },
        }
    }

    /// Last norm, output projection and choice of the greatest for the rows that `picked` names (0: all in order).
    fn finish(&self, outputs: usize, picked: u64) -> Result<(), CudaError> {
        if outputs == 0 {
            return Ok(());
        }
        self.head(outputs, picked)?;
        self.choose(outputs)
    }

    fn head(&self, outputs: usize, picked: u64) -> Result<(), CudaError> {
        let r = &self.room;
        let (normed, residual, norm) = (r.normed.pointer(), r.residual.pointer(), self.weights.norm.pointer());
        self.kernels.rms_norm(normed, residual, norm, picked, outputs, Start::Early)?;
        self.products.multiply(self.head_shape(bucket(outputs)), self.head_operands())
    }

    fn choose(&self, outputs: usize) -> Result<(), CudaError> {
        self.kernels.greatest(&self.greatest(), outputs)
    }

    fn greatest(&self) -> Greatest {
        let r = &self.room;
        Greatest {
            made: r.made.pointer(),
            logits: r.logits.pointer(),
            best: r.best.pointer(),
            arrived: r.arrived.pointer(),
        }
    }

    fn area(&self, word: usize) -> u64 {
        self.room.step.pointer() + 4 * word as u64
    }
}

impl Room {
    fn new(device: &Rc<Device>, d: &Dimensions, capacity: &Capacity, kernels: &Kernels) -> Result<Room, CudaError> {
        let (rows, sequences) = (capacity.rows, capacity.sequences);
        let numbers = |count: usize| Buffer::zeroed(device, count * 2, "activations");
        let (sums, maxima) = kernels.partial_bytes();
        Ok(Room {
            residual: numbers(rows * d.hidden)?,
            normed: numbers(rows * d.hidden)?,
            qkv: numbers(rows * d.qkv())?,
            attended: numbers(rows * d.attended())?,
            gate_up: numbers(rows * 2 * d.ffn)?,
            activated: numbers(rows * d.ffn)?,
            logits: Buffer::zeroed(device, sequences * d.vocab * 4, "logits")?,
            made: Buffer::zeroed(device, sequences * 4, "tokens")?,
            best: Buffer::zeroed(device, sequences * 8, "tokens")?,
            arrived: Buffer::zeroed(device, sequences * 4, "tokens")?,
            step: Buffer::zeroed(device, capacity.areas().words * 4, "a step's description")?,
            part_sums: Buffer::zeroed(device, sums, "parts of attention")?,
            part_maxima: Buffer::zeroed(device, maxima, "parts of attention")?,
            parts_arrived: Buffer::zeroed(device, sequences * d.kv_heads * 4, "parts of attention")?,
        })
    }
}
