//! Matrix products on the processor, through matrixmultiply (AVX2 and FMA natively, simd128 in
//! wasm).

use super::elementwise::{slope, unary};
use crate::{Form, Kernel, Then};

/// A matrix inside a slice: first value, distance between rows, distance between columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(values: &'a [f32], row: usize, column: usize) -> Self {
        Self { values, row, column }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// `out = alpha a . b + beta out`: `a` is `(m, k)`, `b` is `(k, n)`, `out` is `(m, n)` with rows
/// `out_row` apart.
pub(super) fn gemm(
    [m, n, k]: [usize; 3],
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    beta: f32,
    out: &mut [f32],
    out_row: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && Matrix::new(out, out_row, 1).covers(m, n), "operands are large enough");
    // SAFETY: just asserted: every index that these shapes and strides reach lies inside its slice;
    // `out` is a unique borrow, so it overlaps neither operand, and its rows do not overlap each
    // other because every caller's `out_row` is at least `n`.
    #[allow(unsafe_code, reason = "the library's interface is raw pointers")]
    unsafe {
        let (a_at, b_at) = (a.values.as_ptr(), b.values.as_ptr());
        let (ar, ac, br, bc) = (a.row as isize, a.column as isize, b.row as isize, b.column as isize);
        matrixmultiply::sgemm(m, k, n, alpha, a_at, ar, ac, b_at, br, bc, beta, out.as_mut_ptr(), out_row as isize, 1);
    }
}

/// `out = then(a . b + bias)`; see [`Kernel::MatMul`].
pub(super) fn matmul(kernel: &Kernel, x: &[&[f32]], out: &mut [&mut [f32]]) {
    let &Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch } = kernel else {
        unreachable!("dispatched by its kind")
    };
    let [m, n, k, batch] = [m, n, k, batch].map(|d| d as usize);
    if batch > 1 {
        one_by_one(kernel, [m * k, k * n, m * n], x, out);
        return;
    }
    let (a, b) = match form {
        Form::Nn => (Matrix::new(x[0], k, 1), Matrix::new(x[1], n, 1)),
        Form::Nt => (Matrix::new(x[0], k, 1), Matrix::new(x[1], 1, k)),
        Form::Tn => (Matrix::new(x[0], 1, m), Matrix::new(x[1], n, 1)),
    };
    gemm([m, n, k], 1.0, a, b, 0.0, out[0], n);
    if bias {
        for row in out[0].chunks_exact_mut(n) {
            row.iter_mut().zip(x[2]).for_each(|(o, b)| *o += b);
        }
    }
    let extra = x.get(2 + usize::from(bias)).copied().unwrap_or_default();
    finish(then, extra, out);
    if row_sums {
        let sums = &mut *out[1];
        sums.fill(0.0);
        for row in x[0].chunks_exact(m).take(k) {
            sums.iter_mut().zip(row).for_each(|(s, a)| *s += a);
        }
    }
}

/// A batch of products, each as if it were alone; only Muon has them, without bias or sums.
fn one_by_one(kernel: &Kernel, [a_len, b_len, out_len]: [usize; 3], x: &[&[f32]], out: &mut [&mut [f32]]) {
    let &Kernel::MatMul { form, m, n, k, then, batch, .. } = kernel else { unreachable!("dispatched by its kind") };
    let one = Kernel::MatMul { form, m, n, k, bias: false, then, row_sums: false, batch: 1 };
    for at in 0..batch as usize {
        let mut operands = vec![&x[0][at * a_len..], &x[1][at * b_len..]];
        operands.extend(x.get(2).map(|extra| &extra[at * out_len..]));
        matmul(&one, &operands, &mut [&mut out[0][at * out_len..][..out_len]]);
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
            out[0].iter_mut().for_each(|o| *o = unary(f, *o));
        }
        Then::UnaryGrad { f } => out[0].iter_mut().zip(extra).for_each(|(o, saved)| *o *= slope(f, *saved)),
        Then::Add => out[0].iter_mut().zip(extra).for_each(|(o, e)| *o += e),
        Then::Blend { alpha_bits, beta_bits } => {
            let (alpha, beta) = (f32::from_bits(alpha_bits), f32::from_bits(beta_bits));
            out[0].iter_mut().zip(extra).for_each(|(o, e)| *o = alpha * *o + beta * e);
        }
    }
}
