//! The slow truth in f64: every kernel as its definition says, written as plainly as possible and
//! without the executors' code.

use potluck_graph::{BinaryFn, PoolFn, UnaryFn};
use potluck_protocol::Optimizer;

use super::Operand;
use crate::{
    AttentionSizes, ConvSizes, Copy, Form, Kernel, Reduce, Then,
    step::{dropout_hash, dropout_threshold},
};

/// The outputs of a kernel. `dropout` is the step's seed.
pub(super) fn kernel(kernel: &Kernel, operands: &[Operand], dropout: u32) -> Vec<Vec<f64>> {
    let x: Vec<Vec<f64>> = operands.iter().map(Operand::values).collect();
    let bits = |b: u32| f64::from(f32::from_bits(b));
    let zip = |f: &dyn Fn(f64, f64) -> f64| vec![x[0].iter().zip(&x[1]).map(|(a, b)| f(*a, *b)).collect()];
    let map = |f: &dyn Fn(f64) -> f64| vec![x[0].iter().map(|v| f(*v)).collect()];
    match *kernel {
        Kernel::MatMul { .. } => matmul(kernel, &x),
        Kernel::Conv2d { sizes, bias, relu } => vec![conv(sizes, &x, bias, relu)],
        Kernel::Conv2dGradX { sizes } => vec![conv_grad_x(sizes, &x[0], &x[1])],
        Kernel::Conv2dGradWeight { sizes } => vec![conv_grad_weight(sizes, &x[0], &x[1])],
        Kernel::Pool2d { f, sizes } => vec![pool(f, sizes, &x[0])],
        Kernel::Pool2dGrad { f, sizes, relu } => vec![pool_grad(f, sizes, relu, &x[0], &x[1])],
        Kernel::Embedding { width, period, .. } => vec![embedding(width as usize, period as usize, &x)],
        Kernel::EmbeddingGrad { width, vocabulary, .. } => {
            let width = width as usize;
            let mut out = vec![0.0; vocabulary as usize * width];
            for (at, dy) in x[1].iter().enumerate() {
                out[x[0][at / width] as usize * width + at % width] += dy;
            }
            vec![out]
        }
        Kernel::Norm { width, eps_bits, centred, .. } => {
            let normalised = normalise(&x[0], width as usize, bits(eps_bits), centred).0;
            let bias = |at: usize| if centred { x[2][at % width as usize] } else { 0.0 };
            vec![normalised.iter().enumerate().map(|(at, v)| v * x[1][at % width as usize] + bias(at)).collect()]
        }
        Kernel::NormGrad { width, eps_bits, centred, add, .. } => {
            vec![norm_grad(&x, width as usize, bits(eps_bits), centred, add)]
        }
        Kernel::NormWeightGrad { width, eps_bits, centred, bias, .. } => {
            let width = width as usize;
            let normalised = normalise(&x[0], width, bits(eps_bits), centred).0;
            let products: Vec<f64> = normalised.iter().zip(&x[1]).map(|(n, dy)| n * dy).collect();
            let mut out = vec![column_sum(&products, width)];
            if bias {
                out.push(column_sum(&x[1], width));
            }
            out
        }
        Kernel::Rope { .. } => vec![rope(kernel, &x)],
        Kernel::Attention { sizes } => attention(sizes, &x[0]),
        Kernel::AttentionGradQ { .. } | Kernel::AttentionGradKv { .. } => unreachable!("attention has its own cases"),
        Kernel::Unary { f, .. } => map(&|v| unary(f, v)),
        Kernel::UnaryGrad { f, .. } => zip(&|saved, dy| dy * slope(f, saved)),
        Kernel::Binary { f, period, .. } => {
            let pairs = x[0].iter().enumerate().map(|(at, a)| binary(f, *a, x[1][at % period as usize]));
            vec![pairs.collect()]
        }
        Kernel::Affine { scale_bits, shift_bits, .. } => map(&|v| bits(scale_bits) * v + bits(shift_bits)),
        Kernel::Clamp { min_bits, max_bits, .. } => map(&|v| v.clamp(bits(min_bits), bits(max_bits))),
        Kernel::ClampGrad { min_bits, max_bits, .. } => {
            zip(&|v, dy| if (bits(min_bits)..=bits(max_bits)).contains(&v) { dy } else { 0.0 })
        }
        Kernel::Where { .. } => {
            vec![(0..x[0].len()).map(|at| if x[0][at] > 0.0 { x[1][at] } else { x[2][at] }).collect()]
        }
        Kernel::Mask { keep, .. } => zip(&|c, dy| if (c > 0.0) == keep { dy } else { 0.0 }),
        Kernel::Dropout { p_bits, stream, .. } => {
            let p = f32::from_bits(p_bits);
            let dropped = |at: usize| dropout_hash(dropout, stream, at as u32) < dropout_threshold(p);
            let keep = 1.0 / (1.0 - f64::from(p));
            vec![x[0].iter().enumerate().map(|(at, v)| if dropped(at) { 0.0 } else { v * keep }).collect()]
        }
        Kernel::Softmax { width, .. } => vec![softmax(&x[0], width as usize)],
        Kernel::SoftmaxGrad { width, .. } => {
            let width = width as usize;
            let along = |row: usize| (0..width).map(|c| x[0][row * width + c] * x[1][row * width + c]).sum::<f64>();
            vec![(0..x[0].len()).map(|at| x[0][at] * (x[1][at] - along(at / width))).collect()]
        }
        Kernel::Max { .. } => vec![max_places(kernel, &x[0]).into_iter().map(|at| x[0][at]).collect()],
        Kernel::MaxGrad { .. } => {
            let mut out = vec![0.0; x[0].len()];
            max_places(kernel, &x[0]).into_iter().zip(&x[1]).for_each(|(at, dy)| out[at] += dy);
            vec![out]
        }
        Kernel::Copy(c) => vec![copy(c, &x[0])],
        Kernel::Reduce(r) => vec![reduce(r, &x[0])],
        Kernel::CrossEntropy { classes, .. } => cross_entropy(&x[0], &x[1], classes as usize),
        Kernel::Mse { len } => {
            let stats = x[0].iter().zip(&x[1]).flat_map(|(p, t)| [(p - t).powi(2), 0.0]).collect();
            vec![stats, zip(&|p, t| 2.0 * (p - t) / f64::from(len)).remove(0)]
        }
        Kernel::BinaryCrossEntropy { len } => {
            let loss = |p: f64, t: f64| -(t * p.ln() + (1.0 - t) * (1.0 - p).ln());
            let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
            let right = |v: f64, t: f64| f64::from(u8::from((v > 0.0) == (t > 0.5)));
            let stats = x[0].iter().zip(&x[1]).flat_map(|(v, t)| [loss(sigmoid(*v), *t), right(*v, *t)]).collect();
            vec![stats, zip(&|v, t| (sigmoid(v) - t) / f64::from(len)).remove(0)]
        }
        Kernel::NormPartials { .. }
        | Kernel::ClipScale { .. }
        | Kernel::AdamW { .. }
        | Kernel::Sgd { .. }
        | Kernel::MuonGather(_)
        | Kernel::MuonApply { .. } => unreachable!("optimizers have their own cases"),
    }
}

