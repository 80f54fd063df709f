//! Turns a program into a [`Plan`] once, and runs the plan on WebGPU or on the processor. Both
//! executors take the same plan; the processor's is the oracle for every kernel.
//!
//! It must not know where programs, data or weights come from, nor what becomes of the result: no
//! network, no storage, no clock.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cpu;
mod error;
mod gpu;
mod kernel;
mod plan;
mod roofline;
mod step;
#[cfg(test)]
mod tests;
mod tier;
mod trainer;
mod tune;

pub use error::EngineError;
pub use kernel::{AttentionSizes, ConvSizes, Copy, Form, Kernel, Reduce, Stack, Then};
pub use plan::{Dispatch, Place, Plan, memory_bytes};
pub use roofline::{Cost, Roof};
pub use tier::Tier;
pub use trainer::{BatchEvaluation, Choice, Engine, Trainer};
pub use tune::Tuned;
