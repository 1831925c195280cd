//! Weights out of a seed, in memory: the numbers that the kind `weights` writes, without the file.

use half::bf16;

use super::{Source, WeightsError};
use crate::model::card::{Card, Dtype};
use crate::weights::{Tensor, tensors};

/// The numbers of `card` that follow from a seed.
#[derive(Debug)]
pub struct Seeded {
    tensors: Vec<Tensor>,
    dtype: Dtype,
    seed: u64,
}

impl Seeded {
    /// For `card`; nothing is made yet.
    pub fn new(card: &Card, seed: u64) -> Seeded {
        Seeded { tensors: tensors(card), dtype: card.dtype, seed }
    }
}

impl Source for Seeded {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.tensors.iter().find(|t| t.name == name).ok_or_else(|| WeightsError::Missing {
            path: "seeded weights".into(),
            name: name.to_owned(),
            shape: shape.to_vec(),
            missing: 1,
            wanted: self.tensors.len(),
        })?;
        let mut numbers = vec![0.0; shape.iter().product()];
        tensor.fill(self.seed, 0, &mut numbers);
        if self.dtype == Dtype::Bf16 {
            // Rounded as the file would be, so that both ways give the same model.
            numbers.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
        }
        Ok(numbers)
    }

    fn about(&self) -> String {
        format!("seeded, {}", self.seed)
    }
}
