//! The kernel of each single operation, with its sizes.

use potluck_graph::{Derivative, Heads, Loss, NodeId, Op, ReduceFn, Shape, TrainingGraph, Window};

use crate::{AttentionSizes, ConvSizes, Copy, Form, Kernel, Reduce, Then};

/// Sizes of the graph's tensors for one batch.
#[derive(Clone, Copy)]
pub(super) struct Sizes<'a> {
    pub(super) graph: &'a TrainingGraph,
    pub(super) batch: u32,
}

impl Sizes<'_> {
    fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.shapes[id.index()]
    }

    /// Values of a tensor; the plan has checked that they fit 32 bits.
    pub(super) fn len(&self, id: NodeId) -> u32 {
        self.shape(id).values_in(self.batch) as u32
    }

    /// The tensor as (rows, columns), columns being its last dimension.
    fn matrix(&self, id: NodeId) -> (u32, u32) {
        let columns = self.shape(id).last();
        (self.len(id) / columns, columns)
    }

    /// Dimensions with the batch in front where the tensor has one.
    fn dims(&self, id: NodeId) -> Vec<u32> {
        let shape = self.shape(id);
        shape.batched.then_some(self.batch).into_iter().chain(shape.dims.iter().copied()).collect()
    }

    pub(super) fn attention(&self, qkv: NodeId, heads: Heads) -> AttentionSizes {
        let Heads { count, kv_count, causal } = heads;
        let [t, packed] = [0, 1].map(|d| self.shape(qkv).dims[d]);
        let width = packed / (count + 2 * kv_count);
        AttentionSizes { batch: self.batch, t, heads: count, kv_heads: kv_count, width, causal }
    }

    fn conv(&self, x: &Shape, out: &Shape, window: Window, groups: u32) -> ConvSizes {
        let Window { size, stride, padding } = window;
        let (&[c, h, w], &[n, out_h, out_w]) = (x.dims.as_slice(), out.dims.as_slice()) else {
            unreachable!("validation saw images")
        };
        ConvSizes { batch: self.batch, c, h, w, n, out_h, out_w, size, stride, padding, groups }
    }

    fn pool(&self, x: &Shape, out: &Shape, window: Window) -> ConvSizes {
        self.conv(x, out, window, x.dims[0])
    }
}

/// The kernel of one node, and what it reads.
pub(super) fn single(s: Sizes<'_>, id: NodeId) -> (Kernel, Vec<NodeId>) {
    let op = &s.graph.nodes[id.index()];
    (kernel(s, id, op), op.operands())
}

