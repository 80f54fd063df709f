//! Every kernel on the processor, one family a file: the plain truth that the WGSL files are
//! compared with.

use super::{Scratch, attention, conv, elementwise, losses, matmul, norms, optimizer, rows, shapes, tables};
use crate::{Kernel, step::StepValues};

/// Runs one kernel; operands and outputs as in [`Kernel`]. Optimizers have their own functions, for
/// they change several arenas.
pub(super) fn run(kernel: &Kernel, x: &[&[f32]], out: &mut [&mut [f32]], step: StepValues, scratch: &mut Scratch) {
    match *kernel {
        Kernel::MatMul { .. } => matmul::matmul(kernel, x, out, scratch),
        Kernel::Conv2d { sizes, bias, relu } => conv::forward(sizes, x, [bias, relu], out[0], scratch),
        Kernel::Conv2dGradX { sizes } => conv::grad_x(sizes, x, out[0], scratch),
        Kernel::Conv2dGradWeight { sizes } => conv::grad_weight(sizes, x, out[0], scratch),
        Kernel::Pool2d { f, sizes } => conv::pool(f, sizes, x[0], out[0]),
        Kernel::Pool2dGrad { f, sizes, relu } => conv::pool_grad(f, sizes, relu, x, out[0]),
        Kernel::Embedding { rows, width, period, .. } => tables::embedding([rows, width, period], x, out[0]),
        Kernel::EmbeddingGrad { rows, width, .. } => tables::embedding_grad([rows, width], x, out[0]),
        Kernel::Norm { width, eps_bits, centred, .. } => norms::norm(width, eps_bits, centred, x, out[0]),
        Kernel::NormGrad { width, eps_bits, centred, add, .. } => {
            norms::grad(width, eps_bits, centred, x, add, out[0], &mut scratch.work[0]);
        }
        Kernel::NormWeightGrad { rows, width, eps_bits, centred, .. } => {
            norms::weight_grad([rows, width], eps_bits, centred, x, out, &mut scratch.work[0]);
        }
        Kernel::Rope { .. } => shapes::rope(kernel, x, out[0]),
        Kernel::Attention { sizes } => attention::forward(sizes, x[0], out, scratch),
        Kernel::AttentionGradQ { sizes } => attention::grad_q(sizes, x, out, scratch),
        Kernel::AttentionGradKv { sizes } => attention::grad_kv(sizes, x, out[0], scratch),
        Kernel::Unary { f, .. } => {
            out[0].copy_from_slice(&x[0][..out[0].len()]);
            elementwise::unary(f, out[0]);
        }
        Kernel::UnaryGrad { f, .. } => {
            out[0].copy_from_slice(&x[1][..out[0].len()]);
            elementwise::unary_grad(f, x[0], out[0]);
        }
        Kernel::Binary { f, period, .. } => elementwise::binary(f, period as usize, x, out[0]),
        Kernel::Affine { scale_bits, shift_bits, .. } => {
            let (scale, shift) = (f32::from_bits(scale_bits), f32::from_bits(shift_bits));
            elementwise::map(x[0], out[0], |x| scale * x + shift);
        }
        Kernel::Clamp { min_bits, max_bits, .. } => {
            let (min, max) = (f32::from_bits(min_bits), f32::from_bits(max_bits));
            elementwise::map(x[0], out[0], |x| x.max(min).min(max));
        }
        Kernel::ClampGrad { min_bits, max_bits, .. } => {
            let (min, max) = (f32::from_bits(min_bits), f32::from_bits(max_bits));
            elementwise::zip(x, out[0], |x, dy| if min <= x && x <= max { dy } else { 0.0 });
        }
        Kernel::Where { .. } => elementwise::select(x, out[0]),
        Kernel::Mask { keep, .. } => elementwise::zip(x, out[0], |c, dy| if (c > 0.0) == keep { dy } else { 0.0 }),
        Kernel::Dropout { p_bits, stream, .. } => {
            elementwise::dropout(f32::from_bits(p_bits), stream, step.dropout, x[0], out[0]);
        }
        Kernel::Softmax { width, .. } => rows::softmax(width as usize, x[0], out[0]),
        Kernel::SoftmaxGrad { width, .. } => rows::softmax_grad(width as usize, x, out[0]),
        Kernel::Max { inner, count, .. } => rows::max([inner, count], x[0], out[0]),
        Kernel::MaxGrad { inner, count, .. } => rows::max_grad([inner, count], x, out[0]),
        Kernel::Copy(copy) => shapes::copy(copy, x[0], out[0]),
        Kernel::Reduce(reduce) => shapes::reduce(reduce, x[0], out[0]),
        Kernel::CrossEntropy { classes, .. } => losses::cross_entropy(classes as usize, x, out),
        Kernel::Mse { .. } => losses::mse(x, out),
        Kernel::BinaryCrossEntropy { .. } => losses::binary_cross_entropy(x, out),
        Kernel::NormPartials { start, .. } => optimizer::norm_partials(x[0], start as usize, out[0]),
        Kernel::ClipScale { clip_bits } => out[0][0] = optimizer::clip_scale(x[0], f32::from_bits(clip_bits)),
        Kernel::AdamW { .. } | Kernel::Sgd { .. } | Kernel::MuonGather(_) | Kernel::MuonApply { .. } => {
            unreachable!("the executor runs them over its arenas")
        }
    }
}
