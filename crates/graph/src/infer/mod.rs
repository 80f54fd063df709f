//! Validation and shape inference: one walk over the nodes, before anything else may look at them.

use std::collections::BTreeSet;

use potluck_protocol::limits;

use crate::{Custom, DType, Init, InputSpec, Loss, NodeId, Op, ParameterSpec, ProgramError, Shape, custom};

mod rules;

/// What a node is: its shape and the type of its values.
pub(crate) type Tensor = (Shape, DType);

/// A checked graph without custom operations.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub(crate) nodes: Vec<Op>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) loss: Loss,
}

/// Checks a whole program and puts the references of its custom operations in their place.
pub(crate) fn validate(
    inputs: &[InputSpec],
    parameters: &[ParameterSpec],
    nodes: &[Op],
    loss: Loss,
) -> Result<Checked, ProgramError> {
    check_counts(inputs, parameters, nodes)?;
    check_names(inputs.iter().map(|i| &i.name))?;
    check_names(parameters.iter().map(|p| &p.name))?;
    check_parameters(parameters)?;
    let columns = columns(inputs);
    let tensors = walk(&columns, parameters, nodes)?;
    Walk { inputs: &columns, parameters, tensors: &tensors }.loss(NodeId(nodes.len() as u32), loss)?;
    let checked = if nodes.iter().any(|op| matches!(op, Op::Custom(_))) {
        let (nodes, loss) = custom::inline(nodes, loss);
        let tensors = walk(&columns, parameters, &nodes)?;
        Checked { nodes, shapes: shapes(tensors), loss }
    } else {
        Checked { nodes: nodes.to_vec(), shapes: shapes(tensors), loss }
    };
    check_reach(parameters, &checked.nodes, checked.loss)?;
    check_target(nodes, loss)?;
    check_inputs(inputs, nodes)?;
    Ok(checked)
}

/// What the inputs' nodes are.
pub(crate) fn columns(inputs: &[InputSpec]) -> Vec<Tensor> {
    inputs.iter().map(|spec| (Shape::batched(&spec.shape), spec.dtype)).collect()
}

fn shapes(tensors: Vec<Tensor>) -> Vec<Shape> {
    tensors.into_iter().map(|(shape, _)| shape).collect()
}

