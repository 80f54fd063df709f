//! The packed matrix product: operands are copied into panels that a register tile reads in
//! order, whatever their strides, so that NN, NT and TN cost the same.
//!
//! Blocks as in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

use super::gemm::{PANEL_VALUES, Product};
use super::tile::{COLUMNS, ROWS, Target, tile};

/// Length of a block's sums: a panel of `b` is 256 x 8 x 4 B = 8 KiB and stays in a first-level
/// cache beside the 4 KiB of `a` that pass by.
const DEPTH: usize = 256;
/// Rows of a block of `a`: 128 x 256 x 4 B = 128 KiB, a part of a second-level cache.
const BLOCK_ROWS: usize = 128;
/// Columns of a block of `b`: 512 x 256 x 4 B = 512 KiB.
const BLOCK_COLUMNS: usize = 512;

const _: () = assert!(PANEL_VALUES as usize == (BLOCK_ROWS + BLOCK_COLUMNS) * DEPTH);
const _: () = assert!(BLOCK_ROWS.is_multiple_of(ROWS) && BLOCK_COLUMNS.is_multiple_of(COLUMNS));

/// Where the panels lie between calls.
#[derive(Default)]
pub(super) struct Buffers {
    a: Vec<[f32; ROWS]>,
    b: Vec<[f32; COLUMNS]>,
}

/// Writes the product to `out`, whose rows are `out_row` apart.
pub(super) fn gemm(product: Product<'_>, out: &mut [f32], out_row: usize, buffers: &mut Buffers) {
    product.check(out, out_row);
    let Product { sizes: [m, n, k], a, b, alpha, add } = product;
    for k0 in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - k0);
        for n0 in (0..n).step_by(BLOCK_COLUMNS) {
            let columns = BLOCK_COLUMNS.min(n - n0);
            pack(&b.values[k0 * b.row + n0 * b.column..], [b.column, b.row], [columns, depth], &mut buffers.b);
            for m0 in (0..m).step_by(BLOCK_ROWS) {
                let rows = BLOCK_ROWS.min(m - m0);
                pack(&a.values[m0 * a.row + k0 * a.column..], [a.row, a.column], [rows, depth], &mut buffers.a);
                let target = Target { values: &mut out[m0 * out_row + n0..], row: out_row, alpha, add: add || k0 > 0 };
                block([rows, columns, depth], buffers, target);
            }
        }
    }
}

/// One block of the result from packed panels.
fn block([rows, columns, depth]: [usize; 3], buffers: &Buffers, target: Target<'_>) {
    let Target { values, row, alpha, add } = target;
    for (b, n0) in buffers.b.chunks_exact(depth).zip((0..columns).step_by(COLUMNS)) {
        for (a, m0) in buffers.a.chunks_exact(depth).zip((0..rows).step_by(ROWS)) {
            let (height, width) = (ROWS.min(rows - m0), COLUMNS.min(columns - n0));
            let values = &mut values[m0 * row + n0..];
            if (height, width) == (ROWS, COLUMNS) {
                tile(a, b, Target { values, row, alpha, add });
                continue;
            }
            let mut edge = [0.0; ROWS * COLUMNS];
            tile(a, b, Target { values: &mut edge, row: COLUMNS, alpha, add: false });
            for (values, edge) in values.chunks_mut(row).zip(edge.chunks_exact(COLUMNS)).take(height) {
                for (value, edge) in values.iter_mut().zip(edge).take(width) {
                    *value = if add { *value + edge } else { *edge };
                }
            }
        }
    }
}

/// Copies `lanes` lines of `depth` values into panels of `W` lines side by side, the last one
/// filled up with zeros. Strides are those from lane to lane and along a lane.
fn pack<const W: usize>(
    values: &[f32],
    [lane, along]: [usize; 2],
    [lanes, depth]: [usize; 2],
    panels: &mut Vec<[f32; W]>,
) {
    // Values that are left from other products are overwritten, padding included.
    panels.resize(lanes.div_ceil(W) * depth, [0.0; W]);
    for (panel, first) in panels.chunks_exact_mut(depth).zip((0..lanes).step_by(W)) {
        let (values, width) = (&values[first * lane..], W.min(lanes - first));
        if lane == 1 && width == W {
            for (at, out) in panel.iter_mut().enumerate() {
                out.copy_from_slice(&values[at * along..][..W]);
            }
        } else if along == 1 && width == W {
            let lines: [&[f32]; W] = std::array::from_fn(|line| &values[line * lane..][..depth]);
            for (at, out) in panel.iter_mut().enumerate() {
                *out = std::array::from_fn(|line| lines[line][at]);
            }
        } else {
            for (at, out) in panel.iter_mut().enumerate() {
                *out = std::array::from_fn(|line| if line < width { values[line * lane + at * along] } else { 0.0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::Matrix;

    fn values(stream: u64, count: usize) -> Vec<f32> {
        let mut random = potluck_graph::random::SplitMix64::new(stream);
        (0..count).map(|_| 2.0 * random.unit() - 1.0).collect()
    }

    /// Strides of a `(rows, columns)` matrix, lying as rows or as columns.
    fn strides([rows, columns]: [usize; 2], transposed: bool) -> [usize; 2] {
        if transposed { [1, rows] } else { [columns, 1] }
    }

    fn check(sizes: [usize; 3], transposed: [bool; 2], alpha: f32, add: bool) {
        let [m, n, k] = sizes;
        let (a, b) = (values(1, m * k), values(2, k * n));
        let ([ar, ac], [br, bc]) = (strides([m, k], transposed[0]), strides([k, n], transposed[1]));
        let out_row = n + 3;
        let before = values(3, m * out_row);
        let mut out = before.clone();
        let product = Product { sizes, a: Matrix::new(&a, ar, ac), b: Matrix::new(&b, br, bc), alpha, add };
        // Panels of an earlier, larger product must not shine through.
        let mut buffers = Buffers { a: vec![[f32::NAN; ROWS]; 999], b: vec![[f32::NAN; COLUMNS]; 999] };
        gemm(product, &mut out, out_row, &mut buffers);
        for row in 0..m {
            for column in 0..out_row {
                let at = row * out_row + column;
                if column >= n {
                    assert_eq!(out[at], before[at], "beside the result");
                    continue;
                }
                let terms = (0..k).map(|i| f64::from(a[row * ar + i * ac]) * f64::from(b[i * br + column * bc]));
                let start = if add { f64::from(before[at]) } else { 0.0 };
                let expected = start + f64::from(alpha) * terms.sum::<f64>();
                let error = (f64::from(out[at]) - expected).abs();
                assert!(error < 1e-4, "{sizes:?} {transposed:?} at {row}, {column}: {} for {expected}", out[at]);
            }
        }
    }

    #[test]
    fn every_form_and_every_edge_agrees_with_the_sums() {
        // Around a tile, around a block in each direction, and the thin shapes of small models.
        let shapes = [
            [1, 1, 1],
            [4, 8, 3],
            [5, 9, 2],
            [3, 7, 300],
            [8, 49, 9],
            [10, 65, 72],
            [129, 10, 257],
            [2, 515, 17],
            [131, 521, 5],
        ];
        for sizes in shapes {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                check(sizes, transposed, 1.0, false);
            }
            check(sizes, [false, true], 0.25, true);
        }
    }
}
