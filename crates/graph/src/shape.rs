//! Shapes and element types of tensors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One dimension of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The samples of a step; only ever the first dimension.
    Batch,
    /// A fixed size.
    Of(u32),
}

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// 32-bit IEEE 754.
    F32,
    /// Unsigned 32-bit: labels and tokens.
    U32,
}

/// Shape of a tensor: whether it has the batch as its first dimension, and the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// True where the first dimension is the batch.
    pub batched: bool,
    /// The fixed dimensions, outermost first.
    pub dims: Vec<u32>,
}

impl Shape {
    /// A shape that starts with the batch.
    pub fn batched(dims: &[u32]) -> Self {
        Self { batched: true, dims: dims.to_vec() }
    }

    /// A shape without the batch.
    pub fn fixed(dims: &[u32]) -> Self {
        Self { batched: false, dims: dims.to_vec() }
    }

    /// Values for one sample (or in all, where there is no batch). Saturates: a hostile program
    /// cannot overflow it.
    pub fn values(&self) -> u64 {
        self.dims.iter().fold(1, |product: u64, &d| product.saturating_mul(u64::from(d)))
    }

    /// Values for a batch of this many samples.
    pub fn values_in(&self, batch: u32) -> u64 {
        if self.batched { self.values().saturating_mul(u64::from(batch)) } else { self.values() }
    }

    /// The innermost dimension, 1 for a scalar.
    pub fn last(&self) -> u32 {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Rows of this tensor seen as a matrix whose columns are the last dimension.
    pub fn rows_in(&self, batch: u32) -> u64 {
        self.values_in(batch) / u64::from(self.last().max(1))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batched.then(|| "batch".to_owned());
        let dims: Vec<String> = batch.into_iter().chain(self.dims.iter().map(u32::to_string)).collect();
        write!(f, "[{}]", dims.join(", "))
    }
}
