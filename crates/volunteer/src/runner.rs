//! Computes tasks over `potluck-engine`: the same task gives the same bytes on the same executor.
//!
//! It must not know where a task comes from nor where its result goes; time and rest come from its
//! shell through [`Pace`].

use std::{ops::Range, time::Duration};

use potluck_engine::{BatchEvaluation, Engine, EngineError, Trainer, memory_bytes};
use potluck_graph::{Block, BlockError, batches};
use potluck_protocol::{BlobId, Evaluation, Recipe, Task, TaskKind, limits};
use potluck_update::{encode, weights_from_bytes};

use crate::{
    meter::Meter,
    pace::{Pace, StopFlag},
    slices::Slices,
    work::{Outcome, Run},
};

/// Shortest span between two looks at the loss: a look waits for the GPU.
const LOSS_SPAN: Duration = Duration::from_millis(500);

/// Why a task cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The engine could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A block is not one of this program.
    #[error("block {index} of the task: {error}")]
    Block {
        /// Its place in the task.
        index: usize,
        /// What is wrong with it.
        error: BlockError,
    },
    /// The parameters are not the program's.
    #[error("the task's parameters: {0}")]
    Base(String),
    /// Training led to NaN or infinity.
    #[error("{what} is not finite after {steps} steps")]
    NotFinite {
        /// The loss or the update.
        what: &'static str,
        /// Steps done.
        steps: u32,
    },
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps, or passes of an evaluation, that are done.
    pub step: u32,
    /// Steps or passes in all.
    pub steps: u32,
    /// Training loss, where it was read after this step.
    pub loss: Option<f32>,
}

/// Programs that are kept on the device: a volunteer's tasks have the batch that fits its speed, and a
/// task beside them the next smaller one.
const KEPT: usize = 2;

/// Computes tasks on one device, one at a time. Keeps the prepared programs of the last batches.
pub struct TaskRunner {
    engine: Engine,
    /// The one that was used last comes last.
    kept: Vec<Prepared>,
}

/// A program on the device, and what it was prepared for.
struct Prepared {
    program: BlobId,
    recipe: Recipe,
    trainer: Trainer,
    /// Where the shell wants them.
    slices: Option<Slices>,
}

impl TaskRunner {
    /// A runner on this device.
    pub fn new(engine: Engine) -> Self {
        Self { engine, kept: Vec::new() }
    }

    /// The device.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Computes a task. `None` where `stop` was raised before there was anything worth handing in:
    /// fewer than [`limits::TASK_STEPS_MIN`] steps, or part of an evaluation.
    ///
    /// # Errors
    /// Data that does not fit the program, a result that is not finite, or a failing device.
    pub async fn run(
        &mut self,
        run: &Run,
        stop: &StopFlag,
        pace: &impl Pace,
        mut progress: impl FnMut(Progress),
    ) -> Result<Option<Outcome>, RunError> {
        let mut meter = Meter::new(pace);
        let began = pace.now();
        let base = weights_from_bytes(&run.base, run.program.parameter_count())
            .map_err(|error| RunError::Base(error.to_string()))?;
        let blocks = decode_blocks(run)?;
        let prepared = self.prepare(run, &base, pace.slice()).await?;
        meter.busy += pace.now().saturating_sub(began);
        match run.task.kind {
            TaskKind::Train => train(prepared, run, &base, &blocks, stop, &mut meter, &mut progress).await,
            _ => evaluate(prepared, &run.task, &blocks, stop, &mut meter, &mut progress).await,
        }
    }

    /// Computes a train task without rests and returns the update as it is before it is encoded, for
    /// who compares devices or checks a result.
    ///
    /// # Errors
    /// As [`TaskRunner::run`].
    pub async fn replay(&mut self, run: &Run) -> Result<Vec<f32>, RunError> {
        self.replay_steps(run, 0..run.task.steps).await
    }

