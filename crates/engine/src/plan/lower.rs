//! From a graph of operations to a list of kernels over values, with neighbours fused.

use std::collections::BTreeMap;

use potluck_graph::{BinaryFn, Derivative, NodeId, Op, TrainingGraph, UnaryFn};

use super::lower_ops::{self, Sizes};
use crate::{Kernel, Then};

/// An output of a node: 0 is the operation's own, 1 the second that a few kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(pub(super) NodeId, pub(super) u8);

/// Not an output: the constant table that a node's kernel reads.
const TABLE: u8 = 2;

/// A kernel over values.
pub(super) struct Step {
    pub(super) kernel: Kernel,
    pub(super) reads: Vec<Value>,
    pub(super) writes: Vec<Value>,
}

/// Where a value that no kernel has to find a slot for comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Input {
        input: usize,
        len: usize,
    },
    Parameter(usize),
    Gradient(usize),
    /// A rotation's cosines and sines; made once the plan is known to fit.
    Table {
        positions: u32,
        width: u32,
        base: u32,
    },
}

/// A lowered program.
pub(super) struct Lowered {
    pub(super) steps: Vec<Step>,
    pub(super) sources: BTreeMap<Value, Source>,
    pub(super) stats: Value,
    pub(super) forward_count: usize,
    aliases: Vec<Value>,
}

impl Lowered {
    /// The value that a node stands for.
    pub(super) fn resolve(&self, id: NodeId) -> Value {
        self.aliases[id.index()]
    }
}

/// Lowers a whole training graph for one batch size.
pub(super) fn lower(graph: &TrainingGraph, batch: u32) -> Lowered {
    let mut lowering = Lowering::new(graph, batch);
    let mut forward_count = 0;
    for index in 0..graph.nodes.len() {
        if index == graph.forward_count {
            forward_count = lowering.steps.len();
        }
        lowering.node(NodeId(index as u32));
    }
    lowering.copy_shared_gradients();
    let Lowering { steps, sources, aliases, .. } = lowering;
    Lowered { steps, sources, stats: aliases[graph.stats.index()], forward_count, aliases }
}

