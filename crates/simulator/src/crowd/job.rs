//! The job that a crowd works on: how big its model is, and how long a task takes.

use potluck_protocol::{
    BlobId, JobName, Millis, Optimizer, OuterStep, ProgramFacts, Recipe, Schedule, StrategyName, UpdateEncoding,
};
use potluck_scheduler::{Dataset, Fact};

use super::churn::Churn;
use super::workshop::Workshop;

pub(super) const STEPS: u32 = 8;
const BATCH: u32 = 32;
/// Samples of a task.
pub(super) const TASK_SAMPLES: u32 = STEPS * BATCH;

const BLOCKS: u32 = 8192;
/// An eighth of a task, so that it may have any of its batches.
const BLOCK_SAMPLES: u32 = TASK_SAMPLES / 8;

/// Bytes of a sample: a window of 64 tokens and its targets.
pub(crate) const SAMPLE_BYTES: u64 = 512;

/// A model and its tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JobSize {
    pub(crate) parameters: u64,
    /// What a task takes on the median device.
    pub(crate) task_millis: Millis,
}

impl JobSize {
    /// Operations of a sample, where a task has so many.
    pub(super) fn flops_per_sample(self, task_samples: u64) -> u64 {
        (Churn::median_speed() * self.task_millis as f64 / task_samples as f64) as u64
    }

    /// A job of this size. Nothing is evaluated, and the budget is never spent: what is measured is a
    /// stretch of a job.
    pub(crate) fn job(self, seed: u64) -> CrowdJob {
        let flops = self.flops_per_sample(u64::from(TASK_SAMPLES));
        let created = Fact::JobCreated {
            at: 0,
            job: name(),
            seed,
            program: BlobId::of(b"program"),
            facts: ProgramFacts {
                parameters: self.parameters,
                train_flops_per_sample: flops,
                evaluate_flops_per_sample: flops / 3,
            },
            recipe: Recipe {
                optimizer: Optimizer::muon(),
                lr: 0.02,
                schedule: Schedule::Constant,
                ramp_steps: 3,
                clip_norm: 1.0,
                steps: STEPS,
                batch: BATCH,
                budget_samples: u64::MAX / 2,
                target_accuracy: None,
                outer: OuterStep::default(),
                update: UpdateEncoding::E3m0,
            },
            strategy: StrategyName::Auto,
            dataset: Dataset {
                train: (0..BLOCKS).map(|index| (BlobId::of(&index.to_le_bytes()), BLOCK_SAMPLES)).collect(),
                valid: Vec::new(),
                test: Vec::new(),
                files: Default::default(),
            },
            base: BlobId::of(b"v0"),
        };
        CrowdJob { name: name(), created, parameters: self.parameters, flops_per_sample: flops, workshop: None }
    }
}

/// What a crowd works on.
pub(crate) struct CrowdJob {
    pub(crate) name: JobName,
    /// The first fact of its log.
    pub(crate) created: Fact,
    /// Values of an update and of a version, as far as lines are concerned.
    pub(crate) parameters: u64,
    /// Operations of a sample, as far as devices are concerned.
    pub(crate) flops_per_sample: u64,
    /// Where tasks are really computed; without one they are spans.
    pub(crate) workshop: Option<Workshop>,
}

fn name() -> JobName {
    "crowd".parse().unwrap_or_else(|_| unreachable!("a short lower-case word is a name"))
}
