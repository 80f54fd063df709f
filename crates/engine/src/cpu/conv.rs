//! Convolutions as matrix products over unfolded images, and pooling.

use potluck_graph::PoolFn;

use super::matmul::{Matrix, gemm};
use crate::ConvSizes;

/// Sizes as indices, with what is derived from them.
struct Geometry {
    group_c: usize,
    group_n: usize,
    /// Values of one unfolded window.
    taps: usize,
    /// Pixels of an output image.
    pixels: usize,
    sizes: ConvSizes,
}

impl Geometry {
    fn new(sizes: ConvSizes) -> Self {
        let group_c = (sizes.c / sizes.groups) as usize;
        let taps = group_c * (sizes.size * sizes.size) as usize;
        let pixels = (sizes.out_h * sizes.out_w) as usize;
        Self { group_c, group_n: (sizes.n / sizes.groups) as usize, taps, pixels, sizes }
    }

    /// Calls `each(position in the unfolded image, position in the group's image)` for every value
    /// of every window that lies inside.
    fn windows(&self, mut each: impl FnMut(usize, usize)) {
        let ConvSizes { h, w, out_h, out_w, size, stride, padding, .. } = self.sizes;
        for c in 0..self.group_c {
            for ky in 0..size {
                for kx in 0..size {
                    let tap = (c * size as usize + ky as usize) * size as usize + kx as usize;
                    for oy in 0..out_h {
                        let y = (oy * stride + ky).wrapping_sub(padding);
                        if y >= h {
                            continue;
                        }
                        for ox in 0..out_w {
                            let x = (ox * stride + kx).wrapping_sub(padding);
                            if x < w {
                                let pixel = (oy * out_w + ox) as usize;
                                each(
                                    tap * self.pixels + pixel,
                                    (c * h as usize + y as usize) * w as usize + x as usize,
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// For every image and group: index of the group, and where its input and output begin.
    fn groups(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let groups = self.sizes.groups as usize;
        let image = self.group_c * (self.sizes.h * self.sizes.w) as usize;
        let out = self.group_n * self.pixels;
        (0..self.sizes.batch as usize * groups).map(move |at| (at % groups, at * image, at * out))
    }
}

pub(super) fn forward(sizes: ConvSizes, x: &[&[f32]], bias: bool, relu: bool, out: &mut [f32]) {
    let g = Geometry::new(sizes);
    let mut unfolded = vec![0.0; g.taps * g.pixels];
    for (group, from, to) in g.groups() {
        let image = &x[0][from..];
        g.windows(|at, source| unfolded[at] = image[source]);
        let weight = Matrix::new(&x[1][group * g.group_n * g.taps..], g.taps, 1);
        let target = &mut out[to..][..g.group_n * g.pixels];
        gemm([g.group_n, g.pixels, g.taps], 1.0, weight, Matrix::new(&unfolded, g.pixels, 1), 0.0, target, g.pixels);
    }
    for (channel, plane) in out.chunks_exact_mut(g.pixels).enumerate() {
        if bias {
            let b = x[2][channel % sizes.n as usize];
            plane.iter_mut().for_each(|o| *o += b);
        }
        if relu {
            plane.iter_mut().for_each(|o| *o = o.max(0.0));
        }
    }
}

pub(super) fn grad_x(sizes: ConvSizes, x: &[&[f32]], out: &mut [f32]) {
    let g = Geometry::new(sizes);
    let mut unfolded = vec![0.0; g.taps * g.pixels];
    out.fill(0.0);
    for (group, from, to) in g.groups() {
        let weight = Matrix::new(&x[1][group * g.group_n * g.taps..], 1, g.taps);
        let dy = Matrix::new(&x[0][to..], g.pixels, 1);
        gemm([g.taps, g.pixels, g.group_n], 1.0, weight, dy, 0.0, &mut unfolded, g.pixels);
        let image = &mut out[from..];
        g.windows(|at, target| image[target] += unfolded[at]);
    }
}

pub(super) fn grad_weight(sizes: ConvSizes, x: &[&[f32]], out: &mut [f32]) {
    let g = Geometry::new(sizes);
    let mut unfolded = vec![0.0; g.taps * g.pixels];
    out.fill(0.0);
    for (group, from, to) in g.groups() {
        let image = &x[0][from..];
        g.windows(|at, source| unfolded[at] = image[source]);
        let dy = Matrix::new(&x[1][to..], g.pixels, 1);
        let target = &mut out[group * g.group_n * g.taps..][..g.group_n * g.taps];
        gemm([g.group_n, g.taps, g.pixels], 1.0, dy, Matrix::new(&unfolded, 1, g.pixels), 1.0, target, g.taps);
    }
}

/// Calls `each(output, inputs of its window)` for every window of every channel.
fn pool_windows(sizes: ConvSizes, mut each: impl FnMut(usize, &[usize])) {
    let ConvSizes { batch, c, h, w, out_h, out_w, size, stride, padding, .. } = sizes;
    let mut inside = Vec::with_capacity((size * size) as usize);
    for plane in 0..(batch * c) as usize {
        for o in 0..out_h * out_w {
            inside.clear();
            for k in 0..size * size {
                let y = (o / out_w * stride + k / size).wrapping_sub(padding);
                let x = (o % out_w * stride + k % size).wrapping_sub(padding);
                if y < h && x < w {
                    inside.push((plane * h as usize + y as usize) * w as usize + x as usize);
                }
            }
            each(plane * (out_h * out_w) as usize + o as usize, &inside);
        }
    }
}

fn first_largest(x: &[f32], window: &[usize]) -> usize {
    window.iter().copied().fold(window[0], |best, at| if x[at] > x[best] { at } else { best })
}

pub(super) fn pool(f: PoolFn, sizes: ConvSizes, x: &[f32], out: &mut [f32]) {
    let area = (sizes.size * sizes.size) as f32;
    pool_windows(sizes, |o, window| {
        out[o] = match f {
            PoolFn::Max => x[first_largest(x, window)],
            PoolFn::Average => window.iter().map(|&at| x[at]).sum::<f32>() / area,
        };
    });
}

pub(super) fn pool_grad(f: PoolFn, sizes: ConvSizes, x: &[&[f32]], out: &mut [f32]) {
    let area = (sizes.size * sizes.size) as f32;
    out.fill(0.0);
    pool_windows(sizes, |o, window| match f {
        PoolFn::Max => out[first_largest(x[0], window)] += x[1][o],
        PoolFn::Average => window.iter().for_each(|&at| out[at] += x[1][o] / area),
    });
}
