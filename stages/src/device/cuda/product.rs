//! Products with weight matrices by cublasLt: y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ, bf16 in, f32 sums.
//!
//! What the library proposes first is often not its fastest, so every shape's proposals are timed once, over many
//! different matrices of that shape: one alone would stay in the cache, which no step of a model sees.

use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;

use cudarc::cublaslt::{result, sys};

use super::driver::{Buffer, Device, Event};
use super::error::CudaError;
use super::library;

const WORKSPACE_BYTES: usize = 32 << 20;
const PROPOSALS: usize = 24;
const TIMED_ROUNDS: usize = 3;

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writes {
    /// y = x wᵀ, in bf16.
    Bf16,
    /// y += x wᵀ, in bf16, rounded once.
    AddedBf16,
    /// y = x wᵀ, in f32.
    F32,
}

/// A product's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows of x and y.
    pub m: usize,
    /// Rows of w, columns of y.
    pub n: usize,
    /// Columns of x and w.
    pub k: usize,
    /// What becomes of it.
    pub into: Writes,
}

/// Where the operands lie on the card.
#[derive(Debug, Clone, Copy)]
pub struct Operands {
    /// w, `[n, k]`.
    pub weights: u64,
    /// x, `[m, k]`.
    pub input: u64,
    /// y, `[m, n]`.
    pub output: u64,
}

#[derive(Debug)]
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    weights: sys::cublasLtMatrixLayout_t,
    input: sys::cublasLtMatrixLayout_t,
    output: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each was made for this plan and is destroyed once.
        unsafe {
            let _ = result::destroy_matrix_layout(self.weights);
            let _ = result::destroy_matrix_layout(self.input);
            let _ = result::destroy_matrix_layout(self.output);
            let _ = result::destroy_matmul_desc(self.description);
        }
    }
}

/// The library with a plan for each shape met.
#[derive(Debug)]
pub struct Products {
    device: Rc<Device>,
    handle: sys::cublasLtHandle_t,
    workspace: Buffer,
    plans: HashMap<Shape, Plan>,
}

impl Products {
    /// Opens the library.
    ///
    /// # Errors
    /// When it is not found.
    pub fn open(device: &Rc<Device>) -> Result<Products, CudaError> {
        library::require_cublas()?;
        device.bind()?;
        let handle = result::create_handle().map_err(|e| CudaError::refused("opening cublasLt", e))?;
        let workspace = Buffer::zeroed(device, WORKSPACE_BYTES, "cublasLt's workspace")?;
        Ok(Products { device: Rc::clone(device), handle, workspace, plans: HashMap::new() })
    }

    /// Whether `shape` has its plan.
    pub fn knows(&self, shape: Shape) -> bool {
        self.plans.contains_key(&shape)
    }

    /// Makes the plan of `shape` by timing the library's proposals on `samples`, all of that shape. Their outputs are
    /// written to.
    ///
    /// # Errors
    /// When the library has no proposal.
    pub fn plan(&mut self, shape: Shape, samples: &[Operands]) -> Result<(), CudaError> {
        if self.knows(shape) {
            return Ok(());
        }
        let (mut plan, proposals) = self.proposals(shape)?;
        let (begin, end) = (Event::new(&self.device)?, Event::new(&self.device)?);
        let mut best = u64::MAX;
        let mut fastest = proposals[0].algo;
        for proposal in &proposals {
            plan.algorithm = proposal.algo;
            if samples.first().is_none_or(|first| self.run_plan(&plan, shape, *first).is_err()) {
                continue;
            }
            // Recorded: handing a short product over takes longer than the product.
            let device = Rc::clone(&self.device);
            let all = || samples.iter().try_for_each(|sample| self.run_plan(&plan, shape, *sample));
            let Ok(graph) = device.record(all) else { continue };
            for _ in 0..TIMED_ROUNDS {
                begin.mark()?;
                graph.launch()?;
                end.mark()?;
                end.wait()?;
                let took = end.since_ns(&begin)?;
                if took < best {
                    (best, fastest) = (took, proposal.algo);
                }
            }
        }
        plan.algorithm = fastest;
        self.plans.insert(shape, plan);
        Ok(())
    }

