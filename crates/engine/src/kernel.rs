//! The kernels that a plan is made of: what each computes, in shapes and layout. How it is
//! computed is the executors' matter.

use serde::Serialize;

/// A kernel with its sizes. All tensors are row-major f32 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Kernel {
    /// `out = epilogue(a . b)`, `out` is `(m, n)`, summed over `k`. Reads `a`, `b` and, where the
    /// epilogue has one, its operand.
    MatMul {
        /// How `a` and `b` lie in memory.
        form: Form,
        /// Rows of `out`.
        m: u32,
        /// Columns of `out`.
        n: u32,
        /// Length of the sums.
        k: u32,
        /// What happens to a sum before it is stored.
        epilogue: Epilogue,
    },
    /// `out[i] = max(x[i], 0)`.
    Relu {
        /// Values.
        len: u32,
    },
    /// `out[i] = y[i] > 0 ? dy[i] : 0`; reads `y`, `dy`.
    ReluGrad {
        /// Values.
        len: u32,
    },
    /// `out[i] = a[i] + b[i]`.
    Add {
        /// Values.
        len: u32,
    },
    /// `out[c] = sum over rows of x[r, c]`; `x` is `(rows, columns)`.
    ColumnSum {
        /// Rows of `x`.
        rows: u32,
        /// Columns of `x`.
        columns: u32,
    },
    /// `out[r] = (loss, correct)` of row `r`; reads logits `(rows, classes)` and u32 labels
    /// `(rows)`.
    CrossEntropyStats {
        /// Rows.
        rows: u32,
        /// Classes.
        classes: u32,
    },
    /// `out = (softmax(logits) - one_hot(labels)) / rows`; reads logits and labels.
    CrossEntropyGrad {
        /// Rows.
        rows: u32,
        /// Classes.
        classes: u32,
    },
    /// Partial sums of squares of the gradient arena: `out[p]`, `NORM_PARTIALS` of them.
    NormPartials {
        /// Values of the arena.
        len: u32,
    },
    /// `out[0] = min(1, clip / sqrt(sum of partials))`.
    ClipScale {
        /// The clipping norm, as the bits of an f32.
        clip_bits: u32,
    },
    /// One AdamW step over the whole arena; reads gradients and the clip scale, changes
    /// parameters and both moments.
    AdamW {
        /// Values of the arena.
        len: u32,
        /// Values before this one are matrices and decay.
        decay_len: u32,
        /// beta1, beta2, eps and weight decay, as the bits of f32.
        constants: [u32; 4],
    },
}

/// How the operands of a matrix product lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Form {
    /// `a` is `(m, k)`, `b` is `(k, n)`.
    Nn,
    /// `a` is `(m, k)`, `b` is `(n, k)`.
    Nt,
    /// `a` is `(k, m)`, `b` is `(k, n)`.
    Tn,
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// Plus `bias[column]`.
    Bias,
    /// Plus `bias[column]`, then `max(0)`.
    BiasRelu,
    /// Zero where `mask[row, column]` is not above 0.
    Mask,
}

/// Partial sums of the gradient norm: one workgroup's worth, so that a second pass of one
/// workgroup can add them up in a fixed order.
pub(crate) const NORM_PARTIALS: u32 = 256;

impl Kernel {
    /// The kernel's name in tables: the name of its WGSL file.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::MatMul { .. } => "matmul",
            Kernel::Relu { .. } => "relu",
            Kernel::ReluGrad { .. } => "relu_grad",
            Kernel::Add { .. } => "add",
            Kernel::ColumnSum { .. } => "column_sum",
            Kernel::CrossEntropyStats { .. } => "cross_entropy_stats",
            Kernel::CrossEntropyGrad { .. } => "cross_entropy_grad",
            Kernel::NormPartials { .. } => "norm_partials",
            Kernel::ClipScale { .. } => "clip_scale",
            Kernel::AdamW { .. } => "adamw",
        }
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        let len = match *self {
            Kernel::MatMul { m, n, .. } => u64::from(m) * u64::from(n),
            Kernel::Relu { len } | Kernel::ReluGrad { len } | Kernel::Add { len } | Kernel::AdamW { len, .. } => {
                len.into()
            }
            Kernel::ColumnSum { columns, .. } => columns.into(),
            Kernel::CrossEntropyStats { rows, .. } => 2 * u64::from(rows),
            Kernel::CrossEntropyGrad { rows, classes } => u64::from(rows) * u64::from(classes),
            Kernel::NormPartials { .. } => NORM_PARTIALS.into(),
            Kernel::ClipScale { .. } => 1,
        };
        len as usize
    }
}