fn matmul(kernel: &Kernel, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let &Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch } = kernel else {
        unreachable!("asked by its kind")
    };
    assert_eq!(batch, 1, "batches have their own case");
    let [m, n, k] = [m, n, k].map(|d| d as usize);
    let (a, b) = (&x[0], &x[1]);
    let at = |row: usize, p: usize| if form == Form::Tn { a[p * m + row] } else { a[row * k + p] };
    let bt = |p: usize, column: usize| if form == Form::Nt { b[column * k + p] } else { b[p * n + column] };
    let mut before: Vec<f64> = (0..m * n).map(|o| (0..k).map(|p| at(o / n, p) * bt(p, o % n)).sum()).collect();
    if bias {
        before.iter_mut().enumerate().for_each(|(o, v)| *v += x[2][o % n]);
    }
    let extra = |o: usize| x[2 + usize::from(bias)][o];
    let after = before.iter().enumerate().map(|(o, &v)| match then {
        Then::Store => v,
        Then::Unary { f, .. } => unary(f, v),
        Then::UnaryGrad { f } => v * slope(f, extra(o)),
        Then::Add => v + extra(o),
        Then::Blend { alpha_bits, beta_bits } => {
            f64::from(f32::from_bits(alpha_bits)) * v + f64::from(f32::from_bits(beta_bits)) * extra(o)
        }
    });
    let mut out = vec![after.collect()];
    if matches!(then, Then::Unary { keep: true, .. }) {
        out.push(before);
    }
    if row_sums {
        out.push((0..m).map(|row| (0..k).map(|p| at(row, p)).sum()).collect());
    }
    out
}

