//! The operations of a graph. Each states its shapes and layout; all layouts are row-major.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// One operation; its output is one tensor.
///
/// The variants that only differentiation makes are not part of the serialised format: a program
/// that names one does not parse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
// Exhaustive on purpose: what forgets a variant must not compile.
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
    /// `max(x, 0)`, any shape.
    Relu {
        /// The argument.
        x: NodeId,
    },

    /// Per row of `logits` `[.., c]` with `labels` `[..]` (u32 below `c`): the loss
    /// `-log softmax(logits)[label]` and 1 where the largest logit (the first of equals) is the
    /// label's, else 0: `[.., 2]`.
    #[serde(skip)]
    CrossEntropyStats {
        /// Unnormalised log-probabilities.
        logits: NodeId,
        /// The right classes.
        labels: NodeId,
    },
    /// Gradient of the mean cross-entropy over all rows with respect to `logits`:
    /// `(softmax(logits) - one_hot(labels)) / rows`.
    #[serde(skip)]
    CrossEntropyGrad {
        /// Unnormalised log-probabilities.
        logits: NodeId,
        /// The right classes.
        labels: NodeId,
    },
    /// `dy` where `y > 0`, else 0; `y` is the output of the ReLU.
    #[serde(skip)]
    ReluGrad {
        /// Output of the forward ReLU.
        y: NodeId,
        /// Gradient with respect to it.
        dy: NodeId,
    },
    /// `a . b`: `a` is `[.., k]`, `b` is `[k, n]`. The gradient of `Linear` with respect to `x`.
    #[serde(skip)]
    MatMulNn {
        /// The rows.
        a: NodeId,
        /// The matrix.
        b: NodeId,
    },
    /// `a^T . b`: `a` is `[rows, m]`, `b` is `[rows, n]`, summed over rows: `[m, n]`. The gradient
    /// of `Linear` with respect to `weight`.
    #[serde(skip)]
    MatMulTn {
        /// Columns become rows of the output.
        a: NodeId,
        /// Columns stay.
        b: NodeId,
    },
    /// Sum over rows: `[rows, n]` to `[n]`. The gradient of a bias.
    #[serde(skip)]
    ColumnSum {
        /// The rows.
        x: NodeId,
    },
    /// `a + b` of one shape, where a tensor is used more than once.
    #[serde(skip)]
    Add {
        /// One term.
        a: NodeId,
        /// The other.
        b: NodeId,
    },
}

impl Op {
    /// The nodes that this one reads, in a fixed order.
    pub fn operands(&self) -> Vec<NodeId> {
        match *self {
            Op::Input { input: _ } | Op::Parameter { parameter: _ } => vec![],
            Op::Linear { x, weight, bias } => [Some(x), Some(weight), bias].into_iter().flatten().collect(),
            Op::Relu { x } | Op::ColumnSum { x } => vec![x],
            Op::CrossEntropyStats { logits, labels } | Op::CrossEntropyGrad { logits, labels } => vec![logits, labels],
            Op::ReluGrad { y, dy } => vec![y, dy],
            Op::MatMulNn { a, b } | Op::MatMulTn { a, b } | Op::Add { a, b } => vec![a, b],
        }
    }

    /// The operation's name in errors and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Parameter { .. } => "parameter",
            Op::Linear { .. } => "linear",
            Op::Relu { .. } => "relu",
            Op::CrossEntropyStats { .. } => "cross_entropy_stats",
            Op::CrossEntropyGrad { .. } => "cross_entropy_grad",
            Op::ReluGrad { .. } => "relu_grad",
            Op::MatMulNn { .. } => "matmul_nn",
            Op::MatMulTn { .. } => "matmul_tn",
            Op::ColumnSum { .. } => "column_sum",
            Op::Add { .. } => "add",
        }
    }
}
