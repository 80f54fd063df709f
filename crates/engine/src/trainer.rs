//! The engine as its users see it: open a device, make a trainer, step, read.

use std::{ops::Range, rc::Rc, sync::Arc};

use potluck_graph::{Column, Program};
use potluck_protocol::{Backend, Optimizer, Recipe};

use crate::{
    Dispatch, EngineError, Kernel, Place, Plan, Tier,
    cpu::CpuExecutor,
    gpu::{GpuDevice, GpuExecutor},
    step::StepValues,
};

/// Which device to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The GPU where there is one, else the processor. Does not measure which is faster.
    Auto,
    /// The GPU or an error.
    Gpu,
    /// The processor.
    Cpu,
}

/// An opened device.
#[derive(Clone)]
pub struct Engine {
    pub(crate) gpu: Option<Rc<GpuDevice>>,
}

/// A program on a device, with parameters and optimizer state. Batches have the recipe's size.
pub struct Trainer {
    plan: Arc<Plan>,
    betas: [f32; 2],
    executor: Executor,
    parameter_count: usize,
    steps_done: u32,
    seed: u64,
    /// The step or forward pass under way, and its dispatches that are still to run.
    begun: Option<(StepValues, Range<usize>)>,
}

enum Executor {
    Cpu(Box<CpuExecutor>),
    Gpu(Box<GpuExecutor>),
}

/// What one batch of an evaluation adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BatchEvaluation {
    /// Sum of the rows' losses.
    pub loss_sum: f64,
    /// Rows predicted right.
    pub correct: u64,
    /// Rows (samples, or positions of text).
    pub rows: u64,
    /// Samples.
    pub samples: u64,
}

impl Engine {
    /// Opens a device.
    ///
    /// # Errors
    /// `Choice::Gpu` without an adapter or device.
    pub async fn open(choice: Choice) -> Result<Self, EngineError> {
        let gpu = match choice {
            Choice::Cpu => None,
            Choice::Gpu => Some(GpuDevice::open().await?),
            Choice::Auto => GpuDevice::open().await.ok(),
        };
        Ok(Self { gpu })
    }

    /// What computes.
    pub fn backend(&self) -> Backend {
        match (&self.gpu, cfg!(target_arch = "wasm32")) {
            (Some(_), true) => Backend::Webgpu,
            (Some(_), false) => Backend::Gpu,
            (None, true) => Backend::Wasm,
            (None, false) => Backend::Cpu,
        }
    }

