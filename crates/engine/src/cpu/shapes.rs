//! Kernels that move or add up values without changing them: copies, sums, rotations.

use super::slices::{self, add};
use crate::{Copy, Kernel, Reduce};

pub(super) fn copy(copy: Copy, x: &[f32], out: &mut [f32]) {
    let Copy { dims, strides, offset, axis, start, end, scale_bits, add } = copy;
    let scale = f32::from_bits(scale_bits);
    let inner = dims[5] as usize;
    let mut index = [0u32; 6];
    for row in out.chunks_exact_mut(inner) {
        let base: i64 = (0..5).map(|d| i64::from(index[d]) * i64::from(strides[d])).sum::<i64>() + i64::from(offset);
        for (i, o) in row.iter_mut().enumerate() {
            index[5] = i as u32;
            let inside = (start..end).contains(&index[axis as usize]);
            let value = if inside { scale * x[(base + i as i64 * i64::from(strides[5])) as usize] } else { 0.0 };
            *o = if add { *o + value } else { value };
        }
        advance(&mut index, &dims);
    }
}

/// Counts the outer five dimensions up by one.
fn advance(index: &mut [u32; 6], dims: &[u32; 6]) {
    for d in (0..5).rev() {
        index[d] += 1;
        if index[d] < dims[d] {
            return;
        }
        index[d] = 0;
    }
}

pub(super) fn reduce(reduce: Reduce, x: &[f32], out: &mut [f32]) {
    let Reduce { outputs: _, inner, outer_stride, inner_stride, counts, strides, scale_bits } = reduce;
    let scale = f32::from_bits(scale_bits);
    let [inner, outer_stride, inner_stride] = [inner, outer_stride, inner_stride].map(|v| v as usize);
    let [counts, strides] = [counts, strides].map(|pair| pair.map(|v| v as usize));
    out.fill(0.0);
    // Neighbouring outputs are summed side by side: the inner loop walks memory in order.
    for (outer, group) in out.chunks_mut(inner).enumerate() {
        for i in 0..counts[0] {
            for j in 0..counts[1] {
                let base = outer * outer_stride + i * strides[0] + j * strides[1];
                match inner_stride {
                    1 => add(group, &x[base..]),
                    _ => {
                        let values = x[base..].iter().step_by(inner_stride.max(1));
                        group.iter_mut().zip(values).for_each(|(o, x)| *o += x);
                    }
                }
            }
        }
    }
    slices::scale(out, scale);
}

pub(super) fn rope(kernel: &Kernel, x: &[&[f32]], out: &mut [f32]) {
    let &Kernel::Rope { packed, positions, heads, width, inverse, .. } = kernel else {
        unreachable!("dispatched by its kind")
    };
    let (packed, half) = (packed as usize, width as usize / 2);
    let sign = if inverse { -1.0 } else { 1.0 };
    for (row, (out, x0)) in out.chunks_exact_mut(packed).zip(x[0].chunks_exact(packed)).enumerate() {
        out.copy_from_slice(x0);
        let turns = x[1][row % positions as usize * 2 * half..].chunks_exact(2).take(half);
        for (pair, turn) in turns.enumerate() {
            let (cos, sin) = (turn[0], sign * turn[1]);
            for head in 0..heads as usize {
                let at = head * width as usize + pair;
                let (a, b) = (x0[at], x0[at + half]);
                out[at] = a * cos - b * sin;
                out[at + half] = a * sin + b * cos;
            }
        }
    }
}
