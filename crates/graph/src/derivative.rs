//! The operations that only differentiation makes. They are no part of the serialised format.

use crate::{Heads, Loss, NodeId, PoolFn, UnaryFn, Window};

/// What only differentiation makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Derivative {
    /// The second output of a node that has one: the log-sum-exp `[t, count]` of `Attention`.
    Second {
        /// Which node.
        of: NodeId,
    },
    /// Per row the loss and 1 where the prediction is right, else 0: `[.., 2]`.
    LossStats {
        /// Which loss, with its operands.
        loss: Loss,
    },
    /// Gradient of the mean loss over all rows with respect to the prediction.
    LossGrad {
        /// Which loss, with its operands.
        loss: Loss,
    },
    /// `dy f'(x)`.
    UnaryGrad {
        /// Which function.
        f: UnaryFn,
        /// Its result for relu, tanh, sigmoid, exp and sqrt, else its argument.
        saved: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
    },
    /// `dy` where `min <= x <= max`, else 0.
    ClampGrad {
        /// The argument of the clamp.
        x: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// Gradient of a softmax.
    SoftmaxGrad {
        /// Its result.
        y: NodeId,
        /// Gradient with respect to it.
        dy: NodeId,
    },
    /// Gradient of a maximum along a dimension.
    MaxGrad {
        /// What was reduced.
        x: NodeId,
        /// Gradient with respect to the result.
        dy: NodeId,
        /// Which dimension.
        axis: u32,
    },
    /// `dy` where `condition > 0` is `keep`, else 0.
    Mask {
        /// What decides.
        condition: NodeId,
        /// What is masked.
        dy: NodeId,
        /// Which side stays.
        keep: bool,
    },
    /// `a . b`: `a` is `[.., k]`, `b` is `[k, n]`. The gradient of `Linear` with respect to `x`.
    MatMulNn {
        /// The rows.
        a: NodeId,
        /// The matrix.
        b: NodeId,
    },
    /// `a^T . b`: `a` is `[rows, m]`, `b` is `[rows, n]`, summed over rows: `[m, n]`. The gradient
    /// of `Linear` with respect to `weight`.
    MatMulTn {
        /// Columns become rows of the output.
        a: NodeId,
        /// Columns stay.
        b: NodeId,
    },
    /// Sum over everything but the last dimensions, which are the output's shape.
    ColumnSum {
        /// The rows.
        x: NodeId,
    },
    /// Sum over batch and pixels: `[c, h, w]` to `[c]`.
    ChannelSum {
        /// The images.
        x: NodeId,
    },
    /// `scale x`, repeated along a new dimension: the gradient of a sum or a mean.
    Expand {
        /// The argument.
        x: NodeId,
        /// Where the new dimension goes.
        axis: u32,
        /// Its size.
        count: u32,
        /// Factor.
        scale: f32,
    },
    /// `x` at `start..` of a dimension of size `total`, zero elsewhere.
    Pad {
        /// The argument.
        x: NodeId,
        /// Which dimension.
        axis: u32,
        /// First index.
        start: u32,
        /// Size of the dimension.
        total: u32,
    },
    /// Sums of the rows of `dy` `[.., c]` by token: `[vocabulary, c]`, in order of position.
    EmbeddingGrad {
        /// Which rows.
        tokens: NodeId,
        /// Gradient with respect to the embedding.
        dy: NodeId,
    },
    /// Gradient of a norm with respect to `x`.
    NormGrad {
        /// Argument of the norm.
        x: NodeId,
        /// Its weight.
        weight: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Its eps.
        eps: f32,
        /// True for layer norm, false for RMS norm.
        centred: bool,
    },
    /// Gradient of a norm with respect to its weight: the sum over rows of `dy` times the
    /// normalised `x`.
    NormWeightGrad {
        /// Argument of the norm.
        x: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Its eps.
        eps: f32,
        /// True for layer norm, false for RMS norm.
        centred: bool,
    },
    /// Rotary positions turned back.
    RopeGrad {
        /// Gradient with respect to the rotated.
        dy: NodeId,
        /// Heads to turn.
        heads: u32,
        /// Width of a head.
        width: u32,
        /// Base.
        base: f32,
    },
    /// Gradient of attention with respect to `qkv`.
    AttentionGrad {
        /// Queries, keys and values, packed.
        qkv: NodeId,
        /// Result of the attention.
        y: NodeId,
        /// Gradient with respect to it.
        dy: NodeId,
        /// Its log-sum-exp `[t, count]`.
        lse: NodeId,
        /// As in the forward operation.
        heads: Heads,
    },
    /// Gradient of a convolution with respect to `x`.
    Conv2dGradX {
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Its filters.
        weight: NodeId,
        /// Its window.
        window: Window,
        /// Its groups.
        groups: u32,
    },
    /// Gradient of a convolution with respect to `weight`.
    Conv2dGradWeight {
        /// Its images.
        x: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Its window.
        window: Window,
        /// Its groups.
        groups: u32,
    },
    /// Gradient of a pooling.
    Pool2dGrad {
        /// Its images.
        x: NodeId,
        /// Gradient with respect to its result.
        dy: NodeId,
        /// Which pooling.
        f: PoolFn,
        /// Its window.
        window: Window,
    },
}

impl Derivative {
    /// The nodes that this one reads, in a fixed order.
    pub(crate) fn operands(&self) -> Vec<NodeId> {
        match *self {
            Derivative::Second { of } => vec![of],
            Derivative::LossStats { loss } | Derivative::LossGrad { loss } => {
                let (prediction, target) = loss.operands();
                vec![prediction, target]
            }
            Derivative::UnaryGrad { f: _, saved, dy } => vec![saved, dy],
            Derivative::SoftmaxGrad { y, dy } => vec![y, dy],
            Derivative::ClampGrad { x, dy, .. } | Derivative::MaxGrad { x, dy, axis: _ } => vec![x, dy],
            Derivative::Mask { condition, dy, keep: _ } => vec![condition, dy],
            Derivative::MatMulNn { a, b } | Derivative::MatMulTn { a, b } => vec![a, b],
            Derivative::ColumnSum { x }
            | Derivative::ChannelSum { x }
            | Derivative::Expand { x, .. }
            | Derivative::Pad { x, .. } => vec![x],
            Derivative::EmbeddingGrad { tokens, dy } => vec![tokens, dy],
            Derivative::NormGrad { x, weight, dy, .. } => vec![x, weight, dy],
            Derivative::NormWeightGrad { x, dy, .. } => vec![x, dy],
            Derivative::RopeGrad { dy, .. } => vec![dy],
            Derivative::AttentionGrad { qkv, y, dy, lse, .. } => vec![qkv, y, dy, lse],
            Derivative::Conv2dGradX { dy, weight, .. } => vec![dy, weight],
            Derivative::Conv2dGradWeight { x, dy, .. } | Derivative::Pool2dGrad { x, dy, .. } => vec![x, dy],
        }
    }
}