pub(super) fn unary(f: UnaryFn, x: f64) -> f64 {
    match f {
        UnaryFn::Relu => x.max(0.0),
        UnaryFn::Gelu => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        UnaryFn::Silu => x / (1.0 + (-x).exp()),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryFn::Exp => x.exp(),
        UnaryFn::Log => x.ln(),
        UnaryFn::Sqrt => x.sqrt(),
    }
}

/// By central differences where only the argument is saved: no formula to copy a mistake from.
fn slope(f: UnaryFn, saved: f64) -> f64 {
    let difference = |x: f64| (unary(f, x + 1e-6) - unary(f, x - 1e-6)) / 2e-6;
    match f {
        UnaryFn::Relu => f64::from(u8::from(saved > 0.0)),
        UnaryFn::Gelu | UnaryFn::Silu => difference(saved),
        UnaryFn::Log => 1.0 / saved,
        UnaryFn::Tanh => 1.0 - saved * saved,
        UnaryFn::Sigmoid => saved * (1.0 - saved),
        UnaryFn::Exp => saved,
        UnaryFn::Sqrt => 0.5 / saved,
    }
}

fn binary(f: BinaryFn, a: f64, b: f64) -> f64 {
    match f {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Pow => a.powf(b),
    }
}

fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    let sum = |row: &[f64]| row.iter().map(|v| v.exp()).sum::<f64>();
    x.chunks(width).flat_map(|row| row.iter().map(move |v| v.exp() / sum(row))).collect()
}

/// For each output where the first of the largest lies.
fn max_places(kernel: &Kernel, x: &[f64]) -> Vec<usize> {
    let (Kernel::Max { outputs, inner, count } | Kernel::MaxGrad { outputs, inner, count }) = *kernel else {
        unreachable!("asked by its kind")
    };
    let [outputs, inner, count] = [outputs, inner, count].map(|v| v as usize);
    let place = |o: usize, j: usize| (o / inner * count + j) * inner + o % inner;
    let first = |o: usize| {
        let largest = (0..count).map(|j| x[place(o, j)]).fold(f64::NEG_INFINITY, f64::max);
        (0..count).map(|j| place(o, j)).find(|&at| x[at] == largest).expect("one of them is the largest")
    };
    (0..outputs).map(first).collect()
}

fn column_sum(x: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|c| x.iter().skip(c).step_by(columns).sum()).collect()
}

