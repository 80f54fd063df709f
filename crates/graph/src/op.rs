//! The operations of a graph. Each states its shapes and layout; all layouts are row-major.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Custom, Derivative};

/// Index of a node; a node only refers to earlier ones, so a graph cannot hold a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryFn {
    /// `max(x, 0)`.
    Relu,
    /// The tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415), as GPT-2 uses it.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
}

impl UnaryFn {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Relu, Self::Gelu, Self::Silu, Self::Tanh, Self::Sigmoid, Self::Exp, Self::Log, Self::Sqrt];

    /// The name in the format and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
        }
    }
}

/// A function of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryFn {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `a / b`.
    Div,
    /// `a^b`, `a > 0`.
    Pow,
}

impl BinaryFn {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Pow];

    /// The name in the format and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Pow => "pow",
        }
    }
}

/// How an axis is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceFn {
    /// Sum.
    Sum,
    /// Sum over count.
    Mean,
    /// The largest value; the gradient goes to the first of equals.
    Max,
}

/// How the operands of a product of matrices lie in memory, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `a` is `(m, k)`, `b` is `(k, n)`.
    Nn,
    /// `a` is `(m, k)`, `b` is `(n, k)`.
    Nt,
    /// `a` is `(k, m)`, `b` is `(k, n)`.
    Tn,
}

/// Which pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolFn {
    /// The largest value; the gradient goes to the first of equals.
    Max,
    /// The mean; padding counts as zero and is counted.
    Average,
}

/// Window of a convolution or a pooling, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Rows and columns of the window.
    pub size: u32,
    /// Distance from one window to the next.
    pub stride: u32,
    /// Zeros (for max-pooling: nothing) around the image.
    pub padding: u32,
}

impl Window {
    /// Windows along a side of `side` values; `None` where not even one fits.
    pub fn count(self, side: u32) -> Option<u32> {
        let Self { size, stride, padding } = self;
        let padded = u64::from(side) + 2 * u64::from(padding);
        let room = padded.checked_sub(u64::from(size))?;
        u32::try_from(room.checked_div(u64::from(stride))? + 1).ok()
    }
}

/// How attention splits its last dimension into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    /// Query heads.
    pub count: u32,
    /// Key and value heads; a divisor of `count` (grouped queries, arXiv 2305.13245).
    pub kv_count: u32,
    /// A position sees itself and earlier ones only.
    pub causal: bool,
}

