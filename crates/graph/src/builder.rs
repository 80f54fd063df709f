//! Building programs in Rust.

use crate::{
    BinaryFn, Custom, DType, Dim, Form, Heads, Init, InputSpec, Loss, NodeId, Op, ParameterSpec, PoolFn, Program,
    ProgramError, ReduceFn, Shape, UnaryFn, Window, infer,
};

/// A program under construction. Layers are named; their parameters get PyTorch's names.
///
/// Every method that adds a node checks it at once: the error names the node and the shapes.
#[derive(Debug, Default)]
pub struct Graph {
    inputs: Vec<InputSpec>,
    parameters: Vec<ParameterSpec>,
    nodes: Vec<Op>,
    shapes: Vec<(Shape, DType)>,
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
        let dims = dims.ok_or(ProgramError::ShapeMismatch {
            node: NodeId(self.nodes.len() as u32),
            op: "input",
            shapes: Vec::new(),
            expected: "[Dim::Batch, Dim::Of(..), ..]",
        })?;
        self.inputs.push(InputSpec { name: name.to_owned(), shape: dims, dtype });
        self.push(Op::Input { input: self.inputs.len() as u32 - 1 })
    }

    /// A trainable tensor.
    pub fn parameter(&mut self, name: &str, shape: &[u32], init: Init) -> Result<NodeId, ProgramError> {
        self.parameters.push(ParameterSpec { name: name.to_owned(), shape: shape.to_vec(), init });
        self.push(Op::Parameter { parameter: self.parameters.len() as u32 - 1 })
    }

    /// `x . weight^T + bias` with new parameters `{name}.weight` `[width, k]` and `{name}.bias`,
    /// initialised as PyTorch's `nn.Linear`: uniform in +-1/sqrt(k).
    pub fn linear(&mut self, name: &str, x: NodeId, width: u32) -> Result<NodeId, ProgramError> {
        let features = self.shape(x, "linear")?.last();
        let init = Init::Uniform { bound: 1.0 / (features.max(1) as f32).sqrt() };
        let weight = self.parameter(&format!("{name}.weight"), &[width, features], init)?;
        let bias = self.parameter(&format!("{name}.bias"), &[width], init)?;
        self.push(Op::Linear { x, weight, bias: Some(bias) })
    }

    /// `x . weight^T` with a weight that is there already (a tied head, or without bias).
    pub fn project(&mut self, x: NodeId, weight: NodeId, bias: Option<NodeId>) -> Result<NodeId, ProgramError> {
        self.push(Op::Linear { x, weight, bias })
    }

    /// Convolution with new parameters `{name}.weight` `[channels, c / groups, size, size]` and
    /// `{name}.bias`, initialised as PyTorch's `nn.Conv2d`.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: NodeId,
        channels: u32,
        window: Window,
        groups: u32,
    ) -> Result<NodeId, ProgramError> {
        let c = self.shape(x, "conv2d")?.dims.first().copied().unwrap_or(0);
        let per_group = c / groups.max(1);
        let fan_in = f64::from(per_group) * f64::from(window.size).powi(2);
        let init = Init::Uniform { bound: (1.0 / fan_in.max(1.0).sqrt()) as f32 };
        let weight =
            self.parameter(&format!("{name}.weight"), &[channels, per_group, window.size, window.size], init)?;
        let bias = self.parameter(&format!("{name}.bias"), &[channels], init)?;
        self.push(Op::Conv2d { x, weight, bias: Some(bias), window, groups })
    }

    /// Products of matrices, one for each index of the leading dimensions.
    pub fn matmul(&mut self, form: Form, a: NodeId, b: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::MatMul { form, a, b })
    }

    /// Pooling of a whole image: `[c, h, w]` to `[c]`.
    pub fn global_pool2d(&mut self, x: NodeId, f: PoolFn) -> Result<NodeId, ProgramError> {
        let shape = self.shape(x, "global_pool2d")?;
        let channels = shape.dims.first().copied().unwrap_or(1);
        let pixels = shape.values() / u64::from(channels.max(1));
        let pixels = self.reshape(x, &[channels, pixels.min(u32::MAX.into()) as u32])?;
        let f = match f {
            PoolFn::Max => ReduceFn::Max,
            PoolFn::Average => ReduceFn::Mean,
        };
        self.reduce(f, pixels, 1)
    }

    /// Pooling.
    pub fn pool2d(&mut self, x: NodeId, f: PoolFn, window: Window) -> Result<NodeId, ProgramError> {
        self.push(Op::Pool2d { x, f, window })
    }

    /// Rows of a table `{name}.weight` `[vocabulary, width]`, initialised normal with this spread.
    pub fn embedding(
        &mut self,
        name: &str,
        tokens: NodeId,
        vocabulary: u32,
        width: u32,
        std: f32,
    ) -> Result<NodeId, ProgramError> {
        let weight = self.parameter(&format!("{name}.weight"), &[vocabulary, width], Init::Normal { std })?;
        self.push(Op::Embedding { tokens, weight })
    }

    /// Rows of a table that is there already.
    pub fn look_up(&mut self, tokens: NodeId, weight: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Embedding { tokens, weight })
    }

    /// Layer norm with new parameters `{name}.weight` (ones) and `{name}.bias` (zeros), eps 1e-5.
    pub fn layer_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
        let width = self.shape(x, "layer_norm")?.last();
        let weight = self.parameter(&format!("{name}.weight"), &[width], Init::Ones)?;
        let bias = self.parameter(&format!("{name}.bias"), &[width], Init::Zeros)?;
        self.push(Op::LayerNorm { x, weight, bias, eps: 1e-5 })
    }

    /// RMS norm with a new parameter `{name}.weight` (ones), eps 1e-5.
    pub fn rms_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId, ProgramError> {
        let width = self.shape(x, "rms_norm")?.last();
        let weight = self.parameter(&format!("{name}.weight"), &[width], Init::Ones)?;
        self.push(Op::RmsNorm { x, weight, eps: 1e-5 })
    }

    /// Rotary positions on the first `heads` heads of this width.
    pub fn rope(&mut self, x: NodeId, heads: u32, width: u32, base: f32) -> Result<NodeId, ProgramError> {
        self.push(Op::Rope { x, heads, width, base })
    }

    /// Attention over packed queries, keys and values.
    pub fn attention(&mut self, qkv: NodeId, heads: Heads) -> Result<NodeId, ProgramError> {
        self.push(Op::Attention { qkv, heads })
    }

    /// A function of each value.
    pub fn unary(&mut self, f: UnaryFn, x: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Unary { f, x })
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> Result<NodeId, ProgramError> {
        self.unary(UnaryFn::Relu, x)
    }

    /// A function of pairs; `b` has the shape of `a`, or of its last dimensions.
    pub fn binary(&mut self, f: BinaryFn, a: NodeId, b: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Binary { f, a, b })
    }

    /// `a + b`.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, ProgramError> {
        self.binary(BinaryFn::Add, a, b)
    }

    /// `scale x + shift`.
    pub fn affine(&mut self, x: NodeId, scale: f32, shift: f32) -> Result<NodeId, ProgramError> {
        self.push(Op::Affine { x, scale, shift })
    }

    /// `min(max(x, min), max)`.
    pub fn clamp(&mut self, x: NodeId, min: f32, max: f32) -> Result<NodeId, ProgramError> {
        self.push(Op::Clamp { x, min, max })
    }

    /// `condition > 0 ? a : b`.
    pub fn select(&mut self, condition: NodeId, a: NodeId, b: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Where { condition, a, b })
    }

    /// `exp(x) / sum(exp(x))` over the last dimension.
    pub fn softmax(&mut self, x: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Softmax { x })
    }

    /// Reduction of one dimension, counted without the batch.
    pub fn reduce(&mut self, f: ReduceFn, x: NodeId, axis: u32) -> Result<NodeId, ProgramError> {
        self.push(Op::Reduce { x, f, axis })
    }

    /// The same values in another shape, without the batch.
    pub fn reshape(&mut self, x: NodeId, shape: &[u32]) -> Result<NodeId, ProgramError> {
        self.push(Op::Reshape { x, shape: shape.to_vec() })
    }

    /// Dimensions in another order, counted without the batch.
    pub fn transpose(&mut self, x: NodeId, axes: &[u32]) -> Result<NodeId, ProgramError> {
        self.push(Op::Transpose { x, axes: axes.to_vec() })
    }

    /// `start..end` of one dimension.
    pub fn slice(&mut self, x: NodeId, axis: u32, start: u32, end: u32) -> Result<NodeId, ProgramError> {
        self.push(Op::Slice { x, axis, start, end })
    }

    /// `a` then `b` along one dimension.
    pub fn concat(&mut self, a: NodeId, b: NodeId, axis: u32) -> Result<NodeId, ProgramError> {
        self.push(Op::Concat { a, b, axis })
    }

    /// Repeated along a new dimension, counted without the batch.
    pub fn broadcast(&mut self, x: NodeId, axis: u32, count: u32) -> Result<NodeId, ProgramError> {
        self.push(Op::Broadcast { x, axis, count })
    }

    /// An operation by its reference.
    pub fn custom(&mut self, custom: Custom) -> Result<NodeId, ProgramError> {
        self.push(Op::Custom(custom))
    }

    /// A tensor without a batch, repeated for every sample.
    pub fn repeat(&mut self, x: NodeId) -> Result<NodeId, ProgramError> {
        self.push(Op::Repeat { x })
    }

    /// Dropout; every call draws from its own stream.
    pub fn dropout(&mut self, x: NodeId, p: f32) -> Result<NodeId, ProgramError> {
        let stream = self.nodes.len() as u32;
        self.push(Op::Dropout { x, p, stream })
    }

    /// Shape of a node, without looking twice at who made it.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn shape_of(&self, x: NodeId) -> Result<&Shape, ProgramError> {
        self.shape(x, "shape")
    }

    /// Checks the whole and seals it.
    pub fn finish(self, loss: Loss) -> Result<Program, ProgramError> {
        let Self { inputs, parameters, nodes, shapes: _ } = self;
        Program::new(inputs, parameters, nodes, loss)
    }

    fn shape(&self, id: NodeId, op: &'static str) -> Result<&Shape, ProgramError> {
        let node = NodeId(self.nodes.len() as u32);
        self.shapes.get(id.index()).map(|(shape, _)| shape).ok_or(ProgramError::NotBefore { node, op, operand: id })
    }

    fn push(&mut self, op: Op) -> Result<NodeId, ProgramError> {
        let node = NodeId(self.nodes.len() as u32);
        let inferred = infer::node(&infer::columns(&self.inputs), &self.parameters, &self.shapes, node, &op)?;
        self.nodes.push(op);
        self.shapes.push(inferred);
        Ok(node)
    }
}
