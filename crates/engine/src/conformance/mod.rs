//! One list of cases for every executor: each kernel over odd shapes against a scalar reference in
//! f64, and whole training steps. Native tests and the browsers' test page run the same list.

mod reference;

use potluck_graph::{Block, Column, batches, preset, random::SplitMix64};
use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};
use serde::Serialize;

use crate::{
    Dispatch, Engine, EngineError, Epilogue, Form, Kernel, Place, Plan, kernel::NORM_PARTIALS, trainer::Bench,
};

/// A kernel, or a short chain of them, with its data.
#[derive(Debug, Clone)]
pub struct Case {
    /// Kernel and sizes.
    pub name: String,
    work: Work,
}

#[derive(Debug, Clone)]
enum Work {
    Kernel { kernel: Kernel, operands: Vec<Operand>, rtol: f64, atol: f64 },
    Optimizer { len: usize, decay_len: usize, clip: f32 },
    Training { features: u32, hidden: Vec<u32>, classes: u32, batch: u32 },
    Repeat { batch: u32 },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Values(Vec<f32>),
    Labels(Vec<u32>),
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// Which.
    pub case: String,
    /// On what.
    pub backend: String,
    /// `|got - expected|` where it is worst in units of the tolerance.
    pub error: f64,
    /// `atol + rtol |expected|` there.
    pub tolerance: f64,
    /// True where every value is within tolerance.
    pub pass: bool,
    /// The device's words where the case could not run at all.
    pub failure: Option<String>,
}

/// Every case, in a fixed order with fixed data.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (index, [m, n, k]) in (0u64..).zip([[1, 1, 1], [5, 3, 7], [33, 65, 17], [64, 64, 64], [70, 10, 131]]) {
        for form in [Form::Nn, Form::Nt, Form::Tn] {
            for epilogue in [Epilogue::None, Epilogue::Bias, Epilogue::BiasRelu, Epilogue::Mask] {
                all.push(matmul(index, form, epilogue, [m, n, k]));
            }
        }
    }
    for len in [1, 255, 257, 300_001] {
        let draw = |stream| Operand::Values(values(stream, len as usize));
        all.push(kernel(Kernel::Relu { len }, vec![draw(1)], 0.0, 0.0));
        all.push(kernel(Kernel::ReluGrad { len }, vec![draw(2), draw(3)], 0.0, 0.0));
        all.push(kernel(Kernel::Add { len }, vec![draw(4), draw(5)], 1e-6, 1e-7));
    }
    for [rows, columns] in [[1, 1], [3, 129], [257, 65]] {
        let x = Operand::Values(values(6, (rows * columns) as usize));
        all.push(kernel(Kernel::ColumnSum { rows, columns }, vec![x], 1e-5, 1e-4));
    }
    for [rows, classes] in [[1, 2], [3, 10], [67, 65], [5, 1000], [66_000, 3]] {
        let logits = Operand::Values(values(7, (rows * classes) as usize).iter().map(|v| 8.0 * v).collect());
        let labels = Operand::Labels((0..rows).map(|row| row * 7 % classes).collect());
        let operands = vec![logits, labels];
        all.push(kernel(Kernel::CrossEntropyStats { rows, classes }, operands.clone(), 2e-5, 2e-5));
        all.push(kernel(Kernel::CrossEntropyGrad { rows, classes }, operands, 2e-5, 1e-7));
    }
    for (len, decay_len, clip) in [(64, 0, 1e9), (640, 320, 1.0), (300_032, 300_032, 0.5)] {
        let name = format!("norm_partials + clip_scale + adamw, {len} values, {decay_len} decay, clip {clip}");
        all.push(Case { name, work: Work::Optimizer { len, decay_len, clip } });
    }
    for (features, hidden, classes, batch) in [(5, vec![], 2, 1), (17, vec![33], 10, 7), (64, vec![128, 31], 10, 32)] {
        let name = format!("five training steps of {features}-{hidden:?}-{classes}, batch {batch}");
        all.push(Case { name, work: Work::Training { features, hidden, classes, batch } });
    }
    all.push(Case { name: "two runs are bit-identical, 64-[48]-10".to_owned(), work: Work::Repeat { batch: 32 } });
    all
}

