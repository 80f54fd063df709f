//! What is compared: a way of training with its settings.

use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};

use super::upload::Upload;

/// Samples of a volunteer's step.
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
    /// Volunteers in rounds: each trains from the same version, then all are merged.
    Rounds(Rounds),
}

/// How volunteers train in rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rounds {
    pub(crate) volunteers: u32,
    /// Steps of a task.
    pub(crate) steps: u32,
    pub(crate) outer: OuterStep,
    pub(crate) upload: Upload,
    pub(crate) merging: Merging,
    pub(crate) publishing: Publishing,
    /// Chance that an update never arrives.
    pub(crate) lost: f64,
}

/// How updates become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merging {
    /// Their mean.
    Mean,
    /// As coordinators merge: norms clipped to the median, centered clipping from five on.
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
        let OuterStep { lr: eta, momentum: mu } = outer;
        let (upload, merging, publishing) = (Upload::F32, Merging::Mean, Publishing::Whole);
        Self {
            name: format!("{volunteers} x {}, H {steps}, lr {lr}, ({eta}, {mu})", name_of(optimizer)),
            optimizer,
            lr,
            way: Way::Rounds(Rounds { volunteers, steps, outer, upload, merging, publishing, lost: 0.0 }),
        }
    }

    /// What a job's volunteers do by default: fresh Muon, H = 8, (0.7, 0.6), 4-bit uploads, robust
    /// merge, versions as deltas.
    pub(crate) fn default_recipe(lr: f32, volunteers: u32) -> Self {
        let arm = Self::rounds(Optimizer::muon(), lr, volunteers, 8, OuterStep::default());
        let arm = arm.with(|rounds| {
            rounds.upload = Upload::Encoded(UpdateEncoding::E3m0);
            rounds.merging = Merging::Robust;
            rounds.publishing = Publishing::Delta;
        });
        arm.named(format!("{volunteers} x default recipe, lr {lr}"))
    }

    /// The same under another name.
    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same with other rounds.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Rounds)) -> Self {
        if let Way::Rounds(rounds) = &mut self.way {
            change(rounds);
        }
        self
    }

    /// Samples between two versions, or between two steps of one machine.
    pub(crate) fn global_batch(&self) -> u32 {
        match self.way {
            Way::Alone { batch } => batch,
            Way::Rounds(Rounds { volunteers, .. }) => volunteers * LOCAL_BATCH,
        }
    }

    /// The recipe of its tasks over a budget of so many samples.
    pub(crate) fn recipe(&self, budget_samples: u64) -> Recipe {
        let (steps, batch, ramp_steps, outer) = match self.way {
            Way::Alone { batch } => ((budget_samples / u64::from(batch)) as u32, batch, 10, OuterStep::default()),
            Way::Rounds(Rounds { steps, outer, .. }) => (steps, LOCAL_BATCH, 3, outer),
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
