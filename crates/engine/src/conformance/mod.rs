//! One list of cases for every executor: golden vectors and curves that JAX computed in f64, each
//! kernel over odd shapes against a scalar reference in f64, gradients of whole programs against finite
//! differences, and repeatability. Native tests and the browsers' test page run the same list.

mod curves;
mod golden;
pub mod hostile;
mod kernels;
mod product;
mod programs;
mod reference;
mod shaders;
mod tolerance;

use potluck_protocol::Optimizer;
use serde::Serialize;

pub use product::Product;
pub use shaders::shaders;
pub use tolerance::{TOLERANCES, Tolerance};

use crate::{Engine, EngineError, Kernel};

/// A kernel, a short chain of them, or a program, with its data.
#[derive(Debug, Clone)]
pub struct Case {
    /// Kernel and sizes.
    pub name: String,
    /// The operation that the case speaks for, in tables.
    pub op: String,
    work: Work,
}

#[derive(Debug, Clone)]
enum Work {
    Golden(Box<golden::Golden>),
    Curve(curves::Curve),
    Kernel { kernel: Kernel, operands: Vec<Operand> },
    AttentionGrad { sizes: crate::AttentionSizes },
    Batch { kernel: Kernel },
    Optimizer { program: programs::Sample, optimizer: Optimizer, clip: f32 },
    Gradients { program: programs::Sample },
    Repeat { program: programs::Sample },
    Segments { program: programs::Sample, optimizer: Optimizer },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Values(Vec<f32>),
    Whole(Vec<u32>),
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// Which.
    pub case: String,
    /// The operation in tables.
    pub op: String,
    /// On what.
    pub backend: String,
    /// `|got - expected|` where it is worst in units of the tolerance.
    pub error: f64,
    /// `absolute + relative |expected|` there.
    pub tolerance: f64,
    /// The worst `|got - expected| / (|expected| + absolute / relative)`: the relative error where
    /// what is expected is not small. 0 where the promise is the same bits.
    pub relative: f64,
    /// What the operation promises, as a share of what is expected.
    pub relative_max: f64,
    /// What it promises where that is small.
    pub absolute_max: f64,
    /// True where every value is within tolerance.
    pub pass: bool,
    /// The device's words where the case could not run at all.
    pub failure: Option<String>,
}

/// Every case, in a fixed order with fixed data.
pub fn cases() -> Vec<Case> {
    let mut all = golden::cases();
    all.extend(curves::cases());
    all.extend(kernels::cases());
    all.extend(programs::cases());
    all
}

/// Runs one case on one device.
pub async fn run_case(case: &Case, engine: &Engine) -> CaseResult {
    let promise = tolerance::of(&case.op);
    let outcome = match &case.work {
        Work::Golden(golden) => golden::run(golden, promise, engine).await,
        Work::Curve(curve) => curves::run(curve, engine).await,
        Work::Kernel { kernel, operands } => kernels::run(*kernel, operands, promise, engine).await,
        Work::AttentionGrad { sizes } => kernels::run_attention_grad(*sizes, engine).await,
        Work::Batch { kernel } => kernels::run_batch(*kernel, engine).await,
        Work::Optimizer { program, optimizer, clip } => {
            programs::run_optimizer(*program, *optimizer, *clip, engine).await
        }
        Work::Gradients { program } => programs::run_gradients(*program, engine).await,
        Work::Repeat { program } => programs::run_twice(*program, engine).await,
        Work::Segments { program, optimizer } => programs::run_in_segments(*program, *optimizer, engine).await,
    };
    let (worst, failure) = match outcome {
        Ok(worst) => (worst, None),
        Err(error) => (Worst { error: f64::INFINITY, tolerance: 0.0 }, Some(error.to_string())),
    };
    let Worst { error, tolerance } = worst;
    let pass = failure.is_none() && error <= tolerance;
    let relative = if promise.relative > 0.0 { promise.relative * error / tolerance } else { 0.0 };
    let (case, op, backend) = (case.name.clone(), case.op.clone(), format!("{:?}", engine.backend()));
    let Tolerance { relative: relative_max, absolute: absolute_max } = promise;
    CaseResult { case, op, backend, error, tolerance, relative, relative_max, absolute_max, pass, failure }
}

#[derive(Debug, Clone, Copy)]
struct Worst {
    error: f64,
    tolerance: f64,
}

impl Worst {
    fn none() -> Self {
        Self { error: 0.0, tolerance: f64::MIN_POSITIVE }
    }

    /// The one that is worse in units of its tolerance.
    fn max(self, other: Self) -> Self {
        if other.error / other.tolerance > self.error / self.tolerance { other } else { self }
    }
}

/// [`compare`] of both sides times a factor.
fn compare_scaled(got: &[f32], expected: &[f64], tolerance: Tolerance, scale: f64) -> Worst {
    let Worst { error, tolerance } =
        compare(got, expected, Tolerance { absolute: tolerance.absolute / scale, ..tolerance });
    Worst { error: error * scale, tolerance: tolerance * scale }
}

/// The value that is worst in units of its tolerance. A length mismatch or NaN is worst of all.
fn compare(got: &[f32], expected: &[f64], tolerance: Tolerance) -> Worst {
    let Tolerance { relative, absolute } = tolerance;
    if got.len() < expected.len() {
        return Worst { error: f64::INFINITY, tolerance: 1.0 };
    }
    let each = got.iter().zip(expected).map(|(g, e)| {
        let error = (f64::from(*g) - e).abs();
        let tolerance = (absolute + relative * e.abs()).max(f64::MIN_POSITIVE);
        Worst { error: if error.is_nan() { f64::INFINITY } else { error }, tolerance }
    });
    each.fold(Worst::none(), Worst::max)
}

fn values(stream: u64, count: usize) -> Vec<f32> {
    let mut random = potluck_graph::random::SplitMix64::new(stream);
    (0..count).map(|_| 2.0 * random.unit() - 1.0).collect()
}

impl Operand {
    fn len(&self) -> usize {
        match self {
            Operand::Values(values) => values.len(),
            Operand::Whole(values) => values.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Operand::Values(values) => bytemuck::cast_slice(values),
            Operand::Whole(values) => bytemuck::cast_slice(values),
        }
    }

    fn values(&self) -> Vec<f64> {
        match self {
            Operand::Values(values) => values.iter().map(|v| f64::from(*v)).collect(),
            Operand::Whole(values) => values.iter().map(|v| f64::from(*v)).collect(),
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
        let results: Vec<_> = cases().iter().map(|case| pollster::block_on(run_case(case, &engine))).collect();
        let bad: Vec<_> = results.iter().filter(|r| !r.pass).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }

    #[test]
    fn every_promise_is_kept_by_a_case() {
        let cases = cases();
        for (op, _) in TOLERANCES {
            assert!(cases.iter().any(|case| case.op == op), "no case for {op}");
        }
    }

    #[test]
    fn a_wrong_value_is_noticed() {
        let tight = Tolerance { relative: 1e-3, absolute: 0.0 };
        let worst = compare(&[1.0, 2.1], &[1.0, 2.0], tight);
        assert!(worst.error > worst.tolerance);
        assert!(compare(&[f32::NAN], &[1.0], tight).error.is_infinite());
    }
}