/// Runs one case on one device.
pub async fn run_case(case: &Case, engine: &Engine) -> CaseResult {
    let outcome = match &case.work {
        Work::Kernel { kernel, operands, rtol, atol } => run_kernel(*kernel, operands, engine)
            .await
            .map(|got| compare(&got, &reference::kernel(kernel, operands), *rtol, *atol)),
        Work::Optimizer { len, decay_len, clip } => run_optimizer(*len, *decay_len, *clip, engine).await,
        Work::Training { features, hidden, classes, batch } => {
            run_training(*features, hidden, *classes, *batch, engine).await
        }
        Work::Repeat { batch } => run_twice(*batch, engine).await,
    };
    let (worst, failure) = match outcome {
        Ok(worst) => (worst, None),
        Err(error) => (Worst { error: f64::INFINITY, tolerance: 0.0 }, Some(error.to_string())),
    };
    let Worst { error, tolerance } = worst;
    let pass = failure.is_none() && error <= tolerance;
    CaseResult { case: case.name.clone(), backend: format!("{:?}", engine.backend()), error, tolerance, pass, failure }
}

struct Worst {
    error: f64,
    tolerance: f64,
}

/// The value that is worst in units of its tolerance. A length mismatch or NaN is worst of all.
fn compare(got: &[f32], expected: &[f64], rtol: f64, atol: f64) -> Worst {
    let mut worst = Worst { error: 0.0, tolerance: f64::MIN_POSITIVE };
    if got.len() != expected.len() {
        return Worst { error: f64::INFINITY, tolerance: 0.0 };
    }
    for (g, e) in got.iter().zip(expected) {
        let error = (f64::from(*g) - e).abs();
        let tolerance = (atol + rtol * e.abs()).max(f64::MIN_POSITIVE);
        if error.is_nan() {
            return Worst { error: f64::INFINITY, tolerance };
        }
        if error / tolerance > worst.error / worst.tolerance {
            worst = Worst { error, tolerance };
        }
    }
    worst
}

fn values(stream: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(stream);
    (0..count).map(|_| 2.0 * random.unit() - 1.0).collect()
}

fn kernel(kernel: Kernel, operands: Vec<Operand>, rtol: f64, atol: f64) -> Case {
    Case { name: format!("{kernel:?}"), work: Work::Kernel { kernel, operands, rtol, atol } }
}

fn matmul(seed: u64, form: Form, epilogue: Epilogue, [m, n, k]: [u32; 3]) -> Case {
    let draw = |stream, count: u32| Operand::Values(values(1000 * seed + stream, count as usize));
    let mut operands = vec![draw(1, m * k), draw(2, k * n)];
    match epilogue {
        Epilogue::None => {}
        Epilogue::Bias | Epilogue::BiasRelu => operands.push(draw(3, n)),
        Epilogue::Mask => operands.push(draw(4, m * n)),
    }
    kernel(Kernel::MatMul { form, m, n, k, epilogue }, operands, 1e-5, 2e-6 * f64::from(k).sqrt())
}

async fn run_kernel(kernel: Kernel, operands: &[Operand], engine: &Engine) -> Result<Vec<f32>, EngineError> {
    let mut slots: Vec<usize> = operands.iter().map(Operand::len).collect();
    slots.push(kernel.output_len());
    let write = Place::Slot(operands.len());
    let dispatch = Dispatch { kernel, reads: (0..operands.len()).map(Place::Slot).collect(), write };
    let mut bench = Bench::new(engine, bare_plan(vec![dispatch], slots, 64)).await?;
    for (slot, operand) in operands.iter().enumerate() {
        bench.write_slot(slot, operand.bytes());
    }
    bench.run(1).await?;
    bench.read(write).await
}

/// The optimizer's kernels work on the arenas: the gradients get there by an addition.
async fn run_optimizer(len: usize, decay_len: usize, clip: f32, engine: &Engine) -> Result<Worst, EngineError> {
    let constants = [0.9f32, 0.95, 1e-8, 0.1];
    let gradients = Place::Gradient { offset: 0, len };
    let parameters = Place::Parameter { offset: 0, len };
    let (words, partials) = (len as u32, NORM_PARTIALS as usize);
    let bits = constants.map(f32::to_bits);
    let plan = bare_plan(
        vec![
            Dispatch {
                kernel: Kernel::Add { len: words },
                reads: vec![Place::Slot(0), Place::Slot(1)],
                write: gradients,
            },
            Dispatch { kernel: Kernel::NormPartials { len: words }, reads: vec![gradients], write: Place::Slot(2) },
            Dispatch {
                kernel: Kernel::ClipScale { clip_bits: clip.to_bits() },
                reads: vec![Place::Slot(2)],
                write: Place::Slot(3),
            },
            Dispatch {
                kernel: Kernel::AdamW { len: words, decay_len: decay_len as u32, constants: bits },
                reads: vec![gradients, Place::Slot(3)],
                write: parameters,
            },
        ],
        vec![len, len, partials, 1],
        len,
    );
    let mut bench = Bench::new(engine, plan).await?;
    let (start, gradient) = (values(11, len), values(12, len));
    bench.restart(&start).await?;
    bench.write_slot(0, bytemuck::cast_slice(&gradient));
    for step in 1..=3 {
        bench.run(step).await?;
    }
    let got = bench.read(parameters).await?;
    let expected = reference::adamw(&start, &gradient, decay_len, clip, constants, 3);
    Ok(compare(&got, &expected, 1e-5, 1e-6))
}

