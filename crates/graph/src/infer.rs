//! Validation and shape inference: one walk over the nodes, before anything else may look at them.

use std::collections::BTreeSet;

use potluck_protocol::limits;

use crate::{DType, Heads, Init, InputSpec, Loss, NodeId, Op, ParameterSpec, ProgramError, Shape, Window};

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
    let mut tensors = Vec::with_capacity(nodes.len());
    for (index, op) in (0u32..).zip(nodes) {
        let tensor = node(inputs, parameters, &tensors, NodeId(index), op)?;
        tensors.push(tensor);
    }
    Walk { inputs, parameters, tensors: &tensors }.loss(NodeId(nodes.len() as u32), loss)?;
    check_reach(parameters, nodes, loss)?;
    check_target(nodes, loss)?;
    check_inputs(inputs, nodes)?;
    Ok(tensors.into_iter().map(|(shape, _)| shape).collect())
}

/// Shape and type of one node, given those before it.
pub(crate) fn node(
    inputs: &[InputSpec],
    parameters: &[ParameterSpec],
    tensors: &[(Shape, DType)],
    id: NodeId,
    op: &Op,
) -> Result<(Shape, DType), ProgramError> {
    let tensor = Walk { inputs, parameters, tensors }.node(id, op)?;
    check_size(op.name(), &tensor.0)?;
    Ok(tensor)
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

struct Walk<'a> {
    inputs: &'a [InputSpec],
    parameters: &'a [ParameterSpec],
    tensors: &'a [(Shape, DType)],
}

impl Walk<'_> {
    fn node(&self, node: NodeId, op: &Op) -> Result<(Shape, DType), ProgramError> {
        if let Some(operand) = op.operands().into_iter().find(|o| o.index() >= self.tensors.len()) {
            return Err(ProgramError::NotBefore { node, op: op.name(), operand });
        }
        match *op {
            Op::Input { input } => {
                let spec = indexed(self.inputs, input, node, op)?;
                return Ok((Shape::batched(&spec.shape), spec.dtype));
            }
            Op::Parameter { parameter } => {
                let spec = indexed(self.parameters, parameter, node, op)?;
                return Ok((Shape::fixed(&spec.shape), DType::F32));
            }
            Op::Embedding { tokens, weight } => {
                self.expect_type(node, op, tokens, DType::U32)?;
                self.expect_type(node, op, weight, DType::F32)?;
            }
            _ => self.all_f32(node, op)?,
        }
        let shape = self.shape(op).map_err(|expected| self.mismatch(node, op, expected))?;
        Ok((shape, DType::F32))
    }

    /// The shape of an operation whose operands exist and have the right types, or what would fit.
    fn shape(&self, op: &Op) -> Result<Shape, &'static str> {
        let of = |id: NodeId| &self.tensors[id.index()].0;
        match *op {
            Op::Linear { x, weight, bias } => linear(of(x), of(weight), bias.map(of)),
            Op::Conv2d { x, weight, bias, window, groups } => conv2d(of(x), of(weight), bias.map(of), window, groups),
            Op::Pool2d { x, f: _, window } => pool2d(of(x), window),
            Op::Embedding { tokens, weight } => embedding(of(tokens), of(weight)),
            Op::LayerNorm { x, weight, bias, eps } => norm(of(x), &[of(weight), of(bias)], eps),
            Op::RmsNorm { x, weight, eps } => norm(of(x), &[of(weight)], eps),
            Op::Rope { x, heads, width, base } => rope(of(x), heads, width, base),
            Op::Attention { qkv, heads } => attention(of(qkv), heads),
            Op::Unary { x, .. } => Ok(of(x).clone()),
            Op::Binary { a, b, .. } => binary(of(a), of(b)),
            Op::Affine { x, scale, shift } => finite(&[scale, shift], of(x)),
            Op::Clamp { x, min, max } if min <= max => finite(&[min, max], of(x)),
            Op::Clamp { .. } => Err("min <= max"),
            Op::Where { condition, a, b } if of(condition) == of(a) && of(a) == of(b) => Ok(of(a).clone()),
            Op::Where { .. } => Err("three equal shapes"),
            Op::Reduce { x, axis, .. } => reduce(of(x), axis),
            Op::Reshape { x, ref shape } => reshape(of(x), shape),
            Op::Transpose { x, ref axes } => transpose(of(x), axes),
            Op::Slice { x, axis, start, end } => slice(of(x), axis, start, end),
            Op::Concat { a, b, axis } => concat(of(a), of(b), axis),
            Op::Repeat { x } if !of(x).batched => Ok(Shape::batched(&of(x).dims)),
            Op::Repeat { .. } => Err("a shape without the batch"),
            Op::Dropout { x, p, .. } if (0.0..1.0).contains(&p) => Ok(of(x).clone()),
            Op::Dropout { .. } => Err("p in [0, 1)"),
            Op::Input { .. } | Op::Parameter { .. } | Op::Derivative(_) => Err("an operation of a program"),
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

fn is_vector(shape: &Shape, len: u32) -> bool {
    !shape.batched && shape.dims == [len]
}

fn finite(constants: &[f32], x: &Shape) -> Result<Shape, &'static str> {
    if constants.iter().all(|c| c.is_finite()) { Ok(x.clone()) } else { Err("finite constants") }
}

