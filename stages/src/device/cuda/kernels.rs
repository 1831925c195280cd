//! The kernels of a model's shape: their text, the options that fit it to a shape and a card, and their launches.

use std::collections::HashMap;
use std::rc::Rc;

use crate::model::card::{Card, Dtype};

use super::compile::{Cache, Source, cubin};
use super::driver::{Argument, Arguments, Device, Function, Module, Start};
use super::error::CudaError;
use super::whole;

/// Tokens of a tile of the KV pool, as in `kernels/prelude.cu`.
pub const TILE_TOKENS: usize = 16;
/// Queries that one block of the prefill attention takes.
pub const QUERIES: usize = 128;
const KEYS: usize = 64;
const DECODE_WARPS: usize = 4;
const DECODE_STAGES: usize = 3;
/// Threads of a group in the products of few rows, and the rows that it takes at a time.
const NARROW_THREADS: u32 = 256;
const NARROW_ROWS: usize = 16;
/// Pieces of 16 bytes of weights that a thread may hold in registers.
const HELD_PIECES_MAX: usize = 8;
const NARROW_SHARED_MAX: usize = 160 << 10;

/// Every file of kernels, in the order in which it is compiled.
pub const FILES: [(&str, &str); 6] = [
    ("token.cu", include_str!("kernels/token.cu")),
    ("decode.cu", include_str!("kernels/decode.cu")),
    ("prefill.cu", include_str!("kernels/prefill.cu")),
    ("narrow.cu", include_str!("kernels/narrow.cu")),
    ("prefill_group.cu", include_str!("kernels/prefill_group.cu")),
    ("whole.cu", include_str!("kernels/whole.cu")),
];
const PRELUDE: &str = include_str!("kernels/prelude.cu");

/// A model's numbers as the kernels need them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dimensions {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Rows of the output projection.
    pub vocab: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Whether q and k are normalised.
    pub qk_norm: bool,
    /// Added to the mean square.
    pub eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
}

impl Dimensions {
    /// From a card.
    ///
    /// # Errors
    /// When the shape is outside what the kernels do; the message says which number.
    pub fn of(card: &Card) -> Result<Dimensions, CudaError> {
        let d = Dimensions {
            layers: card.layers as usize,
            hidden: card.hidden as usize,
            heads: card.heads as usize,
            kv_heads: card.kv_heads as usize,
            head_dim: card.head_dim as usize,
            ffn: card.ffn as usize,
            vocab: card.vocab as usize,
            positions: card.max_positions as usize,
            qk_norm: card.qk_norm,
            eps: card.norm_eps,
            rope_theta: card.rope_theta,
        };
        let group = d.heads.checked_div(d.kv_heads).unwrap_or(0);
        let reason = if card.dtype != Dtype::Bf16 {
            "weights and cache must be bf16".to_owned()
        } else if d.head_dim != 64 && d.head_dim != 128 {
            format!("head_dim must be 64 or 128, not {}", d.head_dim)
        } else if group == 0 || group > 8 || group * d.kv_heads != d.heads {
            format!("1 to 8 query heads must share a KV head, not {} and {}", d.heads, d.kv_heads)
        } else if !d.hidden.is_multiple_of(8) || !d.ffn.is_multiple_of(8) || !d.vocab.is_multiple_of(4) {
            format!("hidden {} and ffn {} must be multiples of 8, vocab {} of 4", d.hidden, d.ffn, d.vocab)
        } else {
            return Ok(d);
        };
        Err(CudaError::Unsupported(format!("model `{}` does not run on the card: {reason}", card.name)))
    }

