//! The engine's kernel cases as a wasm module: the test page calls [`run_cases`] in every browser.
//! Nothing of this is in the package that visitors load.

use potluck_engine::{
    Choice, Engine,
    conformance::{cases, run_case},
};
use wasm_bindgen::prelude::*;

/// Runs every case on `webgpu` or `cpu`; resolves to an array of
/// `{case, backend, error, tolerance, pass, failure}`. Rejects where the backend is not there.
#[wasm_bindgen]
pub async fn run_cases(backend: String) -> Result<JsValue, JsError> {
    let choice = match backend.as_str() {
        "webgpu" => Choice::Gpu,
        "cpu" => Choice::Cpu,
        other => return Err(JsError::new(&format!("backend is {other:?}, expected \"webgpu\" or \"cpu\""))),
    };
    let engine = Engine::open(choice).await?;
    let mut results = Vec::new();
    for case in cases() {
        results.push(run_case(&case, &engine).await);
    }
    Ok(serde_wasm_bindgen::to_value(&results)?)
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
