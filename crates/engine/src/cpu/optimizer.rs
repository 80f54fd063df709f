//! The optimizer's kernels over the arenas.

use crate::{kernel::NORM_PARTIALS, step::StepValues};

pub(super) fn norm_partials(gradients: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for row in gradients.chunks(NORM_PARTIALS as usize) {
        out.iter_mut().zip(row).for_each(|(o, g)| *o += g * g);
    }
}

pub(super) fn clip_scale(partials: &[f32], clip: f32) -> f32 {
    let norm = partials[..NORM_PARTIALS as usize].iter().sum::<f32>().sqrt();
    if norm > clip { clip / norm } else { 1.0 }
}

/// What AdamW changes.
pub(super) struct AdamState<'a> {
    pub(super) parameters: &'a mut [f32],
    pub(super) m: &'a mut [f32],
    pub(super) v: &'a mut [f32],
}

/// `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - lr (m c1 / (sqrt(v c2) + eps) + decay p)`
/// with `g` the clipped gradient, `c1` and `c2` the bias corrections, and decay on matrices only.
pub(super) fn adamw(
    state: AdamState<'_>,
    gradients: &[f32],
    scale: f32,
    decay_len: usize,
    [beta1, beta2, eps, weight_decay]: [f32; 4],
    step: StepValues,
) {
    let AdamState { parameters, m, v } = state;
    let StepValues { lr, correction1, correction2, dropout: _ } = step;
    let mut part = |from: usize, to: usize, decay: f32| {
        let all = parameters[from..to].iter_mut().zip(&mut m[from..to]).zip(&mut v[from..to]).zip(&gradients[from..to]);
        for (((p, m), v), gradient) in all {
            let g = gradient * scale;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p -= lr * (*m * correction1 / ((*v * correction2).sqrt() + eps) + decay * *p);
        }
    };
    let len = gradients.len();
    part(0, decay_len, weight_decay);
    part(decay_len, len, 0.0);
}