fn linear(x: &Shape, weight: &Shape, bias: Option<&Shape>) -> Result<Shape, &'static str> {
    const EXPECTED: &str = "x [batch, .., k], weight [n, k], bias [n]";
    let (Some((&k, rows)), &[n, weight_k]) = (x.dims.split_last(), weight.dims.as_slice()) else {
        return Err(EXPECTED);
    };
    let fits = x.batched && !weight.batched && weight_k == k && bias.is_none_or(|b| is_vector(b, n));
    if fits { Ok(Shape::batched(&[rows, &[n]].concat())) } else { Err(EXPECTED) }
}

fn conv2d(x: &Shape, weight: &Shape, bias: Option<&Shape>, window: Window, groups: u32) -> Result<Shape, &'static str> {
    const EXPECTED: &str = "x [batch, c, h, w], weight [n, c / groups, size, size], bias [n], a window that fits";
    let (&[c, h, w], &[n, per_group, rows, columns]) = (x.dims.as_slice(), weight.dims.as_slice()) else {
        return Err(EXPECTED);
    };
    let grouped = groups > 0 && n % groups == 0 && per_group.checked_mul(groups) == Some(c);
    let fits = x.batched && !weight.batched && grouped && rows == window.size && columns == window.size;
    let bounded = window.padding < window.size && n <= GRID_MAX && is_bounded(window, h, w);
    if !fits || !bias.is_none_or(|b| is_vector(b, n)) || !bounded {
        return Err(EXPECTED);
    }
    match (window.count(h), window.count(w)) {
        (Some(h), Some(w)) => Ok(Shape::batched(&[n, h, w])),
        _ => Err(EXPECTED),
    }
}

fn pool2d(x: &Shape, window: Window) -> Result<Shape, &'static str> {
    const EXPECTED: &str = "x [batch, c, h, w] and a window that fits, padding at most half of it";
    let &[c, image_h, image_w] = x.dims.as_slice() else { return Err(EXPECTED) };
    match (window.count(image_h), window.count(image_w)) {
        (Some(h), Some(w))
            if x.batched && window.padding <= window.size / 2 && is_bounded(window, image_h, image_w) =>
        {
            Ok(Shape::batched(&[c, h, w]))
        }
        _ => Err(EXPECTED),
    }
}

/// A window much larger than the image sees nothing more, but costs its square.
fn is_bounded(window: Window, h: u32, w: u32) -> bool {
    u64::from(window.size) <= 2 * u64::from(h.max(w)) + 2
}

/// Workgroups in one dimension of a grid (`maxComputeWorkgroupsPerDimension`): one is a channel of a
/// convolution, a head, 32 positions, 64 columns of a norm.
const GRID_MAX: u32 = 65_535;

fn embedding(tokens: &Shape, weight: &Shape) -> Result<Shape, &'static str> {
    match weight.dims.as_slice() {
        &[_, c] if tokens.batched && !weight.batched => Ok(Shape::batched(&[tokens.dims.as_slice(), &[c]].concat())),
        _ => Err("tokens [batch, ..], weight [vocabulary, c]"),
    }
}

