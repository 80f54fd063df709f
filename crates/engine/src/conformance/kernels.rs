//! The kernel cases: odd shapes, sizes around a workgroup's, and every variant of a kernel.

use potluck_graph::{BinaryFn, PoolFn, UnaryFn};

use super::{
    Case, Engine, EngineError, Kernel, Operand, Tolerance, Work, Worst, compare, compare_scaled, reference, tolerance,
    values,
};
use crate::{AttentionSizes, ConvSizes, Copy, Dispatch, Form, Place, Plan, Reduce, Then, Tier, trainer::Bench};

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    matmuls(&mut all);
    values_cases(&mut all);
    copies(&mut all);
    images(&mut all);
    rows(&mut all);
    losses(&mut all);
    batches(&mut all);
    all
}

/// Values that a slot of a case has to spare.
const SPARE: usize = 320;

fn draw(stream: u64, count: u32) -> Operand {
    Operand::Values(values(stream, count as usize))
}

/// Values in [0.1, 2.1]: safe to divide by and to take the logarithm of.
fn positive(stream: u64, count: u32) -> Operand {
    Operand::Values(values(stream, count as usize).iter().map(|v| v + 1.1).collect())
}

fn kernel(kernel: Kernel, operands: Vec<Operand>) -> Case {
    Case {
        name: format!("{kernel:?}"),
        op: tolerance::op_of(&kernel).to_owned(),
        work: Work::Kernel { kernel, operands },
    }
}

fn matmuls(all: &mut Vec<Case>) {
    let gelu = UnaryFn::Gelu;
    for (seed, [m, n, k]) in
        (0u64..).zip([[1, 1, 1], [5, 3, 7], [33, 65, 17], [64, 64, 64], [70, 10, 131], [68, 132, 20], [33, 4, 100]])
    {
        for form in [Form::Nn, Form::Nt, Form::Tn] {
            for (bias, then, row_sums) in [
                (false, Then::Store, false),
                (false, Then::Store, form == Form::Tn),
                (true, Then::Unary { f: UnaryFn::Relu, keep: false }, false),
                (true, Then::Unary { f: gelu, keep: true }, false),
                (false, Then::UnaryGrad { f: gelu }, false),
                (true, Then::Add, false),
            ] {
                let stream = |s: u64| 1000 * seed + s;
                let mut operands = vec![draw(stream(1), m * k), draw(stream(2), k * n)];
                if bias {
                    operands.push(draw(stream(3), n));
                }
                if matches!(then, Then::UnaryGrad { .. } | Then::Add) {
                    operands.push(draw(stream(4), m * n));
                }
                let sizes = Kernel::MatMul { form, m, n, k, bias, then, row_sums, batch: 1 };
                all.push(kernel(sizes, operands));
            }
        }
    }
}

/// Products one after another, as Muon has them.
fn batches(all: &mut Vec<Case>) {
    for (form, then) in [
        (Form::Nt, Then::Store),
        (Form::Nn, Then::Blend { alpha_bits: 2f32.to_bits(), beta_bits: (-0.5f32).to_bits() }),
    ] {
        for [batch, m, n, k] in [[3, 5, 7, 9], [2, 33, 40, 64], [2, 68, 36, 20]] {
            let name = format!("matmul, {batch} of ({m}, {n}, {k}), {form:?}, {then:?}");
            let kernel = Kernel::MatMul { form, m, n, k, bias: false, then, row_sums: false, batch };
            all.push(Case { name, op: "matmul".to_owned(), work: Work::Batch { kernel } });
        }
    }
}

fn values_cases(all: &mut Vec<Case>) {
    for len in [1, 257, 300_001] {
        for f in UnaryFn::ALL {
            let x = if matches!(f, UnaryFn::Log | UnaryFn::Sqrt) { positive(1, len) } else { draw(1, len) };
            all.push(kernel(Kernel::Unary { f, len }, vec![x.clone()]));
            all.push(kernel(Kernel::UnaryGrad { f, len }, vec![x, draw(2, len)]));
        }
        let bits = |v: f32| v.to_bits();
        let (min_bits, max_bits) = (bits(-0.5), bits(0.25));
        all.push(kernel(Kernel::Affine { len, scale_bits: bits(-1.5), shift_bits: bits(0.25) }, vec![draw(3, len)]));
        all.push(kernel(Kernel::Clamp { len, min_bits, max_bits }, vec![draw(4, len)]));
        all.push(kernel(Kernel::ClampGrad { len, min_bits, max_bits }, vec![draw(4, len), draw(5, len)]));
        all.push(kernel(Kernel::Where { len }, vec![draw(6, len), draw(7, len), draw(8, len)]));
        for keep in [true, false] {
            all.push(kernel(Kernel::Mask { len, keep }, vec![draw(9, len), draw(10, len)]));
        }
        all.push(kernel(Kernel::Dropout { len, p_bits: bits(0.3), stream: 5 }, vec![draw(11, len)]));
    }
    for (len, period) in [(1, 1), (257, 257), (3 * 129, 129), (300_000, 50)] {
        for f in BinaryFn::ALL {
            let operands = vec![positive(12, len), positive(13, period)];
            all.push(kernel(Kernel::Binary { f, len, period }, operands));
        }
    }
}

