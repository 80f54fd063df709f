//! Validation and shape inference: one walk over the nodes, before anything else may look at them.

use std::collections::BTreeSet;

use potluck_protocol::limits;

use crate::{DType, Init, InputSpec, Loss, NodeId, Op, ParameterSpec, ProgramError, Shape};

/// Checks a whole program and returns the shape of every node.
pub(crate) fn validate(
    inputs: &[InputSpec],
    parameters: &[ParameterSpec],
    nodes: &[Op],
    loss: Loss,
) -> Result<Vec<Shape>, ProgramError> {
    check_counts(inputs, parameters, nodes)?;
    check_names(inputs.iter().map(|i| &i.name))?;
    check_names(parameters.iter().map(|p| &p.name))?;
    check_parameters(parameters)?;
    let mut walk = Walk { inputs, parameters, shapes: Vec::new(), types: Vec::new() };
    for (index, op) in (0u32..).zip(nodes) {
        let (shape, dtype) = walk.node(NodeId(index), op)?;
        check_size(op.name(), &shape)?;
        walk.shapes.push(shape);
        walk.types.push(dtype);
    }
    walk.loss(NodeId(nodes.len() as u32), loss)?;
    check_reach(parameters, nodes, loss)?;
    Ok(walk.shapes)
}

fn check_counts(inputs: &[InputSpec], parameters: &[ParameterSpec], nodes: &[Op]) -> Result<(), ProgramError> {
    let values = parameters.iter().map(|p| Shape::fixed(&p.shape).values()).fold(0, u64::saturating_add);
    let counts = [
        ("inputs", inputs.len() as u64, 16),
        ("parameter tensors", parameters.len() as u64, limits::PROGRAM_NODES_MAX as u64),
        ("nodes", nodes.len() as u64, limits::PROGRAM_NODES_MAX as u64),
        ("parameters", values, limits::PARAMETERS_MAX),
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
        if matches!(init, Init::Uniform { bound } if !bound.is_finite() || *bound < 0.0) {
            return Err(ProgramError::Init { name: name.clone() });
        }
    }
    Ok(())
}

/// A batch multiplies the size: it is checked for one sample here and for a real batch by the plan.
fn check_size(what: &str, shape: &Shape) -> Result<(), ProgramError> {
    let max = limits::TENSOR_VALUES_MAX;
    if (1..=max).contains(&shape.values()) && shape.dims.len() <= 8 {
        return Ok(());
    }
    Err(ProgramError::TensorSize { what: what.to_owned(), shape: shape.clone(), max })
}

/// Every parameter must be upstream of the loss, or its gradient would not exist.
fn check_reach(parameters: &[ParameterSpec], nodes: &[Op], loss: Loss) -> Result<(), ProgramError> {
    let Loss::CrossEntropy { logits, labels: _ } = loss;
    let mut reached = vec![false; nodes.len()];
    reached[logits.index()] = true;
    let mut trained = vec![false; parameters.len()];
    for (index, op) in nodes.iter().enumerate().rev().filter(|(index, _)| *index <= logits.index()) {
        if !reached[index] {
            continue;
        }
        if let Op::Parameter { parameter } = op {
            trained[*parameter as usize] = true;
        }
        for operand in op.operands() {
            reached[operand.index()] = true;
        }
    }
    match trained.iter().position(|t| !t) {
        Some(missing) => Err(ProgramError::Unreachable { name: parameters[missing].name.clone() }),
        None => Ok(()),
    }
}

struct Walk<'a> {
    inputs: &'a [InputSpec],
    parameters: &'a [ParameterSpec],
    shapes: Vec<Shape>,
    types: Vec<DType>,
}

impl Walk<'_> {
    fn node(&self, node: NodeId, op: &Op) -> Result<(Shape, DType), ProgramError> {
        if let Some(operand) = op.operands().into_iter().find(|o| o.index() >= self.shapes.len()) {
            return Err(ProgramError::NotBefore { node, op: op.name(), operand });
        }
        match *op {
            Op::Input { input } => {
                let spec = indexed(self.inputs, input, node, op)?;
                Ok((Shape::batched(&spec.shape), spec.dtype))
            }
            Op::Parameter { parameter } => {
                let spec = indexed(self.parameters, parameter, node, op)?;
                Ok((Shape::fixed(&spec.shape), DType::F32))
            }
            Op::Linear { x, weight, bias } => {
                self.all_f32(node, op)?;
                let [x, weight] = [x, weight].map(|id| &self.shapes[id.index()]);
                let bias_fits = bias.is_none_or(|b| {
                    let bias = &self.shapes[b.index()];
                    !bias.batched && bias.dims.len() == 1 && bias.last() == weight.dims[0]
                });
                let fits = x.batched
                    && !x.dims.is_empty()
                    && !weight.batched
                    && weight.dims.len() == 2
                    && weight.dims[1] == x.last();
                if !fits || !bias_fits {
                    return Err(self.mismatch(node, op, "x [batch, .., k], weight [n, k], bias [n]"));
                }
                let mut dims = x.dims.clone();
                dims.pop();
                dims.push(weight.dims[0]);
                Ok((Shape::batched(&dims), DType::F32))
            }
            Op::Relu { x } => {
                self.all_f32(node, op)?;
                Ok((self.shapes[x.index()].clone(), DType::F32))
            }
            Op::CrossEntropyStats { .. }
            | Op::CrossEntropyGrad { .. }
            | Op::ReluGrad { .. }
            | Op::MatMulNn { .. }
            | Op::MatMulTn { .. }
            | Op::ColumnSum { .. }
            | Op::Add { .. } => Err(self.mismatch(node, op, "this operation is made by differentiation only")),
        }
    }

    fn loss(&self, node: NodeId, loss: Loss) -> Result<(), ProgramError> {
        let Loss::CrossEntropy { logits, labels } = loss;
        let op = Op::CrossEntropyStats { logits, labels };
        if let Some(operand) = op.operands().into_iter().find(|o| o.index() >= self.shapes.len()) {
            return Err(ProgramError::NotBefore { node, op: op.name(), operand });
        }
        self.expect_type(node, &op, logits, DType::F32)?;
        self.expect_type(node, &op, labels, DType::U32)?;
        let [logits, labels] = [logits, labels].map(|id| &self.shapes[id.index()]);
        let fits = logits.batched
            && labels.batched
            && logits.dims.split_last().is_some_and(|(classes, rows)| *classes >= 2 && rows == labels.dims);
        if fits { Ok(()) } else { Err(self.mismatch(node, &op, "logits [batch, .., classes], labels [batch, ..]")) }
    }

    fn all_f32(&self, node: NodeId, op: &Op) -> Result<(), ProgramError> {
        op.operands().into_iter().try_for_each(|operand| self.expect_type(node, op, operand, DType::F32))
    }

    fn expect_type(&self, node: NodeId, op: &Op, operand: NodeId, expected: DType) -> Result<(), ProgramError> {
        let got = self.types[operand.index()];
        if got == expected {
            return Ok(());
        }
        Err(ProgramError::WrongType { node, op: op.name(), operand, expected, got })
    }

    fn mismatch(&self, node: NodeId, op: &Op, expected: &'static str) -> ProgramError {
        let shapes = op.operands().iter().map(|id| self.shapes[id.index()].clone()).collect();
        ProgramError::ShapeMismatch { node, op: op.name(), shapes, expected }
    }
}

fn indexed<'a, T>(all: &'a [T], index: u32, node: NodeId, op: &Op) -> Result<&'a T, ProgramError> {
    all.get(index as usize).ok_or(ProgramError::NoSuchIndex { node, op: op.name(), index, count: all.len() })
}
