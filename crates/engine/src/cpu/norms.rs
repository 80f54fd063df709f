//! Layer norm and RMS norm with their gradients.

use super::lanes::Lanes;
use super::slices::{add, dot, sum, update_with, update_with_two};

/// A row's mean (0 for RMS norm) and reciprocal spread; `centre` gets the row without its mean.
fn centre(row: &[f32], eps: f32, centred: bool, out: &mut [f32]) -> f32 {
    let count = row.len() as f32;
    let mean = Lanes::splat(if centred { sum(row) / count } else { 0.0 });
    update_with(out, row, |_, x| x - mean);
    1.0 / (dot(out, out) / count + eps).sqrt()
}

pub(super) fn norm(width: u32, eps_bits: u32, centred: bool, x: &[&[f32]], out: &mut [f32]) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    for (out, row) in out.chunks_exact_mut(width).zip(x[0].chunks_exact(width)) {
        let rstd = Lanes::splat(centre(row, eps, centred, out));
        update_with(out, x[1], |o, weight| o * rstd * weight);
        if centred {
            add(out, x[2]);
        }
    }
}

/// `dx = rstd (g - mean(g) - xhat mean(g xhat))` with `g = dy weight`; RMS norm has no `mean(g)`.
/// `work` holds a row's `g`.
pub(super) fn grad(
    width: u32,
    eps_bits: u32,
    centred: bool,
    x: &[&[f32]],
    add_more: bool,
    out: &mut [f32],
    work: &mut Vec<f32>,
) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    let count = width as f32;
    work.resize(width, 0.0);
    let g = &mut work[..width];
    let rows = x[0].chunks_exact(width).zip(x[2].chunks_exact(width));
    for (at, (out, (row, dy))) in out.chunks_exact_mut(width).zip(rows).enumerate() {
        let rstd = centre(row, eps, centred, out);
        update_with_two(g, [dy, x[1]], |_, dy, weight| dy * weight);
        // `out` is `xhat / rstd` here.
        let along = Lanes::splat(dot(out, g) * rstd * rstd / count);
        let level = Lanes::splat(if centred { sum(g) / count } else { 0.0 });
        let rstd = Lanes::splat(rstd);
        update_with(out, g, |centred, g| rstd * (g - level - centred * along));
        if add_more {
            add(out, &x[3][at * width..]);
        }
    }
}

pub(super) fn weight_grad(
    [rows, width]: [u32; 2],
    eps_bits: u32,
    centred: bool,
    x: &[&[f32]],
    out: &mut [&mut [f32]],
    work: &mut Vec<f32>,
) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    work.resize(width, 0.0);
    let centre_of = &mut work[..width];
    out.iter_mut().for_each(|o| o.fill(0.0));
    for (row, dy) in x[0].chunks_exact(width).zip(x[1].chunks_exact(width)).take(rows as usize) {
        let rstd = Lanes::splat(centre(row, eps, centred, centre_of));
        update_with_two(out[0], [centre_of, dy], |o, x, dy| o + dy * x * rstd);
        if let Some(bias) = out.get_mut(1) {
            add(bias, dy);
        }
    }
}