fn norm(x: &Shape, vectors: &[&Shape], eps: f32) -> Result<Shape, &'static str> {
    let fits =
        x.batched && !x.dims.is_empty() && x.last() <= 64 * GRID_MAX && vectors.iter().all(|v| is_vector(v, x.last()));
    if fits && eps.is_finite() && eps > 0.0 { Ok(x.clone()) } else { Err("x [batch, .., c], vectors [c], eps above 0") }
}

fn rope(x: &Shape, heads: u32, width: u32, base: f32) -> Result<Shape, &'static str> {
    let turned = u64::from(heads) * u64::from(width);
    let fits = x.batched && x.dims.len() == 2 && turned > 0 && width.is_multiple_of(2) && turned <= u64::from(x.last());
    if fits && base.is_finite() && base > 1.0 {
        Ok(x.clone())
    } else {
        Err("x [batch, t, at least heads width], width even, base above 1")
    }
}

/// Widest head: what one invocation keeps in registers.
const HEAD_WIDTH_MAX: u32 = 128;

fn attention(qkv: &Shape, heads: Heads) -> Result<Shape, &'static str> {
    const EXPECTED: &str = "qkv [batch, t, (count + 2 kv_count) d], kv_count a divisor of count, d at most 128";
    let Heads { count, kv_count, causal: _ } = heads;
    let &[t, packed] = qkv.dims.as_slice() else { return Err(EXPECTED) };
    let all = u64::from(count) + 2 * u64::from(kv_count);
    let fits = qkv.batched && count > 0 && kv_count > 0 && count % kv_count == 0 && u64::from(packed) % all == 0;
    let width = u64::from(packed).checked_div(all).unwrap_or(0) as u32;
    if fits && (1..=HEAD_WIDTH_MAX).contains(&width) && count <= GRID_MAX && t <= 32 * GRID_MAX {
        Ok(Shape::batched(&[t, count * width]))
    } else {
        Err(EXPECTED)
    }
}

fn binary(a: &Shape, b: &Shape) -> Result<Shape, &'static str> {
    let same = a == b;
    let broadcast = !b.batched && a.dims.ends_with(&b.dims);
    if same || broadcast {
        Ok(a.clone())
    } else {
        Err("b of the shape of a, or of its last dimensions without the batch")
    }
}

fn reduce(x: &Shape, axis: u32) -> Result<Shape, &'static str> {
    if !x.batched || axis as usize >= x.dims.len() {
        return Err("x with the batch and an axis that it has");
    }
    let mut dims = x.dims.clone();
    dims.remove(axis as usize);
    Ok(Shape::batched(&dims))
}

fn reshape(x: &Shape, shape: &[u32]) -> Result<Shape, &'static str> {
    let out = Shape { batched: x.batched, dims: shape.to_vec() };
    if out.values() == x.values() { Ok(out) } else { Err("a shape with as many values") }
}

fn transpose(x: &Shape, axes: &[u32]) -> Result<Shape, &'static str> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.dims.len() as u32) {
        return Err("axes that are a permutation of x's dimensions");
    }
    Ok(Shape { batched: x.batched, dims: axes.iter().map(|&axis| x.dims[axis as usize]).collect() })
}

fn slice(x: &Shape, axis: u32, start: u32, end: u32) -> Result<Shape, &'static str> {
    let size = x.dims.get(axis as usize).copied().unwrap_or(0);
    if start >= end || end > size {
        return Err("start < end <= the size of an axis that x has");
    }
    let mut out = x.clone();
    out.dims[axis as usize] = end - start;
    Ok(out)
}

fn concat(a: &Shape, b: &Shape, axis: u32) -> Result<Shape, &'static str> {
    const EXPECTED: &str = "shapes that differ in that axis only";
    let axis = axis as usize;
    if a.batched != b.batched || a.dims.len() != b.dims.len() || axis >= a.dims.len() {
        return Err(EXPECTED);
    }
    let mut out = a.clone();
    out.dims[axis] = b.dims[axis];
    if out != *b {
        return Err(EXPECTED);
    }
    out.dims[axis] = a.dims[axis].checked_add(b.dims[axis]).ok_or(EXPECTED)?;
    Ok(out)
}
