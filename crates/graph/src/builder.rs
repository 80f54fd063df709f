//! Building programs in Rust.

use crate::{DType, Dim, Init, InputSpec, Loss, NodeId, Op, ParameterSpec, Program, ProgramError, Shape};

/// A program under construction. Layers are named; their parameters get PyTorch's names.
#[derive(Debug, Default)]
pub struct Graph {
    inputs: Vec<InputSpec>,
    parameters: Vec<ParameterSpec>,
    nodes: Vec<Op>,
    shapes: Vec<Shape>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// A column of the data. Its first dimension must be the batch, and no other.
    pub fn input(&mut self, name: &str, shape: &[Dim], dtype: DType) -> Result<NodeId, ProgramError> {
        let dims: Option<Vec<u32>> = match shape.split_first() {
            Some((Dim::Batch, rest)) => rest.iter().map(|d| if let Dim::Of(n) = d { Some(*n) } else { None }).collect(),
            _ => None,
        };
        let node = NodeId(self.nodes.len() as u32);
        let dims = dims.ok_or(ProgramError::ShapeMismatch {
            node,
            op: "input",
            shapes: Vec::new(),
            expected: "[Dim::Batch, Dim::Of(..), ..]",
        })?;
        self.inputs.push(InputSpec { name: name.to_owned(), shape: dims.clone(), dtype });
        Ok(self.push(Op::Input { input: self.inputs.len() as u32 - 1 }, Shape::batched(&dims)))
    }

    /// A trainable tensor.
    pub fn parameter(&mut self, name: &str, shape: &[u32], init: Init) -> NodeId {
        self.parameters.push(ParameterSpec { name: name.to_owned(), shape: shape.to_vec(), init });
        self.push(Op::Parameter { parameter: self.parameters.len() as u32 - 1 }, Shape::fixed(shape))
    }

    /// `x . weight^T + bias` with new parameters `{name}.weight` `[width, k]` and `{name}.bias`,
    /// initialised as PyTorch's `nn.Linear`: uniform in +-1/sqrt(k).
    pub fn linear(&mut self, name: &str, x: NodeId, width: u32) -> Result<NodeId, ProgramError> {
        let mut dims = self.shape(x, "linear")?.dims.clone();
        let features = dims.pop().unwrap_or(1);
        let init = Init::Uniform { bound: 1.0 / (features.max(1) as f32).sqrt() };
        let weight = self.parameter(&format!("{name}.weight"), &[width, features], init);
        let bias = self.parameter(&format!("{name}.bias"), &[width], init);
        dims.push(width);
        Ok(self.push(Op::Linear { x, weight, bias: Some(bias) }, Shape::batched(&dims)))
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> Result<NodeId, ProgramError> {
        let shape = self.shape(x, "relu")?.clone();
        Ok(self.push(Op::Relu { x }, shape))
    }

    /// Checks the whole and seals it.
    pub fn finish(self, loss: Loss) -> Result<Program, ProgramError> {
        let Self { inputs, parameters, nodes, shapes: _ } = self;
        Program::new(inputs, parameters, nodes, loss)
    }

    fn shape(&self, id: NodeId, op: &'static str) -> Result<&Shape, ProgramError> {
        let node = NodeId(self.nodes.len() as u32);
        self.shapes.get(id.index()).ok_or(ProgramError::NotBefore { node, op, operand: id })
    }

    fn push(&mut self, op: Op, shape: Shape) -> NodeId {
        self.nodes.push(op);
        self.shapes.push(shape);
        NodeId(self.nodes.len() as u32 - 1)
    }
}
