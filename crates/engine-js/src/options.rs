//! What JavaScript opens a trainer with, and the recipe that it makes.

use potluck_engine::Choice;
use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, limits};
use serde::Deserialize;

use crate::error::JsFault;

/// `TrainerOptions`, as the package's types and README say; weights come beside them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// What to compute on.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Samples of a step.
    pub batch: u32,
    /// What moves the weights.
    #[serde(default)]
    pub optimizer: OptimizerName,
    /// Learning rate of a step that names none.
    #[serde(default = "lr")]
    pub lr: f32,
    /// Global gradient norm above which a gradient is scaled down.
    #[serde(default = "clip_norm")]
    pub clip_norm: f32,
    /// AdamW's, also inside of Muon.
    beta1: Option<f32>,
    /// AdamW's, also inside of Muon.
    beta2: Option<f32>,
    /// AdamW's, also inside of Muon.
    eps: Option<f32>,
    /// Muon's and SGD's.
    momentum: Option<f32>,
    /// Decoupled, of matrices only.
    weight_decay: Option<f32>,
    /// Of the first weights where none are given, and of dropout.
    #[serde(default)]
    pub seed: u32,
    /// Measures first which way to compute each kernel is the fastest on this GPU.
    #[serde(default)]
    pub tune: bool,
}

/// What to compute on, as JavaScript says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// WebGPU where there is an adapter, else wasm.
    #[default]
    Auto,
    /// WebGPU or an error.
    Webgpu,
    /// wasm SIMD.
    Cpu,
}

/// An optimizer's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// AdamW on everything.
    #[default]
    Adamw,
    /// Muon on the weights of linear layers and convolutions, AdamW on the rest.
    Muon,
    /// SGD with Nesterov momentum.
    Sgd,
}

fn lr() -> f32 {
    1e-3
}

fn clip_norm() -> f32 {
    1.0
}

impl From<BackendChoice> for Choice {
    fn from(choice: BackendChoice) -> Self {
        match choice {
            BackendChoice::Auto => Self::Auto,
            BackendChoice::Webgpu => Self::Gpu,
            BackendChoice::Cpu => Self::Cpu,
        }
    }
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown or missing name, or a value of another type.
    pub fn parse(json: &str) -> Result<Self, JsFault> {
        serde_json::from_str(json).map_err(|error| JsFault::Options(error.to_string()))
    }

    /// The recipe. What concerns jobs is set to what changes nothing here.
    ///
    /// # Errors
    /// A number out of bounds, named.
    pub fn recipe(&self) -> Result<Recipe, JsFault> {
        let steps = limits::TASK_STEPS_MIN;
        let recipe = Recipe {
            optimizer: self.optimizer(),
            lr: self.lr,
            schedule: Schedule::Constant,
            ramp_steps: 0,
            clip_norm: self.clip_norm,
            steps,
            batch: self.batch,
            budget_samples: u64::from(steps) * u64::from(self.batch),
            target_accuracy: None,
            outer: OuterStep::default(),
            update: potluck_protocol::UpdateEncoding::default(),
        };
        match recipe.problem() {
            None => Ok(recipe),
            Some((field, expected)) => Err(JsFault::Recipe { field, expected }),
        }
    }

    fn optimizer(&self) -> Optimizer {
        let named = match self.optimizer {
            OptimizerName::Adamw => Optimizer::default(),
            OptimizerName::Muon => Optimizer::muon(),
            OptimizerName::Sgd => Optimizer::sgd(),
        };
        let or = |given: &Option<f32>, usual: f32| given.unwrap_or(usual);
        match named {
            Optimizer::Adamw { beta1, beta2, eps, weight_decay } => Optimizer::Adamw {
                beta1: or(&self.beta1, beta1),
                beta2: or(&self.beta2, beta2),
                eps: or(&self.eps, eps),
                weight_decay: or(&self.weight_decay, weight_decay),
            },
            Optimizer::Muon { momentum, beta1, beta2, eps, weight_decay } => Optimizer::Muon {
                momentum: or(&self.momentum, momentum),
                beta1: or(&self.beta1, beta1),
                beta2: or(&self.beta2, beta2),
                eps: or(&self.eps, eps),
                weight_decay: or(&self.weight_decay, weight_decay),
            },
            Optimizer::Sgd { momentum, weight_decay } => Optimizer::Sgd {
                momentum: or(&self.momentum, momentum),
                weight_decay: or(&self.weight_decay, weight_decay),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<Optimizer, &str>) {
        let got = Options::parse(json).and_then(|options| options.recipe()).map(|recipe| recipe.optimizer);
        assert_eq!(got.map_err(|fault| fault.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn what_is_not_named_has_the_usual_value() {
        check(r#"{"batch": 8}"#, Ok(Optimizer::default()));
        check(r#"{"batch": 8, "optimizer": "muon"}"#, Ok(Optimizer::muon()));
    }

    #[test]
    fn what_is_named_is_taken() {
        let json = r#"{"batch": 8, "optimizer": "sgd", "momentum": 0.5, "weightDecay": 0.01}"#;
        check(json, Ok(Optimizer::Sgd { momentum: 0.5, weight_decay: 0.01 }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(r#"{}"#, Err("options: missing field `batch` at line 1 column 2"));
        check(r#"{"batch": 0}"#, Err("options: batch must be 1 to 4096, got 0"));
        check(r#"{"batch": 8, "lr": -1}"#, Err("options: lr must be a number above 0 and at most 10, got -1"));
        let unknown = Options::parse(r#"{"batch": 8, "weight_decay": 0}"#).expect_err("an unknown field");
        assert!(unknown.to_string().starts_with("options: unknown field `weight_decay`, expected one of"), "{unknown}");
        let backend = Options::parse(r#"{"batch": 8, "backend": "abacus"}"#).expect_err("an unknown backend");
        assert!(backend.to_string().contains("unknown variant `abacus`, expected one of"), "{backend}");
    }
}
