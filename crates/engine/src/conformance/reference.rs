//! The slow truth in f64: every kernel as its definition says, and the training of a small network
//! written out by hand, without the graph crate's differentiation.

use potluck_graph::{batches, preset};

use super::Operand;
use crate::{Epilogue, Form, Kernel};

/// The output of a kernel.
pub(super) fn kernel(kernel: &Kernel, operands: &[Operand]) -> Vec<f64> {
    let x: Vec<Vec<f64>> = operands.iter().map(Operand::values).collect();
    match *kernel {
        Kernel::MatMul { form, m, n, k, epilogue } => {
            let [m, n, k] = [m, n, k].map(|d| d as usize);
            let product = matmul(form, &x[0], &x[1], [m, n, k]);
            let finish = |(at, sum): (usize, f64)| match epilogue {
                Epilogue::None => sum,
                Epilogue::Bias => sum + x[2][at % n],
                Epilogue::BiasRelu => (sum + x[2][at % n]).max(0.0),
                Epilogue::Mask => {
                    if x[2][at] > 0.0 {
                        sum
                    } else {
                        0.0
                    }
                }
            };
            product.into_iter().enumerate().map(finish).collect()
        }
        Kernel::Relu { .. } => x[0].iter().map(|v| v.max(0.0)).collect(),
        Kernel::ReluGrad { .. } => x[0].iter().zip(&x[1]).map(|(y, dy)| if *y > 0.0 { *dy } else { 0.0 }).collect(),
        Kernel::Add { .. } => x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect(),
        Kernel::ColumnSum { columns, .. } => column_sum(&x[0], columns as usize),
        Kernel::CrossEntropyStats { classes, .. } => {
            let stats = |(logits, label): (&[f64], &f64)| {
                let first_best = (0..logits.len()).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
                [loss(logits, *label as usize), if first_best == *label as usize { 1.0 } else { 0.0 }]
            };
            x[0].chunks(classes as usize).zip(&x[1]).flat_map(stats).collect()
        }
        Kernel::CrossEntropyGrad { classes, .. } => cross_entropy_grad(&x[0], &x[1], classes as usize),
        Kernel::NormPartials { .. } | Kernel::ClipScale { .. } | Kernel::AdamW { .. } => {
            unreachable!("the optimizer has its own cases")
        }
    }
}

fn matmul(form: Form, a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let at = |row: usize, p: usize| if form == Form::Tn { a[p * m + row] } else { a[row * k + p] };
    let bt = |p: usize, column: usize| if form == Form::Nt { b[column * k + p] } else { b[p * n + column] };
    (0..m * n).map(|o| (0..k).map(|p| at(o / n, p) * bt(p, o % n)).sum()).collect()
}

fn column_sum(x: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|c| x.iter().skip(c).step_by(columns).sum()).collect()
}

fn loss(logits: &[f64], label: usize) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln() - (logits[label] - max)
}

fn cross_entropy_grad(logits: &[f64], labels: &[f64], classes: usize) -> Vec<f64> {
    let rows = labels.len() as f64;
    let row = |(logits, label): (&[f64], &f64)| {
        let softmax: Vec<f64> = (0..classes).map(|c| (-loss(logits, c)).exp()).collect();
        let hot = *label as usize;
        softmax.into_iter().enumerate().map(move |(c, p)| (p - if c == hot { 1.0 } else { 0.0 }) / rows)
    };
    logits.chunks(classes).zip(labels).flat_map(row).collect()
}

/// `steps` AdamW steps with one and the same gradient.
pub(super) fn adamw(
    start: &[f32],
    gradient: &[f32],
    decay_len: usize,
    clip: f32,
    constants: [f32; 4],
    steps: i32,
) -> Vec<f64> {
    let gradient: Vec<f64> = gradient.iter().map(|g| f64::from(*g)).collect();
    let mut state = Adam::new(start);
    (0..steps).for_each(|_| state.step(&gradient, &|at| at < decay_len, clip, constants, 1e-2));
    state.parameters
}

struct Adam {
    parameters: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    t: i32,
}

impl Adam {
    fn new(start: &[f32]) -> Self {
        let parameters: Vec<f64> = start.iter().map(|p| f64::from(*p)).collect();
        Self { m: vec![0.0; parameters.len()], v: vec![0.0; parameters.len()], parameters, t: 0 }
    }