/// Normalised rows, and the reciprocal spread of each.
fn normalise(x: &[f64], width: usize, eps: f64, centred: bool) -> (Vec<f64>, Vec<f64>) {
    let mut out = Vec::new();
    let mut spreads = Vec::new();
    for row in x.chunks(width) {
        let mean = if centred { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
        let square = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let spread = 1.0 / (square + eps).sqrt();
        out.extend(row.iter().map(|v| (v - mean) * spread));
        spreads.push(spread);
    }
    (out, spreads)
}

fn norm_grad(x: &[Vec<f64>], width: usize, eps: f64, centred: bool, add: bool) -> Vec<f64> {
    let (hat, spread) = normalise(&x[0], width, eps, centred);
    let mean = |values: &dyn Fn(usize) -> f64| (0..width).map(values).sum::<f64>() / width as f64;
    let value = |at: usize| {
        let (row, start) = (at / width, at / width * width);
        let g = |c: usize| x[2][start + c] * x[1][c];
        let along = mean(&|c| g(c) * hat[start + c]);
        let level = if centred { mean(&g) } else { 0.0 };
        let extra = if add { x[3][at] } else { 0.0 };
        spread[row] * (g(at - start) - level - hat[at] * along) + extra
    };
    (0..x[0].len()).map(value).collect()
}

fn embedding(width: usize, period: usize, x: &[Vec<f64>]) -> Vec<f64> {
    let position = |row: usize, c: usize| if period > 0 { x[2][row % period * width + c] } else { 0.0 };
    let value = |at: usize| x[1][x[0][at / width] as usize * width + at % width] + position(at / width, at % width);
    (0..x[0].len() * width).map(value).collect()
}

fn rope(kernel: &Kernel, x: &[Vec<f64>]) -> Vec<f64> {
    let &Kernel::Rope { packed, positions, heads, width, inverse, .. } = kernel else {
        unreachable!("asked by its kind")
    };
    let [packed, positions, heads, width] = [packed, positions, heads, width].map(|v| v as usize);
    let (x, table) = (&x[0], &x[1]);
    let value = |at: usize| {
        let (row, column) = (at / packed, at % packed);
        if column >= heads * width {
            return x[at];
        }
        let (within, half) = (column % width, width / 2);
        let turn = 2 * (row % positions * half + within % half);
        let (cos, sin) = (table[turn], if inverse { -table[turn + 1] } else { table[turn + 1] });
        if within < half { x[at] * cos - x[at + half] * sin } else { x[at - half] * sin + x[at] * cos }
    };
    (0..x.len()).map(value).collect()
}

/// Result and log-sum-exp.
pub(super) fn attention(sizes: AttentionSizes, qkv: &[f64]) -> Vec<Vec<f64>> {
    let AttentionSizes { batch, t, heads, kv_heads, width, causal } = sizes;
    let [batch, t, heads, kv_heads, width] = [batch, t, heads, kv_heads, width].map(|v| v as usize);
    let packed = sizes.packed() as usize;
    let at = |sample: usize, row: usize, head: usize, d: usize| qkv[(sample * t + row) * packed + head * width + d];
    let mut y = vec![0.0; batch * t * heads * width];
    let mut lse = vec![0.0; batch * t * heads];
    for index in 0..batch * t * heads {
        let (sample, row, head) = (index / (t * heads), index / heads % t, index % heads);
        let kv = heads + head / (heads / kv_heads);
        let seen = if causal { row + 1 } else { t };
        let score = |key: usize| {
            (0..width).map(|d| at(sample, row, head, d) * at(sample, key, kv, d)).sum::<f64>() / (width as f64).sqrt()
        };
        let weights: Vec<f64> = (0..seen).map(|key| score(key).exp()).collect();
        let total: f64 = weights.iter().sum();
        lse[index] = total.ln();
        for d in 0..width {
            let mixed =
                weights.iter().enumerate().map(|(key, weight)| weight / total * at(sample, key, kv + kv_heads, d));
            y[index * width + d] = mixed.sum();
        }
    }
    vec![y, lse]
}

fn copy(c: Copy, x: &[f64]) -> Vec<f64> {
    let len: u32 = c.dims.iter().product();
    let value = |flat: u32| {
        let mut rest = flat;
        let mut from = i64::from(c.offset);
        let mut inside = true;
        for d in (0..6).rev() {
            let index = rest % c.dims[d];
            rest /= c.dims[d];
            from += i64::from(index) * i64::from(c.strides[d]);
            inside &= d as u32 != c.axis || (c.start..c.end).contains(&index);
        }
        if inside { f64::from(f32::from_bits(c.scale_bits)) * x[from as usize] } else { 0.0 }
    };
    (0..len).map(value).collect()
}

fn reduce(r: Reduce, x: &[f64]) -> Vec<f64> {
    let value = |o: u32| {
        let base = o / r.inner * r.outer_stride + o % r.inner * r.inner_stride;
        let terms = (0..r.counts[0] * r.counts[1]).map(|at| {
            let (i, j) = (at / r.counts[1], at % r.counts[1]);
            x[(base + i * r.strides[0] + j * r.strides[1]) as usize]
        });
        f64::from(f32::from_bits(r.scale_bits)) * terms.sum::<f64>()
    };
    (0..r.outputs).map(value).collect()
}

fn cross_entropy(logits: &[f64], labels: &[f64], classes: usize) -> Vec<Vec<f64>> {
    let mut out = vec![Vec::new(), Vec::new()];
    for (logits, label) in logits.chunks(classes).zip(labels) {
        let label = *label as usize;
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_total = logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln() + max;
        let best = logits.iter().position(|l| *l == max);
        out[0].extend([log_total - logits[label], f64::from(u8::from(best == Some(label)))]);
        for (class, l) in logits.iter().enumerate() {
            out[1].push(((l - log_total).exp() - f64::from(u8::from(class == label))) / labels.len() as f64);
        }
    }
    out
}

/// Calls `each(index in x, index in weight, index in out)` for every product of a convolution.
fn conv_terms(s: ConvSizes, mut each: impl FnMut(usize, usize, usize)) {
    let (group_c, group_n) = (s.c / s.groups, s.n / s.groups);
    for o in 0..s.batch * s.n * s.out_h * s.out_w {
        let (ox, oy) = (o % s.out_w, o / s.out_w % s.out_h);
        let (n, image) = (o / (s.out_w * s.out_h) % s.n, o / (s.out_w * s.out_h * s.n));
        for tap in 0..group_c * s.size * s.size {
            let (kx, ky, c) = (tap % s.size, tap / s.size % s.size, tap / (s.size * s.size));
            let y = i64::from(oy * s.stride + ky) - i64::from(s.padding);
            let x = i64::from(ox * s.stride + kx) - i64::from(s.padding);
            if (0..i64::from(s.h)).contains(&y) && (0..i64::from(s.w)).contains(&x) {
                let plane = i64::from(image * s.c + n / group_n * group_c + c);
                let from = (plane * i64::from(s.h) + y) * i64::from(s.w) + x;
                each(from as usize, (n * group_c * s.size * s.size + tap) as usize, o as usize);
            }
        }
    }
}

fn conv(s: ConvSizes, x: &[Vec<f64>], bias: bool, relu: bool) -> Vec<f64> {
    let mut out = vec![0.0; s.output_len()];
    conv_terms(s, |from, weight, to| out[to] += x[0][from] * x[1][weight]);
    for (at, value) in out.iter_mut().enumerate() {
        if bias {
            *value += x[2][at / (s.out_h * s.out_w) as usize % s.n as usize];
        }
        *value = if relu { value.max(0.0) } else { *value };
    }
    out
}

fn conv_grad_x(s: ConvSizes, dy: &[f64], weight: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; s.input_len()];
    conv_terms(s, |from, tap, to| out[from] += dy[to] * weight[tap]);
    out
}

