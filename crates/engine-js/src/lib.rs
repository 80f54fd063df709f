//! The engine for JavaScript: what the npm package `potluck-engine` is made of. One device, no
//! coordinator; "try it" pages and the benchmarks use it.
//!
//! The wasm boundary is thin: programs and options cross it as JSON text, numbers as typed arrays,
//! and `package/index.js` turns that into the `Trainer` that users see. It must not know where data
//! comes from, nor jobs, leases or the network.

pub mod batch;
pub mod error;
pub mod explanation;
pub mod options;
pub mod presets;

#[cfg(target_arch = "wasm32")]
mod trainer;

#[cfg(target_arch = "wasm32")]
pub use trainer::{EngineTrainer, explain, preset};