/// One operation; its output is one tensor. Shapes are written without the batch, which comes
/// first wherever an operand has it.
///
/// The variants that only differentiation makes are not part of the serialised format: a program
/// that names one does not parse.
// Exhaustive on purpose: what forgets a variant must not compile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A column of the batch: `[batch, shape..]`.
    Input {
        /// Index into the program's inputs.
        input: u32,
    },
    /// A trainable tensor.
    Parameter {
        /// Index into the program's parameters.
        parameter: u32,
    },
    /// `x . weight^T + bias`: `x` is `[.., k]`, `weight` is `[n, k]` as PyTorch stores it, `bias`
    /// is `[n]`; the output is `[.., n]`.
    Linear {
        /// The rows.
        x: NodeId,
        /// The matrix.
        weight: NodeId,
        /// Added to every row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<NodeId>,
    },
    /// Products of matrices, one for each index of the leading dimensions, in which `a` and `b` agree
    /// (the batch among them): `[.., m, n]`, summed over `k`. One matrix for all rows is `Linear`.
    #[serde(rename = "matmul")]
    MatMul {
        /// How the last two dimensions of `a` and `b` lie.
        form: Form,
        /// The left side: `[.., m, k]`, with TN `[.., k, m]`.
        a: NodeId,
        /// The right side: `[.., k, n]`, with NT `[.., n, k]`.
        b: NodeId,
    },
    /// Convolution (cross-correlation, as everywhere): `x` is `[c, h, w]`, `weight` is
    /// `[n, c / groups, size, size]`, `bias` is `[n]`; the output is `[n, h', w']`.
    Conv2d {
        /// The images.
        x: NodeId,
        /// The filters.
        weight: NodeId,
        /// Added to every pixel of a channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<NodeId>,
        /// Size, stride and padding.
        window: Window,
        /// Channels are split into so many independent groups.
        groups: u32,
    },
    /// Pooling of `[c, h, w]` to `[c, h', w']`.
    Pool2d {
        /// The images.
        x: NodeId,
        /// How.
        f: PoolFn,
        /// Size, stride and padding.
        window: Window,
    },
    /// Rows of `weight` `[vocabulary, c]` by `tokens` `[..]`, u32 below the vocabulary: `[.., c]`.
    Embedding {
        /// Which rows.
        tokens: NodeId,
        /// The table.
        weight: NodeId,
    },
    /// `(x - mean) / sqrt(variance + eps) weight + bias` over the last dimension (arXiv 1607.06450).
    LayerNorm {
        /// The rows.
        x: NodeId,
        /// `[c]`.
        weight: NodeId,
        /// `[c]`.
        bias: NodeId,
        /// Added to the variance.
        eps: f32,
    },
    /// `x / sqrt(mean(x^2) + eps) weight` over the last dimension (arXiv 1910.07467).
    RmsNorm {
        /// The rows.
        x: NodeId,
        /// `[c]`.
        weight: NodeId,
        /// Added to the mean square.
        eps: f32,
    },
    /// Rotary positions (arXiv 2104.09864) on the first `heads` heads of `[t, .. d]`, the others
    /// pass; halves are rotated as in Llama: position `p`, pair `i` of `d / 2` turns by
    /// `p base^(-2 i / d)`.
    Rope {
        /// Queries, keys and values, packed.
        x: NodeId,
        /// Heads to turn: those of queries and keys.
        heads: u32,
        /// Width `d` of a head.
        width: u32,
        /// 10,000 in the paper.
        base: f32,
    },
    /// `softmax(q k^T / sqrt(d)) v` a head: `qkv` is `[t, (count + 2 kv_count) d]`, all queries,
    /// then all keys, then all values; the output is `[t, count d]`.
    Attention {
        /// Queries, keys and values, packed.
        qkv: NodeId,
        /// How the last dimension is split, and who sees whom.
        heads: Heads,
    },
    /// A function of each value.
    Unary {
        /// Which.
        f: UnaryFn,
        /// The argument.
        x: NodeId,
    },
    /// A function of pairs; `b` has the shape of `a`, or of its last dimensions.
    Binary {
        /// Which.
        f: BinaryFn,
        /// Left.
        a: NodeId,
        /// Right.
        b: NodeId,
    },
    /// `scale x + shift`.
    Affine {
        /// The argument.
        x: NodeId,
        /// Factor.
        scale: f32,
        /// Term.
        shift: f32,
    },
    /// `min(max(x, min), max)`.
    Clamp {
        /// The argument.
        x: NodeId,
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// `condition > 0 ? a : b`, all of one shape; no gradient reaches the condition.
    Where {
        /// What decides.
        condition: NodeId,
        /// Where above 0.
        a: NodeId,
        /// Elsewhere.
        b: NodeId,
    },
    /// `exp(x) / sum(exp(x))` over the last dimension.
    Softmax {
        /// The rows.
        x: NodeId,
    },
    /// Reduction of one dimension, which goes away; dimensions count without the batch.
    Reduce {
        /// The argument.
        x: NodeId,
        /// How.
        f: ReduceFn,
        /// Which dimension.
        axis: u32,
    },
    /// The same values in another shape; the batch stays.
    Reshape {
        /// The argument.
        x: NodeId,
        /// The shape without the batch.
        shape: Vec<u32>,
    },
    /// Dimensions in another order: dimension `i` of the output is `axes[i]` of `x`.
    Transpose {
        /// The argument.
        x: NodeId,
        /// A permutation, without the batch.
        axes: Vec<u32>,
    },
    /// `start..end` of one dimension.
    Slice {
        /// The argument.
        x: NodeId,
        /// Which dimension.
        axis: u32,
        /// First index.
        start: u32,
        /// One past the last.
        end: u32,
    },
    /// `a` then `b` along one dimension.
    Concat {
        /// First.
        a: NodeId,
        /// Second.
        b: NodeId,
        /// Which dimension.
        axis: u32,
    },
    /// Repeated along a new dimension.
    Broadcast {
        /// The argument.
        x: NodeId,
        /// Where the new dimension goes, counted without the batch.
        axis: u32,
        /// Its size.
        count: u32,
    },
    /// A tensor without a batch, repeated for every sample.
    Repeat {
        /// Shape `[..]`, no batch.
        x: NodeId,
    },
    /// Zero with probability `p`, else `x / (1 - p)`, by a counter-based generator: value `i` of
    /// step `t` is decided by (task seed, t, stream, i) alone. The identity in evaluation.
    Dropout {
        /// The argument.
        x: NodeId,
        /// Share that is dropped, in [0, 1).
        p: f32,
        /// Different for every dropout of a program.
        stream: u32,
    },

    /// An operation of the program's own, by its reference; see [`Custom`].
    Custom(Custom),

    /// A derivative; see [`Derivative`].
    #[serde(skip)]
    Derivative(Derivative),
}

