//! Every kernel on the processor: the plain truth that the WGSL files are compared with.

use super::{StepValues, matmul::matmul};
use crate::{Kernel, kernel::NORM_PARTIALS};

/// Runs one kernel; shapes as in [`Kernel`]. AdamW has its own function, for it changes three
/// arenas.
pub(super) fn run(kernel: &Kernel, operands: &[&[f32]], out: &mut [f32]) {
    match *kernel {
        Kernel::MatMul { form, m, n, k, epilogue } => {
            matmul(form, [m, n, k].map(|d| d as usize), epilogue, operands, out);
        }
        Kernel::Relu { .. } => out.iter_mut().zip(operands[0]).for_each(|(o, x)| *o = x.max(0.0)),
        Kernel::ReluGrad { .. } => {
            let pairs = operands[0].iter().zip(operands[1]);
            out.iter_mut().zip(pairs).for_each(|(o, (y, dy))| *o = if *y > 0.0 { *dy } else { 0.0 });
        }
        Kernel::Add { .. } => {
            let pairs = operands[0].iter().zip(operands[1]);
            out.iter_mut().zip(pairs).for_each(|(o, (a, b))| *o = a + b);
        }
        Kernel::ColumnSum { rows, columns } => {
            out.fill(0.0);
            for row in operands[0].chunks_exact(columns as usize).take(rows as usize) {
                out.iter_mut().zip(row).for_each(|(o, x)| *o += x);
            }
        }
        Kernel::CrossEntropyStats { rows, classes } => cross_entropy(rows, classes, operands, |row, softmax, label| {
            let correct = first_largest(softmax.logits) == label;
            out[2 * row..][..2].copy_from_slice(&[softmax.loss(label), if correct { 1.0 } else { 0.0 }]);
        }),
        Kernel::CrossEntropyGrad { rows, classes } => cross_entropy(rows, classes, operands, |row, softmax, label| {
            let target = &mut out[row * classes as usize..][..classes as usize];
            for (class, (o, logit)) in target.iter_mut().zip(softmax.logits).enumerate() {
                let probability = (logit - softmax.max).exp() / softmax.sum;
                let hot = if class == label { 1.0 } else { 0.0 };
                *o = (probability - hot) / rows as f32;
            }
        }),
        Kernel::NormPartials { len } => {
            let gradients = &operands[0][..len as usize];
            for (partial, o) in out.iter_mut().enumerate() {
                *o = gradients.iter().skip(partial).step_by(NORM_PARTIALS as usize).map(|g| g * g).sum();
            }
        }
        Kernel::ClipScale { clip_bits } => {
            let sum: f32 = operands[0][..NORM_PARTIALS as usize].iter().sum();
            out[0] = clip_scale(sum, f32::from_bits(clip_bits));
        }
        Kernel::AdamW { .. } => unreachable!("the executor runs it over its arenas"),
    }
}

fn clip_scale(square_sum: f32, clip: f32) -> f32 {
    let norm = square_sum.sqrt();
    if norm > clip { clip / norm } else { 1.0 }
}

/// One row of logits with what its softmax needs.
struct Softmax<'a> {
    logits: &'a [f32],
    max: f32,
    sum: f32,
}

impl Softmax<'_> {
    fn loss(&self, label: usize) -> f32 {
        self.sum.ln() - (self.logits[label] - self.max)
    }
}

fn cross_entropy(rows: u32, classes: u32, operands: &[&[f32]], mut each: impl FnMut(usize, Softmax<'_>, usize)) {
    let labels = operands[1][..rows as usize].iter().map(|label| label.to_bits() as usize);
    for (row, (logits, label)) in operands[0].chunks_exact(classes as usize).zip(labels).enumerate() {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum = logits.iter().map(|logit| (logit - max).exp()).sum();
        each(row, Softmax { logits, max, sum }, label);
    }
}

fn first_largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
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
    StepValues { lr, correction1, correction2 }: StepValues,
) {
    let AdamState { parameters, m, v } = state;
    for (index, (((p, m), v), gradient)) in parameters.iter_mut().zip(m).zip(v).zip(gradients).enumerate() {
        let g = gradient * scale;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let decay = if index < decay_len { weight_decay } else { 0.0 };
        *p -= lr * (*m * correction1 / ((*v * correction2).sqrt() + eps) + decay * *p);
    }
}
