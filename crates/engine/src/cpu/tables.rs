//! Embedding tables.

use super::slices::add;

pub(super) fn embedding([rows, width, period]: [u32; 3], x: &[&[f32]], out: &mut [f32]) {
    let (rows, width, period) = (rows as usize, width as usize, period as usize);
    for (row, (out, token)) in out.chunks_exact_mut(width).zip(&x[0][..rows]).enumerate() {
        out.copy_from_slice(&x[1][token.to_bits() as usize * width..][..width]);
        if period > 0 {
            let position = &x[2][row % period * width..][..width];
            add(out, position);
        }
    }
}

pub(super) fn embedding_grad([rows, width]: [u32; 2], x: &[&[f32]], out: &mut [f32]) {
    out.fill(0.0);
    for (token, dy) in x[0][..rows as usize].iter().zip(x[1].chunks_exact(width as usize)) {
        let row = &mut out[token.to_bits() as usize * width as usize..][..width as usize];
        add(row, dy);
    }
}