fn copies(all: &mut Vec<Case>) {
    let plain = Copy {
        dims: [1, 1, 2, 3, 5, 7],
        strides: [0, 0, 105, 35, 7, 1],
        offset: 0,
        axis: 0,
        start: 0,
        end: 1,
        scale_bits: 1f32.to_bits(),
        add: false,
    };
    let transposed = Copy { dims: [1, 1, 2, 7, 3, 5], strides: [0, 0, 105, 1, 35, 7], ..plain };
    let expanded = Copy { strides: [0, 0, 21, 7, 0, 1], scale_bits: 0.5f32.to_bits(), ..plain };
    let padded = Copy {
        dims: [1, 1, 2, 3, 9, 7],
        strides: [0, 0, 105, 35, 7, 1],
        offset: -14,
        axis: 4,
        start: 2,
        end: 7,
        ..plain
    };
    let added = Copy { add: true, ..padded };
    let sliced = Copy { dims: [1, 1, 2, 3, 2, 7], offset: 14, ..plain };
    for copy in [plain, transposed, expanded, padded, sliced, added] {
        all.push(kernel(Kernel::Copy(copy), vec![draw(14, 210)]));
    }
    for [outputs, inner, count] in [[1, 1, 1], [6, 3, 5], [35, 1, 63], [300, 300, 4]] {
        // Whole numbers, so that equals occur.
        let x = values(48, (outputs * count) as usize).iter().map(|v| (4.0 * v).round()).collect();
        let (x, dy) = (Operand::Values(x), draw(49, outputs));
        all.push(kernel(Kernel::Max { outputs, inner, count }, vec![x.clone()]));
        all.push(kernel(Kernel::MaxGrad { outputs, inner, count }, vec![x, dy]));
    }
    let sum = Reduce {
        outputs: 1,
        inner: 1,
        outer_stride: 0,
        inner_stride: 1,
        counts: [1, 1],
        strides: [0, 1],
        scale_bits: 1f32.to_bits(),
    };
    let columns = Reduce { outputs: 65, inner: 65, counts: [1, 257], strides: [0, 65], ..sum };
    let channels = Reduce { outputs: 3, inner: 3, inner_stride: 35, counts: [4, 35], strides: [105, 1], ..sum };
    let axis = Reduce {
        outputs: 14,
        inner: 7,
        outer_stride: 35,
        counts: [1, 5],
        strides: [0, 7],
        scale_bits: 0.2f32.to_bits(),
        ..sum
    };
    let many = Reduce { outputs: 5000, inner: 5000, counts: [1, 3], strides: [0, 5000], ..sum };
    let total = Reduce { counts: [1, 1000], ..sum };
    for (reduce, len) in [(sum, 1), (columns, 65 * 257), (channels, 4 * 105), (axis, 70), (many, 15_000), (total, 1000)]
    {
        all.push(kernel(Kernel::Reduce(reduce), vec![draw(15, len)]));
    }
}

fn sizes([batch, c, h, w, n]: [u32; 5], [size, stride, padding, groups]: [u32; 4]) -> ConvSizes {
    let out = |side: u32| (side + 2 * padding - size) / stride + 1;
    ConvSizes { batch, c, h, w, n, out_h: out(h), out_w: out(w), size, stride, padding, groups }
}