    /// A program plays the GPU.
    pub fn is_software(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.software)
    }

    /// The adapter's own name; empty for the processor.
    pub fn adapter(&self) -> String {
        self.gpu.as_ref().map_or_else(String::new, |gpu| gpu.name.clone())
    }

    /// Prepares a program with these parameters (`program.parameter_count()` finite values).
    ///
    /// # Errors
    /// Where the plan does not fit, the weights are not the program's, or the device fails.
    pub async fn trainer(&self, program: &Program, recipe: &Recipe, init: &[f32]) -> Result<Trainer, EngineError> {
        self.trainer_of(Plan::new(program, recipe)?, program, recipe, init).await
    }

    /// [`Engine::trainer`] of a plan that was made of this program and recipe.
    pub(crate) async fn trainer_of(
        &self,
        mut plan: Plan,
        program: &Program,
        recipe: &Recipe,
        init: &[f32],
    ) -> Result<Trainer, EngineError> {
        for Dispatch { kernel, tier, .. } in &mut plan.dispatches {
            let wanted = self.tier(kernel);
            *tier = match &self.gpu {
                None => wanted,
                Some(gpu) => {
                    let others = gpu.tiers(kernel).filter(|&other| other != wanted);
                    gpu.compiled(kernel, std::iter::once(wanted).chain(others)).await?
                }
            };
        }
        self.open_trainer(program, recipe, plan, init).await
    }

    /// [`Engine::trainer`] with the tiers of another one's plan ([`Plan::tiers`]): on the same device it
    /// computes the same bits, whatever was measured here.
    ///
    /// # Errors
    /// As [`Engine::trainer`]; tiers that are not this plan's; a shader that is refused here.
    pub async fn trainer_with(
        &self,
        program: &Program,
        recipe: &Recipe,
        init: &[f32],
        tiers: &[Tier],
    ) -> Result<Trainer, EngineError> {
        let mut plan = Plan::new(program, recipe)?;
        let count = plan.dispatches.len();
        if tiers.len() != count {
            let tier = if tiers.len() < count { "none" } else { "too many" };
            return Err(EngineError::Tier { index: tiers.len().min(count), tier: tier.to_owned() });
        }
        for (index, (Dispatch { kernel, tier, .. }, &given)) in plan.dispatches.iter_mut().zip(tiers).enumerate() {
            if !Tier::options(kernel).contains(&given) {
                return Err(EngineError::Tier { index, tier: format!("{given:?}") });
            }
            *tier = given;
            if let Some(gpu) = &self.gpu {
                gpu.compiled(kernel, std::iter::once(given)).await?;
            }
        }
        self.open_trainer(program, recipe, plan, init).await
    }

    async fn open_trainer(
        &self,
        program: &Program,
        recipe: &Recipe,
        plan: Plan,
        init: &[f32],
    ) -> Result<Trainer, EngineError> {
        let plan = Arc::new(plan);
        let executor = Executor::new(self, Arc::clone(&plan)).await?;
        let betas = match recipe.optimizer {
            Optimizer::Adamw { beta1, beta2, .. } | Optimizer::Muon { beta1, beta2, .. } => [beta1, beta2],
            Optimizer::Sgd { .. } => [0.0, 0.0],
        };
        let parameter_count = program.parameter_count();
        let mut trainer = Trainer { plan, betas, executor, parameter_count, steps_done: 0, seed: 0, begun: None };
        trainer.restart(init).await?;
        Ok(trainer)
    }

    /// The shaders that this device's compiler refused, with its words: their kernels run in another
    /// tier, which the plan names. Known once a trainer was made.
    pub fn refused(&self) -> Vec<String> {
        self.gpu.as_ref().map_or_else(Vec::new, |gpu| gpu.refused())
    }

    /// Breaks a shader's text in every pipeline that is made from now on.
    #[cfg(any(test, feature = "conformance"))]
    pub fn break_shader(&self, name: &'static str) {
        self.gpu.iter().for_each(|gpu| gpu.broken.set(name));
    }

    /// Takes the device away from everybody who uses it, as a driver's reset would.
    #[cfg(any(test, feature = "conformance"))]
    pub fn lose_device(&self) {
        self.gpu.iter().for_each(|gpu| gpu.device.destroy());
    }

    /// The tier that this device takes for a kernel: the fastest where that was measured.
    pub(crate) fn tier(&self, kernel: &Kernel) -> Tier {
        let Some(gpu) = &self.gpu else { return Tier::usual(kernel) };
        let unmeasured = || if gpu.software { Tier::of_software(kernel, gpu.subgroups) } else { Tier::usual(kernel) };
        gpu.fastest(kernel).unwrap_or_else(unmeasured)
    }
}

impl Trainer {
    /// The plan that runs here.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Seed of dropout; a task sets its own.
    pub fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Starts afresh from these parameters: no optimizer state, step 0.
    ///
    /// # Errors
    /// Another number of weights than the program's, or one that is not finite; then nothing has
    /// changed.
    pub async fn restart(&mut self, weights: &[f32]) -> Result<(), EngineError> {
        let arena = self.arena(weights)?;
        self.steps_done = 0;
        self.begun = None;
        self.executor.restart(&arena).await
    }

    /// Goes on from these parameters, with the optimizer's state and the number of steps as they are:
    /// what a volunteer would do who carried its state from task to task.
    ///
    /// # Errors
    /// As [`Trainer::restart`].
    pub fn carry_on(&mut self, weights: &[f32]) -> Result<(), EngineError> {
        let arena = self.arena(weights)?;
        self.begun = None;
        self.executor.write_parameters(&arena);
        Ok(())
    }

    /// The parameters as executors have them.
    fn arena(&self, weights: &[f32]) -> Result<Vec<f32>, EngineError> {
        if weights.len() != self.parameter_count {
            return Err(EngineError::WeightCount { expected: self.parameter_count, got: weights.len() });
        }
        if let Some(index) = weights.iter().position(|w| !w.is_finite()) {
            return Err(EngineError::WeightNotFinite { index, value: weights[index].to_string() });
        }
        let mut arena = vec![0.0; self.plan.arena_len];
        let mut rest = weights;
        for &(offset, len) in &self.plan.parameters {
            let (mine, after) = rest.split_at(len);
            arena[offset..][..len].copy_from_slice(mine);
            rest = after;
        }
        Ok(arena)
    }

    /// One optimizer step on a batch of the recipe's size: one column per program input. Returns
    /// once the work is queued, with at most two steps in flight.
    ///
    /// # Errors
    /// Columns of another size, labels out of range, or a failing device.
    pub async fn step(&mut self, batch: &[Column], lr: f32) -> Result<(), EngineError> {
        self.begin(batch, lr)?;
        self.finish().await
    }