    /// Numbers in a row of q, k, v.
    pub fn qkv(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Numbers in a row of what attention makes.
    pub fn attended(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Bytes that a tile of one layer takes in the pool.
    pub fn tile_bytes(&self) -> usize {
        self.kv_heads * 2 * TILE_TOKENS * self.head_dim * 2
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// How the products of few rows are cut, where the shape allows them: columns of a block, and whether its weights
/// wait in registers or in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    columns: usize,
    blocks: usize,
    held_in_registers: bool,
    /// Dynamic shared memory of one group.
    shared_bytes: usize,
    /// The same of two groups.
    pair_bytes: usize,
}

impl Cut {
    /// The cut of a product with `results` columns over `inner` numbers; `matrices` columns of weights make one
    /// result. None where the inner dimension does not divide or a block's weights cannot be held.
    fn of(results: usize, inner: usize, matrices: usize, registers: bool) -> Option<Cut> {
        const BLOCKS_MAX: usize = 132;
        let columns = (8..=results).step_by(8).find(|c| results.is_multiple_of(*c) && results / c <= BLOCKS_MAX)?;
        let pieces = matrices * columns / 8 * inner / 256;
        let bytes = matrices * columns * inner * 2;
        let held_in_registers = registers && pieces <= HELD_PIECES_MAX;
        // Sums of eight warps, sixteen rows, and the rows' squares: as `Reduction` in `kernels/narrow.cu`.
        let reduction = 4 * 8 * 16 * (matrices * columns + 8 + 1);
        let shared_bytes = reduction + if held_in_registers { 0 } else { bytes };
        let pair_bytes = 2 * reduction + bytes;
        let fits = inner.is_multiple_of(256) && pair_bytes <= NARROW_SHARED_MAX;
        fits.then_some(Cut { columns, blocks: results / columns, held_in_registers, shared_bytes, pair_bytes })
    }

    fn held(&self) -> &'static str {
        if self.held_in_registers { "Registers" } else { "Shared" }
    }
}

/// The four cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cuts {
    qkv: Cut,
    o: Cut,
    ffn: Cut,
    down: Cut,
}

impl Cuts {
    fn of(d: &Dimensions) -> Option<Cuts> {
        Some(Cuts {
            qkv: Cut::of(d.qkv(), d.hidden, 1, true)?,
            o: Cut::of(d.hidden, d.attended(), 1, true)?,
            ffn: Cut::of(d.ffn, d.hidden, 2, false)?,
            down: Cut::of(d.hidden, d.ffn, 1, false)?,
        })
    }
}

/// The sources of a shape for a card, with their options: without what the shape or the card does not allow.
pub fn sources(d: &Dimensions, architecture: &str) -> Vec<Source> {
    let cuts = Cuts::of(d);
    let mut options: Vec<String> = [
        ("HIDDEN", d.hidden),
        ("FFN", d.ffn),
        ("HEADS", d.heads),
        ("KV_HEADS", d.kv_heads),
        ("HEAD_DIM", d.head_dim),
        ("QK_NORM", usize::from(d.qk_norm)),
        ("DECODE_STAGES", DECODE_STAGES),
    ]
    .iter()
    .map(|(name, value)| format!("-D{name}={value}"))
    .collect();
    options.push(format!("-DNORM_EPS={:e}f", d.eps));
    options.extend(whole::options());
    if let Some(c) = cuts {
        for (name, cut) in [("QKV", c.qkv), ("O", c.o), ("FFN", c.ffn), ("DOWN", c.down)] {
            options.push(format!("-DNARROW_{name}={}", cut.columns));
            options.push(format!("-DNARROW_{name}_HELD={}", cut.held()));
        }
    }
    let wanted = |file: &str| match file {
        "narrow.cu" => cuts.is_some(),
        "prefill_group.cu" => has_group_prefill(d, architecture),
        "whole.cu" => whole::is_there(d, architecture),
        _ => true,
    };
    let files = FILES.iter().filter(|(file, _)| wanted(file));
    files.map(|(file, text)| Source { file, text: format!("{PRELUDE}\n{text}"), options: options.clone() }).collect()
}

/// One of [`sources`]: `file` must be among them.
pub fn source(d: &Dimensions, architecture: &str, file: &str) -> Source {
    let all = sources(d, architecture);
    all.into_iter().find(|s| s.file == file).expect("callers ask for files that the shape has")
}

/// What scores are multiplied with: to powers of two.
pub fn scale(d: &Dimensions) -> f32 {
    (std::f64::consts::LOG2_E / (d.head_dim as f64).sqrt()) as f32
}

/// Whether the prefill attention by warpgroup instructions is there.
fn has_group_prefill(d: &Dimensions, architecture: &str) -> bool {
    architecture == "sm_90a" && d.head_dim == 128
}

/// Where the pieces of a step's description go, as in `kernels/token.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pieces {
    /// First word in the staging area.
    pub from: [i32; 8],
    /// First word in the step's area.
    pub to: [i32; 8],
    /// Words.
    pub count: [i32; 8],
}
// SAFETY: the same fields in C.
unsafe impl Argument for Pieces {}

