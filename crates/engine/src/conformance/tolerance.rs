//! What every operation promises, in one table: `|got - expected| <= absolute + relative |expected|`,
//! on every executor, forward and backward. Kernels, golden vectors and the documentation read it.
//!
//! Gradients are those of the sum of the rows' losses, so that a bound does not depend on how many
//! rows there are. Operands are of the order of one and sums have some hundred terms; a sum's rounding
//! grows with the root of its length.

use potluck_graph::{BinaryFn, UnaryFn};

use crate::Kernel;

/// `|got - expected| <= absolute + relative |expected|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Share of what is expected.
    pub relative: f64,
    /// Least bound.
    pub absolute: f64,
}

/// Operations by the name that they have in tables, with what they promise.
pub const TOLERANCES: [(&str, Tolerance); 46] = [
    ("linear", within(2e-5, 4e-5)),
    ("matmul", within(2e-5, 4e-5)),
    ("conv2d", within(2e-5, 1e-4)),
    ("pool2d", within(1e-5, 1e-5)),
    ("embedding", within(1e-5, 1e-5)),
    ("layer_norm", within(1e-4, 5e-5)),
    ("rms_norm", within(1e-4, 5e-5)),
    ("rope", within(1e-5, 1e-5)),
    ("attention", within(1e-4, 2e-5)),
    ("softmax", within(5e-5, 1e-6)),
    ("relu", within(2e-5, 3e-6)),
    ("gelu", within(2e-5, 3e-6)),
    ("silu", within(2e-5, 3e-6)),
    ("tanh", within(2e-5, 3e-6)),
    ("sigmoid", within(2e-5, 3e-6)),
    ("exp", within(2e-5, 3e-6)),
    ("log", within(2e-5, 3e-6)),
    ("sqrt", within(2e-5, 3e-6)),
    ("add", within(2e-5, 3e-6)),
    ("sub", within(2e-5, 3e-6)),
    ("mul", within(2e-5, 3e-6)),
    ("div", within(2e-5, 3e-6)),
    ("pow", within(2e-5, 3e-6)),
    ("affine", within(2e-6, 2e-6)),
    ("clamp", within(2e-6, 2e-6)),
    ("where", within(2e-6, 2e-6)),
    ("dropout", within(2e-6, 2e-6)),
    ("reduce", within(1e-5, 1e-4)),
    ("reshape", within(2e-6, 2e-6)),
    ("transpose", within(2e-6, 2e-6)),
    ("slice", within(2e-6, 2e-6)),
    ("concat", within(2e-6, 2e-6)),
    ("broadcast", within(2e-6, 2e-6)),
    ("repeat", within(2e-6, 2e-6)),
    ("copy", within(1e-7, 0.0)),
    ("custom", within(2e-5, 3e-6)),
    ("cross_entropy", within(5e-5, 2e-5)),
    ("mse", within(1e-5, 2e-6)),
    ("binary_cross_entropy", within(5e-5, 1e-5)),
    ("adamw", within(1e-5, 2e-6)),
    ("sgd", within(1e-5, 2e-6)),
    // Newton-Schulz blows rounding up with everything else: 3.4^5 at most.
    ("muon", within(1e-5, 2e-5)),
    // Differences of f32 losses: a wrong derivative is off by tens of per cent.
    ("finite differences", within(2e-2, 2e-4)),
    // A share for each step: 1e-4 at the first, 1e-3 at the tenth.
    ("golden curve", within(1e-4, 0.0)),
    // The same bits.
    ("repeat of a run", within(0.0, 0.0)),
    ("cut arenas", within(0.0, 0.0)),
];

const fn within(relative: f64, absolute: f64) -> Tolerance {
    Tolerance { relative, absolute }
}

/// What an operation promises.
pub(super) fn of(op: &str) -> Tolerance {
    let found = TOLERANCES.iter().find(|(name, _)| *name == op);
    found.unwrap_or_else(|| panic!("{op} has no tolerance")).1
}

/// The operation that a kernel speaks for.
pub(super) fn op_of(kernel: &Kernel) -> &'static str {
    match *kernel {
        Kernel::Unary { f, .. } | Kernel::UnaryGrad { f, .. } => UnaryFn::name(f),
        Kernel::Binary { f, .. } => BinaryFn::name(f),
        Kernel::Conv2dGradX { .. } | Kernel::Conv2dGradWeight { .. } => "conv2d",
        Kernel::Pool2dGrad { .. } => "pool2d",
        Kernel::EmbeddingGrad { .. } => "embedding",
        Kernel::Norm { centred, .. } | Kernel::NormGrad { centred, .. } | Kernel::NormWeightGrad { centred, .. } => {
            if centred {
                "layer_norm"
            } else {
                "rms_norm"
            }
        }
        Kernel::AttentionGradQ { .. } | Kernel::AttentionGradKv { .. } => "attention",
        Kernel::SoftmaxGrad { .. } => "softmax",
        Kernel::Max { .. } | Kernel::MaxGrad { .. } => "reduce",
        Kernel::ClampGrad { .. } => "clamp",
        Kernel::Mask { .. } => "where",
        ref other => other.name(),
    }
}
