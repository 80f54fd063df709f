//! Reverse-mode differentiation: walks a program backward once and emits operations. Nothing is
//! taped at run time.

use crate::{BinaryFn, Derivative, Form, Heads, Loss, NodeId, Op, Program, ReduceFn, Shape, UnaryFn};

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
    let loss = program.loss();
    let mut walk = Backward {
        nodes: program.nodes().to_vec(),
        shapes: program.shapes().to_vec(),
        gradients: vec![None; program.nodes().len()],
        wanted: wanted(program),
    };
    let (prediction, target) = loss.operands();
    let mut stats_shape = walk.shape(target);
    stats_shape.dims.push(2);
    let stats = walk.push(Derivative::LossStats { loss }, stats_shape);
    let forward_count = walk.nodes.len();
    let d_prediction = walk.push(Derivative::LossGrad { loss }, walk.shape(prediction));
    walk.gradients[prediction.index()] = Some(d_prediction);
    for index in (0..program.nodes().len()).rev() {
        if let Some(dy) = walk.gradients[index] {
            walk.node(NodeId(index as u32), dy);
        }
    }
    let gradients = parameter_gradients(program, &mut walk);
    TrainingGraph { nodes: walk.nodes, shapes: walk.shapes, forward_count, stats, gradients }
}

/// Rows over which a loss is averaged, for a batch.
pub fn loss_rows(loss: Loss, shapes: &[Shape], batch: u32) -> u64 {
    let (_, target) = loss.operands();
    shapes[target.index()].values_in(batch)
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
            let stands_for = |op: &Op| matches!(op, Op::Parameter { parameter: p } if *p == parameter);
            let uses: Vec<NodeId> = program
                .nodes()
                .iter()
                .zip(&walk.gradients)
                .filter(|(op, _)| stands_for(op))
                .filter_map(|(_, gradient)| *gradient)
                .collect();
            uses.into_iter()
                .reduce(|a, b| walk.binary(BinaryFn::Add, a, b))
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
    fn node(&mut self, y: NodeId, dy: NodeId) {
        match self.nodes[y.index()].clone() {
            Op::Input { .. } | Op::Parameter { .. } => {}
            Op::Custom(_) | Op::Derivative(_) => unreachable!("a checked graph holds neither"),
            Op::Linear { x, weight, bias } => {
                self.give(weight, |s| s.push(Derivative::MatMulTn { a: dy, b: x }, s.shape(weight)));
                self.give_optional(bias, |s, bias| s.push(Derivative::ColumnSum { x: dy }, s.shape(bias)));
                self.give(x, |s| s.push(Derivative::MatMulNn { a: dy, b: weight }, s.shape(x)));
            }
            Op::MatMul { form, a, b } => self.matmul(form, a, b, dy),
            Op::Conv2d { x, weight, bias, window, groups } => {
                self.give(weight, |s| s.push(Derivative::Conv2dGradWeight { x, dy, window, groups }, s.shape(weight)));
                self.give_optional(bias, |s, bias| s.push(Derivative::ChannelSum { x: dy }, s.shape(bias)));
                self.give(x, |s| s.push(Derivative::Conv2dGradX { dy, weight, window, groups }, s.shape(x)));
            }
            Op::Pool2d { x, f, window } => {
                self.give(x, |s| s.push(Derivative::Pool2dGrad { x, dy, f, window }, s.shape(x)));
            }
            Op::Embedding { tokens, weight } => {
                self.give(weight, |s| s.push(Derivative::EmbeddingGrad { tokens, dy }, s.shape(weight)));
            }
            Op::LayerNorm { x, weight, bias, eps } => {
                self.norm(x, weight, dy, eps, true);
                self.give(bias, |s| s.push(Derivative::ColumnSum { x: dy }, s.shape(bias)));
            }
            Op::RmsNorm { x, weight, eps } => self.norm(x, weight, dy, eps, false),
            Op::Rope { x, heads, width, base } => {
                self.give(x, |s| s.push(Derivative::RopeGrad { dy, heads, width, base }, s.shape(x)));
            }
            Op::Attention { qkv, heads } => self.give(qkv, |s| s.attention(qkv, y, dy, heads)),
            Op::Unary { f, x } => self.unary(f, x, y, dy),
            Op::Binary { f, a, b } => self.binary_gradients(f, a, b, y, dy),
            Op::Affine { x, scale, .. } => self.give(x, |s| s.affine(dy, scale)),
            Op::Clamp { x, min, max } => {
                self.give(x, |s| s.push(Derivative::ClampGrad { x, dy, min, max }, s.shape(x)));
            }
            Op::Where { condition, a, b } => {
                self.give(a, |s| s.push(Derivative::Mask { condition, dy, keep: true }, s.shape(a)));
                self.give(b, |s| s.push(Derivative::Mask { condition, dy, keep: false }, s.shape(b)));
            }
            Op::Softmax { x } => self.give(x, |s| s.push(Derivative::SoftmaxGrad { y, dy }, s.shape(x))),
            Op::Reduce { x, f: ReduceFn::Max, axis } => {
                self.give(x, |s| s.push(Derivative::MaxGrad { x, dy, axis }, s.shape(x)));
            }
            Op::Reduce { x, f, axis } => {
                let count = self.shape(x).dims[axis as usize];
                let scale = if f == ReduceFn::Mean { 1.0 / count as f32 } else { 1.0 };
                self.give(x, |s| s.push(Derivative::Expand { x: dy, axis, count, scale }, s.shape(x)));
            }
            Op::Reshape { x, .. } => {
                let shape = self.shape(x).dims;
                self.give(x, |s| s.push(Op::Reshape { x: dy, shape }, s.shape(x)));
            }
            Op::Transpose { x, axes } => {
                let mut inverse = vec![0; axes.len()];
                (0u32..).zip(&axes).for_each(|(to, &from)| inverse[from as usize] = to);
                self.give(x, |s| s.push(Op::Transpose { x: dy, axes: inverse }, s.shape(x)));
            }
            Op::Slice { x, axis, start, .. } => {
                let total = self.shape(x).dims[axis as usize];
                self.give(x, |s| s.push(Derivative::Pad { x: dy, axis, start, total }, s.shape(x)));
            }
            Op::Concat { a, b, axis } => {
                let [left, right] = [a, b].map(|id| self.shape(id).dims[axis as usize]);
                self.give(a, |s| s.push(Op::Slice { x: dy, axis, start: 0, end: left }, s.shape(a)));
                self.give(b, |s| s.push(Op::Slice { x: dy, axis, start: left, end: left + right }, s.shape(b)));
            }
            Op::Broadcast { x, axis, .. } => {
                self.give(x, |s| s.push(Op::Reduce { x: dy, f: ReduceFn::Sum, axis }, s.shape(x)));
            }
            Op::Repeat { x } => self.give(x, |s| s.push(Derivative::ColumnSum { x: dy }, s.shape(x))),
            Op::Dropout { x, p, stream } => self.give(x, |s| s.push(Op::Dropout { x: dy, p, stream }, s.shape(x))),
        }
    }

    /// Every gradient is a product again, of one of the three forms.
    fn matmul(&mut self, form: Form, a: NodeId, b: NodeId, dy: NodeId) {
        let (of_a, of_b) = match form {
            Form::Nn => ((Form::Nt, dy, b), (Form::Tn, a, dy)),
            Form::Nt => ((Form::Nn, dy, b), (Form::Tn, dy, a)),
            Form::Tn => ((Form::Nt, b, dy), (Form::Nn, a, dy)),
        };
        for (operand, (form, left, right)) in [(a, of_a), (b, of_b)] {
            self.give(operand, |s| s.push(Op::MatMul { form, a: left, b: right }, s.shape(operand)));
        }
    }

    fn norm(&mut self, x: NodeId, weight: NodeId, dy: NodeId, eps: f32, centred: bool) {
        self.give(weight, |s| s.push(Derivative::NormWeightGrad { x, dy, eps, centred }, s.shape(weight)));
        self.give(x, |s| s.push(Derivative::NormGrad { x, weight, dy, eps, centred }, s.shape(x)));
    }

    fn attention(&mut self, qkv: NodeId, y: NodeId, dy: NodeId, heads: Heads) -> NodeId {
        let mut per_head = self.shape(qkv);
        per_head.dims[1] = heads.count;
        let lse = self.push(Derivative::Second { of: y }, per_head);
        self.push(Derivative::AttentionGrad { qkv, y, dy, lse, heads }, self.shape(qkv))
    }

    fn unary(&mut self, f: UnaryFn, x: NodeId, y: NodeId, dy: NodeId) {
        let saved = match f {
            UnaryFn::Relu | UnaryFn::Tanh | UnaryFn::Sigmoid | UnaryFn::Exp | UnaryFn::Sqrt => y,
            UnaryFn::Gelu | UnaryFn::Silu | UnaryFn::Log => x,
        };
        self.give(x, |s| s.push(Derivative::UnaryGrad { f, saved, dy }, s.shape(x)));
    }

    fn binary_gradients(&mut self, f: BinaryFn, a: NodeId, b: NodeId, y: NodeId, dy: NodeId) {
        match f {
            BinaryFn::Add => {
                self.give(a, |_| dy);
                self.give(b, |s| s.summed_like(dy, b));
            }
            BinaryFn::Sub => {
                self.give(a, |_| dy);
                self.give(b, |s| {
                    let sum = s.summed_like(dy, b);
                    s.affine(sum, -1.0)
                });
            }
            BinaryFn::Mul => {
                self.give(a, |s| s.binary(BinaryFn::Mul, dy, b));
                self.give(b, |s| {
                    let product = s.binary(BinaryFn::Mul, dy, a);
                    s.summed_like(product, b)
                });
            }
            BinaryFn::Div => {
                self.give(a, |s| s.binary(BinaryFn::Div, dy, b));
                self.give(b, |s| {
                    let product = s.binary(BinaryFn::Mul, dy, y);
                    let quotient = s.binary(BinaryFn::Div, product, b);
                    let sum = s.summed_like(quotient, b);
                    s.affine(sum, -1.0)
                });
            }
            BinaryFn::Pow => {
                // d(a^b)/da = b a^b / a; d(a^b)/db = a^b ln a.
                self.give(a, |s| {
                    let product = s.binary(BinaryFn::Mul, dy, y);
                    let quotient = s.binary(BinaryFn::Div, product, a);
                    s.binary(BinaryFn::Mul, quotient, b)
                });
                self.give(b, |s| {
                    let log = s.push(Op::Unary { f: UnaryFn::Log, x: a }, s.shape(a));
                    let product = s.binary(BinaryFn::Mul, dy, y);
                    let product = s.binary(BinaryFn::Mul, product, log);
                    s.summed_like(product, b)
                });
            }
        }
    }

    /// The sum of `x` over what `like` was broadcast along.
    fn summed_like(&mut self, x: NodeId, like: NodeId) -> NodeId {
        if self.shape(x) == self.shape(like) {
            return x;
        }
        self.push(Derivative::ColumnSum { x }, self.shape(like))
    }

    fn affine(&mut self, x: NodeId, scale: f32) -> NodeId {
        self.push(Op::Affine { x, scale, shift: 0.0 }, self.shape(x))
    }

    fn binary(&mut self, f: BinaryFn, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::Binary { f, a, b }, self.shape(a))
    }

    fn give_optional(&mut self, target: Option<NodeId>, make: impl FnOnce(&mut Self, NodeId) -> NodeId) {
        if let Some(target) = target {
            self.give(target, |s| make(s, target));
        }
    }

    /// Adds a gradient to a node that needs one.
    fn give(&mut self, target: NodeId, make: impl FnOnce(&mut Self) -> NodeId) {
        if !self.wanted[target.index()] {
            return;
        }
        let gradient = make(self);
        let sum = match self.gradients[target.index()] {
            None => gradient,
            Some(earlier) => self.binary(BinaryFn::Add, earlier, gradient),
        };
        self.gradients[target.index()] = Some(sum);
    }

    fn shape(&self, id: NodeId) -> Shape {
        self.shapes[id.index()].clone()
    }

    fn push(&mut self, op: impl Into<Op>, shape: Shape) -> NodeId {
        self.nodes.push(op.into());
        self.shapes.push(shape);
        NodeId(self.nodes.len() as u32 - 1)
    }
}

impl From<Derivative> for Op {
    fn from(derivative: Derivative) -> Self {
        Op::Derivative(derivative)
    }
}
