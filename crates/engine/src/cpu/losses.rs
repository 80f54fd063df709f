//! Losses: each writes (loss, correct) of every row and the gradient of the mean.

use super::lanes::Lanes;
use super::slices::{exp_below, largest, scale, sum};

pub(super) fn cross_entropy(classes: usize, x: &[&[f32]], out: &mut [&mut [f32]]) {
    let [stats, grad] = out else { unreachable!("two outputs") };
    let rows = stats.len() / 2;
    let each = x[0].chunks_exact(classes).zip(x[1]).zip(stats.chunks_exact_mut(2)).zip(grad.chunks_exact_mut(classes));
    for (((logits, label), stats), grad) in each {
        let label = label.to_bits() as usize;
        let max = largest(logits);
        grad.copy_from_slice(logits);
        exp_below(grad, max);
        let sum = sum(grad);
        stats[0] = sum.ln() - (logits[label] - max);
        stats[1] = if first_largest(logits) == label { 1.0 } else { 0.0 };
        scale(grad, 1.0 / (sum * rows as f32));
        grad[label] -= 1.0 / rows as f32;
    }
}

fn first_largest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

pub(super) fn mse(x: &[&[f32]], out: &mut [&mut [f32]]) {
    let [stats, grad] = out else { unreachable!("two outputs") };
    let scale = 2.0 / grad.len() as f32;
    for (((stats, grad), p), t) in stats.chunks_exact_mut(2).zip(grad.iter_mut()).zip(x[0]).zip(x[1]) {
        stats.copy_from_slice(&[(p - t) * (p - t), 0.0]);
        *grad = (p - t) * scale;
    }
}

/// `log(1 + e^-|x|) + max(x, 0) - x t`: never overflows.
pub(super) fn binary_cross_entropy(x: &[&[f32]], out: &mut [&mut [f32]]) {
    let [stats, grad] = out else { unreachable!("two outputs") };
    let count = grad.len() as f32;
    for (((stats, grad), logit), t) in stats.chunks_exact_mut(2).zip(grad.iter_mut()).zip(x[0]).zip(x[1]) {
        let loss = (1.0 + (-logit.abs()).exp()).ln() + logit.max(0.0) - logit * t;
        let correct = (*logit > 0.0) == (*t > 0.5);
        stats.copy_from_slice(&[loss, if correct { 1.0 } else { 0.0 }]);
        *grad = (Lanes::splat(*logit).sigmoid().to_array()[0] - t) / count;
    }
}