fn images(all: &mut Vec<Case>) {
    let convs = [
        sizes([1, 1, 1, 1, 1], [1, 1, 0, 1]),
        sizes([2, 3, 7, 9, 5], [3, 1, 1, 1]),
        sizes([3, 4, 8, 6, 6], [3, 2, 1, 2]),
        sizes([2, 6, 11, 11, 6], [5, 3, 2, 6]),
        sizes([4, 8, 14, 14, 16], [3, 1, 1, 1]),
        sizes([2, 4, 9, 13, 6], [5, 1, 2, 2]),
        sizes([1, 3, 6, 10, 2], [4, 1, 0, 1]),
    ];
    for s in convs {
        let [x, weight, dy] = [s.input_len(), s.weight_len(), s.output_len()].map(|len| len as u32);
        for (bias, relu) in [(false, false), (true, true)] {
            let mut operands = vec![draw(20, x), draw(21, weight)];
            operands.extend(bias.then(|| draw(22, s.n)));
            all.push(kernel(Kernel::Conv2d { sizes: s, bias, relu }, operands));
        }
        all.push(kernel(Kernel::Conv2dGradX { sizes: s }, vec![draw(23, dy), draw(21, weight)]));
        all.push(kernel(Kernel::Conv2dGradWeight { sizes: s }, vec![draw(20, x), draw(23, dy)]));
    }
    for s in [
        sizes([2, 3, 8, 6, 3], [2, 2, 0, 3]),
        sizes([1, 2, 7, 7, 2], [3, 2, 1, 2]),
        sizes([2, 4, 5, 5, 4], [5, 1, 0, 4]),
        sizes([2, 2, 7, 9, 2], [2, 2, 0, 2]),
        sizes([1, 3, 8, 7, 3], [2, 3, 0, 3]),
    ] {
        for f in [PoolFn::Max, PoolFn::Average] {
            let (x, dy) = (draw(24, s.input_len() as u32), draw(25, s.output_len() as u32));
            all.push(kernel(Kernel::Pool2d { f, sizes: s }, vec![x.clone()]));
            for relu in [false, true] {
                all.push(kernel(Kernel::Pool2dGrad { f, sizes: s, relu }, vec![x.clone(), dy.clone()]));
            }
        }
    }
}

fn rows(all: &mut Vec<Case>) {
    for [rows, width, vocabulary, period] in [[1, 1, 1, 0], [6, 5, 3, 3], [96, 33, 65, 32], [130, 68, 7, 65]] {
        let tokens = Operand::Whole((0..rows).map(|row| row * 7 % vocabulary).collect());
        let mut operands = vec![tokens.clone(), draw(30, vocabulary * width)];
        operands.extend((period > 0).then(|| draw(31, period * width)));
        all.push(kernel(Kernel::Embedding { rows, width, vocabulary, period }, operands));
        let grad = Kernel::EmbeddingGrad { rows, width, vocabulary };
        all.push(kernel(grad, vec![tokens, draw(32, rows * width)]));
    }
    let eps_bits = 1e-5f32.to_bits();
    for [rows, width] in [[1, 2], [3, 65], [130, 64], [5, 1000]] {
        for centred in [true, false] {
            let (x, weight, dy) = (draw(33, rows * width), draw(34, width), draw(36, rows * width));
            let mut operands = vec![x.clone(), weight.clone()];
            operands.extend(centred.then(|| draw(35, width)));
            all.push(kernel(Kernel::Norm { rows, width, eps_bits, centred }, operands));
            for add in [false, true] {
                let mut operands = vec![x.clone(), weight.clone(), dy.clone()];
                operands.extend(add.then(|| draw(37, rows * width)));
                all.push(kernel(Kernel::NormGrad { rows, width, eps_bits, centred, add }, operands));
            }
            for bias in [false, true] {
                let grad = Kernel::NormWeightGrad { rows, width, eps_bits, centred, bias };
                all.push(kernel(grad, vec![x.clone(), dy.clone()]));
            }
        }
    }
    for [rows, width] in [[1, 1], [5, 3], [67, 65], [3, 1000]] {
        let y = reference::kernel(&Kernel::Softmax { rows, width }, &[draw(46, rows * width)], 0).remove(0);
        let y = Operand::Values(y.into_iter().map(|v| v as f32).collect());
        let x = Operand::Values(values(46, (rows * width) as usize).iter().map(|v| 8.0 * v).collect());
        all.push(kernel(Kernel::Softmax { rows, width }, vec![x]));
        all.push(kernel(Kernel::SoftmaxGrad { rows, width }, vec![y, draw(47, rows * width)]));
    }
    for inverse in [false, true] {
        let rope = Kernel::Rope { rows: 22, packed: 3 * 6, positions: 11, heads: 2, width: 6, inverse };
        all.push(kernel(rope, vec![draw(38, 22 * 18), draw(45, 11 * 6)]));
    }
    for s in attentions() {
        let packed = s.batch * s.t * s.packed();
        all.push(kernel(Kernel::Attention { sizes: s }, vec![draw(39, packed)]));
        let name = format!("attention_grad_q + attention_grad_kv {s:?}");
        all.push(Case { name, op: "attention".to_owned(), work: Work::AttentionGrad { sizes: s } });
    }
}