    /// Begins a step that [`Trainer::advance`] does in slices. Until it ends the parameters stay as
    /// they were, but not the optimizer's moments: who gives a step up halfway can still read the
    /// weights, and restarts before the next task.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn begin(&mut self, batch: &[Column], lr: f32) -> Result<(), EngineError> {
        self.load(batch, self.plan.batch)?;
        self.steps_done += 1;
        let all = self.plan.dispatches.len();
        self.begun = Some((StepValues::training(lr, self.betas, self.steps_done, self.seed), 0..all));
        Ok(())
    }

    /// The dispatches that are left of what was begun, none where nothing is.
    pub fn remaining(&self) -> Range<usize> {
        self.begun.clone().map_or(0..0, |(_, range)| range)
    }

    /// Queues what is left of what was begun, with at most two submits in flight.
    ///
    /// # Errors
    /// A failing device.
    pub async fn finish(&mut self) -> Result<(), EngineError> {
        match self.begun.take() {
            Some((step, range)) => self.executor.run(range, step).await,
            None => Ok(()),
        }
    }

    /// Runs up to `count` more dispatches of what was begun, one at least, and waits until they are
    /// done. Those that change parameters run together. Says which ran; [`Trainer::remaining`] is
    /// empty at the end. Slices do not change a bit of the result.
    ///
    /// # Errors
    /// A failing device.
    pub async fn advance(&mut self, count: usize) -> Result<Range<usize>, EngineError> {
        let Some((step, Range { start: from, end })) = self.begun.take() else { return Ok(0..0) };
        let to = from.saturating_add(count.max(1));
        let to = if to > self.plan.divisible { end } else { to.min(end) };
        self.executor.run(from..to, step).await?;
        self.begun = (to < end).then_some((step, to..end));
        if let Executor::Gpu(gpu) = &self.executor {
            gpu.drain().await?;
        }
        Ok(from..to)
    }

    /// Mean loss of the last step's batch, in the loss's unit. Waits for the device.
    pub async fn loss(&self) -> Result<f32, EngineError> {
        let stats = self.executor.stats(self.plan.stats).await?;
        let rows = self.plan.stats_rows as usize;
        let sum: f64 = stats.chunks_exact(2).take(rows).map(|row| f64::from(row[0])).sum();
        Ok((sum / rows as f64) as f32)
    }

    /// The parameters now, in the program's order. Waits for the device.
    pub async fn weights(&self) -> Result<Vec<f32>, EngineError> {
        let arena = self.executor.read(Place::Parameter { offset: 0, len: self.plan.arena_len }).await?;
        Ok(self.plan.parameters.iter().flat_map(|&(offset, len)| &arena[offset..][..len]).copied().collect())
    }

    /// What the last step or evaluation predicted (logits), row-major. Waits for the device.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) async fn prediction(&self) -> Result<Vec<f32>, EngineError> {
        let (place, len) = self.plan.prediction;
        let mut values = self.executor.read(place).await?;
        values.truncate(len);
        Ok(values)
    }

    /// The gradients of the last step before clipping, in the program's order. Waits for the device.
    pub async fn gradients(&self) -> Result<Vec<f32>, EngineError> {
        let arena = self.executor.read(Place::Gradient { offset: 0, len: self.plan.arena_len }).await?;
        Ok(self.plan.parameters.iter().flat_map(|&(offset, len)| &arena[offset..][..len]).copied().collect())
    }

    /// The prediction (logits) for a batch of at most the recipe's size, row-major, one sample after
    /// another; parameters stay. The columns that the loss compares with must be there and are not
    /// used.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub async fn forward(&mut self, batch: &[Column]) -> Result<Vec<f32>, EngineError> {
        let samples = self.begin_evaluation(batch)?;
        self.finish().await?;
        let (place, len) = self.plan.prediction;
        let mut values = self.executor.read(place).await?;
        values.truncate(len / self.plan.batch as usize * samples as usize);
        Ok(values)
    }

    /// Loss and correctness over a batch of at most the recipe's size; parameters stay.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub async fn evaluate(&mut self, batch: &[Column]) -> Result<BatchEvaluation, EngineError> {
        let samples = self.begin_evaluation(batch)?;
        self.finish().await?;
        self.evaluation(samples).await
    }

    /// Begins an evaluation of a batch of at most the recipe's size, which [`Trainer::advance`] does in
    /// slices. Returns the samples of the batch, for [`Trainer::evaluation`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn begin_evaluation(&mut self, batch: &[Column]) -> Result<u32, EngineError> {
        let per_sample = self.plan.inputs.first().map_or(1, |&(_, full)| full / self.plan.batch as usize);
        let samples = (batch.first().map_or(0, Column::len) / per_sample) as u32;
        self.load(batch, samples.clamp(1, self.plan.batch))?;
        self.begun = Some((StepValues::evaluation(), 0..self.plan.forward_count));
        Ok(samples)
    }

    /// What the last pass came to, of a batch with so many samples. Waits for the device.
    ///
    /// # Errors
    /// A failing device.
    pub async fn evaluation(&self, samples: u32) -> Result<BatchEvaluation, EngineError> {
        let rows = self.plan.stats_rows / self.plan.batch * samples;
        let stats = self.executor.stats(self.plan.stats).await?;
        let mut sum = BatchEvaluation { rows: rows.into(), samples: samples.into(), ..Default::default() };
        for row in stats.chunks_exact(2).take(rows as usize) {
            sum.loss_sum += f64::from(row[0]);
            sum.correct += u64::from(row[1] > 0.5);
        }
        Ok(sum)
    }

    /// Checks and writes the columns of `samples` samples.
    fn load(&mut self, batch: &[Column], samples: u32) -> Result<(), EngineError> {
        for (column, &(_, full)) in self.plan.inputs.iter().enumerate() {
            let expected = full / self.plan.batch as usize * samples as usize;
            let got = batch.get(column).map_or(0, Column::len);
            if got != expected {
                return Err(EngineError::BatchShape { column, expected, got });
            }
        }
        for (column, (values, bound)) in batch.iter().zip(&self.plan.bounds).enumerate() {
            if let (Column::U32(values), &Some(bound)) = (values, bound)
                && let Some(row) = values.iter().position(|&value| value >= bound)
            {
                return Err(EngineError::OutOfBounds { column, row, value: values[row], bound });
            }
        }
        for (column, &(slot, _)) in batch.iter().zip(&self.plan.inputs) {
            self.executor.write_slot(slot, column.as_bytes());
        }
        Ok(())
    }
}

