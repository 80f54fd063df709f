//! Functions of four values at a time, over whole slices. Where slices differ in length the shortest
//! one ends the work.

use super::lanes::{self, COUNT, Lanes};

// Every function is called in one place, so that it is compiled into the loop: the values that no
// whole chunk holds go through the same loop once more, filled up with zeros.

type Chunk = [f32; COUNT];

/// The whole chunks of a slice, and its end as at most one more.
#[inline(always)]
fn parts(values: &[f32]) -> (&[Chunk], [Chunk; 1]) {
    let (whole, rest) = values.as_chunks();
    (whole, [padded(rest)])
}

#[inline(always)]
fn padded(rest: &[f32]) -> Chunk {
    let mut chunk = [0.0; COUNT];
    if !rest.is_empty() {
        lanes::copy(rest, &mut chunk);
    }
    chunk
}

/// `out <- f(out)`.
#[inline(always)]
pub(super) fn update(out: &mut [f32], f: impl Fn(Lanes) -> Lanes) {
    let (out, rest) = out.as_chunks_mut();
    let (mut end, ends) = ([padded(rest)], usize::from(!rest.is_empty()));
    for out in [out, &mut end[..ends]] {
        for out in out {
            f(Lanes::load(out)).store(out);
        }
    }
    if ends > 0 {
        lanes::copy(&end[0], rest);
    }
}

/// `out <- f(out, x)`.
#[inline(always)]
pub(super) fn update_with(out: &mut [f32], x: &[f32], f: impl Fn(Lanes, Lanes) -> Lanes) {
    let len = out.len().min(x.len());
    let (out, rest) = out[..len].as_chunks_mut();
    let (mut end, ends) = ([padded(rest)], usize::from(!rest.is_empty()));
    let (x, x_end) = parts(&x[..len]);
    for (out, x) in [(out, x), (&mut end[..ends], &x_end)] {
        for (out, x) in out.iter_mut().zip(x) {
            f(Lanes::load(out), Lanes::load(x)).store(out);
        }
    }
    if ends > 0 {
        lanes::copy(&end[0], rest);
    }
}

/// `out <- f(out, a, b)`.
#[inline(always)]
pub(super) fn update_with_two(out: &mut [f32], [a, b]: [&[f32]; 2], f: impl Fn(Lanes, Lanes, Lanes) -> Lanes) {
    let len = out.len().min(a.len()).min(b.len());
    let (out, rest) = out[..len].as_chunks_mut();
    let (mut end, ends) = ([padded(rest)], usize::from(!rest.is_empty()));
    let ((a, a_end), (b, b_end)) = (parts(&a[..len]), parts(&b[..len]));
    for (out, a, b) in [(out, a, b), (&mut end[..ends], &a_end, &b_end)] {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            f(Lanes::load(out), Lanes::load(a), Lanes::load(b)).store(out);
        }
    }
    if ends > 0 {
        lanes::copy(&end[0], rest);
    }
}

/// Sum of `f(x, y)`, four partial sums side by side; `f(0, 0)` is 0.
#[inline(always)]
fn total(x: &[f32], y: &[f32], f: impl Fn(Lanes, Lanes) -> Lanes) -> f32 {
    let len = x.len().min(y.len());
    let ((x, x_end), (y, y_end)) = (parts(&x[..len]), parts(&y[..len]));
    let mut sums = Lanes::splat(0.0);
    for (x, y) in [(x, y), (&x_end, &y_end)] {
        for (x, y) in x.iter().zip(y) {
            sums = sums + f(Lanes::load(x), Lanes::load(y));
        }
    }
    sums.sum()
}

/// The sum.
pub(super) fn sum(x: &[f32]) -> f32 {
    total(x, x, |x, _| x)
}

/// Sum of products.
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    total(x, y, |x, y| x * y)
}

/// `out <- out + x`.
pub(super) fn add(out: &mut [f32], x: &[f32]) {
    update_with(out, x, |out, x| out + x);
}

/// The largest value, or negative infinity; NaN counts as nothing.
pub(super) fn largest(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks();
    let largest = whole.iter().fold(Lanes::splat(f32::NEG_INFINITY), |largest, x| largest.max(Lanes::load(x)));
    rest.iter().copied().fold(largest.largest(), f32::max)
}

/// `out <- e^(out - level)`.
pub(super) fn exp_below(out: &mut [f32], level: f32) {
    let level = Lanes::splat(level);
    update(out, |x| (x - level).exp());
}

/// `out <- out factor`.
pub(super) fn scale(out: &mut [f32], factor: f32) {
    let factor = Lanes::splat(factor);
    update(out, |x| x * factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_no_multiple_of_four() {
        for len in 0..10u16 {
            let x: Vec<f32> = (1..=len).map(f32::from).collect();
            assert_eq!(sum(&x), f32::from(len * (len + 1) / 2), "{len}");
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>(), "{len}");
            let below: Vec<f32> = x.iter().map(|x| -x).collect();
            assert_eq!(largest(&below), if len == 0 { f32::NEG_INFINITY } else { -1.0 }, "{len}");
            let mut out = x.clone();
            add(&mut out, &x);
            scale(&mut out, 0.5);
            assert_eq!(out, x, "{len}");
        }
    }
}
