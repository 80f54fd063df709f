//! The matrix product with what is fused to it: bias, a function or a term, sums of rows.

use super::Scratch;
use super::elementwise::{unary, unary_grad};
use super::gemm::{Matrix, Product, gemm};
use super::lanes::Lanes;
use super::slices::{add, update_with};
use crate::{Form, Kernel, Then};

/// `out = then(a . b + bias)`; see [`Kernel::MatMul`].
pub(super) fn matmul(kernel: &Kernel, x: &[&[f32]], out: &mut [&mut [f32]], scratch: &mut Scratch) {
    let &Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch } = kernel else {
        unreachable!("dispatched by its kind")
    };
    let [m, n, k, batch] = [m, n, k, batch].map(|d| d as usize);
    if batch > 1 {
        one_by_one(kernel, [m * k, k * n, m * n], x, out, scratch);
        return;
    }
    let (a, b) = match form {
        Form::Nn => (Matrix::new(x[0], k, 1), Matrix::new(x[1], n, 1)),
        Form::Nt => (Matrix::new(x[0], k, 1), Matrix::new(x[1], 1, k)),
        Form::Tn => (Matrix::new(x[0], 1, m), Matrix::new(x[1], n, 1)),
    };
    gemm(Product::new([m, n, k], a, b), out[0], n, &mut scratch.gemm);
    if bias {
        for row in out[0].chunks_exact_mut(n) {
            add(row, x[2]);
        }
    }
    let extra = x.get(2 + usize::from(bias)).copied().unwrap_or_default();
    finish(then, extra, out);
    if row_sums {
        let sums = &mut *out[1];
        sums.fill(0.0);
        for row in x[0].chunks_exact(m).take(k) {
            add(sums, row);
        }
    }
}

/// A batch of products, each as if it were alone; only Muon has them, without bias or sums.
fn one_by_one(
    kernel: &Kernel,
    [a_len, b_len, out_len]: [usize; 3],
    x: &[&[f32]],
    out: &mut [&mut [f32]],
    scratch: &mut Scratch,
) {
    let &Kernel::MatMul { form, m, n, k, then, batch, .. } = kernel else { unreachable!("dispatched by its kind") };
    let one = Kernel::MatMul { form, m, n, k, bias: false, then, row_sums: false, batch: 1 };
    for at in 0..batch as usize {
        let mut operands = vec![&x[0][at * a_len..], &x[1][at * b_len..]];
        operands.extend(x.get(2).map(|extra| &extra[at * out_len..]));
        matmul(&one, &operands, &mut [&mut out[0][at * out_len..][..out_len]], scratch);
    }
}

fn finish(then: Then, extra: &[f32], out: &mut [&mut [f32]]) {
    match then {
        Then::Store => {}
        Then::Unary { f, keep } => {
            if keep {
                let [out, kept] = out else { unreachable!("two outputs") };
                kept.copy_from_slice(out);
            }
            unary(f, out[0]);
        }
        Then::UnaryGrad { f } => unary_grad(f, extra, out[0]),
        Then::Add => add(out[0], extra),
        Then::Blend { alpha_bits, beta_bits } => {
            let [alpha, beta] = [alpha_bits, beta_bits].map(|bits| Lanes::splat(f32::from_bits(bits)));
            update_with(out[0], extra, |o, e| alpha * o + beta * e);
        }
    }
}