fn kernel(s: Sizes<'_>, id: NodeId, op: &Op) -> Kernel {
    let len = s.len(id);
    match *op {
        Op::Linear { x, weight, bias } => {
            let ((m, k), n) = (s.matrix(x), s.shape(weight).dims[0]);
            matmul(Form::Nt, [m, n, k], bias.is_some())
        }
        Op::MatMul { form, a, .. } => products(s, id, form, a),
        Op::Conv2d { x, bias, window, groups, .. } => {
            Kernel::Conv2d { sizes: s.conv(s.shape(x), s.shape(id), window, groups), bias: bias.is_some(), relu: false }
        }
        Op::Pool2d { x, f, window } => Kernel::Pool2d { f, sizes: s.pool(s.shape(x), s.shape(id), window) },
        Op::Embedding { weight, .. } => {
            let (rows, width) = s.matrix(id);
            Kernel::Embedding { rows, width, vocabulary: s.shape(weight).dims[0], period: 0 }
        }
        Op::LayerNorm { x, eps, .. } => norm(s, x, eps, true),
        Op::RmsNorm { x, eps, .. } => norm(s, x, eps, false),
        Op::Rope { x, heads, width, base: _ } => rope(s, x, [heads, width], false),
        Op::Attention { qkv, heads } => Kernel::Attention { sizes: s.attention(qkv, heads) },
        Op::Unary { f, .. } => Kernel::Unary { f, len },
        Op::Binary { f, b, .. } => Kernel::Binary { f, len, period: s.len(b) },
        Op::Affine { scale, shift, .. } => {
            Kernel::Affine { len, scale_bits: scale.to_bits(), shift_bits: shift.to_bits() }
        }
        Op::Clamp { min, max, .. } => Kernel::Clamp { len, min_bits: min.to_bits(), max_bits: max.to_bits() },
        Op::Where { .. } => Kernel::Where { len },
        Op::Softmax { x } => {
            let (rows, width) = s.matrix(x);
            Kernel::Softmax { rows, width }
        }
        Op::Reduce { x, f: ReduceFn::Max, axis } => {
            let [outputs, inner, count] = reduced(s, x, axis);
            Kernel::Max { outputs, inner, count }
        }
        Op::Reduce { x, f, axis } => reduce(s, x, f, axis),
        Op::Reshape { .. } => plain_copy(len),
        Op::Transpose { x, ref axes } => Kernel::Copy(transpose(s, x, axes)),
        Op::Slice { x, axis, start, .. } => Kernel::Copy(slice(s, id, x, axis, start)),
        Op::Broadcast { x, axis, .. } => Kernel::Copy(expand(s, id, x, axis_of(s, x, axis), 1.0)),
        Op::Repeat { x } => Kernel::Copy(expand(s, id, x, 0, 1.0)),
        Op::Dropout { p, stream, .. } => Kernel::Dropout { len, p_bits: p.to_bits(), stream },
        Op::Derivative(ref derivative) => derivative_kernel(s, id, derivative),
        Op::Input { .. } | Op::Parameter { .. } | Op::Concat { .. } => unreachable!("lowered elsewhere"),
        Op::Custom(_) => unreachable!("a checked graph holds none"),
    }
}

fn derivative_kernel(s: Sizes<'_>, id: NodeId, derivative: &Derivative) -> Kernel {
    let len = s.len(id);
    match *derivative {
        Derivative::LossStats { loss } | Derivative::LossGrad { loss } => match loss {
            Loss::CrossEntropy { logits, .. } => {
                let (rows, classes) = s.matrix(logits);
                Kernel::CrossEntropy { rows, classes }
            }
            Loss::Mse { prediction, .. } => Kernel::Mse { len: s.len(prediction) },
            Loss::BinaryCrossEntropy { logits, .. } => Kernel::BinaryCrossEntropy { len: s.len(logits) },
        },
        Derivative::UnaryGrad { f, .. } => Kernel::UnaryGrad { f, len },
        Derivative::ClampGrad { min, max, .. } => {
            Kernel::ClampGrad { len, min_bits: min.to_bits(), max_bits: max.to_bits() }
        }
        Derivative::SoftmaxGrad { y, .. } => {
            let (rows, width) = s.matrix(y);
            Kernel::SoftmaxGrad { rows, width }
        }
        Derivative::MaxGrad { x, axis, .. } => {
            let [outputs, inner, count] = reduced(s, x, axis);
            Kernel::MaxGrad { outputs, inner, count }
        }
        Derivative::Mask { keep, .. } => Kernel::Mask { len, keep },
        Derivative::MatMulNn { a, b } => {
            let ((m, k), n) = (s.matrix(a), s.shape(b).dims[1]);
            matmul(Form::Nn, [m, n, k], false)
        }
        Derivative::MatMulTn { a, b } => {
            let ((k, m), (_, n)) = (s.matrix(a), s.matrix(b));
            matmul(Form::Tn, [m, n, k], false)
        }
        Derivative::ColumnSum { x } => {
            let rows = s.len(x) / len;
            Kernel::Reduce(Reduce { outer_stride: 0, inner: len, counts: [1, rows], strides: [0, len], ..sum_of(len) })
        }
        Derivative::ChannelSum { x } => {
            let dims = &s.shape(x).dims;
            let (c, pixels) = (dims[0], dims[1] * dims[2]);
            let (counts, strides) = ([s.batch, pixels], [c * pixels, 1]);
            Kernel::Reduce(Reduce { inner: c, inner_stride: pixels, outer_stride: 0, counts, strides, ..sum_of(c) })
        }
        Derivative::Expand { x, axis, scale, .. } => Kernel::Copy(expand(s, id, x, axis_of(s, x, axis), scale)),
        Derivative::Pad { x, axis, start, .. } => Kernel::Copy(pad(s, id, x, axis, start, false)),
        Derivative::EmbeddingGrad { dy, .. } => {
            let (rows, width) = s.matrix(dy);
            Kernel::EmbeddingGrad { rows, width, vocabulary: s.shape(id).dims[0] }
        }
        Derivative::NormGrad { x, eps, centred, .. } => {
            let (rows, width) = s.matrix(x);
            Kernel::NormGrad { rows, width, eps_bits: eps.to_bits(), centred, add: false }
        }
        Derivative::NormWeightGrad { x, eps, centred, .. } => {
            let (rows, width) = s.matrix(x);
            Kernel::NormWeightGrad { rows, width, eps_bits: eps.to_bits(), centred, bias: false }
        }
        Derivative::RopeGrad { dy, heads, width, base: _ } => rope(s, dy, [heads, width], true),
        Derivative::Conv2dGradX { dy, window, groups, .. } => {
            Kernel::Conv2dGradX { sizes: s.conv(s.shape(id), s.shape(dy), window, groups) }
        }
        Derivative::Conv2dGradWeight { x, dy, window, groups } => {
            Kernel::Conv2dGradWeight { sizes: s.conv(s.shape(x), s.shape(dy), window, groups) }
        }
        Derivative::Pool2dGrad { x, dy, f, window } => {
            Kernel::Pool2dGrad { f, sizes: s.pool(s.shape(x), s.shape(dy), window), relu: false }
        }
        Derivative::Second { .. } | Derivative::AttentionGrad { .. } => unreachable!("lowered elsewhere"),
    }
}

