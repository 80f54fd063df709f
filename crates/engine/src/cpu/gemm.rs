//! Matrix products over slices: matrixmultiply natively (AVX2 and FMA), our own packed product in
//! wasm. Callers see one function and know of neither.

#[cfg(target_arch = "wasm32")]
pub(super) use super::packed::{Buffers, gemm};
#[cfg(not(target_arch = "wasm32"))]
pub(super) use native::{Buffers, gemm};

/// Values of the packed product's panels at most, in wasm: a block of 128 rows and one of 512 columns,
/// 256 long.
pub(crate) const PANEL_VALUES: u64 = (128 + 512) * 256;

/// A matrix inside a slice: first value, distance between rows, distance between columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

/// `alpha a . b`: `a` is `(m, k)`, `b` is `(k, n)`; with `add` on top of what is there.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    /// `m`, `n`, `k`.
    pub(super) sizes: [usize; 3],
    pub(super) a: Matrix<'a>,
    pub(super) b: Matrix<'a>,
    pub(super) alpha: f32,
    pub(super) add: bool,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(values: &'a [f32], row: usize, column: usize) -> Self {
        Self { values, row, column }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

impl<'a> Product<'a> {
    /// `a . b`.
    pub(super) fn new(sizes: [usize; 3], a: Matrix<'a>, b: Matrix<'a>) -> Self {
        Self { sizes, a, b, alpha: 1.0, add: false }
    }

    pub(super) fn times(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    pub(super) fn added(self) -> Self {
        Self { add: true, ..self }
    }

    /// Every index that the sizes and strides reach lies in its slice; rows of `out` are `out_row`
    /// apart and do not overlap.
    pub(super) fn check(&self, out: &[f32], out_row: usize) {
        let [m, n, k] = self.sizes;
        assert!(self.a.covers(m, k) && self.b.covers(k, n), "operands are large enough");
        assert!(out_row >= n && Matrix::new(out, out_row, 1).covers(m, n), "the result is large enough");
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::{Matrix, Product};

    /// The library keeps its own.
    #[derive(Default)]
    pub(in crate::cpu) struct Buffers;

    /// Writes the product to `out`, whose rows are `out_row` apart.
    pub(in crate::cpu) fn gemm(product: Product<'_>, out: &mut [f32], out_row: usize, _: &mut Buffers) {
        product.check(out, out_row);
        let Product { sizes: [m, n, k], a, b, alpha, add } = product;
        let beta = if add { 1.0 } else { 0.0 };
        let strides = |matrix: Matrix<'_>| (matrix.row as isize, matrix.column as isize);
        let ((a_row, a_column), (b_row, b_column)) = (strides(a), strides(b));
        let (a, b, out_row) = (a.values.as_ptr(), b.values.as_ptr(), out_row as isize);
        // SAFETY: just checked: every index that these shapes and strides reach lies inside its
        // slice; `out` is a unique borrow, so it overlaps neither operand, and its rows do not
        // overlap each other.
        #[allow(unsafe_code, reason = "the library's interface is raw pointers")]
        unsafe {
            let out = out.as_mut_ptr();
            matrixmultiply::sgemm(m, k, n, alpha, a, a_row, a_column, b, b_row, b_column, beta, out, out_row, 1);
        }
    }
}
