//! Functions of one value or of pairs.

use potluck_graph::{BinaryFn, UnaryFn};

use super::lanes::Lanes;
use super::slices::{update, update_with, update_with_two};
use crate::step::{dropout_hash, dropout_threshold};

/// `sqrt(2 / pi)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044_715;

/// `2 u` of `gelu(x) = x (1 + tanh u) / 2 = x sigmoid(2 u)`.
#[inline(always)]
fn gelu_argument(x: Lanes) -> Lanes {
    Lanes::splat(2.0 * GELU_SCALE) * (x + Lanes::splat(GELU_CUBE) * x * x * x)
}

/// `out <- f(out)`.
pub(super) fn unary(f: UnaryFn, out: &mut [f32]) {
    match f {
        UnaryFn::Relu => update(out, |x| Lanes::splat(0.0).max(x)),
        UnaryFn::Gelu => update(out, |x| x * gelu_argument(x).sigmoid()),
        UnaryFn::Silu => update(out, |x| x * x.sigmoid()),
        UnaryFn::Tanh => update(out, Lanes::tanh),
        UnaryFn::Sigmoid => update(out, Lanes::sigmoid),
        UnaryFn::Exp => update(out, Lanes::exp),
        UnaryFn::Log => out.iter_mut().for_each(|x| *x = x.ln()),
        UnaryFn::Sqrt => update(out, Lanes::sqrt),
    }
}

/// `dy <- dy f'`, from what the graph saved: the result, or for GELU, SiLU and log the argument.
pub(super) fn unary_grad(f: UnaryFn, saved: &[f32], dy: &mut [f32]) {
    let one = Lanes::splat(1.0);
    match f {
        UnaryFn::Relu => update_with(dy, saved, |dy, y| Lanes::splat(0.0).or_beyond(y, 0.0, dy)),
        UnaryFn::Gelu => update_with(dy, saved, |dy, x| {
            let s = gelu_argument(x).sigmoid();
            let inner = Lanes::splat(2.0 * GELU_SCALE) * (one + Lanes::splat(3.0 * GELU_CUBE) * x * x);
            dy * (s + x * s * (one - s) * inner)
        }),
        UnaryFn::Silu => update_with(dy, saved, |dy, x| {
            let s = x.sigmoid();
            dy * (s * (one + x * (one - s)))
        }),
        UnaryFn::Tanh => update_with(dy, saved, |dy, y| dy * (one - y * y)),
        UnaryFn::Sigmoid => update_with(dy, saved, |dy, y| dy * (y * (one - y))),
        UnaryFn::Exp => update_with(dy, saved, |dy, y| dy * y),
        UnaryFn::Log => update_with(dy, saved, |dy, x| dy / x),
        UnaryFn::Sqrt => update_with(dy, saved, |dy, y| dy * (Lanes::splat(0.5) / y)),
    }
}

pub(super) fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o = f(*x));
}

pub(super) fn zip(x: &[&[f32]], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    out.iter_mut().zip(x[0].iter().zip(x[1])).for_each(|(o, (a, b))| *o = f(*a, *b));
}

/// `b` repeats every `period` values.
pub(super) fn binary(f: BinaryFn, period: usize, x: &[&[f32]], out: &mut [f32]) {
    for (out, a) in out.chunks_mut(period).zip(x[0].chunks(period)) {
        let pair = [a, x[1]];
        match f {
            BinaryFn::Add => update_with_two(out, pair, |_, a, b| a + b),
            BinaryFn::Sub => update_with_two(out, pair, |_, a, b| a - b),
            BinaryFn::Mul => update_with_two(out, pair, |_, a, b| a * b),
            BinaryFn::Div => update_with_two(out, pair, |_, a, b| a / b),
            BinaryFn::Pow => zip(&pair, out, f32::powf),
        }
    }
}

pub(super) fn select(x: &[&[f32]], out: &mut [f32]) {
    let choices = x[0].iter().zip(x[1].iter().zip(x[2]));
    out.iter_mut().zip(choices).for_each(|(o, (c, (a, b)))| *o = if *c > 0.0 { *a } else { *b });
}

pub(super) fn dropout(p: f32, stream: u32, seed: Option<u32>, x: &[f32], out: &mut [f32]) {
    let Some(seed) = seed else {
        out.copy_from_slice(&x[..out.len()]);
        return;
    };
    let (threshold, scale) = (dropout_threshold(p), 1.0 / (1.0 - p));
    for ((index, o), x) in (0u32..).zip(out).zip(x) {
        *o = if dropout_hash(seed, stream, index) < threshold { 0.0 } else { x * scale };
    }
}
