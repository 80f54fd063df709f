//! Reverse-mode differentiation: walks a program backward once and emits operations. Nothing is
//! taped at run time.

use crate::{Loss, NodeId, Op, Program, Shape};

/// A program with its gradients: forward nodes first, then the loss, then the backward nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingGraph {
    /// All nodes in topological order; the first ones are the program's.
    pub nodes: Vec<Op>,
    /// Shape of each.
    pub shapes: Vec<Shape>,
    /// Nodes before this index need no gradient: the program and its statistics.
    pub forward_count: usize,
    /// Loss and correctness of each row, `[.., 2]`.
    pub stats: NodeId,
    /// For each parameter the node that is its gradient.
    pub gradients: Vec<NodeId>,
}

/// Differentiates the mean loss with respect to every parameter.
pub fn differentiate(program: &Program) -> TrainingGraph {
    let Loss::CrossEntropy { logits, labels } = program.loss();
    let mut walk = Backward {
        nodes: program.nodes().to_vec(),
        shapes: program.shapes().to_vec(),
        gradients: vec![None; program.nodes().len()],
        wanted: wanted(program),
    };
    let mut stats_shape = walk.shapes[labels.index()].clone();
    stats_shape.dims.push(2);
    let stats = walk.push(Op::CrossEntropyStats { logits, labels }, stats_shape);
    let forward_count = walk.nodes.len();
    let d_logits = walk.push(Op::CrossEntropyGrad { logits, labels }, walk.shapes[logits.index()].clone());
    walk.gradients[logits.index()] = Some(d_logits);
    for index in (0..program.nodes().len()).rev() {
        if let Some(dy) = walk.gradients[index] {
            walk.node(NodeId(index as u32), dy);
        }
    }
    let gradients = parameter_gradients(program, &mut walk);
    TrainingGraph { nodes: walk.nodes, shapes: walk.shapes, forward_count, stats, gradients }
}

/// Nodes with a parameter upstream: only these need a gradient.
fn wanted(program: &Program) -> Vec<bool> {
    let mut wanted: Vec<bool> = Vec::with_capacity(program.nodes().len());
    for op in program.nodes() {
        let is_parameter = matches!(op, Op::Parameter { .. });
        let above = op.operands().iter().any(|o| wanted[o.index()]);
        wanted.push(is_parameter || above);
    }
    wanted
}

/// A parameter may stand in several nodes (a tied head): their gradients add up.
fn parameter_gradients(program: &Program, walk: &mut Backward) -> Vec<NodeId> {
    (0u32..)
        .zip(program.parameters())
        .map(|(parameter, _)| {
            let uses: Vec<NodeId> = program
                .nodes()
                .iter()
                .zip(walk.gradients.clone())
                .filter(|(op, _)| matches!(op, Op::Parameter { parameter: p } if *p == parameter))
                .filter_map(|(_, gradient)| gradient)
                .collect();
            uses.into_iter()
                .reduce(|a, b| walk.push(Op::Add { a, b }, walk.shapes[a.index()].clone()))
                .expect("validation saw that every parameter reaches the loss")
        })
        .collect()
}

struct Backward {
    nodes: Vec<Op>,
    shapes: Vec<Shape>,
    gradients: Vec<Option<NodeId>>,
    wanted: Vec<bool>,
}

impl Backward {
    /// Emits the gradients of this node's operands from `dy`, the gradient of its output.
    fn node(&mut self, id: NodeId, dy: NodeId) {
        match self.nodes[id.index()].clone() {
            Op::Linear { x, weight, bias } => {
                if self.wanted[weight.index()] {
                    let shape = self.shapes[weight.index()].clone();
                    let dw = self.push(Op::MatMulTn { a: dy, b: x }, shape);
                    self.accumulate(weight, dw);
                }
                if let Some(bias) = bias.filter(|b| self.wanted[b.index()]) {
                    let db = self.push(Op::ColumnSum { x: dy }, self.shapes[bias.index()].clone());
                    self.accumulate(bias, db);
                }
                if self.wanted[x.index()] {
                    let dx = self.push(Op::MatMulNn { a: dy, b: weight }, self.shapes[x.index()].clone());
                    self.accumulate(x, dx);
                }
            }
            Op::Relu { x } => {
                if self.wanted[x.index()] {
                    let dx = self.push(Op::ReluGrad { y: id, dy }, self.shapes[x.index()].clone());
                    self.accumulate(x, dx);
                }
            }
            Op::Input { .. } | Op::Parameter { .. } => {}
            Op::CrossEntropyStats { .. }
            | Op::CrossEntropyGrad { .. }
            | Op::ReluGrad { .. }
            | Op::MatMulNn { .. }
            | Op::MatMulTn { .. }
            | Op::ColumnSum { .. }
            | Op::Add { .. } => unreachable!("validation lets no derivative into a program"),
        }
    }

    fn accumulate(&mut self, target: NodeId, gradient: NodeId) {
        let sum = match self.gradients[target.index()] {
            None => gradient,
            Some(earlier) => self.push(Op::Add { a: earlier, b: gradient }, self.shapes[target.index()].clone()),
        };
        self.gradients[target.index()] = Some(sum);
    }

    fn push(&mut self, op: Op, shape: Shape) -> NodeId {
        self.nodes.push(op);
        self.shapes.push(shape);
        NodeId(self.nodes.len() as u32 - 1)
    }
}