/// Room for parts of sequences that several warps share, as in `kernels/decode.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Partial {
    /// `[warps][2][group][head_dim]` f32.
    pub sums: u64,
    /// `[warps][2][group]` pairs of f32.
    pub maxima: u64,
    /// `[sequences][kv_heads]` u32, zero.
    pub arrived: u64,
}
// SAFETY: three pointers in C.
unsafe impl Argument for Partial {}

/// Weights that a kernel asks to be brought near for one that comes later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ahead {
    /// Where they begin.
    pub pointer: u64,
    /// How many; 0 for none.
    pub bytes: usize,
}

/// A product of few rows with what stands around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// RMSNorm, then q, k, v.
    Qkv,
    /// Output projection, added to the residual.
    O,
    /// RMSNorm, gate and up, SiLU.
    Ffn,
    /// Down, added to the residual.
    Down,
}

/// Operands of a [`Narrow`] product; `norm` is 0 where there is none.
#[derive(Debug, Clone, Copy)]
pub struct NarrowOperands {
    /// Result, or the residual that is added to.
    pub output: u64,
    /// Rows.
    pub input: u64,
    /// Matrix.
    pub weights: u64,
    /// Weights of the RMSNorm before it.
    pub norm: u64,
}

/// A product of few rows, by one group of warps and by two.
#[derive(Debug)]
struct NarrowFunctions {
    single: Function,
    pair: Function,
    cut: Cut,
}

/// Loaded kernels.
#[derive(Debug)]
pub struct Kernels {
    d: Dimensions,
    decode_blocks: u32,
    begin_step: Function,
    rms_norm: Function,
    rotate_and_cache: Function,
    silu_multiply: Function,
    greatest: Function,
    attend_decode: Function,
    attend_prefill: Function,
    narrow: Option<Vec<NarrowFunctions>>,
}

impl Kernels {
    /// Compiles (or takes from the cache) and loads the kernels of a shape.
    ///
    /// # Errors
    /// When NVRTC is missing or a kernel does not fit the card.
    pub fn load(device: &Rc<Device>, d: Dimensions, cache: &Cache) -> Result<Kernels, CudaError> {
        let architecture = device.architecture();
        let mut modules = HashMap::new();
        // The kernels of whole steps are loaded by themselves.
        for source in sources(&d, &architecture).into_iter().filter(|s| s.file != "whole.cu") {
            modules.insert(source.file, Module::load(device, &cubin(&source, &architecture, cache)?)?);
        }
        let row = d.head_dim * 2;
        let decode_shared = DECODE_WARPS * (DECODE_STAGES * 2 * TILE_TOKENS * row + d.group() * row);
        let narrow = match Cuts::of(&d) {
            Some(cuts) => {
                let module = &modules["narrow.cu"];
                let functions = |(name, cut): (&str, Cut)| {
                    Ok(NarrowFunctions {
                        single: module.function(name, cut.shared_bytes as u32)?,
                        pair: module.function(&format!("{name}_pair"), cut.pair_bytes as u32)?,
                        cut,
                    })
                };
                let all = [
                    ("narrow_qkv", cuts.qkv),
                    ("narrow_o", cuts.o),
                    ("narrow_ffn", cuts.ffn),
                    ("narrow_down", cuts.down),
                ];
                Some(all.into_iter().map(functions).collect::<Result<Vec<_>, CudaError>>()?)
            }
            None => None,
        };
        let attend_prefill = if has_group_prefill(&d, &architecture) {
            modules["prefill_group.cu"].function("attend_prefill_group", (1024 + 5 * QUERIES * row) as u32)?
        } else {
            modules["prefill.cu"].function("attend_prefill", ((QUERIES + 4 * KEYS) * row) as u32)?
        };
        let token = &modules["token.cu"];
        Ok(Kernels {
            d,
            decode_blocks: 2 * device.multiprocessors,
            begin_step: token.function("begin_step", 0)?,
            rms_norm: token.function("rms_norm", 0)?,
            rotate_and_cache: token.function("rotate_and_cache", 0)?,
            silu_multiply: token.function("silu_multiply", 0)?,
            greatest: token.function("greatest", 0)?,
            attend_decode: modules["decode.cu"].function("attend_decode", decode_shared as u32)?,
            attend_prefill,
            narrow,
        })
    }

