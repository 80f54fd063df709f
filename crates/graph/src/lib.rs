//! Programs: what travels to a tab. A program is a static tensor graph with named parameters,
//! inputs and a loss; this crate builds, validates, differentiates and serialises them, and defines
//! the blocks of data that they consume.
//!
//! It must not know how anything is executed: no device, no kernel, no I/O, no clock.
//!
//! ```
//! use potluck_graph::{Dim, DType, Graph, Loss};
//!
//! let mut g = Graph::new();
//! let x = g.input("x", &[Dim::Batch, Dim::Of(64)], DType::F32)?;
//! let y = g.input("y", &[Dim::Batch], DType::U32)?;
//! let hidden = g.linear("hidden", x, 128)?;
//! let hidden = g.relu(hidden)?;
//! let logits = g.linear("head", hidden, 10)?;
//! let program = g.finish(Loss::cross_entropy(logits, y))?;
//! assert_eq!(program.parameter_count(), 64 * 128 + 128 + 128 * 10 + 10);
//! # Ok::<(), potluck_graph::ProgramError>(())
//! ```

mod block;
mod builder;
mod custom;
mod derivative;
mod differentiate;
mod error;
mod infer;
mod op;
pub mod preset;
mod program;
pub mod random;
mod shape;

pub use block::{Block, BlockError, Column};
pub use builder::Graph;
pub use custom::{Custom, Reference};
pub use derivative::Derivative;
pub use differentiate::{TrainingGraph, differentiate, loss_rows};
pub use error::ProgramError;
pub use op::{BinaryFn, Form, Heads, NodeId, Op, PoolFn, ReduceFn, UnaryFn, Window};
pub use program::{Init, InputSpec, Loss, ParameterSpec, Program};
pub use random::batches;
pub use shape::{DType, Dim, Shape};
