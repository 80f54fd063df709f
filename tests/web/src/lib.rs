//! The engine's kernel cases and whole tasks as a wasm module: the test page calls [`run_cases`] and
//! [`Replayer`] in every browser.
//! Nothing of this is in the package that visitors load.

use std::sync::Arc;

use potluck_engine::{
    Choice, Engine, Form,
    conformance::{self, cases, run_case},
};
use potluck_graph::Program;
use potluck_volunteer::{Blob, Run, TaskRunner};
use wasm_bindgen::prelude::*;

/// Runs every case on `webgpu` or `cpu`; resolves to an array of
/// `{case, backend, error, tolerance, pass, failure}`. Rejects where the backend is not there.
#[wasm_bindgen]
pub async fn run_cases(backend: String) -> Result<JsValue, JsError> {
    let engine = Engine::open(choice(&backend)?).await?;
    let mut results = Vec::new();
    for case in cases() {
        results.push(run_case(&case, &engine).await);
    }
    Ok(serde_wasm_bindgen::to_value(&results)?)
}

/// The volunteer's own task runner on one backend: what `cargo xtask trust` compares.
#[wasm_bindgen]
pub struct Replayer(TaskRunner);

#[wasm_bindgen]
impl Replayer {
    /// Opens `webgpu` or `cpu`.
    pub async fn open(backend: String) -> Result<Replayer, JsError> {
        Ok(Self(TaskRunner::new(Engine::open(choice(&backend)?).await?)))
    }

    /// Computes a train task; resolves to its update before encoding. `task` and `program` are JSON,
    /// `base` little-endian f32, and `blocks` the task's blocks one after another with `lengths`.
    pub async fn replay(
        &mut self,
        task: String,
        program: String,
        base: Vec<u8>,
        blocks: Vec<u8>,
        lengths: Vec<u32>,
    ) -> Result<Vec<f32>, JsError> {
        let mut rest = blocks.as_slice();
        let mut cut = |length: u32| {
            let (block, after) = rest.split_at_checked(length as usize)?;
            rest = after;
            Some(Arc::new(block.to_vec()))
        };
        let blocks: Option<Vec<Blob>> = lengths.into_iter().map(&mut cut).collect();
        let run = Run {
            task: serde_json::from_str(&task)?,
            program: Arc::new(Program::parse(program.as_bytes())?),
            base: Arc::new(base),
            blocks: blocks.ok_or_else(|| JsError::new("the blocks are shorter than their lengths"))?,
        };
        Ok(self.0.replay(&run).await?)
    }
}

/// Which variant of the wasm this is, by its name in wasm-pack.toml.
#[wasm_bindgen]
pub fn variant() -> String {
    if cfg!(feature = "relaxed") { "relaxed" } else { "simd" }.to_owned()
}

/// The adapter's own name.
#[wasm_bindgen]
pub async fn adapter() -> Result<String, JsError> {
    Ok(Engine::open(Choice::Gpu).await?.adapter())
}

/// One square matrix product alone, for the benchmarks: no program is one product.
#[wasm_bindgen]
pub struct Product(conformance::Product);

#[wasm_bindgen]
impl Product {
    /// Prepares `a . b` on `webgpu` or `cpu`; `form` is `nn`, `nt` or `tn`.
    pub async fn open(backend: String, form: String, size: u32, a: Vec<f32>, b: Vec<f32>) -> Result<Product, JsError> {
        let form = match form.as_str() {
            "nn" => Form::Nn,
            "nt" => Form::Nt,
            "tn" => Form::Tn,
            other => return Err(JsError::new(&format!("form is {other:?}, expected nn, nt or tn"))),
        };
        let engine = Engine::open(choice(&backend)?).await?;
        Ok(Self(conformance::Product::open(&engine, form, size, &a, &b).await?))
    }

    /// Multiplies once and waits until it is done.
    pub async fn run(&mut self) -> Result<(), JsError> {
        Ok(self.0.run().await?)
    }

    /// The first value of the product.
    pub async fn corner(&mut self) -> Result<f32, JsError> {
        Ok(self.0.corner().await?)
    }
}

fn choice(backend: &str) -> Result<Choice, JsError> {
    match backend {
        "webgpu" => Ok(Choice::Gpu),
        "cpu" => Ok(Choice::Cpu),
        other => Err(JsError::new(&format!("backend is {other:?}, expected \"webgpu\" or \"cpu\""))),
    }
}