fn attentions() -> Vec<AttentionSizes> {
    let base = AttentionSizes { batch: 2, t: 7, heads: 2, kv_heads: 2, width: 4, causal: true };
    vec![
        AttentionSizes { batch: 1, t: 1, heads: 1, kv_heads: 1, width: 1, ..base },
        base,
        AttentionSizes { causal: false, ..base },
        AttentionSizes { t: 33, heads: 4, kv_heads: 2, width: 16, ..base },
        AttentionSizes { t: 70, heads: 3, kv_heads: 1, width: 24, causal: false, ..base },
        AttentionSizes { batch: 1, t: 40, heads: 1, kv_heads: 1, width: 128, ..base },
    ]
}

fn losses(all: &mut Vec<Case>) {
    for [rows, classes] in [[1, 2], [3, 10], [67, 65], [5, 1000], [66_000, 3], [2, 40_000]] {
        let logits = Operand::Values(values(40, (rows * classes) as usize).iter().map(|v| 8.0 * v).collect());
        let labels = Operand::Whole((0..rows).map(|row| row * 7 % classes).collect());
        all.push(kernel(Kernel::CrossEntropy { rows, classes }, vec![logits, labels]));
    }
    for len in [1, 300] {
        all.push(kernel(Kernel::Mse { len }, vec![draw(41, len), draw(42, len)]));
        let target = Operand::Values(values(43, len as usize).iter().map(|v| 0.5 + 0.5 * v).collect());
        all.push(kernel(Kernel::BinaryCrossEntropy { len }, vec![draw(44, len), target]));
    }
}

pub(super) async fn run(
    kernel: Kernel,
    operands: &[Operand],
    tolerance: Tolerance,
    engine: &Engine,
) -> Result<Worst, EngineError> {
    let outputs = kernel.output_lens();
    // Slots are larger than what lies in them, as in a plan that shares them, and the rest is NaN: a
    // kernel that goes by a slot's length instead of its own sizes is found out.
    let slots: Vec<usize> =
        operands.iter().map(Operand::len).chain(outputs.iter().copied()).map(|len| len + SPARE).collect();
    let writes: Vec<Place> = (operands.len()..operands.len() + outputs.len()).map(Place::Slot).collect();
    let dispatch = Dispatch::new(kernel, (0..operands.len()).map(Place::Slot).collect(), writes.clone());
    let expected = reference::kernel(&kernel, operands, Bench::dropout_seed(1));
    let mut worst = Worst::none();
    for tier in tiers(&kernel, engine) {
        let dispatch = Dispatch { tier, ..dispatch.clone() };
        let mut bench = Bench::new(engine, Plan::bare(vec![dispatch], slots.clone(), 64)).await?;
        for (slot, operand) in operands.iter().enumerate() {
            bench.write_slot(slot, bytemuck::cast_slice(&vec![f32::NAN; operand.len() + SPARE]));
            bench.write_slot(slot, operand.bytes());
        }
        bench.run(1).await?;
        for (output, ((place, expected), len)) in writes.iter().zip(&expected).zip(&outputs).enumerate() {
            let got = bench.read(*place).await?;
            worst = worst.max(compare_scaled(&got[..*len], expected, tolerance, rows_of(&kernel, output)));
        }
    }
    Ok(worst)
}

/// Every tier of a kernel on a GPU; on the processor there is one way.
fn tiers(kernel: &Kernel, engine: &Engine) -> Vec<Tier> {
    engine.gpu.as_ref().map_or_else(|| vec![Tier::usual(kernel)], |gpu| gpu.tiers(kernel).collect())
}

/// Rows that an output is the mean over: a loss's gradient is compared as that of the sum.
fn rows_of(kernel: &Kernel, output: usize) -> f64 {
    match *kernel {
        Kernel::CrossEntropy { rows, .. } if output == 1 => rows.into(),
        Kernel::Mse { len } | Kernel::BinaryCrossEntropy { len } if output == 1 => len.into(),
        _ => 1.0,
    }
}

