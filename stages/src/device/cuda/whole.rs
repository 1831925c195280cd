//! A whole decode step of one, two, four or eight sequences as one kernel (`kernels/whole.cu`): where it is to be had,
//! what it needs on the card, how it is launched.
//!
//! It knows the exchange between the blocks only by its size and by whose turn it is: layers use its two copies in
//! turn, over all steps of the same number of rows.

use std::rc::Rc;

use super::compile::{Cache, cubin};
use super::driver::{Argument, Arguments, Buffer, Device, Function, Module, Start};
use super::error::CudaError;
use super::kernels::{Decode, Dimensions, Greatest, scale, source};
use super::weights::Weights;

/// Rows that such a kernel is compiled for.
pub const ROWS: [usize; 4] = [1, 2, 4, 8];
/// Blocks, one a multiprocessor, as in `kernels/whole.cu`.
pub const BLOCKS: usize = 128;
/// All the shared memory that a block may have.
const SHARED_BYTES: usize = 227 << 10;
const THREADS: u32 = 288;
/// Numbers of weights that its warps share at a time.
const PIECE: usize = 1024;

/// How the streaming of weights is held back, so that what blocks send each other does not queue behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Clock cycles between requests of 8 KiB of a block, at least.
    pub pace: i32,
    /// Stages asked for and not there yet, at most.
    pub in_flight: i32,
    /// Clock cycles before what others send is looked for.
    pub patience: i32,
}

impl Pacing {
    /// What was fastest on an H100, by the memory's rate: a block's share of it.
    fn of(device: &Device) -> Result<Pacing, CudaError> {
        const H100_BYTES_PER_S: f64 = 3.352e12;
        let pace = 600.0 * H100_BYTES_PER_S / device.memory_rate()?.max(1e11);
        Ok(Pacing { pace: pace as i32, in_flight: 2, patience: 800 })
    }
}

/// Whether the kernel does this shape on such a card.
pub fn is_there(d: &Dimensions, architecture: &str) -> bool {
    let shares = |n: usize| n.is_multiple_of(8 * BLOCKS) && n.is_multiple_of(PIECE);
    let widths = d.hidden == PIECE && d.qkv() == 32 * BLOCKS && shares(d.ffn) && d.ffn <= 32 * BLOCKS;
    let heads = d.head_dim == 128 && d.heads == 2 * d.kv_heads && BLOCKS.is_multiple_of(d.kv_heads);
    widths && heads && shares(d.attended()) && matches!(architecture, "sm_90" | "sm_90a")
}

/// Options for the compiler beside those of all kernels.
pub fn options() -> [String; 2] {
    [format!("-DWHOLE_BLOCKS={BLOCKS}"), format!("-DWHOLE_SHARED={SHARED_BYTES}")]
}

/// The kernels, loaded, with what they need of their own.
#[derive(Debug)]
pub struct Whole {
    variants: Vec<Variant>,
    layers: Buffer,
    pacing: Pacing,
}

#[derive(Debug)]
struct Variant {
    rows: usize,
    function: Function,
    exchange: Buffer,
    /// Layers computed so far, modulo 2.
    turn: i32,
}

/// Places of a step.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// `[rows][hidden]`: rows of the embedding.
    pub residual: u64,
    /// Norm before the output projection.
    pub norm: u64,
    /// Output projection.
    pub head: u64,
    /// Bytes of a layer of the pool.
    pub layer_bytes: usize,
    /// The first layer's places.
    pub decode: Decode,
    /// Logits and the choice.
    pub greatest: Greatest,
}

/// The kernel's parameter, as in `kernels/whole.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Parameter {
    layers: u64,
    residual: u64,
    norm: u64,
    head: u64,
    pool: u64,
    pool_layer: u64,
    angles: u64,
    contexts: u64,
    tile_starts: u64,
    tiles: u64,
    exchange: u64,
    logits: u64,
    best: u64,
    arrived: u64,
    made: u64,
    scale: f32,
    layer_count: i32,
    vocab: i32,
    turn: i32,
    pace: i32,
    in_flight: i32,
    patience: i32,
}
// SAFETY: the same fields in C.
unsafe impl Argument for Parameter {}