    /// [`TaskRunner::replay`] of some of the task's steps, counted from 0.
    ///
    /// # Errors
    /// As [`TaskRunner::run`].
    pub async fn replay_steps(&mut self, run: &Run, steps: Range<u32>) -> Result<Vec<f32>, RunError> {
        let task = &run.task;
        let base = weights_from_bytes(&run.base, run.program.parameter_count())
            .map_err(|error| RunError::Base(error.to_string()))?;
        let blocks = decode_blocks(run)?;
        let trainer = &mut self.prepare(run, &base, None).await?.trainer;
        let all = batches(task.seed, sample_count(&blocks), task.steps, task.batch);
        let some = (0..task.steps).zip(all).filter(|(step, _)| steps.contains(step));
        for (step, rows) in some {
            trainer.step(&Block::gather(&blocks, &rows), task.lr(step)).await?;
        }
        update_from(&base, &trainer.weights().await?, steps.end)
    }

    /// The program on the device with these parameters and fresh optimizer state.
    async fn prepare(&mut self, run: &Run, base: &[f32], slice: Option<Duration>) -> Result<&mut Prepared, RunError> {
        let Run { task, program, .. } = run;
        let recipe = Recipe { batch: task.batch, ..task.recipe.clone() };
        let is_same = |kept: &Prepared| kept.program == task.program && kept.recipe == recipe;
        let mut prepared = match self.kept.iter().position(is_same) {
            Some(at) => {
                let mut prepared = self.kept.remove(at);
                prepared.trainer.restart(base).await?;
                prepared
            }
            None => {
                self.make_room(task.batch);
                let trainer = self.engine.trainer(program, &recipe, base).await?;
                Prepared { program: task.program, recipe, trainer, slices: None }
            }
        };
        prepared.trainer.seed(task.seed);
        match slice {
            None => prepared.slices = None,
            Some(budget) => {
                let dispatches = prepared.trainer.plan().dispatches.len();
                prepared.slices.get_or_insert_with(|| Slices::new(dispatches, budget));
            }
        }
        // A trainer that failed above is dropped, not kept: its device may be gone.
        let last = self.kept.len();
        self.kept.push(prepared);
        Ok(&mut self.kept[last])
    }

    /// Drops what was not used for the longest time, and all of it where another plan might not fit
    /// beside it into what a tab may take.
    fn make_room(&mut self, batch: u32) {
        let bytes = |kept: &Prepared| memory_bytes(kept.trainer.plan());
        let growth = |kept: &Prepared| u64::from(batch.div_ceil(kept.recipe.batch.max(1)));
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.retain(|kept| bytes(kept).saturating_mul(1 + growth(kept)) <= limits::TAB_MEMORY_BYTES_MAX);
    }
}

fn decode_blocks(run: &Run) -> Result<Vec<Block>, RunError> {
    let decode = |(index, bytes): (usize, &crate::Blob)| {
        Block::decode(bytes, run.program.inputs()).map_err(|error| RunError::Block { index, error })
    };
    run.blocks.iter().enumerate().map(decode).collect()
}

/// Samples of all blocks: at most 64 x 4,096, far below `u32::MAX`.
fn sample_count(blocks: &[Block]) -> u32 {
    blocks.iter().map(|block| block.samples).sum()
}

