//! Golden vectors: programs whose loss, prediction and gradients JAX computed in f64. They run as
//! programs do, through differentiation, fusion and the plan. `tests/python/goldens.py` makes the file
//! and says what is in it.

use potluck_graph::{Column, DType, Program, loss_rows};
use potluck_protocol::Recipe;
use safetensors::SafeTensors;
use serde::Deserialize;

use super::{Case, Tolerance, Work, Worst, compare, compare_scaled, programs};
use crate::{Engine, EngineError, Plan};

const FILE: &[u8] = include_bytes!("../../../../tests/golden/ops.safetensors");

/// A program with its data and what must come of it.
#[derive(Debug, Clone)]
pub(super) struct Golden {
    program: Program,
    columns: Vec<Column>,
    parameters: Vec<f32>,
    loss: f64,
    prediction: Vec<f64>,
    gradients: Vec<f64>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    op: String,
    loss: f64,
    program: serde_json::Value,
}

pub(super) fn cases() -> Vec<Case> {
    let (_, header) = SafeTensors::read_metadata(FILE).expect("a safetensors file");
    let metadata = header.metadata().as_ref().expect("metadata");
    let listed: Vec<Listed> = serde_json::from_str(&metadata["cases"]).expect("a list of cases");
    let tensors = SafeTensors::deserialize(FILE).expect("a safetensors file");
    let case = |(index, listed): (usize, Listed)| {
        let Listed { name, op, loss, program } = listed;
        let golden = Golden::read(index, loss, &program, &tensors);
        Case { name: format!("golden: {name}"), op, work: Work::Golden(Box::new(golden)) }
    };
    listed.into_iter().enumerate().map(case).collect()
}

/// The programs alone.
pub(super) fn programs() -> Vec<Program> {
    let of = |case: Case| if let Work::Golden(golden) = case.work { Some(golden.program) } else { None };
    cases().into_iter().filter_map(of).collect()
}

impl Golden {
    fn read(index: usize, loss: f64, program: &serde_json::Value, tensors: &SafeTensors<'_>) -> Self {
        let program = Program::parse(program.to_string().as_bytes()).expect("a good program");
        let bytes = |part: &str| tensors.tensor(&format!("{index}/{part}")).expect("every part is there").data();
        let column = |(column, dtype): (usize, DType)| match dtype {
            DType::F32 => Column::F32(numbers(bytes(&column.to_string()), f32::from_le_bytes)),
            DType::U32 => Column::U32(numbers(bytes(&column.to_string()), u32::from_le_bytes)),
        };
        let columns = program.inputs().iter().map(|spec| spec.dtype).enumerate().map(column).collect();
        Self {
            columns,
            parameters: numbers(bytes("parameters"), f32::from_le_bytes),
            loss,
            prediction: numbers(bytes("prediction"), f64::from_le_bytes),
            gradients: numbers(bytes("gradients"), f64::from_le_bytes),
            program,
        }
    }

    fn batch(&self) -> u32 {
        let per_sample: u32 = self.program.inputs()[0].shape.iter().product();
        (self.columns[0].len() / per_sample as usize) as u32
    }
}

pub(super) fn plan(golden: &Golden) -> Plan {
    let recipe = Recipe { batch: golden.batch(), ..programs::recipe() };
    Plan::new(&golden.program, &recipe).expect("goldens are small")
}

fn numbers<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|each| number(*each)).collect()
}

/// One step with a learning rate of 0: the prediction and the gradients are still there after it.
pub(super) async fn run(golden: &Golden, tolerance: Tolerance, engine: &Engine) -> Result<Worst, EngineError> {
    let Golden { program, columns, parameters, loss, prediction, gradients } = golden;
    let recipe = Recipe { batch: golden.batch(), ..programs::recipe() };
    let mut trainer = engine.trainer(program, &recipe, parameters).await?;
    trainer.step(columns, 0.0).await?;
    let rows = loss_rows(program.loss(), program.shapes(), recipe.batch) as f64;
    let of_loss = compare(&[trainer.loss().await?], &[*loss], tolerance);
    let of_prediction = compare(&trainer.prediction().await?, prediction, tolerance);
    let mean_gradients: Vec<f64> = gradients.iter().map(|gradient| gradient / rows).collect();
    let of_gradients = compare_scaled(&trainer.gradients().await?, &mean_gradients, tolerance, rows);
    Ok(of_loss.max(of_prediction).max(of_gradients))
}
