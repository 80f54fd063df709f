//! Whole programs: gradients against finite differences of the loss, and the same bits twice.

use potluck_graph::{
    BinaryFn, Column, Custom, DType, Dim, Form, Graph, Init, Loss, NodeId, Op, PoolFn, Program, ProgramError, ReduceFn,
    Reference, UnaryFn,
    preset::{self, CnnConfig, FeedForward, GptConfig, Norm, Positions, VitConfig},
    random::SplitMix64,
};
use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};

use super::{
    Case, Work, Worst, compare,
    reference::{self, Trained},
    tolerance, values,
};
use crate::{Engine, EngineError, Plan, Trainer};

/// A program with data to run it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    Mlp,
    Cnn,
    Gpt,
    Llama,
    Vit,
    Shapes,
    Products,
    Regression,
    Binary,
}

pub(super) const ALL: [Sample; 9] = [
    Sample::Mlp,
    Sample::Cnn,
    Sample::Gpt,
    Sample::Llama,
    Sample::Vit,
    Sample::Shapes,
    Sample::Products,
    Sample::Regression,
    Sample::Binary,
];

const BATCH: u32 = 3;

pub(super) fn cases() -> Vec<Case> {
    let gradients = ALL.map(|program| Case {
        name: format!("gradients of the {program:?} program against finite differences"),
        op: "finite differences".to_owned(),
        work: Work::Gradients { program },
    });
    let repeats = [Sample::Mlp, Sample::Cnn, Sample::Llama].map(|program| Case {
        name: format!("two runs of the {program:?} program are bit-identical"),
        op: "repeat of a run".to_owned(),
        work: Work::Repeat { program },
    });
    let segments = [
        (Sample::Llama, "adamw", Optimizer::default()),
        (Sample::Llama, "muon", Optimizer::muon()),
        (Sample::Cnn, "sgd", Optimizer::sgd().with_weight_decay(0.1)),
    ];
    let segments = segments.map(|(program, name, optimizer)| Case {
        name: format!("{name} on the {program:?} program with its arenas cut, bit by bit"),
        op: "cut arenas".to_owned(),
        work: Work::Segments { program, optimizer },
    });
    let optimizers = [
        ("adamw", Optimizer::default(), 1e9),
        ("adamw", Optimizer::default(), 0.01),
        ("muon", Optimizer::muon(), 1e9),
        ("sgd", Optimizer::sgd().with_weight_decay(0.1), 0.1),
    ];
    let optimizers = optimizers.into_iter().flat_map(|(op, optimizer, clip)| {
        [Sample::Mlp, Sample::Cnn, Sample::Llama].map(|program| Case {
            name: format!("three steps of {op} on the {program:?} program, clip {clip}"),
            op: op.to_owned(),
            work: Work::Optimizer { program, optimizer, clip },
        })
    });
    gradients.into_iter().chain(repeats).chain(segments).chain(optimizers).collect()
}

impl Sample {
    pub(super) fn program(self) -> Program {
        let gpt = GptConfig { hidden: 24, ..GptConfig::gpt2(11, 5, 1, 12, 2) };
        let llama = GptConfig {
            heads: 3,
            kv_heads: 1,
            positions: Positions::Rotary { base: 1e4 },
            feed_forward: FeedForward::SwiGlu,
            norm: Norm::Rms,
            tied_head: true,
            ..gpt.clone()
        };
        let program = match self {
            Sample::Mlp => preset::mlp(6, &[9, 5], 3),
            Sample::Cnn => {
                preset::cnn(&CnnConfig { image: [2, 8, 6], channels: vec![3, 4], residual: true, classes: 3 })
            }
            Sample::Gpt => preset::gpt(&gpt),
            Sample::Llama => preset::gpt(&llama),
            Sample::Vit => {
                preset::vit(&VitConfig { image: [1, 6, 6], patch: 3, layers: 1, width: 8, heads: 2, classes: 3 })
            }
            Sample::Shapes => shapes(),
            Sample::Products => products(),
            Sample::Regression => elementwise(),
            Sample::Binary => binary(),
        };
        program.expect("the cases' programs are good")
    }

