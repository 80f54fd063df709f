//! Convolutions as matrix products over unfolded images, and pooling.

use std::ops::Range;

use potluck_graph::{PoolFn, UnaryFn};

use super::Scratch;
use super::elementwise::unary;
use super::gemm::{Matrix, Product, gemm};
use super::lanes::Lanes;
use super::slices::{add, update};
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

    /// Calls `each(run in the unfolded image, its first value in the group's image)` for every row of
    /// every tap that lies inside; a run's values are `stride` apart in the image.
    fn runs(&self, mut each: impl FnMut(Range<usize>, usize)) {
        let ConvSizes { h, w, out_h, out_w, size, stride, padding, .. } = self.sizes;
        for tap in 0..self.taps as u32 {
            let (c, ky, kx) = (tap / (size * size), tap / size % size, tap % size);
            // Columns of the result whose window has this tap inside of the image.
            let first = padding.saturating_sub(kx).div_ceil(stride);
            let end = (w + padding).saturating_sub(kx).div_ceil(stride).min(out_w);
            if first >= end {
                continue;
            }
            for oy in 0..out_h {
                let y = (oy * stride + ky).wrapping_sub(padding);
                if y < h {
                    let row = tap as usize * self.pixels + (oy * out_w) as usize;
                    let from = (c * h + y) as usize * w as usize + (first * stride + kx - padding) as usize;
                    each(row + first as usize..row + end as usize, from);
                }
            }
        }
    }

    /// `(taps, pixels)`: each column a window. What lies outside of the image stays as it is.
    fn unfold(&self, image: &[f32], unfolded: &mut [f32]) {
        let stride = self.sizes.stride as usize;
        self.runs(|run, from| {
            let run = &mut unfolded[run];
            match stride {
                1 => run.copy_from_slice(&image[from..][..run.len()]),
                _ => run.iter_mut().zip(image[from..].iter().step_by(stride)).for_each(|(o, x)| *o = *x),
            }
        });
    }

    /// Adds every window back to where it came from.
    fn fold(&self, unfolded: &[f32], image: &mut [f32]) {
        let stride = self.sizes.stride as usize;
        self.runs(|run, from| {
            let run = &unfolded[run];
            match stride {
                1 => add(&mut image[from..][..run.len()], run),
                _ => image[from..].iter_mut().step_by(stride).zip(run).for_each(|(o, x)| *o += x),
            }
        });
    }

    /// Room for an unfolded image, zero where nothing is unfolded to.
    fn room<'a>(&self, work: &'a mut Vec<f32>) -> &'a mut [f32] {
        work.clear();
        work.resize(self.taps * self.pixels, 0.0);
        work
    }

    /// For every image and group: index of the group, and where its input and output begin.
    fn groups(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let groups = self.sizes.groups as usize;
        let image = self.group_c * (self.sizes.h * self.sizes.w) as usize;
        let out = self.group_n * self.pixels;
        (0..self.sizes.batch as usize * groups).map(move |at| (at % groups, at * image, at * out))
    }
}

pub(super) fn forward(sizes: ConvSizes, x: &[&[f32]], [bias, relu]: [bool; 2], out: &mut [f32], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    let unfolded = g.room(&mut scratch.work[0]);
    for (group, from, to) in g.groups() {
        g.unfold(&x[0][from..], unfolded);
        let weight = Matrix::new(&x[1][group * g.group_n * g.taps..], g.taps, 1);
        let product = Product::new([g.group_n, g.pixels, g.taps], weight, Matrix::new(unfolded, g.pixels, 1));
        gemm(product, &mut out[to..][..g.group_n * g.pixels], g.pixels, &mut scratch.gemm);
    }
    for (channel, plane) in out.chunks_exact_mut(g.pixels).enumerate() {
        if bias {
            let b = Lanes::splat(x[2][channel % sizes.n as usize]);
            update(plane, |o| o + b);
        }
        if relu {
            unary(UnaryFn::Relu, plane);
        }
    }
}

