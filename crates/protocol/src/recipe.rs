//! How a job is trained: the recipe that travels with its program.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Everything about training that is not the program. All of it is part of the task's identity:
/// the same program, recipe, base, blocks, seed and steps give the same update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Optimizer inside a task; its state starts fresh in every task.
    pub optimizer: Optimizer,
    /// Peak learning rate of the inner optimizer.
    #[serde(serialize_with = "crate::exact::float")]
    pub lr: f32,
    /// How the learning rate falls over the job's budget, counted in global samples.
    pub schedule: Schedule,
    /// First steps of a task over which the learning rate rises linearly.
    pub ramp_steps: u32,
    /// Global gradient norm above which a step's gradient is scaled down.
    #[serde(serialize_with = "crate::exact::float")]
    pub clip_norm: f32,
    /// Optimizer steps in a task, 4 to 16: long enough that a visit is mostly computing, short
    /// enough that a visitor of one minute finishes several.
    pub steps: u32,
    /// Samples in one optimizer step.
    pub batch: u32,
    /// Samples after which the job is done.
    pub budget_samples: u64,
    /// End early once accuracy on `valid` reaches this; `None` spends the whole budget.
    #[serde(serialize_with = "crate::exact::optional")]
    pub target_accuracy: Option<f32>,
    /// How a buffer of updates moves the global parameters.
    pub outer: OuterStep,
    /// How updates are encoded on the wire.
    pub update: crate::UpdateEncoding,
}

/// The optimizer inside a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
// Exhaustive on purpose: what forgets a variant must not compile.
pub enum Optimizer {
    /// AdamW (Loshchilov and Hutter, arXiv 1711.05101); decay applies to matrices only.
    Adamw {
        /// Decay of the first moment.
        #[serde(serialize_with = "crate::exact::float")]
        beta1: f32,
        /// Decay of the second moment.
        #[serde(serialize_with = "crate::exact::float")]
        beta2: f32,
        /// Added to the root of the second moment.
        #[serde(serialize_with = "crate::exact::float")]
        eps: f32,
        /// Decoupled weight decay, scaled by the learning rate.
        #[serde(serialize_with = "crate::exact::float")]
        weight_decay: f32,
    },
    /// Muon on the weights of linear layers and convolutions (Jordan 2024): momentum, then five
    /// Newton-Schulz steps towards the nearest orthogonal matrix, scaled by `0.2 sqrt(larger side)` so
    /// that one learning rate serves both (Moonlight, arXiv 2502.16982). AdamW for embeddings, norms and
    /// biases. The layer that makes the prediction is Muon's too, unless it is an embedding as well or
    /// chooses from a large vocabulary: AdamW's second moment is little more than noise in the few steps
    /// of a task (`docs/training.md`).
    Muon {
        /// Nesterov momentum of the layers' weights.
        #[serde(serialize_with = "crate::exact::float")]
        momentum: f32,
        /// AdamW's decay of the first moment.
        #[serde(serialize_with = "crate::exact::float")]
        beta1: f32,
        /// AdamW's decay of the second moment.
        #[serde(serialize_with = "crate::exact::float")]
        beta2: f32,
        /// AdamW's term beside the root of the second moment.
        #[serde(serialize_with = "crate::exact::float")]
        eps: f32,
        /// Decoupled weight decay of all matrices, scaled by the learning rate.
        #[serde(serialize_with = "crate::exact::float")]
        weight_decay: f32,
    },
    /// Stochastic gradient descent with Nesterov momentum on everything.
    Sgd {
        /// Momentum, 0 for none.
        #[serde(serialize_with = "crate::exact::float")]
        momentum: f32,
        /// Decoupled weight decay of matrices, scaled by the learning rate.
        #[serde(serialize_with = "crate::exact::float")]
        weight_decay: f32,
    },
}