    fn batch(self, program: &Program) -> Vec<Column> {
        let tokens = |stream: u64, count: usize, below: u32| {
            let mut random = SplitMix64::new(stream);
            Column::U32((0..count).map(|_| random.below(below)).collect())
        };
        let classes = match self {
            Sample::Gpt | Sample::Llama => 11,
            _ => 3,
        };
        let column = |(stream, spec): (u64, &potluck_graph::InputSpec)| {
            let count = (BATCH * spec.shape.iter().product::<u32>()) as usize;
            match spec.dtype {
                DType::U32 => tokens(60 + stream, count, classes),
                DType::F32 => Column::F32(values(60 + stream, count).iter().map(|v| 0.5 + 0.5 * v).collect()),
            }
        };
        (0..).zip(program.inputs()).map(column).collect()
    }
}

fn input(g: &mut Graph, name: &str, dims: &[u32], dtype: DType) -> Result<NodeId, ProgramError> {
    let shape: Vec<Dim> = std::iter::once(Dim::Batch).chain(dims.iter().map(|&d| Dim::Of(d))).collect();
    g.input(name, &shape, dtype)
}

/// Everything that moves values: reshape, transpose, slice, concat, repeat, reduce, dropout 0.
fn shapes() -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let x = input(&mut g, "x", &[4, 6], DType::F32)?;
    let y = input(&mut g, "y", &[], DType::U32)?;
    let h = g.linear("a", x, 6)?;
    let token = g.parameter("token", &[1, 6], Init::Uniform { bound: 1.0 })?;
    let token = g.repeat(token)?;
    let h = g.concat(token, h, 0)?;
    let h = g.transpose(h, &[1, 0])?;
    let left = g.slice(h, 1, 0, 3)?;
    let right = g.slice(h, 1, 2, 5)?;
    let h = g.binary(BinaryFn::Mul, left, right)?;
    let h = g.reshape(h, &[2, 3, 3])?;
    let h = g.transpose(h, &[2, 0, 1])?;
    let h = g.reduce(ReduceFn::Mean, h, 1)?;
    let h = g.dropout(h, 0.0)?;
    let sum = g.reduce(ReduceFn::Sum, h, 0)?;
    let logits = g.linear("head", sum, 3)?;
    g.finish(Loss::cross_entropy(logits, y))
}

/// Attention by hand: products in all three forms, softmax, maxima, a new dimension, and an operation of
/// the program's own.
fn products() -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let x = input(&mut g, "x", &[2, 5, 3], DType::F32)?;
    let y = input(&mut g, "y", &[], DType::U32)?;
    let [q, k, v] = ["q", "k", "v"].map(|name| g.linear(name, x, 4));
    let (q, k, v) = (q?, k?, v?);
    let scores = g.matmul(Form::Nt, q, k)?;
    let seen = g.softmax(scores)?;
    let mixed = g.matmul(Form::Nn, seen, v)?;
    let gram = g.matmul(Form::Tn, mixed, x)?;
    let weight = gram_weight(&mut g)?;
    let gram = g.matmul(Form::Nn, gram, weight)?;
    let square = g.custom(squared_relu(gram))?;
    let square = g.broadcast(square, 1, 3)?;
    let square = g.transpose(square, &[0, 3, 1, 2])?;
    let square = g.reshape(square, &[4, 3, 4])?;
    let largest = g.global_pool2d(square, PoolFn::Max)?;
    let mean = g.global_pool2d(square, PoolFn::Average)?;
    let h = g.concat(largest, mean, 0)?;
    let logits = g.linear("head", h, 3)?;
    g.finish(Loss::cross_entropy(logits, y))
}

/// Two products of a parameter with itself, one for each sample and head.
fn gram_weight(g: &mut Graph) -> Result<NodeId, ProgramError> {
    let weight = g.parameter("weight", &[2, 2, 3], Init::Uniform { bound: 1.0 })?;
    let square = g.matmul(Form::Tn, weight, weight)?;
    let wide = g.slice(square, 2, 0, 2)?;
    g.repeat(wide)
}

/// `max(x, 0)^2` (arXiv 2109.08668).
pub(super) fn squared_relu(x: NodeId) -> Custom {
    let nodes = vec![
        Op::Input { input: 0 },
        Op::Unary { f: UnaryFn::Relu, x: NodeId(0) },
        Op::Binary { f: BinaryFn::Mul, a: NodeId(1), b: NodeId(1) },
    ];
    Custom::new("squared_relu", &[x], Reference { nodes, output: NodeId(2) })
}

