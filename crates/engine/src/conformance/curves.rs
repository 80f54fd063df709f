//! Golden curves: ten steps of whole models whose losses JAX computed in f64, from weights and data that
//! both sides make from the same seeds. `tests/python/jax_models.py` has the other side.

use potluck_graph::{
    Column, DType, Program,
    preset::{self, CnnConfig, GptConfig},
    random::{SplitMix64, mix},
};
use potluck_protocol::{Optimizer, Recipe};
use serde::Deserialize;

use super::{Case, Work, Worst, programs};
use crate::{Engine, EngineError, Plan};

const FILE: &str = include_str!("../../../../tests/golden/curves.json");
const WEIGHTS_SEED: u64 = 1;
const DATA_SEED: u64 = 2;

/// How far a loss may be from JAX's, as a share of it: 1e-4 at the first step, 1e-3 at the tenth.
const SHARE_A_STEP: f64 = 1e-4;

/// Ten losses, each before a step. Beside them stand hashes of what they start from, for a test.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Curve {
    workload: String,
    optimizer: String,
    lr: f32,
    clip: f32,
    losses: Vec<f64>,
}

fn curves() -> Vec<Curve> {
    serde_json::from_str(FILE).expect("a list of curves")
}

pub(super) fn cases() -> Vec<Case> {
    let case = |curve: Curve| Case {
        name: format!("golden curve: {} with {}", curve.workload, curve.optimizer),
        op: "golden curve".to_owned(),
        work: Work::Curve(curve),
    };
    curves().into_iter().map(case).collect()
}

impl Curve {
    fn program(&self) -> Program {
        let program = match self.workload.as_str() {
            "gpt-l2-c64-h4-t64-b8-v65" => preset::gpt(&GptConfig::gpt2(65, 64, 2, 64, 4)),
            "cnn-28x28-b64" => {
                preset::cnn(&CnnConfig { image: [1, 28, 28], channels: vec![8, 16], residual: false, classes: 10 })
            }
            other => panic!("{other} is no workload"),
        };
        program.expect("a good program")
    }

    fn recipe(&self) -> Recipe {
        let batch = if self.workload.starts_with("gpt") { 8 } else { 64 };
        let optimizer = if self.optimizer == "muon" { Optimizer::muon() } else { Optimizer::default() };
        Recipe { batch, optimizer, clip_norm: self.clip, ..programs::recipe() }
    }
}

/// Labels and tokens below what the program can take, images in [0, 1).
fn columns(program: &Program, batch: u32) -> Vec<Column> {
    let (prediction, _) = program.loss().operands();
    let classes = program.shapes()[prediction.index()].last();
    let column = |(stream, spec): (u64, &potluck_graph::InputSpec)| {
        let mut random = SplitMix64::new(mix(DATA_SEED, stream));
        let count = batch * spec.shape.iter().product::<u32>();
        match spec.dtype {
            DType::F32 => Column::F32((0..count).map(|_| random.unit()).collect()),
            DType::U32 => Column::U32((0..count).map(|_| random.below(classes)).collect()),
        }
    };
    (0..).zip(program.inputs()).map(column).collect()
}

pub(super) fn plan(curve: &Curve) -> Plan {
    Plan::new(&curve.program(), &curve.recipe()).expect("the workloads fit")
}

pub(super) async fn run(curve: &Curve, engine: &Engine) -> Result<Worst, EngineError> {
    let (program, recipe) = (curve.program(), curve.recipe());
    let columns = columns(&program, recipe.batch);
    let mut trainer = engine.trainer(&program, &recipe, &program.initial(WEIGHTS_SEED)).await?;
    let mut worst = Worst::none();
    for (step, expected) in (1..).zip(&curve.losses) {
        trainer.step(&columns, curve.lr).await?;
        let error = (f64::from(trainer.loss().await?) - expected).abs();
        let error = if error.is_nan() { f64::INFINITY } else { error };
        worst = worst.max(Worst { error, tolerance: SHARE_A_STEP * f64::from(step) * expected });
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use potluck_protocol::BlobId;

    use super::*;

    /// The curves mean something only where both sides start from the same bits.
    #[test]
    fn weights_and_data_are_those_of_the_other_side() {
        let hashes: Vec<serde_json::Value> = serde_json::from_str(FILE).expect("a list");
        for (curve, hashes) in curves().iter().zip(hashes) {
            let program = curve.program();
            let weights = BlobId::of(bytemuck::cast_slice(&program.initial(WEIGHTS_SEED)));
            assert_eq!(weights.to_string(), hashes["weights_sha256"], "{}", curve.workload);
            let columns = columns(&program, curve.recipe().batch);
            let bytes: Vec<u8> = columns.iter().flat_map(Column::as_bytes).copied().collect();
            assert_eq!(BlobId::of(&bytes).to_string(), hashes["data_sha256"], "{}", curve.workload);
        }
    }
}