impl Executor {
    async fn new(engine: &Engine, plan: Arc<Plan>) -> Result<Self, EngineError> {
        let tables = plan.tables.clone();
        let mut executor = match &engine.gpu {
            None => Self::Cpu(Box::new(CpuExecutor::new(plan))),
            Some(gpu) => Self::Gpu(Box::new(GpuExecutor::new(Rc::clone(gpu), plan).await?)),
        };
        tables.iter().for_each(|(slot, values)| executor.write_slot(*slot, bytemuck::cast_slice(values)));
        Ok(executor)
    }

    async fn restart(&mut self, arena: &[f32]) -> Result<(), EngineError> {
        match self {
            Self::Cpu(cpu) => {
                cpu.restart(arena);
                Ok(())
            }
            Self::Gpu(gpu) => gpu.restart(arena).await,
        }
    }

    fn write_parameters(&mut self, arena: &[f32]) {
        match self {
            Self::Cpu(cpu) => cpu.write_parameters(arena),
            Self::Gpu(gpu) => gpu.write_parameters(arena),
        }
    }

    fn write_slot(&mut self, slot: usize, bytes: &[u8]) {
        match self {
            Self::Cpu(cpu) => cpu.write_slot(slot, bytes),
            Self::Gpu(gpu) => gpu.write_slot(slot, bytes),
        }
    }

    async fn run(&mut self, range: Range<usize>, step: StepValues) -> Result<(), EngineError> {
        match self {
            Self::Cpu(cpu) => {
                cpu.run(range, step);
                Ok(())
            }
            Self::Gpu(gpu) => gpu.run(range, step).await,
        }
    }

    /// Loss and correctness of each row of the newest run; `slot` is where it left them.
    async fn stats(&self, slot: usize) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Cpu(_) => self.read(Place::Slot(slot)).await,
            Self::Gpu(gpu) => gpu.stats().await,
        }
    }

    async fn read(&self, place: Place) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Cpu(cpu) => Ok(cpu.read(place).to_vec()),
            Self::Gpu(gpu) => gpu.read(place).await,
        }
    }
}

/// A bare plan on a device, for the kernel cases.
#[cfg(any(test, feature = "conformance"))]
pub(crate) struct Bench {
    plan: Arc<Plan>,
    executor: Executor,
}

#[cfg(any(test, feature = "conformance"))]
impl Bench {
    pub(crate) async fn new(engine: &Engine, plan: Plan) -> Result<Self, EngineError> {
        let plan = Arc::new(plan);
        Ok(Self { executor: Executor::new(engine, Arc::clone(&plan)).await?, plan })
    }

    /// The seed of dropout in step `t`.
    pub(crate) fn dropout_seed(t: u32) -> u32 {
        StepValues::training(1e-2, [0.9, 0.95], t, 7).dropout.unwrap_or_default()
    }

    pub(crate) fn write_slot(&mut self, slot: usize, bytes: &[u8]) {
        self.executor.write_slot(slot, bytes);
    }

    pub(crate) async fn run(&mut self, t: u32) -> Result<(), EngineError> {
        self.executor.run(0..self.plan.dispatches.len(), StepValues::training(1e-2, [0.9, 0.95], t, 7)).await
    }

    pub(crate) async fn read(&self, place: Place) -> Result<Vec<f32>, EngineError> {
        self.executor.read(place).await
    }
}