fn conv_grad_weight(s: ConvSizes, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; s.weight_len()];
    conv_terms(s, |from, tap, to| out[tap] += x[from] * dy[to]);
    out
}

/// A pooling is a convolution of each channel with itself alone: the same windows.
fn windows(s: ConvSizes) -> Vec<Vec<usize>> {
    let mut windows = vec![Vec::new(); s.output_len()];
    conv_terms(s, |from, _, to| windows[to].push(from));
    windows
}

fn first_largest(x: &[f64], window: &[usize]) -> usize {
    window.iter().copied().fold(window[0], |best, at| if x[at] > x[best] { at } else { best })
}

fn pool(f: PoolFn, s: ConvSizes, x: &[f64]) -> Vec<f64> {
    let area = f64::from(s.size * s.size);
    let value = |window: Vec<usize>| match f {
        PoolFn::Max => x[first_largest(x, &window)],
        PoolFn::Average => window.iter().map(|&at| x[at]).sum::<f64>() / area,
    };
    windows(s).into_iter().map(value).collect()
}

fn pool_grad(f: PoolFn, s: ConvSizes, relu: bool, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let area = f64::from(s.size * s.size);
    let mut out = vec![0.0; x.len()];
    for (window, dy) in windows(s).iter().zip(dy) {
        match f {
            PoolFn::Max => out[first_largest(x, window)] += dy,
            PoolFn::Average => window.iter().for_each(|&at| out[at] += dy / area),
        }
    }
    out.iter().zip(x).map(|(out, x)| if relu && *x <= 0.0 { 0.0 } else { *out }).collect()
}