async fn train<P: Pace>(
    Prepared { trainer, slices, .. }: &mut Prepared,
    run: &Run,
    base: &[f32],
    blocks: &[Block],
    stop: &StopFlag,
    meter: &mut Meter<'_, P>,
    progress: &mut impl FnMut(Progress),
) -> Result<Option<Outcome>, RunError> {
    let task = &run.task;
    let mut steps = 0;
    let mut looked_at = meter.pace.now();
    let mut newest = None;
    for rows in batches(task.seed, sample_count(blocks), task.steps, task.batch) {
        if stop.is_raised() {
            break;
        }
        let mut began = meter.pace.now();
        trainer.begin(&Block::gather(blocks, &rows), task.lr(steps))?;
        if !meter.run(trainer, slices, &mut began, stop).await? {
            break;
        }
        steps += 1;
        // Below a full share the queue is emptied each step: the rest must follow the work. In slices
        // it is empty, and the loss must be known in case that the next step is given up halfway.
        let sliced = slices.as_ref().is_some_and(|slices| !slices.whole(trainer.plan().dispatches.len()));
        let look = sliced || meter.pace.share().get() < 1.0 || meter.pace.now() >= looked_at + LOSS_SPAN;
        let loss = if look { Some(finite(trainer.loss().await?, steps)?) } else { None };
        newest = loss;
        if look {
            looked_at = meter.pace.now();
        }
        if steps < task.steps {
            progress(Progress { step: steps, steps: task.steps, loss });
            meter.rest(began, stop).await;
        } else {
            meter.busy += meter.pace.now().saturating_sub(began);
        }
    }
    if steps < task.steps.min(limits::TASK_STEPS_MIN) {
        return Ok(None);
    }
    let began = meter.pace.now();
    let loss = match newest {
        Some(loss) => loss,
        None => finite(trainer.loss().await?, steps)?,
    };
    let update = update_from(base, &trainer.weights().await?, steps)?;
    let update = encode(task.recipe.update, &update);
    let compute_millis = meter.millis_with(began);
    progress(Progress { step: steps, steps: task.steps, loss: Some(loss) });
    let (update, train_loss) = (Some(update), Some(loss));
    Ok(Some(Outcome { task: task.id, steps, update, train_loss, evaluation: None, compute_millis }))
}

fn finite(loss: f32, steps: u32) -> Result<f32, RunError> {
    if loss.is_finite() { Ok(loss) } else { Err(RunError::NotFinite { what: "the training loss", steps }) }
}

/// Base minus local.
fn update_from(base: &[f32], local: &[f32], steps: u32) -> Result<Vec<f32>, RunError> {
    let update: Vec<f32> = base.iter().zip(local).map(|(base, local)| base - local).collect();
    if update.iter().all(|value| value.is_finite()) {
        Ok(update)
    } else {
        Err(RunError::NotFinite { what: "the update", steps })
    }
}

async fn evaluate<P: Pace>(
    Prepared { trainer, slices, .. }: &mut Prepared,
    task: &Task,
    blocks: &[Block],
    stop: &StopFlag,
    meter: &mut Meter<'_, P>,
    progress: &mut impl FnMut(Progress),
) -> Result<Option<Outcome>, RunError> {
    let rows: Vec<u32> = (0..sample_count(blocks)).collect();
    let passes = rows.chunks(task.batch.max(1) as usize);
    let steps = passes.len() as u32;
    let mut sum = BatchEvaluation::default();
    for (step, rows) in (1u32..).zip(passes) {
        if stop.is_raised() {
            return Ok(None);
        }
        let mut began = meter.pace.now();
        let samples = trainer.begin_evaluation(&Block::gather(blocks, rows))?;
        if !meter.run(trainer, slices, &mut began, stop).await? {
            return Ok(None);
        }
        let BatchEvaluation { loss_sum, correct, rows, samples } = trainer.evaluation(samples).await?;
        sum.loss_sum += loss_sum;
        sum.correct += correct;
        sum.rows += rows;
        sum.samples += samples;
        progress(Progress { step, steps, loss: None });
        meter.rest(began, stop).await;
    }
    let rows = sum.rows.max(1) as f64;
    let (loss, accuracy) = ((sum.loss_sum / rows) as f32, (sum.correct as f64 / rows) as f32);
    if !loss.is_finite() {
        return Err(RunError::NotFinite { what: "the loss", steps: 0 });
    }
    let evaluation = Some(Evaluation { loss, accuracy, samples: sum.samples });
    let compute_millis = meter.busy.as_millis() as u64;
    Ok(Some(Outcome { task: task.id, steps: 0, update: None, train_loss: None, evaluation, compute_millis }))
}