struct Lowering<'a> {
    graph: &'a TrainingGraph,
    sizes: Sizes<'a>,
    readers: Vec<Vec<NodeId>>,
    aliases: Vec<Value>,
    /// Computed by the kernel of another node.
    absorbed: Vec<bool>,
    sources: BTreeMap<Value, Source>,
    /// Gradients that are read again or belong to several parameters: copied at the end.
    shared: Vec<(NodeId, usize)>,
    steps: Vec<Step>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a TrainingGraph, batch: u32) -> Self {
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        let mut aliases: Vec<Value> = Vec::with_capacity(graph.nodes.len());
        for (index, op) in (0u32..).zip(&graph.nodes) {
            op.operands().iter().for_each(|operand| readers[operand.index()].push(NodeId(index)));
            aliases.push(match *op {
                Op::Reshape { x, .. } => aliases[x.index()],
                Op::Derivative(Derivative::Second { of }) => Value(of, 1),
                _ => Value(NodeId(index), 0),
            });
        }
        let sizes = Sizes { graph, batch };
        let mut lowering = Self {
            graph,
            sizes,
            readers,
            aliases,
            absorbed: vec![false; graph.nodes.len()],
            sources: BTreeMap::new(),
            shared: Vec::new(),
            steps: Vec::new(),
        };
        lowering.find_sources();
        lowering
    }

    fn find_sources(&mut self) {
        for (index, op) in (0u32..).zip(&self.graph.nodes) {
            let id = NodeId(index);
            match *op {
                Op::Input { input } => {
                    let source = Source::Input { input: input as usize, len: self.sizes.len(id) as usize };
                    self.sources.insert(Value(id, 0), source);
                }
                Op::Parameter { parameter } => {
                    self.sources.insert(Value(id, 0), Source::Parameter(parameter as usize));
                }
                _ => {}
            }
        }
        for (parameter, &id) in self.graph.gradients.iter().enumerate() {
            let value = self.aliases[id.index()];
            let once = self.graph.gradients.iter().filter(|gradient| **gradient == id).count() == 1;
            let direct = once
                && value == Value(id, 0)
                && self.readers[id.index()].is_empty()
                && !self.sources.contains_key(&value);
            if direct {
                self.sources.insert(value, Source::Gradient(parameter));
            } else {
                self.shared.push((id, parameter));
            }
        }
    }

    fn op(&self, id: NodeId) -> &'a Op {
        &self.graph.nodes[id.index()]
    }

    fn node(&mut self, id: NodeId) {
        let skip = self.absorbed[id.index()] || self.aliases[id.index()] != Value(id, 0);
        if skip || matches!(self.op(id), Op::Input { .. } | Op::Parameter { .. }) || self.will_be_absorbed(id) {
            return;
        }
        if let Op::Concat { a, b, axis } = *self.op(id) {
            let copies = lower_ops::concat(self.sizes, id, a, b, axis);
            for (kernel, x) in copies.into_iter().zip([a, b]) {
                self.emit(kernel, &[x], vec![Value(id, 0)]);
            }
            return;
        }
        if let Op::Derivative(Derivative::AttentionGrad { qkv, y, dy, lse, heads }) = *self.op(id) {
            let sizes = self.sizes.attention(qkv, heads);
            let sums = Value(id, 1);
            self.emit(Kernel::AttentionGradQ { sizes }, &[qkv, y, dy, lse], vec![Value(id, 0), sums]);
            self.emit(Kernel::AttentionGradKv { sizes }, &[qkv, dy, lse], vec![Value(id, 0)]);
            self.steps.last_mut().expect("just emitted").reads.push(sums);
            return;
        }
        if let Some((kernel, reads, writes)) = self.fused(id) {
            self.emit(kernel, &reads, writes);
            return;
        }
        if let Op::Rope { x, width, base, .. } | Op::Derivative(Derivative::RopeGrad { dy: x, width, base, .. }) =
            *self.op(id)
        {
            let (kernel, reads) = lower_ops::single(self.sizes, id);
            let table = self.rope_table(id, x, width, base);
            self.emit(kernel, &reads, vec![Value(id, 0)]);
            self.steps.last_mut().expect("just emitted").reads.push(table);
            return;
        }
        let (kernel, reads) = lower_ops::single(self.sizes, id);
        let second = self.second_output(id, &kernel);
        let (kernel, mut writes) = second.unwrap_or((kernel, vec![Value(id, 0)]));
        if matches!(kernel, Kernel::Attention { .. }) {
            writes.push(Value(id, 1));
        }
        self.emit(kernel, &reads, writes);
    }

    /// One table for all rotations of the same shape, under the name of the first that wants it.
    fn rope_table(&mut self, id: NodeId, x: NodeId, width: u32, base: f32) -> Value {
        let positions = self.graph.shapes[x.index()].dims[0];
        let table = Source::Table { positions, width, base: base.to_bits() };
        if let Some((&value, _)) = self.sources.iter().find(|(_, source)| **source == table) {
            return value;
        }
        let value = Value(id, TABLE);
        self.sources.insert(value, table);
        value
    }

    fn emit(&mut self, kernel: Kernel, reads: &[NodeId], writes: Vec<Value>) {
        let reads = reads.iter().map(|read| self.aliases[read.index()]).collect();
        self.steps.push(Step { kernel, reads, writes });
    }

    fn is_gradient(&self, id: NodeId) -> bool {
        self.graph.gradients.contains(&id)
    }

    /// The one node that reads this one, where there is just one and it is no gradient.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match *self.readers[id.index()].as_slice() {
            [reader] if !self.is_gradient(id) => Some(reader),
            _ => None,
        }
    }

    /// True where the kernel of a later node computes this one on the way.
    fn will_be_absorbed(&self, id: NodeId) -> bool {
        match self.op(id) {
            Op::Linear { .. } => self.unary_after_linear(id).is_some() || self.add_after(id).is_some(),
            Op::Conv2d { .. } => self.relu_after(id).is_some(),
            Op::Embedding { .. } => self.positions_after(id).is_some(),
            Op::Derivative(Derivative::MatMulNn { .. }) => {
                self.unary_grad_after(id).is_some() || self.add_after(id).is_some()
            }
            Op::Derivative(Derivative::NormGrad { .. }) => self.add_after(id).is_some(),
            Op::Derivative(Derivative::Pool2dGrad { .. }) => self.relu_grad_after(id).is_some(),
            _ => false,
        }
    }

    /// The function after a linear layer, where nobody but its own gradient reads the layer too.
    fn unary_after_linear(&self, id: NodeId) -> Option<(NodeId, UnaryFn, bool)> {
        let readers = &self.readers[id.index()];
        let (reader, f) = readers.iter().find_map(|&r| match *self.op(r) {
            Op::Unary { f, x } if x == id => Some((r, f)),
            _ => None,
        })?;
        let others_fit = readers.iter().filter(|&&r| r != reader).all(|&r| {
            matches!(*self.op(r), Op::Derivative(Derivative::UnaryGrad { f: g, saved, .. }) if saved == id && g == f)
        });
        (others_fit && !self.is_gradient(id)).then_some((reader, f, readers.len() > 1))
    }

    fn relu_after(&self, id: NodeId) -> Option<NodeId> {
        let reader = self.only_reader(id)?;
        matches!(self.op(reader), Op::Unary { f: UnaryFn::Relu, .. }).then_some(reader)
    }

    /// The sum that this node goes into, where it is the later of its terms and has its shape.
    fn add_after(&self, id: NodeId) -> Option<NodeId> {
        let reader = self.only_reader(id)?;
        let Op::Binary { f: BinaryFn::Add, a, b } = *self.op(reader) else { return None };
        let other = if a == id { b } else { a };
        let same = self.graph.shapes[a.index()] == self.graph.shapes[b.index()];
        (same && other < id).then_some(reader)
    }

    fn positions_after(&self, id: NodeId) -> Option<NodeId> {
        let reader = self.only_reader(id)?;
        let Op::Binary { f: BinaryFn::Add, a, b } = *self.op(reader) else { return None };
        let fits = a == id && !self.graph.shapes[b.index()].batched && self.graph.shapes[b.index()].dims.len() == 2;
        (fits && b != id).then_some(reader)
    }

    fn unary_grad_after(&self, id: NodeId) -> Option<NodeId> {
        let reader = self.only_reader(id)?;
        matches!(*self.op(reader), Op::Derivative(Derivative::UnaryGrad { dy, saved, .. }) if dy == id && saved != id)
            .then_some(reader)
    }

    /// The gradient of the ReLU whose result a pooling reads, where this is the pooling's gradient.
    fn relu_grad_after(&self, id: NodeId) -> Option<NodeId> {
        let Op::Derivative(Derivative::Pool2dGrad { x, .. }) = *self.op(id) else { return None };
        let reader = self.only_reader(id)?;
        matches!(*self.op(reader), Op::Derivative(Derivative::UnaryGrad { f: UnaryFn::Relu, saved, .. }) if saved == x)
            .then_some(reader)
    }

    /// The kernel of a node that absorbs one of its operands.
    fn fused(&self, id: NodeId) -> Option<(Kernel, Vec<NodeId>, Vec<Value>)> {
        let own = Value(id, 0);
        match *self.op(id) {
            Op::Unary { f, x } => match *self.op(x) {
                Op::Linear { .. } => {
                    let (_, _, keep) = self.unary_after_linear(x).filter(|(reader, _, _)| *reader == id)?;
                    let (kernel, reads) = lower_ops::single(self.sizes, x);
                    let writes = if keep { vec![own, Value(x, 0)] } else { vec![own] };
                    Some((with_then(kernel, Then::Unary { f, keep }), reads, writes))
                }
                Op::Conv2d { .. } => {
                    self.relu_after(x).filter(|reader| *reader == id)?;
                    let (kernel, reads) = lower_ops::single(self.sizes, x);
                    Some((with_relu(kernel), reads, vec![own]))
                }
                _ => None,
            },
            Op::Binary { f: BinaryFn::Add, a, b } => {
                if self.positions_after(a) == Some(id) && matches!(self.op(a), Op::Embedding { .. }) {
                    let (kernel, mut reads) = lower_ops::single(self.sizes, a);
                    reads.push(b);
                    return Some((with_period(kernel, self.graph.shapes[b.index()].dims[0]), reads, vec![own]));
                }
                let (term, other) = [(b, a), (a, b)].into_iter().find(|(term, _)| self.absorbs_sum(*term, id))?;
                let (kernel, mut reads) = lower_ops::single(self.sizes, term);
                reads.push(other);
                Some((with_add(kernel), reads, vec![own]))
            }
            Op::Derivative(Derivative::UnaryGrad { dy, .. }) if self.relu_grad_after(dy) == Some(id) => {
                let (kernel, reads) = lower_ops::single(self.sizes, dy);
                Some((with_relu(kernel), reads, vec![own]))
            }
            Op::Derivative(Derivative::UnaryGrad { f, saved, dy }) => {
                self.unary_grad_after(dy)
                    .filter(|_| matches!(self.op(dy), Op::Derivative(Derivative::MatMulNn { .. })))?;
                let (kernel, mut reads) = lower_ops::single(self.sizes, dy);
                reads.push(saved);
                Some((with_then(kernel, Then::UnaryGrad { f }), reads, vec![own]))
            }
            _ => None,
        }
    }

    fn absorbs_sum(&self, term: NodeId, sum: NodeId) -> bool {
        let right_kind = match self.op(term) {
            Op::Linear { .. } => self.unary_after_linear(term).is_none(),
            Op::Derivative(Derivative::MatMulNn { .. }) => self.unary_grad_after(term).is_none(),
            Op::Derivative(Derivative::NormGrad { .. }) => true,
            _ => false,
        };
        right_kind && self.add_after(term) == Some(sum)
    }

    /// Kernels that find a second result on their way take the node that wants it along.
    fn second_output(&mut self, id: NodeId, kernel: &Kernel) -> Option<(Kernel, Vec<Value>)> {
        let (dy, kernel) = match (self.op(id), *kernel) {
            (
                &Op::Derivative(Derivative::MatMulTn { a, .. }),
                Kernel::MatMul { form, m, n, k, bias, then, batch, .. },
            ) => (a, Kernel::MatMul { form, m, n, k, bias, then, row_sums: true, batch }),
            (
                &Op::Derivative(Derivative::NormWeightGrad { dy, .. }),
                Kernel::NormWeightGrad { rows, width, eps_bits, centred, .. },
            ) => (dy, Kernel::NormWeightGrad { rows, width, eps_bits, centred, bias: true }),
            (&Op::Derivative(Derivative::LossStats { loss }), kernel) => {
                let wants = |other: &&NodeId| matches!(self.op(**other), Op::Derivative(Derivative::LossGrad { loss: l }) if *l == loss);
                let grad = *self.readers[loss.operands().0.index()].iter().find(wants)?;
                self.absorbed[grad.index()] = true;
                return Some((kernel, vec![Value(id, 0), Value(grad, 0)]));
            }
            _ => return None,
        };
        let len = kernel.output_lens()[1] as u64;
        let wants = |other: &&NodeId| {
            matches!(*self.op(**other), Op::Derivative(Derivative::ColumnSum { x }) if x == dy)
                && self.graph.shapes[other.index()].values() == len
                && !self.absorbed[other.index()]
                && **other > id
        };
        let sum = *self.readers[dy.index()].iter().find(wants)?;
        self.absorbed[sum.index()] = true;
        Some((kernel, vec![Value(id, 0), Value(sum, 0)]))
    }

    /// A gradient that something else reads too lies in a slot; the arena gets a copy.
    fn copy_shared_gradients(&mut self) {
        for (id, parameter) in std::mem::take(&mut self.shared) {
            let target = Value(NodeId(self.graph.nodes.len() as u32 + parameter as u32), 0);
            self.sources.insert(target, Source::Gradient(parameter));
            let kernel = lower_ops::plain_copy(self.sizes.len(id));
            self.emit(kernel, &[id], vec![target]);
        }
    }
}

fn with_then(kernel: Kernel, then: Then) -> Kernel {
    match kernel {
        Kernel::MatMul { form, m, n, k, bias, then: _, row_sums, batch } => {
            Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch }
        }
        other => other,
    }
}

fn with_relu(kernel: Kernel) -> Kernel {
    match kernel {
        Kernel::Conv2d { sizes, bias, relu: _ } => Kernel::Conv2d { sizes, bias, relu: true },
        Kernel::Pool2dGrad { f, sizes, relu: _ } => Kernel::Pool2dGrad { f, sizes, relu: true },
        other => other,
    }
}

fn with_period(kernel: Kernel, period: u32) -> Kernel {
    match kernel {
        Kernel::Embedding { rows, width, vocabulary, period: _ } => {
            Kernel::Embedding { rows, width, vocabulary, period }
        }
        other => other,
    }
}

fn with_add(kernel: Kernel) -> Kernel {
    match kernel {
        Kernel::NormGrad { rows, width, eps_bits, centred, add: _ } => {
            Kernel::NormGrad { rows, width, eps_bits, centred, add: true }
        }
        other => with_then(other, Then::Add),
    }
}