    fn step(&mut self, gradient: &[f64], decays: &dyn Fn(usize) -> bool, clip: f32, constants: [f32; 4], lr: f64) {
        let [beta1, beta2, eps, decay] = constants.map(f64::from);
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let scale = (f64::from(clip) / norm).min(1.0);
        self.t += 1;
        for (at, g) in gradient.iter().map(|g| g * scale).enumerate() {
            self.m[at] = beta1 * self.m[at] + (1.0 - beta1) * g;
            self.v[at] = beta2 * self.v[at] + (1.0 - beta2) * g * g;
            let (m, v) = (self.m[at] / (1.0 - beta1.powi(self.t)), self.v[at] / (1.0 - beta2.powi(self.t)));
            let pull = if decays(at) { decay * self.parameters[at] } else { 0.0 };
            self.parameters[at] -= lr * (m / (v.sqrt() + eps) + pull);
        }
    }
}

/// The case's five steps in f64: losses, then weights in the program's order.
pub(super) fn train(
    features: u32,
    hidden: &[u32],
    classes: u32,
    batch: u32,
    draw: fn(u64, usize) -> Vec<f32>,
) -> Vec<f64> {
    let program = preset::mlp(features, hidden, classes).expect("the case's sizes make a program");
    let widths: Vec<usize> = [&[features], hidden, &[classes]].concat().into_iter().map(|w| w as usize).collect();
    let samples = 3 * batch;
    let data = draw(21, (samples * features) as usize);
    let mut state = Adam::new(&program.initial(3));
    let mut seen = Vec::new();
    for rows in batches(9, samples, 5, batch) {
        let x = rows
            .iter()
            .flat_map(|r| &data[(r * features) as usize..][..features as usize])
            .map(|v| f64::from(*v))
            .collect();
        let labels: Vec<f64> = rows.iter().map(|row| f64::from(row * 5 % classes)).collect();
        let (loss, gradient, matrices) = gradients(&state.parameters, &widths, x, &labels);
        seen.push(loss);
        state.step(&gradient, &|at| matrices[at], 1.0, [0.9, 0.95, 1e-8, 0.1], f64::from(1e-2f32));
    }
    seen.extend(state.parameters);
    seen
}

/// Mean loss, gradient of every parameter, and whether each belongs to a matrix.
fn gradients(parameters: &[f64], widths: &[usize], x: Vec<f64>, labels: &[f64]) -> (f64, Vec<f64>, Vec<bool>) {
    let rows = labels.len();
    let mut activations = vec![x];
    let mut layers = Vec::new();
    let mut offset = 0;
    for pair in widths.windows(2) {
        let (k, n) = (pair[0], pair[1]);
        let (weight, bias) = parameters[offset..offset + n * k + n].split_at(n * k);
        let mut out = matmul(Form::Nt, &activations[layers.len()], weight, [rows, n, k]);
        let last = layers.len() + 2 == widths.len();
        for (at, value) in out.iter_mut().enumerate() {
            *value += bias[at % n];
            *value = if last { *value } else { value.max(0.0) };
        }
        activations.push(out);
        layers.push((offset, n, k));
        offset += n * k + n;
    }
    let classes = widths[widths.len() - 1];
    let logits = &activations[layers.len()];
    let mean = logits.chunks(classes).zip(labels).map(|(l, y)| loss(l, *y as usize)).sum::<f64>() / rows as f64;
    let mut gradient = vec![0.0; parameters.len()];
    let mut is_matrix = vec![false; parameters.len()];
    let mut dy = cross_entropy_grad(logits, labels, classes);
    for (index, (offset, n, k)) in layers.into_iter().enumerate().rev() {
        gradient[offset..offset + n * k].copy_from_slice(&matmul(Form::Tn, &dy, &activations[index], [n, k, rows]));
        is_matrix[offset..offset + n * k].fill(true);
        gradient[offset + n * k..offset + n * k + n].copy_from_slice(&column_sum(&dy, n));
        let dx = matmul(Form::Nn, &dy, &parameters[offset..offset + n * k], [rows, k, n]);
        dy = dx.into_iter().zip(&activations[index]).map(|(d, y)| if *y > 0.0 { d } else { 0.0 }).collect();
    }
    (mean, gradient, is_matrix)
}