    /// Whether products of few rows have their own kernels.
    pub fn has_narrow(&self) -> bool {
        self.narrow.is_some()
    }

    /// Bytes of [`Partial::sums`] and of [`Partial::maxima`].
    pub fn partial_bytes(&self) -> (usize, usize) {
        let parts = self.decode_blocks as usize * DECODE_WARPS * 2 * self.d.group();
        (parts * self.d.head_dim * 4, parts * 8)
    }

    /// Moves a step's description into place and fetches `rows` rows of the embedding.
    ///
    /// # Errors
    /// When the driver refuses, as for all that follow.
    pub fn begin_step(&self, p: &BeginStep, rows: usize, pieces: Pieces) -> Result<(), CudaError> {
        let longest = pieces.count.iter().copied().max().unwrap_or(0) as usize;
        let movers = 8 * longest.div_ceil(256).clamp(1, 32);
        let mut a = Arguments::new().with(p.residual).with(p.embedding).with(p.staged).with(p.step).with(p.made);
        a = a.with(rows as i32).with(pieces);
        // SAFETY: as `begin_step` declares; the engine's buffers are as large as its limits, which the step obeys.
        unsafe { self.begin_step.launch(((rows + movers) as u32, 1), 128, Start::After, &mut a) }
    }

    /// RMSNorm of `rows` rows of `input`, of those that `picked` (unless 0) names.
    pub fn rms_norm(
        &self,
        output: u64,
        input: u64,
        weight: u64,
        picked: u64,
        rows: usize,
        start: Start,
    ) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(output).with(input).with(weight).with(picked);
        // SAFETY: as `rms_norm` declares; rows are within the buffers.
        unsafe { self.rms_norm.launch((rows as u32, 1), 128, start, &mut a) }
    }

    /// Norm, rotation and cache write of prefill rows.
    pub fn rotate_and_cache(&self, p: &Rotate, rows: usize) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(p.qkv).with(p.pool).with(p.q_norm).with(p.k_norm).with(p.angles);
        a = a.with(p.positions).with(p.slots);
        // SAFETY: as `rotate_and_cache` declares; slots are inside the pool by the step's checks.
        unsafe { self.rotate_and_cache.launch((rows as u32, 1), 256, Start::Early, &mut a) }
    }

    /// Gated SiLU of `rows` rows.
    pub fn silu_multiply(&self, output: u64, input: u64, rows: usize) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(output).with(input).with(rows as i32);
        let blocks = (rows * self.d.ffn / 8).div_ceil(256);
        // SAFETY: as `silu_multiply` declares.
        unsafe { self.silu_multiply.launch((blocks as u32, 1), 256, Start::Early, &mut a) }
    }

    /// The greatest logit of each of `rows` rows.
    pub fn greatest(&self, p: &Greatest, rows: usize) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(p.made).with(p.logits).with(p.best).with(p.arrived);
        a = a.with(self.d.vocab as i32);
        let parts = (256 / rows.max(1)).clamp(2, 32);
        // SAFETY: as `greatest` declares.
        unsafe { self.greatest.launch((parts as u32, rows as u32), 256, Start::Early, &mut a) }
    }

    /// Attention of one token for each of `sequences` sequences.
    pub fn attend_decode(&self, p: &Decode, sequences: usize, ahead: Ahead) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(p.output).with(p.rotate.qkv).with(p.rotate.pool).with(p.rotate.q_norm);
        a = a.with(p.rotate.k_norm).with(p.rotate.angles).with(p.contexts).with(p.tile_starts).with(p.tiles);
        a = a.with(sequences as i32).with(scale(&self.d)).with(p.partial);
        a = a.with(ahead.pointer).with(ahead.bytes as i32);
        // SAFETY: as `attend_decode` declares; tiles are inside the pool by the step's checks.
        unsafe { self.attend_decode.launch((self.decode_blocks, 1), 128, Start::Early, &mut a) }
    }

    /// Attention of `work` pieces of prefills.
    pub fn attend_prefill(&self, p: &Prefill, work: usize) -> Result<(), CudaError> {
        let mut a = Arguments::new().with(p.output).with(p.qkv).with(p.pool).with(p.work).with(p.tiles);
        a = a.with(scale(&self.d));
        // SAFETY: as `attend_prefill` declares; tiles are inside the pool by the step's checks.
        unsafe { self.attend_prefill.launch((self.d.heads as u32, work as u32), 256, Start::Early, &mut a) }
    }

    /// A product of few rows; callers ask [`Kernels::has_narrow`] first.
    pub fn narrow(
        &self,
        which: Narrow,
        operands: NarrowOperands,
        rows: usize,
        start: Start,
        ahead: Ahead,
    ) -> Result<(), CudaError> {
        let missing = || CudaError::Unsupported("this shape has no kernels for products of few rows".to_owned());
        let functions = self.narrow.as_ref().ok_or_else(missing)?;
        let NarrowFunctions { single, pair, cut } = &functions[which as usize];
        let (function, threads) =
            if rows <= NARROW_ROWS { (single, NARROW_THREADS) } else { (pair, 2 * NARROW_THREADS) };
        let mut a = Arguments::new().with(operands.output).with(operands.input).with(operands.weights);
        a = a.with(operands.norm).with(rows as i32).with(ahead.pointer).with(ahead.bytes as i32);
        // SAFETY: as `narrow_*` declare.
        unsafe { function.launch((cut.blocks as u32, 1), threads, start, &mut a) }
    }
}

