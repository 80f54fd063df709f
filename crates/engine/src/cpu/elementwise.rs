//! Functions of one value or of pairs.

use potluck_graph::{BinaryFn, UnaryFn};

use crate::step::{dropout_hash, dropout_threshold};

/// `sqrt(2 / pi)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044_715;

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn unary(f: UnaryFn, x: f32) -> f32 {
    match f {
        UnaryFn::Relu => x.max(0.0),
        UnaryFn::Gelu => 0.5 * x * (1.0 + (GELU_SCALE * (x + GELU_CUBE * x * x * x)).tanh()),
        UnaryFn::Silu => x * sigmoid(x),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Sigmoid => sigmoid(x),
        UnaryFn::Exp => x.exp(),
        UnaryFn::Log => x.ln(),
        UnaryFn::Sqrt => x.sqrt(),
    }
}

/// The derivative, from what the graph saved: the result, or for GELU, SiLU and log the argument.
pub(super) fn slope(f: UnaryFn, saved: f32) -> f32 {
    match f {
        UnaryFn::Relu => {
            if saved > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        UnaryFn::Gelu => {
            let x = saved;
            let t = (GELU_SCALE * (x + GELU_CUBE * x * x * x)).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x)
        }
        UnaryFn::Silu => {
            let s = sigmoid(saved);
            s * (1.0 + saved * (1.0 - s))
        }
        UnaryFn::Tanh => 1.0 - saved * saved,
        UnaryFn::Sigmoid => saved * (1.0 - saved),
        UnaryFn::Exp => saved,
        UnaryFn::Log => 1.0 / saved,
        UnaryFn::Sqrt => 0.5 / saved,
    }
}

pub(super) fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o = f(*x));
}

pub(super) fn zip(x: &[&[f32]], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    out.iter_mut().zip(x[0].iter().zip(x[1])).for_each(|(o, (a, b))| *o = f(*a, *b));
}

pub(super) fn binary(f: BinaryFn, period: usize, x: &[&[f32]], out: &mut [f32]) {
    let pairs = |out: &mut [f32], f: &dyn Fn(f32, f32) -> f32| {
        for (out, a) in out.chunks_mut(period).zip(x[0].chunks(period)) {
            out.iter_mut().zip(a.iter().zip(x[1])).for_each(|(o, (a, b))| *o = f(*a, *b));
        }
    };
    match f {
        BinaryFn::Add => pairs(out, &|a, b| a + b),
        BinaryFn::Sub => pairs(out, &|a, b| a - b),
        BinaryFn::Mul => pairs(out, &|a, b| a * b),
        BinaryFn::Div => pairs(out, &|a, b| a / b),
        BinaryFn::Pow => pairs(out, &|a, b| a.powf(b)),
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