fn matmul(form: Form, [m, n, k]: [u32; 3], bias: bool) -> Kernel {
    Kernel::MatMul { form, m, n, k, bias, then: Then::Store, row_sums: false, batch: 1 }
}

/// One product for each index of the leading dimensions.
fn products(s: Sizes<'_>, id: NodeId, form: Form, a: NodeId) -> Kernel {
    let (left, out) = (&s.shape(a).dims, &s.shape(id).dims);
    let ([m, n], k) = (
        [out[out.len() - 2], s.shape(id).last()],
        if form == Form::Tn { left[left.len() - 2] } else { s.shape(a).last() },
    );
    let batch = s.len(id) / (m * n);
    Kernel::MatMul { form, m, n, k, bias: false, then: Then::Store, row_sums: false, batch }
}

fn norm(s: Sizes<'_>, x: NodeId, eps: f32, centred: bool) -> Kernel {
    let (rows, width) = s.matrix(x);
    Kernel::Norm { rows, width, eps_bits: eps.to_bits(), centred }
}

fn rope(s: Sizes<'_>, x: NodeId, [heads, width]: [u32; 2], inverse: bool) -> Kernel {
    let (rows, packed) = s.matrix(x);
    Kernel::Rope { rows, packed, positions: s.shape(x).dims[0], heads, width, inverse }
}

/// Cosine and sine of each position and pair, `(positions, width / 2, 2)`, rounded once from f64.
pub(super) fn rope_table(positions: u32, width: u32, base: f32) -> Vec<f32> {
    let angle = |position: u32, pair: u32| {
        f64::from(position) * f64::from(base).powf(-2.0 * f64::from(pair) / f64::from(width))
    };
    let pairs = (0..positions).flat_map(|position| (0..width / 2).map(move |pair| angle(position, pair)));
    pairs.flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]).collect()
}

fn sum_of(outputs: u32) -> Reduce {
    Reduce {
        outputs,
        inner: 1,
        outer_stride: 0,
        inner_stride: 1,
        counts: [1, 1],
        strides: [0, 0],
        scale_bits: 1f32.to_bits(),
    }
}