pub(super) fn grad_x(sizes: ConvSizes, x: &[&[f32]], out: &mut [f32], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    let unfolded = g.room(&mut scratch.work[0]);
    out.fill(0.0);
    for (group, from, to) in g.groups() {
        let weight = Matrix::new(&x[1][group * g.group_n * g.taps..], 1, g.taps);
        let product = Product::new([g.taps, g.pixels, g.group_n], weight, Matrix::new(&x[0][to..], g.pixels, 1));
        gemm(product, unfolded, g.pixels, &mut scratch.gemm);
        g.fold(unfolded, &mut out[from..]);
    }
}

pub(super) fn grad_weight(sizes: ConvSizes, x: &[&[f32]], out: &mut [f32], scratch: &mut Scratch) {
    let g = Geometry::new(sizes);
    let unfolded = g.room(&mut scratch.work[0]);
    out.fill(0.0);
    for (group, from, to) in g.groups() {
        g.unfold(&x[0][from..], unfolded);
        let dy = Matrix::new(&x[1][to..], g.pixels, 1);
        let product = Product::new([g.group_n, g.taps, g.pixels], dy, Matrix::new(unfolded, 1, g.pixels)).added();
        let target = &mut out[group * g.group_n * g.taps..][..g.group_n * g.taps];
        gemm(product, target, g.taps, &mut scratch.gemm);
    }
}

/// What of a pooling window lies inside of its plane.
struct Clipped {
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
}

impl Clipped {
    fn each(&self, mut each: impl FnMut(usize)) {
        for y in self.rows.clone() {
            self.columns.clone().for_each(|x| each(y * self.width + x));
        }
    }

    fn first_largest(&self, plane: &[f32]) -> usize {
        let mut best = self.rows.start * self.width + self.columns.start;
        self.each(|at| {
            if plane[at] > plane[best] {
                best = at;
            }
        });
        best
    }

    fn sum(&self, plane: &[f32]) -> f32 {
        let mut sum = 0.0;
        self.each(|at| sum += plane[at]);
        sum
    }
}

/// Calls `each(plane, output in the plane, its window)` for every window of every channel.
fn pool_windows(sizes: ConvSizes, mut each: impl FnMut(usize, usize, &Clipped)) {
    let ConvSizes { batch, c, h, w, out_h, out_w, size, stride, padding, .. } = sizes;
    let clip = |o: u32, length: u32| {
        let from = o * stride;
        from.saturating_sub(padding) as usize..(from + size).saturating_sub(padding).min(length) as usize
    };
    for plane in 0..(batch * c) as usize {
        for oy in 0..out_h {
            let mut window = Clipped { rows: clip(oy, h), columns: 0..0, width: w as usize };
            for ox in 0..out_w {
                window.columns = clip(ox, w);
                each(plane, (oy * out_w + ox) as usize, &window);
            }
        }
    }
}

/// Values of a plane that goes in and of one that comes out.
fn plane_lens(sizes: ConvSizes) -> [usize; 2] {
    [(sizes.h * sizes.w) as usize, (sizes.out_h * sizes.out_w) as usize]
}

pub(super) fn pool(f: PoolFn, sizes: ConvSizes, x: &[f32], out: &mut [f32]) {
    let (area, [from, to]) = ((sizes.size * sizes.size) as f32, plane_lens(sizes));
    pool_windows(sizes, |plane, o, window| {
        let x = &x[plane * from..][..from];
        out[plane * to + o] = match f {
            PoolFn::Max => x[window.first_largest(x)],
            PoolFn::Average => window.sum(x) / area,
        };
    });
}

pub(super) fn pool_grad(f: PoolFn, sizes: ConvSizes, relu: bool, x: &[&[f32]], out: &mut [f32]) {
    let (area, [from, to]) = ((sizes.size * sizes.size) as f32, plane_lens(sizes));
    out.fill(0.0);
    pool_windows(sizes, |plane, o, window| {
        let (dy, out) = (x[1][plane * to + o], &mut out[plane * from..][..from]);
        match f {
            PoolFn::Max => out[window.first_largest(&x[0][plane * from..][..from])] += dy,
            PoolFn::Average => window.each(|at| out[at] += dy / area),
        }
    });
    if relu {
        out.iter_mut().zip(x[0]).for_each(|(out, x)| *out = if *x > 0.0 { *out } else { 0.0 });
    }
}