/// Both halves of attention's gradient, against finite differences of the reference's forward.
pub(super) async fn run_attention_grad(sizes: AttentionSizes, engine: &Engine) -> Result<Worst, EngineError> {
    let packed = (sizes.batch * sizes.t * sizes.packed()) as usize;
    let y_len = (sizes.batch * sizes.t * sizes.heads * sizes.width) as usize;
    let sum_len = (sizes.batch * sizes.t * sizes.heads) as usize;
    let [qkv, y, lse, dy, d_qkv, sums] = [0, 1, 2, 3, 4, 5].map(Place::Slot);
    let dispatches = [
        Dispatch::new(Kernel::Attention { sizes }, vec![qkv], vec![y, lse]),
        Dispatch::new(Kernel::AttentionGradQ { sizes }, vec![qkv, y, dy, lse], vec![d_qkv, sums]),
        Dispatch::new(Kernel::AttentionGradKv { sizes }, vec![qkv, dy, lse, sums], vec![d_qkv]),
    ];
    let (x, gradient) = (values(50, packed), values(51, y_len));
    let mut found = Vec::new();
    for tier in tiers(&dispatches[0].kernel, engine) {
        let dispatches = dispatches.iter().map(|dispatch| Dispatch { tier, ..dispatch.clone() }).collect();
        let slots = vec![packed, y_len, sum_len, y_len, packed, sum_len];
        let mut bench = Bench::new(engine, Plan::bare(dispatches, slots, 64)).await?;
        bench.write_slot(0, bytemuck::cast_slice(&x));
        bench.write_slot(3, bytemuck::cast_slice(&gradient));
        bench.run(1).await?;
        found.push(bench.read(d_qkv).await?);
    }
    let mut point: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let objective = |point: &[f64]| -> f64 {
        reference::attention(sizes, point)[0].iter().zip(&gradient).map(|(y, g)| y * f64::from(*g)).sum()
    };
    let mut worst = Worst::none();
    // A prime stride: 60 values that fall on queries, keys and values of all heads and positions.
    for at in (0..packed).step_by((packed / 60).max(1) | 1) {
        let middle = point[at];
        point[at] = middle + 1e-5;
        let above = objective(&point);
        point[at] = middle - 1e-5;
        let below = objective(&point);
        point[at] = middle;
        let expected = (above - below) / 2e-5;
        for got in &found {
            worst = worst.max(compare(&got[at..=at], &[expected], tolerance::of("attention")));
        }
    }
    Ok(worst)
}

/// A batch of products against each product alone.
pub(super) async fn run_batch(kernel: Kernel, engine: &Engine) -> Result<Worst, EngineError> {
    let Kernel::MatMul { form, m, n, k, then, batch, .. } = kernel else { unreachable!("asked by its kind") };
    let one = Kernel::MatMul { form, m, n, k, bias: false, then, row_sums: false, batch: 1 };
    let lens = [m * k, k * n, m * n].map(|len| len as usize);
    let all: Vec<Vec<f32>> = (52..).zip(lens).map(|(stream, len)| values(stream, len * batch as usize)).collect();
    let extra = usize::from(then != Then::Store);
    let [a, b, e, out] = [0, 1, 2, 3].map(Place::Slot);
    let dispatch = Dispatch::new(kernel, [a, b, e][..2 + extra].to_vec(), vec![out]);
    let slots = [lens[0], lens[1], lens[2], lens[2]].map(|len| len * batch as usize).to_vec();
    let mut worst = Worst::none();
    for tier in tiers(&kernel, engine) {
        let dispatch = Dispatch { tier, ..dispatch.clone() };
        let mut bench = Bench::new(engine, Plan::bare(vec![dispatch], slots.clone(), 64)).await?;
        (0..).zip(&all).for_each(|(slot, values)| bench.write_slot(slot, bytemuck::cast_slice(values)));
        bench.run(1).await?;
        let got = bench.read(out).await?;
        for at in 0..batch as usize {
            let part = |which: usize| Operand::Values(all[which][at * lens[which]..][..lens[which]].to_vec());
            let operands: Vec<Operand> = (0..2 + extra).map(part).collect();
            let expected = reference::kernel(&one, &operands, 0);
            let tolerance = tolerance::of("matmul");
            worst = worst.max(compare(&got[at * lens[2]..][..lens[2]], &expected[0], tolerance));
        }
    }
    Ok(worst)
}