/// Outputs of a reduction, outputs next to each other, and values of each.
fn reduced(s: Sizes<'_>, x: NodeId, axis: u32) -> [u32; 3] {
    let (dims, at) = (s.dims(x), axis_of(s, x, axis));
    [s.len(x) / dims[at], dims[at + 1..].iter().product(), dims[at]]
}

fn reduce(s: Sizes<'_>, x: NodeId, f: ReduceFn, axis: u32) -> Kernel {
    let [outputs, inner, count] = reduced(s, x, axis);
    let scale = if f == ReduceFn::Mean { 1.0 / count as f32 } else { 1.0 };
    let (counts, strides) = ([1, count], [0, inner]);
    let scale_bits = scale.to_bits();
    Kernel::Reduce(Reduce { inner, outer_stride: count * inner, counts, strides, scale_bits, ..sum_of(outputs) })
}

/// As it is.
pub(super) fn plain_copy(len: u32) -> Kernel {
    Kernel::Copy(copy(&[len], &[1]))
}

/// A copy of these dimensions and strides, padded in front to six.
fn copy(dims: &[u32], strides: &[u32]) -> Copy {
    let mut out = Copy {
        dims: [1; 6],
        strides: [0; 6],
        offset: 0,
        axis: 0,
        start: 0,
        end: 1,
        scale_bits: 1f32.to_bits(),
        add: false,
    };
    out.dims[6 - dims.len()..].copy_from_slice(dims);
    out.strides[6 - dims.len()..].copy_from_slice(strides);
    out.end = out.dims[0];
    out
}

fn contiguous(dims: &[u32]) -> Vec<u32> {
    (0..dims.len()).map(|d| dims[d + 1..].iter().product()).collect()
}

/// The axis of an unbatched count, among the dimensions with the batch.
fn axis_of(s: Sizes<'_>, x: NodeId, axis: u32) -> usize {
    axis as usize + usize::from(s.shape(x).batched)
}

fn transpose(s: Sizes<'_>, x: NodeId, axes: &[u32]) -> Copy {
    let dims = s.dims(x);
    let strides = contiguous(&dims);
    let batched = s.shape(x).batched;
    let order: Vec<usize> = batched.then_some(0).into_iter().chain(axes.iter().map(|&a| axis_of(s, x, a))).collect();
    let pick = |of: &[u32]| order.iter().map(|&d| of[d]).collect::<Vec<_>>();
    copy(&pick(&dims), &pick(&strides))
}

fn slice(s: Sizes<'_>, id: NodeId, x: NodeId, axis: u32, start: u32) -> Copy {
    let strides = contiguous(&s.dims(x));
    let offset = (start * strides[axis_of(s, x, axis)]) as i32;
    Copy { offset, ..copy(&s.dims(id), &strides) }
}

/// Repeated along a dimension of the output that `x` does not have.
fn expand(s: Sizes<'_>, id: NodeId, x: NodeId, at: usize, scale: f32) -> Copy {
    let mut strides = contiguous(&s.dims(x));
    strides.insert(at, 0);
    Copy { scale_bits: scale.to_bits(), ..copy(&s.dims(id), &strides) }
}

fn pad(s: Sizes<'_>, id: NodeId, x: NodeId, axis: u32, start: u32, add: bool) -> Copy {
    let dims = s.dims(id);
    let strides = contiguous(&s.dims(x));
    let at = axis_of(s, x, axis);
    let offset = -((start * strides[at]) as i32);
    let in_six = (6 - dims.len() + at) as u32;
    Copy { offset, axis: in_six, start, end: start + s.dims(x)[at], add, ..copy(&dims, &strides) }
}

/// `a` with zeros behind it, then `b` on top.
pub(super) fn concat(s: Sizes<'_>, id: NodeId, a: NodeId, b: NodeId, axis: u32) -> [Kernel; 2] {
    let first = s.dims(a)[axis_of(s, a, axis)];
    [Kernel::Copy(pad(s, id, a, axis, 0, false)), Kernel::Copy(pad(s, id, b, axis, first, true))]
}
