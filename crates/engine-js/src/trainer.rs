//! The classes and functions that cross into JavaScript.
//!
//! It must stay thin: parse, hand on, convert the error.

use std::time::Duration;

use js_sys::{Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use potluck_engine::{Engine, Trainer, Tuned};
use potluck_graph::{Column, Program};
use potluck_protocol::{Backend, Recipe};
use serde_json::{Value, json};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

use crate::{
    batch::{self, Given},
    error::JsFault,
    explanation,
    options::Options,
    presets,
};

/// How long a trainer may take to measure: what the largest kernels of a model need on a GPU, and no more
/// than its first pipelines take to compile on a slow one.
const TUNING: Duration = Duration::from_secs(1);

/// A program on a device. Calls must not overlap; the package's `Trainer` sees to that.
#[wasm_bindgen]
pub struct EngineTrainer {
    program: Program,
    trainer: Trainer,
    backend: Backend,
    adapter: String,
    batch: u32,
    lr: f32,
    /// What measuring came to, as JavaScript gets it; null where nobody asked.
    tuning: Value,
}

#[wasm_bindgen]
impl EngineTrainer {
    /// Opens a device and prepares a program (JSON) with options (JSON) and weights, or with first
    /// weights from the options' seed.
    pub async fn create(
        program: String,
        options: String,
        weights: Option<Float32Array>,
    ) -> Result<EngineTrainer, JsValue> {
        Self::open(&program, &options, weights).await.map_err(thrown)
    }

    async fn open(program: &str, options: &str, weights: Option<Float32Array>) -> Result<Self, JsFault> {
        let program = Program::parse(program.as_bytes())?;
        let options = Options::parse(options)?;
        let recipe = options.recipe()?;
        let init = weights.map_or_else(|| program.initial(options.seed.into()), |given| given.to_vec());
        let engine = Engine::open(options.backend.into()).await?;
        let tuning = if options.tune { tune(&engine, &program, &recipe).await? } else { Value::Null };
        let mut trainer = engine.trainer(&program, &recipe, &init).await?;
        trainer.seed(options.seed.into());
        let (backend, adapter) = (engine.backend(), engine.adapter());
        Ok(Self { program, trainer, backend, adapter, batch: recipe.batch, lr: recipe.lr, tuning })
    }

    /// One optimizer step; resolves to the batch's mean loss before it.
    pub async fn step(&mut self, batch: Object, lr: Option<f32>) -> Result<f32, JsValue> {
        self.train(&batch, lr).await.map_err(thrown)
    }

    async fn train(&mut self, batch: &Object, lr: Option<f32>) -> Result<f32, JsFault> {
        let columns = batch::for_step(&self.program, self.batch, &names(batch), |name| given(batch, name))?;
        self.trainer.step(&columns, lr.unwrap_or(self.lr)).await?;
        Ok(self.trainer.loss().await?)
    }

    /// The prediction (logits) for a batch of at most the trainer's size.
    pub async fn forward(&mut self, batch: Object) -> Result<Float32Array, JsValue> {
        self.predict(&batch).await.map(|values| Float32Array::from(values.as_slice())).map_err(thrown)
    }

    async fn predict(&mut self, batch: &Object) -> Result<Vec<f32>, JsFault> {
        let columns = batch::for_forward(&self.program, self.batch, &names(batch), |name| given(batch, name))?;
        Ok(self.trainer.forward(&columns).await?)
    }

    /// All parameters in the program's order, f32 little-endian.
    pub async fn weights(&mut self) -> Result<Uint8Array, JsValue> {
        let weights = self.trainer.weights().await.map_err(|error| thrown(error.into()))?;
        let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Uint8Array::from(bytes.as_slice()))
    }

    /// What is open, as JSON: `{backend, adapter, batch, parameters, dispatches, memoryBytes, plan, tiers,
    /// tuning}`.
    pub fn describe(&self) -> String {
        let plan = self.trainer.plan();
        let backend = if matches!(self.backend, Backend::Webgpu) { "webgpu" } else { "cpu" };
        let tiers: Vec<String> = plan.tiers().iter().map(|tier| format!("{tier:?}")).collect();
        json!({
            "backend": backend,
            "adapter": self.adapter,
            "batch": self.batch,
            "parameters": self.program.parameter_count(),
            "dispatches": plan.dispatches.len(),
            "memoryBytes": potluck_engine::memory_bytes(plan),
            "plan": plan.id().to_string(),
            "tiers": tiers,
            "tuning": self.tuning,
        })
        .to_string()
    }
}

/// Measures where there is a GPU to choose for: `{measured, changed, left, skipped}`.
async fn tune(engine: &Engine, program: &Program, recipe: &Recipe) -> Result<Value, JsFault> {
    let skipped = match engine.backend() {
        Backend::Wasm | Backend::Cpu => Some("cpu"),
        // It compiles one kernel's other tiers for longer than all of them could save.
        _ => engine.is_software().then_some("software"),
    };
    let clock = || Duration::from_secs_f64(millis().max(0.0) / 1e3);
    let Tuned { measured, changed, left } = match skipped {
        None => engine.tune(program, recipe, &clock, TUNING).await?,
        Some(_) => Tuned::default(),
    };
    Ok(json!({"measured": measured, "changed": changed, "left": left, "skipped": skipped}))
}

/// The program (JSON) of a preset with its configuration (JSON).
#[wasm_bindgen]
pub fn preset(name: &str, config: &str) -> Result<String, JsValue> {
    presets::program(name, config).map(|program| program.to_json()).map_err(thrown)
}

/// What a training step of this program (JSON) with these options (JSON) runs, as JSON; opens no
/// device.
#[wasm_bindgen]
pub fn explain(program: &str, options: &str) -> Result<String, JsValue> {
    explanation::of(program, options).map_err(thrown)
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);

    /// Milliseconds since some moment; never goes back.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn millis() -> f64;
}

/// A panic traps, and a trap says nothing of its own.
#[wasm_bindgen(start)]
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| console_error(&panic.to_string())));
}

fn names(batch: &Object) -> Vec<String> {
    Object::keys(batch).iter().filter_map(|name| name.as_string()).collect()
}

fn given(batch: &Object, name: &str) -> Given {
    let value = Reflect::get(batch, &name.into()).unwrap_or(JsValue::UNDEFINED);
    if value.is_undefined() || value.is_null() {
        return Given::Nothing;
    }
    if let Some(values) = value.dyn_ref::<Float32Array>() {
        return Given::Column(Column::F32(values.to_vec()));
    }
    match value.dyn_ref::<Uint32Array>() {
        Some(values) => Given::Column(Column::U32(values.to_vec())),
        None => Given::Other,
    }
}

/// An `Error` with name and code.
fn thrown(fault: JsFault) -> JsValue {
    let error = js_sys::Error::new(&fault.to_string());
    error.set_name("PotluckError");
    // Setting a field of a fresh object does not fail.
    let _ = Reflect::set(&error, &"code".into(), &fault.code().into());
    error.into()
}
