//! What can be wrong with a program.

use crate::{DType, NodeId, Shape};

/// Why a program is refused. Nothing of it has run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// Too many bytes to look at.
    #[error("program is {got} bytes, at most {max}")]
    TooLong {
        /// Its length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Not JSON of a program.
    #[error("program does not parse: {0}")]
    Parse(String),
    /// Made for another version of the format.
    #[error("program format is {got:?}, expected {expected:?}")]
    Format {
        /// What this code reads.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// A count is over its limit.
    #[error("program has {got} {what}, at most {max}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A node refers to itself, to a later node or to nothing.
    #[error("{node} ({op}) refers to {operand}, which is not before it")]
    NotBefore {
        /// The node.
        node: NodeId,
        /// Its operation.
        op: &'static str,
        /// What it refers to.
        operand: NodeId,
    },
    /// A node refers to an input or parameter that the program does not have.
    #[error("{node} ({op}) refers to index {index}, the program has {count}")]
    NoSuchIndex {
        /// The node.
        node: NodeId,
        /// Its operation.
        op: &'static str,
        /// The index.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// Shapes do not fit each other.
    #[error("{node} ({op}) cannot take shapes {}: {expected}", shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" and "))]
    ShapeMismatch {
        /// The node.
        node: NodeId,
        /// Its operation.
        op: &'static str,
        /// The operands' shapes.
        shapes: Vec<Shape>,
        /// What would fit.
        expected: &'static str,
    },
    /// An operand has the wrong element type.
    #[error("{node} ({op}) expects {expected:?} in {operand}, which is {got:?}")]
    WrongType {
        /// The node.
        node: NodeId,
        /// Its operation.
        op: &'static str,
        /// The operand.
        operand: NodeId,
        /// What it should be.
        expected: DType,
        /// What it is.
        got: DType,
    },
    /// Something is wrong inside a custom operation's reference; its nodes count from 0.
    #[error("{node} (custom {name:?}), in its reference: {error}")]
    Custom {
        /// The custom operation.
        node: NodeId,
        /// Its name.
        name: String,
        /// What is wrong.
        error: Box<ProgramError>,
    },
    /// A reference holds a custom operation itself.
    #[error("{node} is a custom operation, a reference may not hold one")]
    Nested {
        /// The node of the reference.
        node: NodeId,
    },
    /// A tensor is empty or over the limit.
    #[error("{what} has shape {shape}: expected 1 to {max} values")]
    TensorSize {
        /// The node or name.
        what: String,
        /// Its shape.
        shape: Shape,
        /// The limit.
        max: u64,
    },
    /// A name is empty, too long, oddly spelt or used twice.
    #[error("{name:?} is not a good name: expected 1 to 128 of a-z, A-Z, 0-9, '_' and '.', each once")]
    Name {
        /// The name.
        name: String,
    },
    /// An initialiser is not finite.
    #[error("initial values of {name:?} are not finite and non-negative in spread")]
    Init {
        /// The parameter.
        name: String,
    },
    /// An input is no node or several.
    #[error("input {name:?} is {count} nodes, expected one")]
    InputNodes {
        /// The input.
        name: String,
        /// How many nodes name it.
        count: usize,
    },
    /// The loss compares with something that is trained itself.
    #[error("{node} is what the loss compares with, and depends on a parameter")]
    TrainedTarget {
        /// The target.
        node: NodeId,
    },
    /// A parameter does not influence the loss, so it cannot be trained.
    #[error("parameter {name:?} does not reach the loss")]
    Unreachable {
        /// The parameter.
        name: String,
    },
}