/// Steps of an optimizer over whole parameters, one for each learning rate.
pub(super) fn optimizer_steps(optimizer: Optimizer, parameters: &[Trained], clip: f64, lrs: &[f64]) -> Vec<f64> {
    let norm = parameters.iter().flat_map(|p| &p.gradient).map(|g| g * g).sum::<f64>().sqrt();
    let scale = (clip / norm).min(1.0);
    let mut out = Vec::new();
    for parameter in parameters {
        let gradient: Vec<f64> = parameter.gradient.iter().map(|g| g * scale).collect();
        out.extend(train_one(optimizer, parameter, &gradient, lrs));
    }
    out
}

/// A parameter with a gradient that stays the same.
pub(super) struct Trained {
    pub(super) values: Vec<f64>,
    pub(super) gradient: Vec<f64>,
    pub(super) rows: usize,
    pub(super) matrix: bool,
    pub(super) layer_weight: bool,
}

fn train_one(optimizer: Optimizer, p: &Trained, gradient: &[f64], lrs: &[f64]) -> Vec<f64> {
    let mut values = p.values.clone();
    let mut m = vec![0.0; values.len()];
    let mut v = vec![0.0; values.len()];
    for (t, lr) in (1..).zip(lrs) {
        let (update, decay): (Vec<f64>, f32) = match optimizer {
            Optimizer::Muon { momentum, weight_decay, .. } if p.layer_weight => {
                let mu = f64::from(momentum);
                m.iter_mut().zip(gradient).for_each(|(m, g)| *m = mu * *m + g);
                let nesterov: Vec<f64> = gradient.iter().zip(&m).map(|(g, m)| g + mu * m).collect();
                let longer = p.rows.max(values.len() / p.rows) as f64;
                let orthogonal = orthogonalised(&nesterov, p.rows);
                (orthogonal.iter().map(|o| 0.2 * longer.sqrt() * o).collect(), weight_decay)
            }
            Optimizer::Adamw { beta1, beta2, eps, weight_decay }
            | Optimizer::Muon { beta1, beta2, eps, weight_decay, .. } => {
                let [beta1, beta2, eps] = [beta1, beta2, eps].map(f64::from);
                let one = |((m, v), g): ((&mut f64, &mut f64), &f64)| {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *m / (1.0 - beta1.powi(t)) / ((*v / (1.0 - beta2.powi(t))).sqrt() + eps)
                };
                (m.iter_mut().zip(&mut v).zip(gradient).map(one).collect(), weight_decay)
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                let mu = f64::from(momentum);
                m.iter_mut().zip(gradient).for_each(|(m, g)| *m = mu * *m + g);
                (gradient.iter().zip(&m).map(|(g, m)| g + mu * m).collect(), weight_decay)
            }
        };
        let decay = if p.matrix { f64::from(decay) } else { 0.0 };
        values.iter_mut().zip(update).for_each(|(p, u)| *p -= lr * (u + decay * *p));
    }
    values
}

/// Five Newton-Schulz steps, written out on the matrix as it lies.
fn orthogonalised(x: &[f64], rows: usize) -> Vec<f64> {
    let columns = x.len() / rows;
    let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-7;
    let mut x: Vec<f64> = x.iter().map(|v| v / norm).collect();
    let [a, b, c] = [3.4445f32, -4.7750, 2.0315].map(f64::from);
    for _ in 0..5 {
        // The Gram matrix on either side gives the same: X (X^T X) = (X X^T) X.
        let gram = |i: usize, j: usize| (0..columns).map(|k| x[i * columns + k] * x[j * columns + k]).sum::<f64>();
        let g: Vec<f64> = (0..rows * rows).map(|at| gram(at / rows, at % rows)).collect();
        let square = |i: usize, j: usize| (0..rows).map(|k| g[i * rows + k] * g[k * rows + j]).sum::<f64>();
        let p: Vec<f64> = (0..rows * rows).map(|at| b * g[at] + c * square(at / rows, at % rows)).collect();
        let mixed = |i: usize, j: usize| (0..rows).map(|k| p[i * rows + k] * x[k * columns + j]).sum::<f64>();
        x = (0..rows * columns).map(|at| a * x[at] + mixed(at / columns, at % columns)).collect();
    }
    x
}
