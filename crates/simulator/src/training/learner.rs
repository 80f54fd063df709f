//! One volunteer's work: tasks of some steps from given parameters, on the processor.

use anyhow::Result;
use potluck_engine::{Choice, Engine, Trainer};
use potluck_graph::Program;
use potluck_protocol::{BlobId, Recipe, Task, TaskId, TaskKind, Version};

use super::corpus::Corpus;

/// Trains tasks of one recipe. Optimizer state is fresh in every task.
pub(crate) struct Learner<'a> {
    corpus: &'a Corpus,
    recipe: Recipe,
    trainer: Trainer,
}

/// Steps from some parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stint {
    /// Of the data.
    pub(crate) seed: u64,
    pub(crate) steps: u32,
    /// Samples of the budget that are spoken for before it, and after it.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl<'a> Learner<'a> {
    pub(crate) fn new(corpus: &'a Corpus, program: &Program, recipe: Recipe) -> Result<Self> {
        let engine = pollster::block_on(Engine::open(Choice::Cpu))?;
        let trainer = pollster::block_on(engine.trainer(program, &recipe, &program.initial(0)))?;
        Ok(Self { corpus, recipe, trainer })
    }

    /// The parameters after a stint from these.
    pub(crate) fn train(&mut self, base: &[f32], stint: Stint) -> Result<Vec<f32>> {
        let task = self.task(stint);
        pollster::block_on(async {
            self.trainer.restart(base).await?;
            for step in 0..task.steps {
                let batch = self.corpus.batch(task.seed, step, task.batch);
                self.trainer.step(&batch, task.lr(step)).await?;
            }
            Ok(self.trainer.weights().await?)
        })
    }

    /// The task as a coordinator would lease it, so that the learning rate is the real one's.
    fn task(&self, stint: Stint) -> Task {
        let Stint { seed, steps, from, to } = stint;
        Task {
            id: TaskId(1),
            kind: TaskKind::Train,
            program: BlobId([0; 32]),
            base_version: Version(0),
            base: BlobId([0; 32]),
            blocks: Vec::new(),
            seed,
            steps,
            batch: self.recipe.batch,
            lr_start: self.recipe.lr_at(from),
            lr_end: self.recipe.lr_at(to),
            recipe: self.recipe.clone(),
        }
    }

    /// Mean loss a character over the held-out windows, in nats.
    pub(crate) fn evaluate(&mut self, weights: &[f32]) -> Result<f64> {
        let (batch, windows) = (self.recipe.batch as usize, self.corpus.valid_windows());
        pollster::block_on(async {
            self.trainer.restart(weights).await?;
            let (mut sum, mut rows) = (0.0, 0);
            for from in (0..windows).step_by(batch) {
                let columns = self.corpus.valid(from, (from + batch).min(windows));
                let part = self.trainer.evaluate(&columns).await?;
                sum += part.loss_sum;
                rows += part.rows;
            }
            Ok(sum / rows as f64)
        })
    }
}