fn walk(inputs: &[Tensor], parameters: &[ParameterSpec], nodes: &[Op]) -> Result<Vec<Tensor>, ProgramError> {
    let mut tensors = Vec::with_capacity(nodes.len());
    for (index, op) in (0u32..).zip(nodes) {
        let tensor = node(inputs, parameters, &tensors, NodeId(index), op)?;
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Shape and type of one node, given those before it.
pub(crate) fn node(
    inputs: &[Tensor],
    parameters: &[ParameterSpec],
    tensors: &[Tensor],
    id: NodeId,
    op: &Op,
) -> Result<Tensor, ProgramError> {
    let tensor = Walk { inputs, parameters, tensors }.node(id, op)?;
    check_size(&format!("{id} ({})", op.name()), &tensor.0)?;
    Ok(tensor)
}

fn check_counts(inputs: &[InputSpec], parameters: &[ParameterSpec], nodes: &[Op]) -> Result<(), ProgramError> {
    let values = parameters.iter().map(|p| Shape::fixed(&p.shape).values()).fold(0, u64::saturating_add);
    // A custom operation counts as what it stands for.
    let inside = |op: &Op| if let Op::Custom(custom) = op { custom.reference.nodes.len() as u64 } else { 1 };
    let counts = [
        ("inputs", inputs.len() as u64, 16),
        ("parameter tensors", parameters.len() as u64, limits::PROGRAM_NODES_MAX as u64),
        ("nodes", nodes.iter().map(inside).sum(), limits::PROGRAM_NODES_MAX as u64),
        ("written nodes", nodes.len() as u64, limits::PROGRAM_NODES_MAX as u64),
        ("parameters", values, limits::PROGRAM_PARAMETERS_MAX),
    ];
    match counts.into_iter().find(|(_, got, max)| got > max) {
        Some((what, got, max)) => Err(ProgramError::TooMany { what, got, max }),
        None => Ok(()),
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), ProgramError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let good = (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
            && seen.insert(name);
        if !good {
            return Err(ProgramError::Name { name: name.chars().take(128).collect() });
        }
    }
    Ok(())
}

fn check_parameters(parameters: &[ParameterSpec]) -> Result<(), ProgramError> {
    for ParameterSpec { name, shape, init } in parameters {
        check_size(name, &Shape::fixed(shape))?;
        let spread = match *init {
            Init::Zeros | Init::Ones => 0.0,
            Init::Uniform { bound } => bound,
            Init::Normal { std } => std,
        };
        if !spread.is_finite() || spread < 0.0 {
            return Err(ProgramError::Init { name: name.clone() });
        }
    }
    Ok(())
}

/// A batch multiplies the size: it is checked for one sample here and for a real batch by the plan.
fn check_size(what: &str, shape: &Shape) -> Result<(), ProgramError> {
    let max = limits::TENSOR_VALUES_MAX;
    if (1..=max).contains(&shape.values()) && shape.dims.len() <= DIMS_MAX {
        return Ok(());
    }
    Err(ProgramError::TensorSize { what: what.to_owned(), shape: shape.clone(), max })
}

/// Dimensions beside the batch: [head, channel, row, column] and one to spare.
const DIMS_MAX: usize = 5;

/// Every parameter must be upstream of the loss, or its gradient would not exist.
fn check_reach(parameters: &[ParameterSpec], nodes: &[Op], loss: Loss) -> Result<(), ProgramError> {
    let (prediction, _) = loss.operands();
    let mut reached = vec![false; nodes.len()];
    reached[prediction.index()] = true;
    let mut trained = vec![false; parameters.len()];
    for (index, op) in nodes.iter().enumerate().rev() {
        if !reached[index] {
            continue;
        }
        if let Op::Parameter { parameter } = op {
            trained[*parameter as usize] = true;
        }
        let skip = if let Op::Where { condition, .. } = op { Some(*condition) } else { None };
        for operand in op.operands().into_iter().filter(|o| Some(*o) != skip) {
            reached[operand.index()] = true;
        }
    }
    match trained.iter().position(|t| !t) {
        Some(missing) => Err(ProgramError::Unreachable { name: parameters[missing].name.clone() }),
        None => Ok(()),
    }
}

/// What a prediction is compared with must not be trained itself: its gradient is not taken.
fn check_target(nodes: &[Op], loss: Loss) -> Result<(), ProgramError> {
    let (_, target) = loss.operands();
    let mut trained: Vec<bool> = Vec::with_capacity(nodes.len());
    for op in nodes {
        trained.push(matches!(op, Op::Parameter { .. }) || op.operands().iter().any(|o| trained[o.index()]));
    }
    if trained[target.index()] { Err(ProgramError::TrainedTarget { node: target }) } else { Ok(()) }
}

/// A column is written to one place: every input is one node.
fn check_inputs(inputs: &[InputSpec], nodes: &[Op]) -> Result<(), ProgramError> {
    let mut counts = vec![0; inputs.len()];
    for op in nodes {
        if let Op::Input { input } = op {
            counts[*input as usize] += 1;
        }
    }
    match counts.iter().position(|&count| count != 1) {
        Some(input) => Err(ProgramError::InputNodes { name: inputs[input].name.clone(), count: counts[input] }),
        None => Ok(()),
    }
}

/// Nodes are checked one by one against what stands before them.
struct Walk<'a> {
    inputs: &'a [Tensor],
    parameters: &'a [ParameterSpec],
    tensors: &'a [Tensor],
}

impl Walk<'_> {
    fn node(&self, node: NodeId, op: &Op) -> Result<Tensor, ProgramError> {
        if let Some(operand) = op.operands().into_iter().find(|o| o.index() >= self.tensors.len()) {
            return Err(ProgramError::NotBefore { node, op: op.name(), operand });
        }
        match *op {
            Op::Input { input } => {
                return indexed(self.inputs, input, node, op).cloned();
            }
            Op::Parameter { parameter } => {
                let spec = indexed(self.parameters, parameter, node, op)?;
                return Ok((Shape::fixed(&spec.shape), DType::F32));
            }
            Op::Custom(ref custom) => return self.custom(node, custom),
            Op::Embedding { tokens, weight } => {
                self.expect_type(node, op, tokens, DType::U32)?;
                self.expect_type(node, op, weight, DType::F32)?;
            }
            _ => self.all_f32(node, op)?,
        }
        let shape = self.shape(op).map_err(|expected| self.mismatch(node, op, expected))?;
        Ok((shape, DType::F32))
    }

    /// What a custom operation's reference makes of its operands.
    fn custom(&self, node: NodeId, custom: &Custom) -> Result<Tensor, ProgramError> {
        let Custom { name, operands, reference, wgsl_forward, wgsl_backward } = custom;
        check_names(std::iter::once(name))?;
        for text in [wgsl_forward, wgsl_backward].into_iter().flatten() {
            let (what, got, max) = ("bytes of WGSL in a custom operation", text.len(), limits::CUSTOM_WGSL_BYTES_MAX);
            if got > max {
                return Err(ProgramError::TooMany { what, got: got as u64, max: max as u64 });
            }
        }
        let inside = |error| ProgramError::Custom { node, name: name.clone(), error: Box::new(error) };
        if let Some(inner) = reference.nodes.iter().position(|op| matches!(op, Op::Custom(_))) {
            return Err(inside(ProgramError::Nested { node: NodeId(inner as u32) }));
        }
        let inputs: Vec<Tensor> = operands.iter().map(|id| self.tensors[id.index()].clone()).collect();
        let mut tensors = walk(&inputs, &[], &reference.nodes).map_err(inside)?;
        if reference.output.index() >= tensors.len() {
            let (node, operand) = (NodeId(tensors.len() as u32), reference.output);
            return Err(inside(ProgramError::NotBefore { node, op: "output", operand }));
        }
        Ok(tensors.swap_remove(reference.output.index()))
    }

    /// The shape of an operation whose operands exist and have the right types, or what would fit.
    fn shape(&self, op: &Op) -> Result<Shape, &'static str> {
        let of = |id: NodeId| &self.tensors[id.index()].0;
        match *op {
            Op::Linear { x, weight, bias } => rules::linear(of(x), of(weight), bias.map(of)),
            Op::MatMul { form, a, b } => rules::matmul(form, of(a), of(b)),
            Op::Conv2d { x, weight, bias, window, groups } => {
                rules::conv2d(of(x), of(weight), bias.map(of), window, groups)
            }
            Op::Pool2d { x, f: _, window } => rules::pool2d(of(x), window),
            Op::Embedding { tokens, weight } => rules::embedding(of(tokens), of(weight)),
            Op::LayerNorm { x, weight, bias, eps } => rules::norm(of(x), &[of(weight), of(bias)], eps),
            Op::RmsNorm { x, weight, eps } => rules::norm(of(x), &[of(weight)], eps),
            Op::Rope { x, heads, width, base } => rules::rope(of(x), heads, width, base),
            Op::Attention { qkv, heads } => rules::attention(of(qkv), heads),
            Op::Unary { x, .. } => Ok(of(x).clone()),
            Op::Binary { a, b, .. } => rules::binary(of(a), of(b)),
            Op::Affine { x, scale, shift } => rules::finite(&[scale, shift], of(x)),
            Op::Clamp { x, min, max } if min <= max => rules::finite(&[min, max], of(x)),
            Op::Clamp { .. } => Err("min <= max"),
            Op::Where { condition, a, b } if of(condition) == of(a) && of(a) == of(b) => Ok(of(a).clone()),
            Op::Where { .. } => Err("three equal shapes"),
            Op::Softmax { x } if !of(x).dims.is_empty() => Ok(of(x).clone()),
            Op::Softmax { .. } => Err("x [.., width]"),
            Op::Reduce { x, axis, .. } => rules::reduce(of(x), axis),
            Op::Reshape { x, ref shape } => rules::reshape(of(x), shape),
            Op::Transpose { x, ref axes } => rules::transpose(of(x), axes),
            Op::Slice { x, axis, start, end } => rules::slice(of(x), axis, start, end),
            Op::Concat { a, b, axis } => rules::concat(of(a), of(b), axis),
            Op::Broadcast { x, axis, count } => rules::broadcast(of(x), axis, count),
            Op::Repeat { x } if !of(x).batched => Ok(Shape::batched(&of(x).dims)),
            Op::Repeat { .. } => Err("a shape without the batch"),
            Op::Dropout { x, p, .. } if (0.0..1.0).contains(&p) => Ok(of(x).clone()),
            Op::Dropout { .. } => Err("p in [0, 1)"),
            Op::Input { .. } | Op::Parameter { .. } | Op::Custom(_) | Op::Derivative(_) => {
                Err("an operation of a program")
            }
        }
    }

    fn loss(&self, node: NodeId, loss: Loss) -> Result<(), ProgramError> {
        let op = Op::Derivative(crate::Derivative::LossStats { loss });
        if let Some(operand) = op.operands().into_iter().find(|o| o.index() >= self.tensors.len()) {
            return Err(ProgramError::NotBefore { node, op: op.name(), operand });
        }
        let (prediction, target) = loss.operands();
        let (target_type, expected) = match loss {
            Loss::CrossEntropy { .. } => (DType::U32, "logits [batch, .., classes], labels [batch, ..]"),
            Loss::Mse { .. } | Loss::BinaryCrossEntropy { .. } => (DType::F32, "two equal shapes with the batch"),
        };
        self.expect_type(node, &op, prediction, DType::F32)?;
        self.expect_type(node, &op, target, target_type)?;
        let [left, right] = [prediction, target].map(|id| &self.tensors[id.index()].0);
        let fits = match loss {
            Loss::CrossEntropy { .. } => {
                left.dims.split_last().is_some_and(|(classes, rows)| *classes >= 2 && rows == right.dims)
            }
            Loss::Mse { .. } | Loss::BinaryCrossEntropy { .. } => left == right,
        };
        if fits && left.batched && right.batched { Ok(()) } else { Err(self.mismatch(node, &op, expected)) }
    }

    fn all_f32(&self, node: NodeId, op: &Op) -> Result<(), ProgramError> {
        op.operands().into_iter().try_for_each(|operand| self.expect_type(node, op, operand, DType::F32))
    }

    fn expect_type(&self, node: NodeId, op: &Op, operand: NodeId, expected: DType) -> Result<(), ProgramError> {
        let got = self.tensors[operand.index()].1;
        if got == expected {
            return Ok(());
        }
        Err(ProgramError::WrongType { node, op: op.name(), operand, expected, got })
    }

    fn mismatch(&self, node: NodeId, op: &Op, expected: &'static str) -> ProgramError {
        let shapes = op.operands().iter().map(|id| self.tensors[id.index()].0.clone()).collect();
        ProgramError::ShapeMismatch { node, op: op.name(), shapes, expected }
    }
}

fn indexed<'a, T>(all: &'a [T], index: u32, node: NodeId, op: &Op) -> Result<&'a T, ProgramError> {
    all.get(index as usize).ok_or(ProgramError::NoSuchIndex { node, op: op.name(), index, count: all.len() })
}