impl Optimizer {
    /// Muon with the field's usual constants.
    pub fn muon() -> Self {
        Self::Muon { momentum: 0.9, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }

    /// SGD with momentum 0.9 and no decay.
    pub fn sgd() -> Self {
        Self::Sgd { momentum: 0.9, weight_decay: 0.0 }
    }

    /// The same with another weight decay.
    pub fn with_weight_decay(self, decay: f32) -> Self {
        match self {
            Self::Adamw { beta1, beta2, eps, weight_decay: _ } => {
                Self::Adamw { beta1, beta2, eps, weight_decay: decay }
            }
            Self::Muon { momentum, beta1, beta2, eps, weight_decay: _ } => {
                Self::Muon { momentum, beta1, beta2, eps, weight_decay: decay }
            }
            Self::Sgd { momentum, weight_decay: _ } => Self::Sgd { momentum, weight_decay: decay },
        }
    }

    fn is_sound(self) -> bool {
        let unit = |x: f32| (0.0..1.0).contains(&x);
        let adam = |beta1, beta2, eps: f32| unit(beta1) && unit(beta2) && eps.is_finite() && eps > 0.0;
        let (sound, decay) = match self {
            Self::Adamw { beta1, beta2, eps, weight_decay } => (adam(beta1, beta2, eps), weight_decay),
            Self::Muon { momentum, beta1, beta2, eps, weight_decay } => {
                (unit(momentum) && adam(beta1, beta2, eps), weight_decay)
            }
            Self::Sgd { momentum, weight_decay } => (unit(momentum), weight_decay),
        };
        sound && (0.0..=1.0).contains(&decay)
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adamw { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// How the learning rate changes with global samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// The peak, always.
    Constant,
    /// Straight down to a tenth of the peak at the end of the budget.
    Linear,
    /// Half a cosine down to a tenth of the peak at the end of the budget.
    Cosine,
}

/// The outer step: `m' = momentum m + d; theta <- theta - lr (m' + lead (m' - m))`. With a lead of
/// `momentum` that is `theta - lr (d + momentum m')`, Nesterov's as in DiLoCo (arXiv 2311.08105).
///
/// What is published so is ahead of where `theta - lr m'` alone would be by `lead` of the steps that
/// momentum will take next. Updates that come late are then made where the model will be about when
/// they are merged (weight prediction, arXiv 1809.02839).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterStep {
    /// Outer learning rate.
    #[serde(serialize_with = "crate::exact::float")]
    pub lr: f32,
    /// Outer momentum.
    #[serde(serialize_with = "crate::exact::float")]
    pub momentum: f32,
    /// How many steps of momentum a version is ahead; `None` stands for `momentum`. The scheduler's, for
    /// buffers and for who is alone: no recipe has one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "crate::exact::optional")]
    pub lead: Option<f32>,
}

impl OuterStep {
    /// Nesterov's, or a plain one where `momentum` is zero.
    pub const fn nesterov(lr: f32, momentum: f32) -> Self {
        Self { lr, momentum, lead: None }
    }
}

impl Default for OuterStep {
    fn default() -> Self {
        Self::nesterov(0.7, 0.8)
    }
}

impl Recipe {
    /// Samples that one task trains on: `steps x batch`.
    pub fn task_samples(&self) -> u64 {
        u64::from(self.steps) * u64::from(self.batch)
    }

    /// The learning rate when `samples` of the budget have been merged.
    pub fn lr_at(&self, samples: u64) -> f32 {
        const FLOOR: f64 = 0.1;
        let done = (samples as f64 / self.budget_samples.max(1) as f64).min(1.0);
        let share = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - (1.0 - FLOOR) * done,
            Schedule::Cosine => FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        (f64::from(self.lr) * share) as f32
    }

    /// The first thing that is wrong with this recipe, as (field, what was expected).
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let Self {
            optimizer,
            lr,
            schedule: _,
            ramp_steps,
            clip_norm,
            steps,
            batch,
            budget_samples,
            target_accuracy,
            outer,
            update: _,
        } = self;
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let unit = |x: f32| (0.0..1.0).contains(&x);
        if !positive(*lr) || *lr > 10.0 {
            return Some(("lr", format!("a number above 0 and at most 10, got {lr}")));
        }
        if !(limits::TASK_STEPS_MIN..=limits::TASK_STEPS_MAX).contains(steps) {
            return Some(("steps", format!("{} to {}, got {steps}", limits::TASK_STEPS_MIN, limits::TASK_STEPS_MAX)));
        }
        if *batch == 0 || *batch > limits::BATCH_MAX {
            return Some(("batch", format!("1 to {}, got {batch}", limits::BATCH_MAX)));
        }
        if *ramp_steps > *steps {
            return Some(("ramp_steps", format!("at most steps = {steps}, got {ramp_steps}")));
        }
        if !positive(*clip_norm) {
            return Some(("clip_norm", format!("a number above 0, got {clip_norm}")));
        }
        if *budget_samples < self.task_samples() {
            return Some((
                "budget_samples",
                format!("at least one task, steps x batch = {}, got {budget_samples}", self.task_samples()),
            ));
        }
        if target_accuracy.is_some_and(|a| !(a > 0.0 && a <= 1.0)) {
            return Some(("target_accuracy", "above 0 and at most 1".to_owned()));
        }
        if !optimizer.is_sound() {
            let expected = "betas and momentum in [0, 1), eps above 0, weight_decay in [0, 1]";
            return Some(("optimizer", expected.to_owned()));
        }
        if !positive(outer.lr) || outer.lr > 2.0 || !unit(outer.momentum) {
            return Some(("outer", "lr above 0 and at most 2, momentum in [0, 1)".to_owned()));
        }
        if outer.lead.is_some() {
            return Some(("outer", "lr and momentum alone: the lead is the scheduler's".to_owned()));
        }
        None
    }
}