/// Every elementwise operation, with broadcasting.
fn elementwise() -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let x = input(&mut g, "x", &[5], DType::F32)?;
    let y = input(&mut g, "y", &[4], DType::F32)?;
    let mut h = g.linear("a", x, 4)?;
    let row = g.parameter("row", &[4], Init::Uniform { bound: 0.5 })?;
    for f in [
        UnaryFn::Sigmoid,
        UnaryFn::Exp,
        UnaryFn::Log,
        UnaryFn::Silu,
        UnaryFn::Gelu,
        UnaryFn::Tanh,
        UnaryFn::Exp,
        UnaryFn::Sqrt,
    ] {
        h = g.unary(f, h)?;
    }
    let positive = g.unary(UnaryFn::Exp, row)?;
    let h1 = g.binary(BinaryFn::Pow, h, positive)?;
    let h2 = g.binary(BinaryFn::Div, h1, positive)?;
    let h3 = g.binary(BinaryFn::Sub, h2, row)?;
    let h4 = g.binary(BinaryFn::Add, h3, h)?;
    let h5 = g.affine(h4, -0.7, 0.3)?;
    let h6 = g.clamp(h5, -0.4, 5.0)?;
    let condition = x_like(&mut g, x)?;
    let h7 = g.select(condition, h6, h3)?;
    g.finish(Loss::Mse { prediction: h7, target: y })
}

fn x_like(g: &mut Graph, x: NodeId) -> Result<NodeId, ProgramError> {
    let part = g.slice(x, 0, 0, 4)?;
    g.affine(part, 1.0, -0.5)
}

fn binary() -> Result<Program, ProgramError> {
    let mut g = Graph::new();
    let x = input(&mut g, "x", &[5], DType::F32)?;
    let y = input(&mut g, "y", &[1], DType::F32)?;
    // A weight that is a sum: both terms have one and the same gradient.
    let init = Init::Uniform { bound: 0.5 };
    let [p, q] = ["p", "q"].map(|name| g.parameter(name, &[4, 5], init));
    let weight = g.add(p?, q?)?;
    let h = g.project(x, weight, None)?;
    let h = g.unary(UnaryFn::Tanh, h)?;
    let logits = g.linear("head", h, 1)?;
    g.finish(Loss::BinaryCrossEntropy { logits, target: y })
}

pub(super) fn recipe() -> Recipe {
    Recipe {
        optimizer: Optimizer::default(),
        lr: 1e-2,
        schedule: Schedule::Constant,
        ramp_steps: 0,
        clip_norm: 1e9,
        steps: 4,
        batch: BATCH,
        budget_samples: 1000,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    }
}

pub(super) fn plan(sample: Sample, optimizer: Optimizer) -> Plan {
    Plan::new(&sample.program(), &Recipe { optimizer, ..recipe() }).expect("samples are small")
}

/// Larger first values than training would take, so that no gradient drowns in rounding.
fn start(program: &Program) -> Vec<f32> {
    let spread = values(70, program.parameter_count());
    program.initial(3).iter().zip(spread).map(|(p, s)| p + 0.3 * s).collect()
}

async fn mean_loss(trainer: &mut Trainer, batch: &[Column], weights: &[f32]) -> Result<f64, EngineError> {
    trainer.restart(weights).await?;
    let sum = trainer.evaluate(batch).await?;
    Ok(sum.loss_sum / sum.rows as f64)
}

/// The gradient along random directions against central differences of the loss. The losses are
/// f32 sums, so the directions are few and the tolerance is theirs: a wrong derivative is off by
/// tens of per cent, not by one.
pub(super) async fn run_gradients(sample: Sample, engine: &Engine) -> Result<Worst, EngineError> {
    let program = sample.program();
    let batch = sample.batch(&program);
    let weights = start(&program);
    let mut trainer = engine.trainer(&program, &recipe(), &weights).await?;
    trainer.step(&batch, 0.0).await?;
    let arena = trainer.gradients().await?;
    let mut worst = Worst::none();
    let mut offset = 0;
    for spec in program.parameters() {
        let len = spec.values();
        let gradient = &arena[offset..][..len];
        // Along the gradient itself the slope is its norm: the largest there is.
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let h = 3e-4 / norm.max(1e-6);
        let moved = |sign: f64| -> Vec<f32> {
            let shift = |(at, w): (usize, &f32)| match at.checked_sub(offset) {
                Some(i) if i < len => (f64::from(*w) + sign * h * f64::from(gradient[i])) as f32,
                _ => *w,
            };
            weights.iter().enumerate().map(shift).collect()
        };
        let (ahead, behind) = (moved(1.0), moved(-1.0));
        let slope = (mean_loss(&mut trainer, &batch, &ahead).await? - mean_loss(&mut trainer, &batch, &behind).await?)
            / (2.0 * h);
        // In units of the gradient's norm.
        let unit = norm.max(1e-3);
        let (got, expected) = ((slope / unit) as f32, norm * norm / unit);
        worst = worst.max(compare(&[got], &[expected], tolerance::of("finite differences")));
        offset += len;
    }
    Ok(worst)
}

