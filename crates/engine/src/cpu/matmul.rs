//! Matrix products on the processor, through matrixmultiply (AVX2 and FMA natively, simd128 in
//! wasm).

use crate::{Epilogue, Form};

/// `out = epilogue(a . b)`; shapes as in [`crate::Kernel::MatMul`].
pub(super) fn matmul(form: Form, [m, n, k]: [usize; 3], epilogue: Epilogue, operands: &[&[f32]], out: &mut [f32]) {
    let (a, b) = (&operands[0][..m * k], &operands[1][..k * n]);
    let ((a_row, a_column), (b_row, b_column)) = match form {
        Form::Nn => ((k, 1), (n, 1)),
        Form::Nt => ((k, 1), (1, k)),
        Form::Tn => ((1, m), (n, 1)),
    };
    assert_eq!(out.len(), m * n);
    // SAFETY: the slices above hold m x k and k x n values, `out` holds m x n, and the strides walk
    // exactly these rectangles; `out` is a unique borrow, so it overlaps neither.
    #[allow(unsafe_code, reason = "the library's interface is raw pointers")]
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            a_row as isize,
            a_column as isize,
            b.as_ptr(),
            b_row as isize,
            b_column as isize,
            0.0,
            out.as_mut_ptr(),
            n as isize,
            1,
        );
    }
    finish(epilogue, operands.get(2).copied().unwrap_or_default(), n, out);
}

fn finish(epilogue: Epilogue, extra: &[f32], n: usize, out: &mut [f32]) {
    match epilogue {
        Epilogue::None => {}
        Epilogue::Bias => {
            for row in out.chunks_exact_mut(n) {
                row.iter_mut().zip(extra).for_each(|(o, b)| *o += b);
            }
        }
        Epilogue::BiasRelu => {
            for row in out.chunks_exact_mut(n) {
                row.iter_mut().zip(extra).for_each(|(o, b)| *o = (*o + b).max(0.0));
            }
        }
        Epilogue::Mask => out.iter_mut().zip(extra).filter(|(_, y)| **y <= 0.0).for_each(|(o, _)| *o = 0.0),
    }
}
