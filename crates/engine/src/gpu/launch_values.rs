//! Launches of the kernels over single values, copies and sums.

use potluck_graph::{BinaryFn, UnaryFn};

use super::launch::{Launch, row_grid, shader};
use crate::{Copy, Kernel, Reduce};

/// The grid over `len` values, 256 to a workgroup and one to an invocation.
pub(super) fn grid(len: u32) -> [u32; 3] {
    row_grid(len.div_ceil(256).max(1))
}

/// The function's number in the shaders.
pub(super) fn unary_code(f: UnaryFn) -> u32 {
    match f {
        UnaryFn::Relu => 0,
        UnaryFn::Gelu => 1,
        UnaryFn::Silu => 2,
        UnaryFn::Tanh => 3,
        UnaryFn::Sigmoid => 4,
        UnaryFn::Exp => 5,
        UnaryFn::Log => 6,
        UnaryFn::Sqrt => 7,
    }
}

fn binary_code(f: BinaryFn) -> u32 {
    match f {
        BinaryFn::Add => 0,
        BinaryFn::Sub => 1,
        BinaryFn::Mul => 2,
        BinaryFn::Div => 3,
        BinaryFn::Pow => 4,
    }
}

pub(super) fn launch(kernel: &Kernel) -> Launch {
    match *kernel {
        Kernel::Unary { f, len } => {
            Launch::new(shader!("unary"), 1, vec![len], grid(len)).with(&[("FUNCTION", unary_code(f))])
        }
        Kernel::UnaryGrad { f, len } => {
            Launch::new(shader!("unary_grad"), 2, vec![len], grid(len)).with(&[("FUNCTION", unary_code(f))])
        }
        Kernel::Binary { f, len, period } => {
            Launch::new(shader!("binary"), 2, vec![len, period], grid(len)).with(&[("FUNCTION", binary_code(f))])
        }
        Kernel::Affine { len, scale_bits, shift_bits } => {
            Launch::new(shader!("affine"), 1, vec![len, scale_bits, shift_bits], grid(len))
        }
        Kernel::Clamp { len, min_bits, max_bits } => {
            Launch::new(shader!("clamp"), 2, vec![len, min_bits, max_bits], grid(len)).with(&[("GRADIENT", 0)])
        }
        Kernel::ClampGrad { len, min_bits, max_bits } => {
            Launch::new(shader!("clamp"), 2, vec![len, min_bits, max_bits], grid(len)).with(&[("GRADIENT", 1)])
        }
        Kernel::Where { len } => Launch::new(shader!("where"), 3, vec![len], grid(len)),
        Kernel::Mask { len, keep } => {
            Launch::new(shader!("mask"), 2, vec![len], grid(len)).with(&[("KEEP", u32::from(keep))])
        }
        Kernel::Dropout { len, p_bits, stream } => {
            let p = f32::from_bits(p_bits);
            let words = vec![len, crate::step::dropout_threshold(p), stream, (1.0 / (1.0 - p)).to_bits()];
            Launch::new(shader!("dropout"), 1, words, grid(len)).stepped()
        }
        Kernel::Max { outputs, inner, count } => max([outputs, inner, count], false),
        Kernel::MaxGrad { outputs, inner, count } => max([outputs, inner, count], true),
        Kernel::Copy(copy) => strided_copy(copy),
        Kernel::Reduce(reduce) => sums(reduce),
        Kernel::Mse { len } => Launch::new(shader!("mse"), 2, vec![len], grid(len)).writing(2),
        Kernel::BinaryCrossEntropy { len } => {
            Launch::new(shader!("binary_cross_entropy"), 2, vec![len], grid(len)).writing(2)
        }
        _ => unreachable!("asked by its kind"),
    }
}

fn max(sizes: [u32; 3], gradient: bool) -> Launch {
    Launch::new(shader!("max"), 2, sizes.to_vec(), grid(sizes[0])).with(&[("GRADIENT", u32::from(gradient))])
}

fn strided_copy(copy: Copy) -> Launch {
    let Copy { dims, strides, offset, axis, start, end, scale_bits, add } = copy;
    let len = dims.iter().product();
    let mut words = vec![len, offset as u32, axis, start, end, scale_bits, 0, 0];
    words.extend(dims);
    words.extend([0, 0]);
    words.extend(strides);
    words.extend([0, 0]);
    Launch::new(shader!("copy"), 1, words, grid(len)).with(&[("ADD", u32::from(add))])
}

/// Few outputs with long sums get a workgroup each, many outputs an invocation each.
fn sums(reduce: Reduce) -> Launch {
    let Reduce { outputs, inner, outer_stride, inner_stride, counts, strides, scale_bits } = reduce;
    let long = counts[0] * counts[1] >= 64 && outputs < 4096;
    let mut words = vec![outputs, inner, outer_stride, inner_stride];
    words.extend(counts);
    words.extend(strides);
    words.push(scale_bits);
    match long {
        true => Launch::new(shader!("reduce_long"), 1, words, row_grid(outputs)),
        false => Launch::new(shader!("reduce"), 1, words, grid(outputs)),
    }
}
