//! A small job, and the parts of inputs that do not matter to the core.

use potluck_protocol::{
    BlobId, Evaluation, JobName, Millis, Optimizer, OuterStep, ProgramFacts, Recipe, Schedule, SignedStatement,
    Statement, StrategyName, TaskId, UpdateEncoding, VolunteerKey,
};

use crate::{Dataset, Fact, Input, SessionId, UpdateFacts};

/// When jobs of the tests begin.
pub(super) const EPOCH: Millis = 1_000_000;

pub(super) fn blob(name: &str) -> BlobId {
    BlobId::of(name.as_bytes())
}

pub(super) fn key(name: u8) -> VolunteerKey {
    VolunteerKey([name; 32])
}

pub(super) fn job_name() -> JobName {
    "digits".parse().expect("a job name")
}

/// Tasks of 8 x 32 = 256 samples.
pub(crate) fn recipe() -> Recipe {
    Recipe {
        optimizer: Optimizer::default(),
        lr: 0.004,
        schedule: Schedule::Linear,
        ramp_steps: 3,
        clip_norm: 1.0,
        steps: 8,
        batch: 32,
        budget_samples: 100_000,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    }
}

/// Samples of a block of `train`.
pub(super) const BLOCK_SAMPLES: u32 = 64;

/// Train blocks of 64 samples, so that four make a task; `valid` of 30 and `test` of 20 samples.
pub(super) fn created(seed: u64, recipe: Recipe, train_blocks: usize) -> Fact {
    let blocks = |split: &str, count: usize, samples: u32| {
        (0..count).map(|index| (blob(&format!("{split} {index}")), samples)).collect()
    };
    Fact::JobCreated {
        at: EPOCH,
        job: job_name(),
        seed,
        program: blob("program"),
        facts: ProgramFacts { parameters: 100_000, train_flops_per_sample: 60, evaluate_flops_per_sample: 20 },
        recipe,
        strategy: StrategyName::Rounds,
        dataset: Dataset {
            train: blocks("train", train_blocks, BLOCK_SAMPLES),
            valid: blocks("valid", 1, 30),
            test: blocks("test", 1, 20),
            files: [("config.json".to_owned(), blob("config"))].into(),
        },
        base: blob("v0"),
    }
}

/// A good training result of this task.
pub(super) fn trained(task: TaskId, volunteer: VolunteerKey, steps: u32) -> (Statement, UpdateFacts) {
    let id = blob(&format!("update of {task} in {steps}"));
    let statement = Statement {
        job: job_name(),
        task,
        volunteer,
        steps,
        update: Some(id),
        train_loss: Some(1.5),
        evaluation: None,
        compute_millis: 100,
    };
    (statement, UpdateFacts { id, norm: 1.0, finite: true, well_formed: true })
}

/// A good evaluation of this task.
pub(super) fn evaluated(task: TaskId, volunteer: VolunteerKey, samples: u64, accuracy: f32) -> Statement {
    Statement {
        job: job_name(),
        task,
        volunteer,
        steps: 0,
        update: None,
        train_loss: None,
        evaluation: Some(Evaluation { loss: 1.0, accuracy, samples }),
        compute_millis: 100,
    }
}

pub(super) fn result(session: SessionId, statement: Statement, update: Option<UpdateFacts>) -> Input {
    let text = format!("{statement:?}");
    let signed = SignedStatement { statement: text, signature: "00".repeat(64) };
    Input::Result { session, statement, signed, update }
}
