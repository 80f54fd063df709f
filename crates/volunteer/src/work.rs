//! What a session hands to a runner, and what comes back.
//!
//! It must not know how anything is computed.

use std::sync::Arc;

use potluck_graph::Program;
use potluck_protocol::{Evaluation, Recipe, Task, TaskId};

use crate::cache::Blob;

/// A measurement of this device on the job's own program and data.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// The program, checked.
    pub program: Arc<Program>,
    /// The job's recipe.
    pub recipe: Recipe,
    /// Current parameters: little-endian f32, as many as the program has.
    pub base: Blob,
    /// An encoded block of training data.
    pub block: Blob,
}

/// A task with everything that it names.
#[derive(Debug, Clone)]
pub struct Run {
    /// The task; its numbers are within the limits.
    pub task: Task,
    /// The program, checked.
    pub program: Arc<Program>,
    /// Parameters to start from: little-endian f32, as many as the program has.
    pub base: Blob,
    /// The encoded blocks, in the task's order.
    pub blocks: Vec<Blob>,
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The task.
    pub task: TaskId,
    /// Optimizer steps done; fewer than asked for a partial hand-in, 0 for an evaluation.
    pub steps: u32,
    /// The encoded update; `None` for an evaluation.
    pub update: Option<Vec<u8>>,
    /// Mean training loss of the last step; `None` for an evaluation.
    pub train_loss: Option<f32>,
    /// Of the base version; `None` for training.
    pub evaluation: Option<Evaluation>,
    /// Time spent computing, rests excluded.
    pub compute_millis: u64,
}