/// Bytes of both copies of the exchange: q k v, parts of attention, attention, residual, feed-forward, residual.
fn exchange_bytes(d: &Dimensions, rows: usize) -> usize {
    let part = d.attended() / d.kv_heads + 2 * d.heads / d.kv_heads;
    let halves = d.qkv() + d.attended() + d.ffn + 2 * d.hidden;
    2 * rows * (BLOCKS * part * 4 + halves * 2)
}

impl Whole {
    /// Compiles and loads the kernels where shape and card allow it.
    ///
    /// # Errors
    /// When NVRTC is missing or the card's memory does not suffice.
    pub fn load(
        device: &Rc<Device>,
        d: &Dimensions,
        weights: &Weights,
        cache: &Cache,
    ) -> Result<Option<Whole>, CudaError> {
        let architecture = device.architecture();
        if !is_there(d, &architecture) || (device.multiprocessors as usize) < BLOCKS {
            return Ok(None);
        }
        let module = Module::load(device, &cubin(&source(d, &architecture, "whole.cu"), &architecture, cache)?)?;
        let variant = |rows: usize| {
            let exchange = Buffer::zeroed(device, exchange_bytes(d, rows), "what blocks send each other")?;
            exchange.fill(0xff)?;
            let function = module.function(&format!("whole_step_{rows}"), SHARED_BYTES as u32)?;
            Ok(Variant { rows, function, exchange, turn: 0 })
        };
        let layers: Vec<u64> = weights.layers.iter().flat_map(|l| l.pointers()).collect();
        Ok(Some(Whole {
            variants: ROWS.into_iter().map(variant).collect::<Result<_, CudaError>>()?,
            layers: Buffer::from_host(device, &layers, "where the weights lie")?,
            pacing: Pacing::of(device)?,
        }))
    }

    /// Whether there is a kernel for exactly `rows` rows.
    pub fn does(&self, rows: usize) -> bool {
        self.variants.iter().any(|v| v.rows == rows)
    }

    /// How streaming is held back.
    pub fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// Holds streaming back another way.
    pub fn set_pacing(&mut self, pacing: Pacing) {
        self.pacing = pacing;
    }

    /// Hands over the step of `rows` rows, padding among them.
    ///
    /// # Errors
    /// When there is no such kernel or the driver refuses.
    pub fn run(&mut self, d: &Dimensions, rows: usize, p: &Places) -> Result<(), CudaError> {
        let missing = || CudaError::Unsupported(format!("no kernel does a whole step of {rows} rows"));
        let variant = self.variants.iter_mut().find(|v| v.rows == rows).ok_or_else(missing)?;
        let parameter = Parameter {
            layers: self.layers.pointer(),
            residual: p.residual,
            norm: p.norm,
            head: p.head,
            pool: p.decode.rotate.pool,
            pool_layer: p.layer_bytes as u64 / 2,
            angles: p.decode.rotate.angles,
            contexts: p.decode.contexts,
            tile_starts: p.decode.tile_starts,
            tiles: p.decode.tiles,
            exchange: variant.exchange.pointer(),
            logits: p.greatest.logits,
            best: p.greatest.best,
            arrived: p.greatest.arrived,
            made: p.greatest.made,
            scale: scale(d),
            layer_count: d.layers as i32,
            vocab: d.vocab as i32,
            turn: variant.turn,
            pace: self.pacing.pace,
            in_flight: self.pacing.in_flight,
            patience: self.pacing.patience,
        };
        let mut a = Arguments::new().with(parameter);
        // SAFETY: as `whole_step_*` declare; tiles are inside the pool by the step's checks.
        unsafe { variant.function.launch((BLOCKS as u32, 1), THREADS, Start::Together, &mut a) }?;
        variant.turn = (variant.turn + d.layers as i32) % 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
