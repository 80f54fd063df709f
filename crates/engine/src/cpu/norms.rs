//! Layer norm and RMS norm with their gradients.

/// Mean (0 for RMS norm) and reciprocal spread of a row.
fn moments(row: &[f32], eps: f32, centred: bool) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = if centred { row.iter().sum::<f32>() / count } else { 0.0 };
    let square = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
    (mean, 1.0 / (square + eps).sqrt())
}

pub(super) fn norm(width: u32, eps_bits: u32, centred: bool, x: &[&[f32]], out: &mut [f32]) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    for (out, row) in out.chunks_exact_mut(width).zip(x[0].chunks_exact(width)) {
        let (mean, rstd) = moments(row, eps, centred);
        for ((o, x), weight) in out.iter_mut().zip(row).zip(x[1]) {
            *o = (x - mean) * rstd * weight;
        }
        if centred {
            out.iter_mut().zip(x[2]).for_each(|(o, b)| *o += b);
        }
    }
}

/// `dx = rstd (g - mean(g) - xhat mean(g xhat))` with `g = dy weight`; RMS norm has no `mean(g)`.
pub(super) fn grad(width: u32, eps_bits: u32, centred: bool, x: &[&[f32]], add: bool, out: &mut [f32]) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    let count = width as f32;
    let rows = x[0].chunks_exact(width).zip(x[2].chunks_exact(width));
    for (at, (out, (row, dy))) in out.chunks_exact_mut(width).zip(rows).enumerate() {
        let (mean, rstd) = moments(row, eps, centred);
        let terms = || row.iter().zip(dy).zip(x[1]).map(|((x, dy), weight)| ((x - mean) * rstd, dy * weight));
        let along = terms().map(|(xhat, g)| xhat * g).sum::<f32>() / count;
        let level = if centred { terms().map(|(_, g)| g).sum::<f32>() / count } else { 0.0 };
        out.iter_mut().zip(terms()).for_each(|(o, (xhat, g))| *o = rstd * (g - level - xhat * along));
        if add {
            out.iter_mut().zip(&x[3][at * width..]).for_each(|(o, a)| *o += a);
        }
    }
}

pub(super) fn weight_grad([rows, width]: [u32; 2], eps_bits: u32, centred: bool, x: &[&[f32]], out: &mut [&mut [f32]]) {
    let (width, eps) = (width as usize, f32::from_bits(eps_bits));
    out.iter_mut().for_each(|o| o.fill(0.0));
    for (row, dy) in x[0].chunks_exact(width).zip(x[1].chunks_exact(width)).take(rows as usize) {
        let (mean, rstd) = moments(row, eps, centred);
        out[0].iter_mut().zip(row.iter().zip(dy)).for_each(|(o, (x, dy))| *o += dy * (x - mean) * rstd);
        if let Some(bias) = out.get_mut(1) {
            bias.iter_mut().zip(dy).for_each(|(o, dy)| *o += dy);
        }
    }
}
