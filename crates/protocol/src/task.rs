//! Tasks: pure functions of (program, recipe, base version, blocks, seed, steps).

use serde::{Deserialize, Serialize};

use crate::{BlobId, Millis, Recipe, TaskId, Version};

/// A part of the owner's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What tasks train on; its blocks are public blobs.
    Train,
    /// What gates targets and rollback; its blocks are public blobs.
    Valid,
    /// What is only reported; never served, evaluated by the embedded worker alone.
    Test,
}

/// How an update (base minus local) is encoded; formats in `potluck-update`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpdateEncoding {
    /// 4 bits a parameter: a sign and seven powers of two, one f32 scale per 4,096.
    #[default]
    E3m0,
    /// 8 bits a parameter, one f32 scale per 4,096.
    Int8,
}

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// Train from the base version and hand in an update.
    Train,
    /// Compute loss and metrics of the base version over the blocks of a split.
    Evaluate {
        /// The split that the blocks belong to.
        split: Split,
    },
}

/// A unit of work. Two workers that are given the same task compute the same result.
///
/// A train task draws its samples so: the samples of `blocks`, concatenated in this order, are
/// shuffled by `seed` (`potluck_graph::shuffle`) and cut into `steps` batches of `batch`, starting
/// again from the front where they run out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The task's number in its job.
    pub id: TaskId,
    /// Train or evaluate.
    pub kind: TaskKind,
    /// The program, a JSON blob.
    pub program: BlobId,
    /// Version of the parameters to start from.
    pub base_version: Version,
    /// Those parameters: little-endian f32 in the program's parameter order.
    pub base: BlobId,
    /// The data blocks, in order.
    pub blocks: Vec<BlobId>,
    /// Seed of the shuffle (and of dropout, once programs have it).
    pub seed: u64,
    /// Optimizer steps; 0 for an evaluation.
    pub steps: u32,
    /// Samples in a step, or in one pass of an evaluation.
    pub batch: u32,
    /// Learning rate at the first step after the ramp.
    #[serde(serialize_with = "crate::exact::float")]
    pub lr_start: f32,
    /// Learning rate at the last step.
    #[serde(serialize_with = "crate::exact::float")]
    pub lr_end: f32,
    /// Recipe of the job when the task was made.
    pub recipe: Recipe,
}

impl Task {
    /// Learning rate of one step, counted from 0: up to `lr_start` over the recipe's ramp, then
    /// straight to `lr_end` at the last step. No function beyond plain arithmetic, so that every
    /// machine gets the same bits.
    pub fn lr(&self, step: u32) -> f32 {
        let (ramp, last) = (self.recipe.ramp_steps, self.steps.saturating_sub(1));
        if step < ramp {
            return self.lr_start * ((step + 1) as f32 / ramp as f32);
        }
        let span = last.saturating_sub(ramp).max(1);
        let done = (step - ramp).min(span) as f32 / span as f32;
        self.lr_start + (self.lr_end - self.lr_start) * done
    }
}

/// A task that was given to one volunteer, with spans that are left rather than times of day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The work.
    pub task: Task,
    /// After this the blocks may be given to somebody else.
    pub deadline_millis: Millis,
    /// After this the result is refused.
    pub expiry_millis: Millis,
    /// How the base is made of versions just before it. From protocol version 3 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<DeltaStep>,
}

/// A step from a version to the next. In a chain the newest comes first, and each step leads to the
/// version that the one before it starts from. Whoever holds one of these versions applies the steps
/// from there on, in `potluck-update`'s arithmetic, and checks the hash of what comes out; a chain of
/// at most [`crate::limits::DELTAS_MAX`] is always fewer bytes than the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaStep {
    /// SHA-256 of the parameters that it starts from.
    pub from: BlobId,
    /// The delta, a blob. Its length follows from the number of parameters.
    pub delta: BlobId,
}

/// Loss and metrics of one version over one split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Mean loss a sample, in the loss's own unit (nats for cross-entropy).
    #[serde(serialize_with = "crate::exact::float")]
    pub loss: f32,
    /// Share of samples (for text: of positions) that were predicted right, 0 to 1.
    #[serde(serialize_with = "crate::exact::float")]
    pub accuracy: f32,
    /// Samples that were evaluated.
    pub samples: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Optimizer, OuterStep, Schedule};

    #[track_caller]
    fn check(ramp_steps: u32, steps: u32, expected: &[f32]) {
        let recipe = Recipe {
            optimizer: Optimizer::default(),
            lr: 1.0,
            schedule: Schedule::Constant,
            ramp_steps,
            clip_norm: 1.0,
            steps,
            batch: 1,
            budget_samples: 1000,
            target_accuracy: None,
            outer: OuterStep::default(),
            update: UpdateEncoding::E3m0,
        };
        let id = BlobId([0; 32]);
        let task = Task {
            id: TaskId(1),
            kind: TaskKind::Train,
            program: id,
            base_version: Version(0),
            base: id,
            blocks: vec![id],
            seed: 0,
            steps,
            batch: 1,
            lr_start: 8.0,
            lr_end: 4.0,
            recipe,
        };
        let got: Vec<f32> = (0..steps).map(|step| task.lr(step)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn rises_and_falls() {
        check(4, 9, &[2.0, 4.0, 6.0, 8.0, 8.0, 7.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn falls_without_a_ramp() {
        check(0, 5, &[8.0, 7.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn ends_with_the_ramp_where_it_is_all() {
        check(4, 4, &[2.0, 4.0, 6.0, 8.0]);
    }
}