/// Three steps with the gradients that the device itself found, against the optimizer in f64. The
/// first two have a learning rate of 0: the moments grow while the gradient stays what it is.
pub(super) async fn run_optimizer(
    sample: Sample,
    optimizer: Optimizer,
    clip: f32,
    engine: &Engine,
) -> Result<Worst, EngineError> {
    let program = sample.program();
    let batch = sample.batch(&program);
    let weights = start(&program);
    let recipe = Recipe { optimizer, clip_norm: clip, ..recipe() };
    let mut trainer = engine.trainer(&program, &recipe, &weights).await?;
    trainer.step(&batch, 0.0).await?;
    let gradients = trainer.gradients().await?;
    trainer.restart(&weights).await?;
    let lrs = [0.0, 0.0, 1e-2f32];
    for lr in lrs {
        trainer.step(&batch, lr).await?;
    }
    let got = trainer.weights().await?;
    let mut offset = 0;
    let layers = layer_weights(&program);
    let mut trained = Vec::new();
    for (index, spec) in program.parameters().iter().enumerate() {
        let range = offset..offset + spec.values();
        offset = range.end;
        trained.push(Trained {
            values: weights[range.clone()].iter().map(|w| f64::from(*w)).collect(),
            gradient: gradients[range].iter().map(|g| f64::from(*g)).collect(),
            rows: spec.shape[0] as usize,
            matrix: spec.is_matrix(),
            layer_weight: layers[index],
        });
    }
    let expected = reference::optimizer_steps(optimizer, &trained, f64::from(clip), &lrs.map(f64::from));
    let op = if let Optimizer::Muon { .. } = optimizer { "muon" } else { "adamw" };
    Ok(compare(&got, &expected, tolerance::of(op)))
}

/// Which parameters are weights of layers, by the names that the presets give.
fn layer_weights(program: &Program) -> Vec<bool> {
    let is_of_layer =
        |name: &str| ["layers.", "blocks.", "patches.", "head."].iter().any(|start| name.starts_with(start));
    program.parameters().iter().map(|spec| spec.is_matrix() && is_of_layer(&spec.name)).collect()
}

/// Four steps twice, with dropout's seed and all.
pub(super) async fn run_twice(sample: Sample, engine: &Engine) -> Result<Worst, EngineError> {
    let program = sample.program();
    let batch = sample.batch(&program);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut trainer = engine.trainer(&program, &recipe(), &start(&program)).await?;
        for _ in 0..4 {
            trainer.step(&batch, 1e-2).await?;
        }
        runs.push(trainer.weights().await?);
    }
    Ok(differing(&runs[0], &runs[1]))
}

/// Values of a segment in [`run_in_segments`]: some parameters have more, and the partial sums of the
/// norm do not begin anew with each segment.
const SEGMENT_VALUES: usize = 192;

/// Three clipped steps on arenas in one piece and on arenas that are cut: the weights, and the gradients
/// through which a step is looked at.
pub(super) async fn run_in_segments(
    sample: Sample,
    optimizer: Optimizer,
    engine: &Engine,
) -> Result<Worst, EngineError> {
    let program = sample.program();
    let batch = sample.batch(&program);
    let recipe = Recipe { optimizer, clip_norm: 0.01, ..recipe() };
    let plans = [usize::MAX, SEGMENT_VALUES].map(|values| Plan::in_segments(&program, &recipe, values));
    let mut runs = Vec::new();
    for (plan, least) in plans.into_iter().zip([1, 4]) {
        let plan = plan?;
        assert!(plan.segments.len() >= least, "{:?}", plan.segments);
        let mut trainer = engine.trainer_of(plan, &program, &recipe, &start(&program)).await?;
        for _ in 0..3 {
            trainer.step(&batch, 1e-2).await?;
        }
        let mut values = trainer.weights().await?;
        values.extend(trainer.gradients().await?);
        runs.push(values);
    }
    Ok(differing(&runs[0], &runs[1]))
}

/// How many values are not the same bits; none may be.
fn differing(a: &[f32], b: &[f32]) -> Worst {
    let differing = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    Worst { error: (differing + a.len().abs_diff(b.len())) as f64, tolerance: 0.0 }
}
