//! What is compared: a way of training with its settings.

use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};

use super::team::Team;
use super::upload::Upload;

/// Samples of a volunteer's step, where all are alike.
pub(crate) const LOCAL_BATCH: u32 = 8;

/// One row of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) optimizer: Optimizer,
    /// Peak learning rate; it falls to a tenth over the budget.
    pub(crate) lr: f32,
    pub(crate) way: Way,
}

/// Who trains.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Way {
    /// One machine with this batch, its optimizer's state kept from the first step to the last.
    Alone {
        /// Samples of a step.
        batch: u32,
    },
    /// Volunteers who train apart, and a coordinator that merges.
    Crew(Crew),
}

/// How volunteers train together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Crew {
    pub(crate) team: Team,
    /// Steps of a task, where all are alike.
    pub(crate) steps: u32,
    pub(crate) pacing: Pacing,
    /// In buffers whoever hands in just before a commit waits for it, as in jobs.
    pub(crate) waits: bool,
    /// Of the recipe.
    pub(crate) outer: OuterStep,
    /// Rounds step as the scheduler of jobs has it for so many volunteers, and not always as the recipe
    /// says.
    pub(crate) scheduled: bool,
    /// Steps of a task over which its learning rate rises.
    pub(crate) ramp_steps: u32,
    pub(crate) upload: Upload,
    pub(crate) merging: Merging,
    pub(crate) publishing: Publishing,
    /// Chance that an update never arrives.
    pub(crate) lost: f64,
    /// Each volunteer carries the optimizer's state from task to task.
    pub(crate) carries: bool,
}

/// When what came in becomes a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// All train from one version, and all are awaited.
    Barrier,
    /// Nobody waits for a round: a version is made whenever so many per cent of the samples in flight are
    /// in.
    Buffered(Late, u32),
}

/// What is done about updates whose base is not the newest version any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// Nothing: the outer step is that of a barrier.
    Plain,
    /// The momentum fades with the mean staleness s of a buffer: mu^(1 + s).
    Faded,
    /// Only what starts from the newest version enters the momentum; the rest is added without it.
    FreshOnly,
    /// As HeLoCo (arXiv 2606.00271) has it: where a parameter's part of an update points against the
    /// outer momentum, it is shrunk by 1 + cosine.
    Gated,
    /// An update is taken to be the way from the newest version to where the volunteer ended.
    Moved,
    /// Who hands in goes on from the newest version with so many per cent of its own update taken off
    /// once more, as if the others had found the same (eager updates, arXiv 2502.12996).
    Eager(u32),
}

/// How updates become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merging {
    /// Their mean, weighted by samples.
    Mean,
    /// As coordinators merge: no share above a fifth or two equal ones, norms clipped to the median,
    /// centered clipping from five on.
    Robust,
}

/// How a version reaches the volunteers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// Whole, in f32.
    Whole,
    /// As a delta in one byte a parameter, with the coordinator's feedback.
    Delta,
}

impl Arm {
    /// One machine.
    pub(crate) fn alone(optimizer: Optimizer, lr: f32, batch: u32) -> Self {
        let name = format!("one machine, {}, batch {batch}, lr {lr}", name_of(optimizer));
        Self { name, optimizer, lr, way: Way::Alone { batch } }
    }

    /// Rounds as the reference program has them: f32 updates, plain mean, whole versions.
    pub(crate) fn rounds(optimizer: Optimizer, lr: f32, volunteers: u32, steps: u32, outer: OuterStep) -> Self {
        let OuterStep { lr: eta, momentum: mu, .. } = outer;
        let crew = Crew {
            team: Team::Even(volunteers),
            steps,
            pacing: Pacing::Barrier,
            waits: true,
            outer,
            scheduled: false,
            ramp_steps: 3,
            upload: Upload::F32,
            merging: Merging::Mean,
            publishing: Publishing::Whole,
            lost: 0.0,
            carries: false,
        };
        let name = format!("{volunteers} x {}, H {steps}, lr {lr}, ({eta}, {mu})", name_of(optimizer));
        Self { name, optimizer, lr, way: Way::Crew(crew) }
    }

    /// What a job's volunteers do by default: fresh Muon, H = 8, a rate that rises to the last step,
    /// 4-bit uploads, robust merge, versions as deltas, and the outer step that the scheduler makes of
    /// (0.7, 0.8).
    pub(crate) fn default_recipe(lr: f32, volunteers: u32) -> Self {
        let arm = Self::rounds(Optimizer::muon(), lr, volunteers, 8, OuterStep::default());
        let arm = arm.with(|crew| {
            crew.scheduled = true;
            crew.ramp_steps = crew.steps;
            crew.upload = Upload::Encoded(UpdateEncoding::E3m0);
            crew.merging = Merging::Robust;
            crew.publishing = Publishing::Delta;
        });
        arm.named(format!("{volunteers} x default recipe, lr {lr}"))
    }

    /// The same under another name.
    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same with this after its name.
    pub(crate) fn but(self, words: impl std::fmt::Display) -> Self {
        Self { name: format!("{}, {words}", self.name), ..self }
    }

    /// The same with another crew.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Crew)) -> Self {
        if let Way::Crew(crew) = &mut self.way {
            change(crew);
        }
        self
    }

    /// Samples between two versions, or between two steps of one machine.
    pub(crate) fn global_batch(&self) -> u32 {
        match &self.way {
            Way::Alone { batch } => *batch,
            Way::Crew(Crew { team, steps, .. }) => team.tasks(*steps, 0.0).iter().map(|task| task.batch).sum(),
        }
    }

    /// The recipe of its tasks over a budget of so many samples.
    pub(crate) fn recipe(&self, budget_samples: u64) -> Recipe {
        let (steps, batch, ramp_steps, outer) = match &self.way {
            Way::Alone { batch } => ((budget_samples / u64::from(*batch)) as u32, *batch, 10, OuterStep::default()),
            Way::Crew(Crew { steps, ramp_steps, outer, .. }) => (*steps, LOCAL_BATCH, *ramp_steps, *outer),
        };
        Recipe {
            optimizer: self.optimizer,
            lr: self.lr,
            schedule: Schedule::Linear,
            ramp_steps,
            clip_norm: 1.0,
            steps,
            batch,
            budget_samples,
            target_accuracy: None,
            outer,
            update: UpdateEncoding::default(),
        }
    }
}

pub(crate) fn name_of(optimizer: Optimizer) -> &'static str {
    match optimizer {
        Optimizer::Adamw { .. } => "AdamW",
        Optimizer::Muon { .. } => "Muon",
        Optimizer::Sgd { .. } => "SGD",
    }
}