/// Places for [`Kernels::begin_step`].
#[derive(Debug, Clone, Copy)]
pub struct BeginStep {
    /// `[rows][hidden]`, written.
    pub residual: u64,
    /// `[vocab][hidden]`.
    pub embedding: u64,
    /// The description as the host wrote it.
    pub staged: u64,
    /// The step's area.
    pub step: u64,
    /// Tokens that the step before made.
    pub made: u64,
}

/// Places for norm, rotation and cache write.
#[derive(Debug, Clone, Copy)]
pub struct Rotate {
    /// `[rows][qkv]`.
    pub qkv: u64,
    /// The layer's pool.
    pub pool: u64,
    /// Norm of q.
    pub q_norm: u64,
    /// Norm of k.
    pub k_norm: u64,
    /// `[positions][head_dim / 2]` cosines and sines.
    pub angles: u64,
    /// `[rows]`.
    pub positions: u64,
    /// `[rows]`.
    pub slots: u64,
}

/// Places for [`Kernels::greatest`].
#[derive(Debug, Clone, Copy)]
pub struct Greatest {
    /// `[rows]`, written.
    pub made: u64,
    /// `[rows][vocab]` f32.
    pub logits: u64,
    /// `[rows]` u64, zero.
    pub best: u64,
    /// `[rows]` u32, zero.
    pub arrived: u64,
}

/// Places for [`Kernels::attend_decode`].
#[derive(Debug, Clone, Copy)]
pub struct Decode {
    /// `[rows][heads · head_dim]`, written.
    pub output: u64,
    /// q, k, v, pool, norms and angles.
    pub rotate: Rotate,
    /// `[sequences]`.
    pub contexts: u64,
    /// `[sequences + 1]`.
    pub tile_starts: u64,
    /// All sequences' tiles.
    pub tiles: u64,
    /// Room for parts.
    pub partial: Partial,
}

/// Places for [`Kernels::attend_prefill`].
#[derive(Debug, Clone, Copy)]
pub struct Prefill {
    /// `[rows][heads · head_dim]`, written.
    pub output: u64,
    /// `[rows][qkv]`.
    pub qkv: u64,
    /// The layer's pool.
    pub pool: u64,
    /// Pieces of work.
    pub work: u64,
    /// All sequences' tiles.
    pub tiles: u64,
}

#[cfg(test)]
mod tests;
