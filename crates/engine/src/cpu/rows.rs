//! Softmax of rows, and the largest along a dimension.

use super::lanes::Lanes;
use super::slices::{dot, exp_below, largest, scale, sum, update_with_two};

pub(super) fn softmax(width: usize, x: &[f32], out: &mut [f32]) {
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        out.copy_from_slice(x);
        exp_below(out, largest(x));
        scale(out, 1.0 / sum(out));
    }
}

/// Reads the result `y` and `dy`.
pub(super) fn softmax_grad(width: usize, x: &[&[f32]], out: &mut [f32]) {
    let rows = x[0].chunks_exact(width).zip(x[1].chunks_exact(width));
    for (out, (y, dy)) in out.chunks_exact_mut(width).zip(rows) {
        let along = Lanes::splat(dot(y, dy));
        update_with_two(out, [y, dy], |_, y, dy| y * (dy - along));
    }
}

pub(super) fn max([inner, count]: [u32; 2], x: &[f32], out: &mut [f32]) {
    let (inner, count) = (inner as usize, count as usize);
    for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner * count)) {
        for (at, o) in out.iter_mut().enumerate() {
            *o = x[first_largest(x, at, inner)];
        }
    }
}

pub(super) fn max_grad([inner, count]: [u32; 2], x: &[&[f32]], out: &mut [f32]) {
    let (inner, count) = (inner as usize, count as usize);
    out.fill(0.0);
    let groups = x[0].chunks_exact(inner * count).zip(x[1].chunks_exact(inner));
    for (out, (x, dy)) in out.chunks_exact_mut(inner * count).zip(groups) {
        for (at, dy) in dy.iter().enumerate() {
            out[first_largest(x, at, inner)] = *dy;
        }
    }
}

/// Among every `inner`th value from `first`.
fn first_largest(x: &[f32], first: usize, inner: usize) -> usize {
    (first..x.len()).step_by(inner).fold(first, |best, at| if x[at] > x[best] { at } else { best })
}
