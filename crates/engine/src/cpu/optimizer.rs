//! The optimizer's kernels over the arenas.

use super::lanes::{self, Lanes};
use super::slices::update_with;
use crate::{Kernel, Stack, kernel::NORM_PARTIALS, step::StepValues};

pub(super) fn norm_partials(mut gradients: &[f32], start: usize, out: &mut [f32]) {
    if start == 0 {
        out.fill(0.0);
    }
    let mut at = start % out.len();
    while !gradients.is_empty() {
        let (row, rest) = gradients.split_at(gradients.len().min(out.len() - at));
        update_with(&mut out[at..], row, |o, g| o + g * g);
        (gradients, at) = (rest, 0);
    }
}

pub(super) fn clip_scale(partials: &[f32], clip: f32) -> f32 {
    let norm = partials[..NORM_PARTIALS as usize].iter().sum::<f32>().sqrt();
    if norm > clip { clip / norm } else { 1.0 }
}

/// What an optimizer changes.
pub(super) struct State<'a> {
    pub(super) parameters: &'a mut [f32],
    pub(super) m: &'a mut [f32],
    pub(super) v: &'a mut [f32],
}

/// `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr (m c1 / (sqrt(v c2) + eps) + decay p)`
/// with `g` the clipped gradient, `c1` and `c2` the bias corrections, and decay on matrices only.
pub(super) fn adamw(kernel: &Kernel, state: State<'_>, gradients: &[f32], scale: f32, step: StepValues) {
    let &Kernel::AdamW { len, decay_len, constants, skip_start, skip_end } = kernel else {
        unreachable!("dispatched by its kind")
    };
    let [beta1, beta2, eps, weight_decay] = constants.map(f32::from_bits);
    let State { parameters, m, v } = state;
    let StepValues { lr, correction1, correction2, dropout: _ } = step;
    let [scale, lr, correction1, correction2, eps] = [scale, lr, correction1, correction2, eps].map(Lanes::splat);
    let [keep1, keep2, take1, take2] = [beta1, beta2, 1.0 - beta1, 1.0 - beta2].map(Lanes::splat);
    let mut part = |from: u32, to: u32, decay: f32| {
        let (from, to, decay) = (from as usize, to.max(from) as usize, Lanes::splat(decay));
        let [parameters, m, v] = [&mut parameters[from..to], &mut m[from..to], &mut v[from..to]]
            .map(|values| values.chunks_mut(lanes::COUNT));
        for (((p, m), v), gradient) in parameters.zip(m).zip(v).zip(gradients[from..to].chunks(lanes::COUNT)) {
            let g = Lanes::load_front(gradient) * scale;
            let first = keep1 * Lanes::load_front(m) + take1 * g;
            let second = keep2 * Lanes::load_front(v) + take2 * g * g;
            let before = Lanes::load_front(p);
            let step = first * correction1 / ((second * correction2).sqrt() + eps) + decay * before;
            first.store_front(m);
            second.store_front(v);
            (before - lr * step).store_front(p);
        }
    };
    part(0, skip_start, weight_decay);
    part(skip_end, decay_len, weight_decay);
    part(decay_len, len, 0.0);
}

/// `m <- mu m + g; p <- p - lr (g + mu m + decay p)` with `g` the clipped gradient.
pub(super) fn sgd(kernel: &Kernel, state: State<'_>, gradients: &[f32], scale: f32, step: StepValues) {
    let &Kernel::Sgd { decay_len, momentum_bits, decay_bits, .. } = kernel else {
        unreachable!("dispatched by its kind")
    };
    let (momentum, decay) = (f32::from_bits(momentum_bits), f32::from_bits(decay_bits));
    let State { parameters, m, v: _ } = state;
    for (index, ((p, m), gradient)) in (0u32..).zip(parameters.iter_mut().zip(m).zip(gradients)) {
        let g = gradient * scale;
        *m = momentum * *m + g;
        let decay = if index < decay_len { decay } else { 0.0 };
        *p -= step.lr * (g + momentum * *m + decay * *p);
    }
}

/// Where a matrix of a stack lies in its segment, and where in the stack.
struct Member {
    index: usize,
    offset: usize,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl Member {
    fn all(stack: Stack, table: &[f32]) -> impl Iterator<Item = Self> {
        table.chunks_exact(4).take(stack.count as usize).map(|row| {
            let [offset, rows, columns, place] = [0, 1, 2, 3].map(|at| row[at].to_bits() as usize);
            Self { index: place / 2, offset, rows, columns, transposed: place % 2 == 1 }
        })
    }

    /// Calls `each(index in the stack's matrix, index in the segment)` for every value.
    fn values(&self, m: usize, mut each: impl FnMut(usize, usize)) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                let inside = if self.transposed { column * m + row } else { row * m + column };
                each(inside, self.offset + row * self.columns + column);
            }
        }
    }
}

pub(super) fn muon_gather(
    stack: Stack,
    table: &[f32],
    gradients: &[f32],
    scale: f32,
    moment: &mut [f32],
    out: &mut [f32],
) {
    let (size, momentum) = ((stack.n * stack.m) as usize, f32::from_bits(stack.momentum_bits));
    for member in Member::all(stack, table) {
        let out = &mut out[member.index * size..][..size];
        out.fill(0.0);
        let mut square = 0.0;
        member.values(stack.m as usize, |inside, at| {
            let g = gradients[at] * scale;
            moment[at] = momentum * moment[at] + g;
            out[inside] = g + momentum * moment[at];
            square += out[inside] * out[inside];
        });
        let shrink = 1.0 / (square.sqrt() + 1e-7);
        out.iter_mut().for_each(|o| *o *= shrink);
    }
}

pub(super) fn muon_apply(stack: Stack, x: &[f32], table: &[f32], decay: f32, lr: f32, parameters: &mut [f32]) {
    let size = (stack.n * stack.m) as usize;
    for member in Member::all(stack, table) {
        let x = &x[member.index * size..][..size];
        let scale = 0.2 * (member.rows.max(member.columns) as f32).sqrt();
        member.values(stack.m as usize, |inside, at| {
            parameters[at] -= lr * (scale * x[inside] + decay * parameters[at]);
        });
    }
}
