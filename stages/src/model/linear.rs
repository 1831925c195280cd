//! A linear layer as panels of 64 outputs, and the product of a batch with it.
//!
//! The weight matrix is cut into panels `[in, 64]`, each contiguous, so that candle's matrix product walks memory in
//! order whatever the batch: at 2 to 32 rows this is two to three times as fast as either plain layout, and time grows
//! steadily with the rows, which a predictor likes. The product stays in panels `[panels, rows, 64]`; whoever reads it
//! asks for a row's piece by column.
//!
//! Invariant: the last panel is filled up with zero columns that nobody reads.

use candle_core::{CpuStorage, Device, Result, Storage, StorageRef, Tensor};
use rayon::prelude::*;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Weights `[in, out]` in panels, dealt out to threads.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[panels, in, 64]` each; the first panel of each is the sum of those before.
    parts: Vec<Tensor>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// From matrices `[out, in]` stacked one below the other, to be computed by `threads` threads.
    ///
    /// # Errors
    /// When candle cannot make the tensors.
    ///
    /// # Panics
    /// When a matrix is not a whole number of rows of `inputs` numbers.
    pub fn new(matrices: &[&[f32]], inputs: usize, threads: usize) -> Result<Linear> {
        let rows: Vec<&[f32]> = matrices
            .iter()
            .flat_map(|m| {
                assert_eq!(m.len() % inputs, 0, "a matrix is whole rows");
                m.chunks_exact(inputs)
            })
            .collect();
        let outputs = rows.len();
        let panels = outputs.div_ceil(PANEL);
        let threads = threads.clamp(1, panels);
        let mut parts = Vec::with_capacity(threads);
        for thread in 0..threads {
            let (first, end) = (panels * thread / threads, panels * (thread + 1) / threads);
            let mut data = vec![0f32; (end - first) * inputs * PANEL];
            for (panel, block) in data.chunks_exact_mut(inputs * PANEL).enumerate() {
                let from = (first + panel) * PANEL;
                let rows = &rows[from..outputs.min(from + PANEL)];
                // Written in order; the 64 rows are read side by side.
                for (k, line) in block.chunks_exact_mut(PANEL).enumerate() {
                    for (value, row) in line.iter_mut().zip(rows) {
                        *value = row[k];
                    }
                }
            }
            parts.push(Tensor::from_vec(data, (end - first, inputs, PANEL), &Device::Cpu)?);
        }
        Ok(Linear { parts, inputs, outputs })
    }

    /// Outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers held, the filling of the last panel included.
    pub fn numbers(&self) -> usize {
        self.outputs.next_multiple_of(PANEL) * self.inputs
    }

    /// `x` `[rows, in]` times the weights.
    ///
    /// # Errors
    /// When candle refuses the shapes.
    pub fn apply(&self, x: Vec<f32>) -> Result<Product> {
        let rows = x.len() / self.inputs;
        let x = Tensor::from_vec(x, (1, rows, self.inputs), &Device::Cpu)?;
        let multiply = |part: &Tensor| x.broadcast_as((part.dim(0)?, rows, self.inputs))?.matmul(part);
        let parts = match self.parts.as_slice() {
            [only] => vec![multiply(only)?],
            many => many.par_iter().map(multiply).collect::<Result<Vec<_>>>()?,
        };
        Ok(Product { parts, rows, columns: self.outputs })
    }

    /// Writes the weights of output `row`, `[in]`, into `to`: a row of the matrix the layer was made from.
    pub fn row(&self, row: usize, to: &mut [f32]) {
        let mut panel = row / PANEL;
        for part in &self.parts {
            let guard = part.storage_and_layout().0;
            let data = floats(&guard);
            let size = self.inputs * PANEL;
            if let Some(block) = data.get(panel * size..(panel + 1) * size) {
                for (value, line) in to.iter_mut().zip(block.chunks_exact(PANEL)) {
                    *value = line[row % PANEL];
                }
                return;
            }
            panel -= data.len() / size;
        }
    }
}

/// What a [`Linear`] makes of a batch.
#[derive(Debug)]
pub struct Product {
    parts: Vec<Tensor>,
    rows: usize,
    columns: usize,
}

impl Product {
    /// Opens it for reading.
    pub fn open(&self) -> Opened<'_> {
        let parts = self.parts.iter().map(|t| t.storage_and_layout().0).collect();
        Opened { parts, rows: self.rows, columns: self.columns }
    }
}

/// A [`Product`] that is being read.
pub struct Opened<'a> {
    parts: Vec<StorageRef<'a>>,
    rows: usize,
    columns: usize,
}

impl Opened<'_> {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Outputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Panel `panel`, `[rows, 64]`: columns from `64 · panel` on; the last may end in columns that are not there.
    pub fn panel(&self, panel: usize) -> &[f32] {
        let size = self.rows * PANEL;
        let mut before = 0;
        for part in &self.parts {
            let data = floats(part);
            let here = data.len() / size;
            if panel < before + here {
                return &data[(panel - before) * size..][..size];
            }
            before += here;
        }
        panic!("there are {before} panels, not {panel}")
    }

    /// The columns `first..first + to.len()` of `row`, copied.
    pub fn copy(&self, row: usize, first: usize, to: &mut [f32]) {
        let mut done = 0;
        while done < to.len() {
            let column = first + done;
            let inside = column % PANEL;
            let n = (PANEL - inside).min(to.len() - done);
            to[done..done + n].copy_from_slice(&self.panel(column / PANEL)[row * PANEL + inside..][..n]);
            done += n;
        }
    }
}

/// A tensor's numbers. All tensors here are f32 on the CPU, contiguous, and begin at 0.
pub(super) fn floats<'a>(storage: &'a StorageRef<'_>) -> &'a [f32] {
    match &**storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => numbers,
        _ => unreachable!("this module makes f32 tensors on the CPU only"),
    }
}

#[cfg(test)]
mod tests;
