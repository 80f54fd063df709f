//! Softmax of rows, and the largest along a dimension.

pub(super) fn softmax(width: usize, x: &[f32], out: &mut [f32]) {
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        out.iter_mut().zip(x).for_each(|(o, x)| *o = (x - max).exp());
        let sum: f32 = out.iter().sum();
        out.iter_mut().for_each(|o| *o /= sum);
    }
}

/// Reads the result `y` and `dy`.
pub(super) fn softmax_grad(width: usize, x: &[&[f32]], out: &mut [f32]) {
    let rows = x[0].chunks_exact(width).zip(x[1].chunks_exact(width));
    for (out, (y, dy)) in out.chunks_exact_mut(width).zip(rows) {
        let along: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        out.iter_mut().zip(y.iter().zip(dy)).for_each(|(o, (y, dy))| *o = y * (dy - along));
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