    fn proposals(&self, shape: Shape) -> Result<(Plan, Vec<sys::cublasLtMatmulHeuristicResult_t>), CudaError> {
        let fault = |e| CudaError::refused(format!("planning a product of shape {shape:?}"), e);
        let number = sys::cudaDataType_t::CUDA_R_16BF;
        let result_number = match shape.into {
            Writes::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Writes::Bf16 | Writes::AddedBf16 => number,
        };
        let (m, n, k) = (shape.m as u64, shape.n as u64, shape.k as u64);
        let description =
            result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F)
                .map_err(fault)?;
        // The library counts by columns: w is k × n there and transposed, x is k × m, y is n × m.
        let plan = Plan {
            description,
            weights: result::create_matrix_layout(number, k, n, k as i64).map_err(fault)?,
            input: result::create_matrix_layout(number, k, m, k as i64).map_err(fault)?,
            output: result::create_matrix_layout(result_number, n, m, n as i64).map_err(fault)?,
            // SAFETY: plain words; replaced by a proposal before the first use.
            algorithm: unsafe { std::mem::zeroed() },
        };
        let transposed: i32 = 1;
        let workspace_bytes: usize = WORKSPACE_BYTES;
        let preference = result::create_matmul_pref().map_err(fault)?;
        let mut proposals = Vec::with_capacity(PROPOSALS);
        let mut count = 0;
        // SAFETY: all objects are alive, attributes are read during the calls, and the library writes at most
        // PROPOSALS results into the reserved room and says how many.
        unsafe {
            result::set_matmul_desc_attribute(
                description,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast::<c_void>(),
                size_of::<i32>(),
            )
            .map_err(fault)?;
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace_bytes).cast::<c_void>(),
                size_of::<usize>(),
            )
            .map_err(fault)?;
            let asked = sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                description,
                plan.weights,
                plan.input,
                plan.output,
                plan.output,
                preference,
                PROPOSALS as i32,
                proposals.as_mut_ptr(),
                &mut count,
            )
            .result();
            let _ = result::destroy_matmul_pref(preference);
            asked.map_err(fault)?;
            proposals.set_len(usize::try_from(count).unwrap_or(0).min(PROPOSALS));
        }
        proposals.retain(|p: &sys::cublasLtMatmulHeuristicResult_t| p.state.result().is_ok());
        if proposals.is_empty() {
            return Err(CudaError::Unsupported(format!("cublasLt has no way to multiply {shape:?}")));
        }
        Ok((plan, proposals))
    }

    /// Hands a product over, by its plan.
    ///
    /// # Errors
    /// When the shape has no plan or the library refuses.
    pub fn multiply(&self, shape: Shape, operands: Operands) -> Result<(), CudaError> {
        let plan = self.plans.get(&shape);
        let plan = plan.ok_or_else(|| CudaError::Unsupported(format!("no plan was made for {shape:?}")))?;
        self.run_plan(plan, shape, operands)
    }

    fn run_plan(&self, plan: &Plan, shape: Shape, operands: Operands) -> Result<(), CudaError> {
        let one = 1f32;
        let kept = if shape.into == Writes::AddedBf16 { 1f32 } else { 0f32 };
        // SAFETY: plan and workspace are alive; the operands lie in live buffers of the shape that the caller named.
        unsafe {
            result::matmul(
                self.handle,
                plan.description,
                (&raw const one).cast::<c_void>(),
                (&raw const kept).cast::<c_void>(),
                operands.weights as *const c_void,
                plan.weights,
                operands.input as *const c_void,
                plan.input,
                operands.output as *const c_void,
                plan.output,
                operands.output as *mut c_void,
                plan.output,
                &plan.algorithm,
                self.workspace.pointer() as *mut c_void,
                WORKSPACE_BYTES,
                self.device.stream().cast(),
            )
        }
        .map_err(|e| CudaError::refused(format!("multiplying {shape:?}"), e))
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.clear();
        let _ = self.device.synchronize();
        // SAFETY: opened once, closed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}
