//! The real thing behind a crowd's spans: tasks are computed by the volunteers' own runner, and merged
//! as a coordinator does. Blobs are kept in memory.
//!
//! Knows nothing of time: who computes for how long is decided elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use potluck_engine::Engine;
use potluck_graph::Program;
use potluck_protocol::{BlobId, Evaluation, OuterStep, Task, TaskId, UpdateEncoding};
use potluck_scheduler::{MergePart, UpdateFacts};
use potluck_update::{Global, Scaled, bytes_from_weights, decode, encode, merge_scaled, norm, weights_from_bytes};
use potluck_volunteer::{Blob, Choice, Pace, Run, Share, StopFlag, TaskRunner};

pub(crate) struct Workshop {
    program: Arc<Program>,
    program_id: BlobId,
    runner: TaskRunner,
    encoding: UpdateEncoding,
    blobs: BTreeMap<BlobId, Blob>,
    /// Tasks that are out.
    tasks: BTreeMap<TaskId, Task>,
    /// The newest version, once there was a merge.
    global: Option<Global>,
}

impl Workshop {
    pub(crate) fn new(program: Program, encoding: UpdateEncoding) -> Result<Self> {
        let runner = TaskRunner::new(pollster::block_on(Engine::open(Choice::Cpu))?);
        let program_id = BlobId::of(program.to_json().as_bytes());
        let (blobs, tasks) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { program: Arc::new(program), program_id, runner, encoding, blobs, tasks, global: None })
    }

    pub(crate) fn program_id(&self) -> BlobId {
        self.program_id
    }

    pub(crate) fn put(&mut self, bytes: Vec<u8>) -> BlobId {
        let id = BlobId::of(&bytes);
        self.blobs.insert(id, Arc::new(bytes));
        id
    }

    /// The parameters of a version.
    pub(crate) fn weights(&self, id: BlobId) -> Result<Vec<f32>> {
        Ok(weights_from_bytes(&self.blob(id)?, self.program.parameter_count())?)
    }

    fn blob(&self, id: BlobId) -> Result<Blob> {
        self.blobs.get(&id).map(Arc::clone).with_context(|| format!("nobody stored {id}"))
    }

    pub(super) fn lease(&mut self, task: &Task) {
        self.tasks.insert(task.id, task.clone());
    }

    pub(super) fn forget(&mut self, task: TaskId) {
        self.tasks.remove(&task);
    }

    fn run(&self, task: Task) -> Result<Run> {
        let blocks = task.blocks.iter().map(|id| self.blob(*id)).collect::<Result<_>>()?;
        let base = self.blob(task.base)?;
        Ok(Run { task, program: Arc::clone(&self.program), base, blocks })
    }

    /// The update after so many steps of a task that is out.
    pub(super) fn train(&mut self, task: TaskId, steps: u32) -> Result<UpdateFacts> {
        let task = self.tasks.remove(&task).context("nobody leased the task")?;
        let (encoding, run) = (self.encoding, self.run(task)?);
        let update = pollster::block_on(self.runner.replay_steps(&run, 0..steps))?;
        let bytes = encode(encoding, &update);
        let norm = norm(&decode(encoding, update.len(), &bytes)?);
        Ok(UpdateFacts { id: self.put(bytes), norm, finite: norm.is_finite(), well_formed: true })
    }

    pub(super) fn evaluate(&mut self, task: Task) -> Result<Evaluation> {
        let run = self.run(task)?;
        let outcome = pollster::block_on(self.runner.run(&run, &StopFlag::default(), &NoPace, |_| {}))?;
        outcome.and_then(|outcome| outcome.evaluation).context("an evaluation that was not stopped has a result")
    }

    /// The parameters of the version after `before`.
    pub(super) fn merge(&mut self, before: Option<BlobId>, parts: &[MergePart], outer: OuterStep) -> Result<BlobId> {
        let (encoding, count) = (self.encoding, self.program.parameter_count());
        let mut global = match self.global.take() {
            Some(global) => global,
            None => Global::new(self.weights(before.context("a job has a first version")?)?),
        };
        let decoded = |part: &MergePart| Ok(decode(encoding, count, &self.blob(part.update)?)?);
        let values: Vec<Vec<f32>> = parts.iter().map(decoded).collect::<Result<_>>()?;
        let scaled: Vec<Scaled<'_>> = parts
            .iter()
            .zip(&values)
            .map(|(part, values)| Scaled { weight: part.contribution.weight, scale: part.scale, values })
            .collect();
        let stepped = global.step(&merge_scaled(&scaled), outer);
        anyhow::ensure!(stepped.is_some_and(|stepped| stepped.moved), "training diverged");
        for part in parts {
            self.blobs.remove(&part.update);
        }
        let base = self.put(bytes_from_weights(&global.theta));
        self.global = Some(global);
        Ok(base)
    }
}

/// Virtual time has no rests.
struct NoPace;

impl Pace for NoPace {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    async fn rest(&self, _span: Duration) {}

    fn share(&self) -> Share {
        Share::default()
    }
}
