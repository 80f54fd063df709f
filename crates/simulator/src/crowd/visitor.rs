//! One visitor: what it holds, how far it is, and what it would say. Decides nothing about when.

use potluck_graph::random::SplitMix64;
use potluck_protocol::{
    BlobId, JobName, Millis, SignedStatement, Statement, Task, TaskId, UpdateEncoding, Version, VolunteerKey, limits,
};
use potluck_scheduler::{SessionId, UpdateFacts, VISITS};
use potluck_update::{delta_len, encoded_len};

use super::churn::Draw;
use super::job::SAMPLE_BYTES;

/// What a round trip takes before the first byte, in milliseconds.
const LATENCY: f64 = 1000.0 * VISITS.latency;

/// A task under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Work {
    pub(super) task: TaskId,
    pub(super) steps: u32,
    pub(super) samples_per_step: u64,
    /// The connection that its lease came on.
    pub(super) on: Option<SessionId>,
    /// Of the learning rate, which the norm of an update goes with.
    lr: f32,
    /// When the parameters and blocks are there.
    pub(super) begins_at: Millis,
    /// When the last step is done.
    pub(super) ends_at: Millis,
}

impl Work {
    /// Steps that are done at this time.
    pub(super) fn steps_at(&self, now: Millis) -> u32 {
        let span = self.ends_at.saturating_sub(self.begins_at).max(1) as f64;
        let done = now.saturating_sub(self.begins_at) as f64 / span;
        ((done * f64::from(self.steps)) as u32).min(self.steps)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) key: VolunteerKey,
    pub(super) session: Option<SessionId>,
    pub(super) draw: Draw,
    pub(super) came_at: Millis,
    pub(super) leaves_at: Millis,
    pub(super) frozen_until: Millis,
    pub(super) work: Option<Work>,
    /// Done and on its way, by task: its steps.
    pub(super) sending: Option<(Work, u32)>,
    /// The newest version that it has.
    version: Option<Version>,
}

impl Visitor {
    pub(super) fn new(number: u64, draw: Draw, now: Millis) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Self {
            key: VolunteerKey(key),
            session: None,
            draw,
            came_at: now,
            leaves_at: now + draw.stays,
            frozen_until: 0,
            work: None,
            sending: None,
            version: None,
        }
    }

    /// Takes a task. Returns when it is done and the bytes of parameters that it fetches for it.
    pub(super) fn take(
        &mut self,
        task: &Task,
        parameters: u64,
        flops_per_sample: u64,
        now: Millis,
        random: &mut SplitMix64,
    ) -> (Millis, u64) {
        let parameters_bytes = self.fetch(task.base_version, parameters);
        let samples_per_step = u64::from(task.batch);
        let samples = u64::from(task.steps) * samples_per_step;
        let bytes = parameters_bytes + samples * SAMPLE_BYTES;
        let begins_at = now + (LATENCY + bytes as f64 / self.draw.download) as Millis;
        let uneven = self.draw.uneven;
        let slower = if uneven > 0.0 { (uneven * f64::from(random.normal())).exp() } else { 1.0 };
        let ends_at = begins_at + (slower * (samples * flops_per_sample) as f64 / self.draw.speed) as Millis;
        let (steps, lr) = (task.steps, (task.lr_start + task.lr_end) / 2.0);
        let on = self.session;
        self.work = Some(Work { task: task.id, steps, samples_per_step, on, lr, begins_at, ends_at });
        (ends_at, parameters_bytes)
    }

    /// The bytes of a version: deltas from the newest one that it has, or the whole in f32, whichever
    /// is less.
    fn fetch(&mut self, wanted: Version, parameters: u64) -> u64 {
        let whole = 4 * parameters;
        let chain = |have: Version| wanted.0.saturating_sub(have.0) * delta_len(parameters as usize) as u64;
        let bytes = self.version.map_or(whole, |have| chain(have).min(whole));
        self.version = self.version.max(Some(wanted));
        bytes
    }

    /// How long its update takes to send, and its bytes.
    pub(super) fn upload(&self, parameters: u64) -> (Millis, u64) {
        let bytes = encoded_len(UpdateEncoding::E3m0, parameters as usize) as u64;
        ((LATENCY + bytes as f64 / self.draw.upload) as Millis, bytes)
    }

    /// What it says once its update is there.
    pub(super) fn statement(&self, job: JobName, work: &Work, steps: u32, parameters: u64) -> Report {
        let id = BlobId::of(format!("update of {} in {steps}", work.task).as_bytes());
        let statement = Statement {
            job,
            task: work.task,
            volunteer: self.key,
            steps,
            update: Some(id),
            train_loss: Some(1.0),
            evaluation: None,
            compute_millis: work.ends_at - work.begins_at,
        };
        let signed = SignedStatement { statement: String::new(), signature: String::new() };
        // Muon moves a value by about a fifth of the learning rate in a step.
        let norm = 0.2 * work.lr * steps as f32 * (parameters as f32).sqrt();
        Report { statement, signed, update: UpdateFacts { id, norm, finite: true, well_formed: true } }
    }

    /// True where so many steps are worth handing in.
    pub(super) fn is_worth_sending(steps: u32) -> bool {
        steps >= limits::TASK_STEPS_MIN
    }
}

/// A result as the coordinator's shell gives it to the core.
pub(super) struct Report {
    pub(super) statement: Statement,
    pub(super) signed: SignedStatement,
    pub(super) update: UpdateFacts,
}