impl Op {
    /// The nodes that this one reads, in a fixed order.
    pub fn operands(&self) -> Vec<NodeId> {
        match self {
            Op::Derivative(derivative) => derivative.operands(),
            op => op.clone().operands_mut().into_iter().map(|id| *id).collect(),
        }
    }

    /// The same, to be changed; none for a derivative.
    pub(crate) fn operands_mut(&mut self) -> Vec<&mut NodeId> {
        match self {
            Op::Input { input: _ } | Op::Parameter { parameter: _ } | Op::Derivative(_) => vec![],
            Op::Linear { x, weight, bias } | Op::Conv2d { x, weight, bias, window: _, groups: _ } => {
                [Some(x), Some(weight), bias.as_mut()].into_iter().flatten().collect()
            }
            Op::Embedding { tokens, weight } => vec![tokens, weight],
            Op::LayerNorm { x, weight, bias, eps: _ } => vec![x, weight, bias],
            Op::RmsNorm { x, weight, eps: _ } => vec![x, weight],
            Op::Attention { qkv, heads: _ } => vec![qkv],
            Op::MatMul { a, b, form: _ } | Op::Binary { f: _, a, b } | Op::Concat { a, b, axis: _ } => vec![a, b],
            Op::Where { condition, a, b } => vec![condition, a, b],
            Op::Pool2d { x, .. }
            | Op::Rope { x, .. }
            | Op::Unary { x, .. }
            | Op::Affine { x, .. }
            | Op::Clamp { x, .. }
            | Op::Softmax { x }
            | Op::Reduce { x, .. }
            | Op::Reshape { x, .. }
            | Op::Transpose { x, .. }
            | Op::Slice { x, .. }
            | Op::Broadcast { x, .. }
            | Op::Repeat { x }
            | Op::Dropout { x, .. } => vec![x],
            Op::Custom(custom) => custom.operands.iter_mut().collect(),
        }
    }

    /// The operation's name in errors and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Parameter { .. } => "parameter",
            Op::Linear { .. } => "linear",
            Op::MatMul { .. } => "matmul",
            Op::Conv2d { .. } => "conv2d",
            Op::Pool2d { .. } => "pool2d",
            Op::Embedding { .. } => "embedding",
            Op::LayerNorm { .. } => "layer_norm",
            Op::RmsNorm { .. } => "rms_norm",
            Op::Rope { .. } => "rope",
            Op::Attention { .. } => "attention",
            Op::Unary { .. } => "unary",
            Op::Binary { .. } => "binary",
            Op::Affine { .. } => "affine",
            Op::Clamp { .. } => "clamp",
            Op::Where { .. } => "where",
            Op::Softmax { .. } => "softmax",
            Op::Reduce { .. } => "reduce",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Slice { .. } => "slice",
            Op::Concat { .. } => "concat",
            Op::Broadcast { .. } => "broadcast",
            Op::Repeat { .. } => "repeat",
            Op::Dropout { .. } => "dropout",
            Op::Custom(_) => "custom",
            Op::Derivative(Derivative::LossStats { .. } | Derivative::LossGrad { .. }) => "loss",
            Op::Derivative(_) => "derivative",
        }
    }
}