fn recipe(batch: u32) -> Recipe {
    Recipe {
        optimizer: Optimizer::default(),
        lr: 1e-2,
        schedule: Schedule::Constant,
        ramp_steps: 0,
        clip_norm: 1.0,
        steps: 5,
        batch,
        budget_samples: 1,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    }
}

/// Five steps on random data; returns the losses before each step and the weights after the last.
async fn train(
    features: u32,
    hidden: &[u32],
    classes: u32,
    batch: u32,
    engine: &Engine,
) -> Result<Vec<f32>, EngineError> {
    let program = preset::mlp(features, hidden, classes).expect("the sizes above make a program");
    let samples = 3 * batch;
    let x = values(21, (samples * features) as usize);
    let y = (0..samples).map(|sample| sample * 5 % classes).collect();
    let block = [Block { samples, columns: vec![Column::F32(x), Column::U32(y)] }];
    let mut trainer = engine.trainer(&program, &recipe(batch), &program.initial(3)).await?;
    let mut seen = Vec::new();
    for rows in batches(9, samples, 5, batch) {
        trainer.step(&Block::gather(&block, &rows), 1e-2).await?;
        seen.push(trainer.loss().await?);
    }
    seen.extend(trainer.weights().await?);
    Ok(seen)
}

async fn run_training(
    features: u32,
    hidden: &[u32],
    classes: u32,
    batch: u32,
    engine: &Engine,
) -> Result<Worst, EngineError> {
    let got = train(features, hidden, classes, batch, engine).await?;
    let expected = reference::train(features, hidden, classes, batch, values);
    Ok(compare(&got, &expected, 2e-4, 2e-4))
}

async fn run_twice(batch: u32, engine: &Engine) -> Result<Worst, EngineError> {
    let first = train(64, &[48], 10, batch, engine).await?;
    let second = train(64, &[48], 10, batch, engine).await?;
    let differing = first.iter().zip(&second).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    Ok(Worst { error: differing as f64, tolerance: 0.0 })
}

fn bare_plan(dispatches: Vec<Dispatch>, slots: Vec<usize>, arena_len: usize) -> Plan {
    Plan {
        batch: 1,
        forward_count: dispatches.len(),
        dispatches,
        slots,
        inputs: Vec::new(),
        stats: 0,
        stats_rows: 0,
        classes: 0,
        labels: 0,
        parameters: Vec::new(),
        arena_len,
    }
}

impl Operand {
    fn len(&self) -> usize {
        match self {
            Operand::Values(values) => values.len(),
            Operand::Labels(labels) => labels.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Operand::Values(values) => bytemuck::cast_slice(values),
            Operand::Labels(labels) => bytemuck::cast_slice(labels),
        }
    }

    fn values(&self) -> Vec<f64> {
        match self {
            Operand::Values(values) => values.iter().map(|v| f64::from(*v)).collect(),
            Operand::Labels(labels) => labels.iter().map(|l| f64::from(*l)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Choice;

    #[test]
    fn the_processor_agrees_with_the_reference() {
        let engine = pollster::block_on(Engine::open(Choice::Cpu)).expect("always there");
        for case in cases() {
            let result = pollster::block_on(run_case(&case, &engine));
            assert!(result.pass, "{result:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_noticed() {
        let worst = compare(&[1.0, 2.1], &[1.0, 2.0], 1e-3, 0.0);
        assert!(worst.error > worst.tolerance);
        assert!(compare(&[f32::NAN], &[1.0], 1.0, 1.0).error.is_infinite());
    }
}
