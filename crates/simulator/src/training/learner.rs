//! One volunteer's work: tasks of some steps from given parameters, on the processor.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::Result;
use potluck_engine::{Choice, Engine, Trainer};
use potluck_graph::Program;
use potluck_protocol::{BlobId, Recipe, Task, TaskId, TaskKind, Version};

use super::corpus::Corpus;

/// Trains tasks of one recipe.
pub(crate) struct Learner<'a> {
    corpus: &'a Corpus,
    program: &'a Program,
    recipe: Recipe,
    engine: Engine,
    /// By batch, as a plan has one, and by who carries its state in it.
    trainers: BTreeMap<(u32, Option<usize>), Trainer>,
}

/// Steps from some parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stint {
    /// Of the data.
    pub(crate) seed: u64,
    pub(crate) steps: u32,
    pub(crate) batch: u32,
    /// Samples of the budget that are spoken for before it, and after it.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl<'a> Learner<'a> {
    pub(crate) fn new(corpus: &'a Corpus, program: &'a Program, recipe: Recipe) -> Result<Self> {
        let engine = pollster::block_on(Engine::open(Choice::Cpu))?;
        Ok(Self { corpus, program, recipe, engine, trainers: BTreeMap::new() })
    }

    fn trainer(&mut self, batch: u32, carrier: Option<usize>) -> Result<&mut Trainer> {
        let Self { program, recipe, engine, trainers, .. } = self;
        match trainers.entry((batch, carrier)) {
            Entry::Occupied(trainer) => Ok(trainer.into_mut()),
            Entry::Vacant(place) => {
                let recipe = Recipe { batch, ..recipe.clone() };
                Ok(place.insert(pollster::block_on(engine.trainer(program, &recipe, &program.initial(0)))?))
            }
        }
    }

    /// The parameters after a stint from these, with fresh optimizer state or with that which this
    /// volunteer carries; then only its first stint begins with a ramp.
    pub(crate) fn train(&mut self, base: &[f32], stint: Stint, carrier: Option<usize>) -> Result<Vec<f32>> {
        let (mut task, corpus) = (self.task(stint), self.corpus);
        let goes_on = carrier.is_some() && self.trainers.contains_key(&(task.batch, carrier));
        let trainer = self.trainer(task.batch, carrier)?;
        pollster::block_on(async {
            if goes_on {
                task.recipe.ramp_steps = 0;
                trainer.carry_on(base)?;
            } else {
                trainer.restart(base).await?;
            }
            for step in 0..task.steps {
                let batch = corpus.batch(task.seed, step, task.batch);
                trainer.step(&batch, task.lr(step)).await?;
            }
            Ok(trainer.weights().await?)
        })
    }

    /// What the norm of a stint's update is expected to grow with: steps x mean learning rate.
    pub(crate) fn scale(&self, stint: Stint) -> f32 {
        let task = self.task(stint);
        task.steps as f32 * (task.lr_start + task.lr_end) / 2.0
    }

    /// The task as a coordinator would lease it, so that the learning rate is the real one's.
    fn task(&self, stint: Stint) -> Task {
        let Stint { seed, steps, batch, from, to } = stint;
        Task {
            id: TaskId(1),
            kind: TaskKind::Train,
            program: BlobId([0; 32]),
            base_version: Version(0),
            base: BlobId([0; 32]),
            blocks: Vec::new(),
            seed,
            steps,
            batch,
            lr_start: self.recipe.lr_at(from),
            lr_end: self.recipe.lr_at(to),
            recipe: self.recipe.clone(),
        }
    }

    /// Mean loss a character over the held-out windows, in nats.
    pub(crate) fn evaluate(&mut self, weights: &[f32]) -> Result<f64> {
        let (size, windows, corpus) = (self.recipe.batch as usize, self.corpus.valid_windows(), self.corpus);
        let trainer = self.trainer(self.recipe.batch, None)?;
        pollster::block_on(async {
            trainer.restart(weights).await?;
            let (mut sum, mut rows) = (0.0, 0);
            for from in (0..windows).step_by(size) {
                let columns = corpus.valid(from, (from + size).min(windows));
                let part = trainer.evaluate(&columns).await?;
                sum += part.loss_sum;
                rows += part.rows;
            }
            Ok(sum / rows as f64)
        })
    }
}
