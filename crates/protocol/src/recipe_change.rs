//! What an owner may change of a recipe while its job is under way, and how a change is told.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding, agreement_distance};

/// Changes to a recipe: a part of its JSON. What is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeChange {
    /// Optimizer inside a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// Weight decay of the optimizer, whichever it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    /// Peak learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// How the learning rate falls over the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// First steps of a task over which the learning rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_steps: Option<u32>,
    /// Gradient norm above which a step's gradient is scaled down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f32>,
    /// Optimizer steps in a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Samples in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Samples after which the job is done, counted from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_samples: Option<u64>,
    /// Accuracy that ends the job early; `Some(None)`, in JSON `null`, for none any more.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub target_accuracy: Option<Option<f32>>,
    /// The outer step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer: Option<OuterChange>,
    /// How updates are encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateEncoding>,
}

/// Changes to an outer step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OuterChange {
    /// Outer learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// Outer momentum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f32>,
}

/// A field that is there says something, `null` too.
fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<f32>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl RecipeChange {
    /// The change that makes any recipe this one.
    pub fn to(recipe: &Recipe) -> Self {
        let Recipe {
            optimizer,
            lr,
            schedule,
            ramp_steps,
            clip_norm,
            steps,
            batch,
            budget_samples,
            target_accuracy,
            outer,
            update,
        } = *recipe;
        Self {
            optimizer: Some(optimizer),
            weight_decay: None,
            lr: Some(lr),
            schedule: Some(schedule),
            ramp_steps: Some(ramp_steps),
            clip_norm: Some(clip_norm),
            steps: Some(steps),
            batch: Some(batch),
            budget_samples: Some(budget_samples),
            target_accuracy: Some(target_accuracy),
            outer: Some(OuterChange { lr: Some(outer.lr), momentum: Some(outer.momentum) }),
            update: Some(update),
        }
    }
}

/// One field of a recipe before and after a change, in the words of a job file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The field, such as `lr` or `outer.momentum`.
    pub field: &'static str,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

impl Recipe {
    /// This recipe with a change. A ramp over the whole task stays one where only `steps` are named.
    pub fn changed(&self, change: &RecipeChange) -> Self {
        let RecipeChange {
            optimizer,
            weight_decay,
            lr,
            schedule,
            ramp_steps,
            clip_norm,
            steps,
            batch,
            budget_samples,
            target_accuracy,
            outer,
            update,
        } = *change;
        let optimizer = optimizer.unwrap_or(self.optimizer);
        let outer = outer.unwrap_or_default();
        let steps = steps.unwrap_or(self.steps);
        let ramp_of_old = if self.ramp_steps == self.steps { steps } else { self.ramp_steps };
        Self {
            optimizer: weight_decay.map_or(optimizer, |decay| optimizer.with_weight_decay(decay)),
            lr: lr.unwrap_or(self.lr),
            schedule: schedule.unwrap_or(self.schedule),
            ramp_steps: ramp_steps.unwrap_or(ramp_of_old),
            clip_norm: clip_norm.unwrap_or(self.clip_norm),
            steps,
            batch: batch.unwrap_or(self.batch),
            budget_samples: budget_samples.unwrap_or(self.budget_samples),
            target_accuracy: target_accuracy.unwrap_or(self.target_accuracy),
            outer: OuterStep {
                lr: outer.lr.unwrap_or(self.outer.lr),
                momentum: outer.momentum.unwrap_or(self.outer.momentum),
                lead: self.outer.lead,
            },
            update: update.unwrap_or(self.update),
        }
    }

    /// The first reason why an owner may not train with this, as (field, what was expected): what is
    /// wrong with it anywhere, and that a job whose results nobody could check is no job for
    /// strangers.
    pub fn owner_problem(&self) -> Option<(&'static str, String)> {
        let Self { optimizer, update, steps, .. } = self;
        let is_judged = agreement_distance(optimizer, *update, *steps).is_some();
        let cannot_be_judged = || {
            let expected = format!(
                "at most 8 with Muon and four-bit updates, or update = \"int8\": honest results of {steps} steps \
                 cannot be told from cheats"
            );
            ("steps", expected)
        };
        self.problem().or_else(|| (!is_judged).then(cannot_be_judged))
    }

    /// What `later` does otherwise.
    pub fn differences(&self, later: &Self) -> Vec<Difference> {
        let fields = self.fields().into_iter().zip(later.fields());
        let changed = fields.filter(|((_, from), (_, to))| from != to);
        changed.map(|((field, from), (_, to))| Difference { field, from, to }).collect()
    }

    /// Each field as it would stand in a job file.
    fn fields(&self) -> [(&'static str, String); 13] {
        let Self {
            optimizer,
            lr,
            schedule,
            ramp_steps,
            clip_norm,
            steps,
            batch,
            budget_samples,
            target_accuracy,
            outer: OuterStep { lr: outer_lr, momentum, lead: _ },
            update,
        } = self;
        let (kind, constants, weight_decay) = match *optimizer {
            Optimizer::Adamw { beta1, beta2, eps, weight_decay } => ("adamw", vec![beta1, beta2, eps], weight_decay),
            Optimizer::Muon { momentum, beta1, beta2, eps, weight_decay } => {
                ("muon", vec![momentum, beta1, beta2, eps], weight_decay)
            }
            Optimizer::Sgd { momentum, weight_decay } => ("sgd", vec![momentum], weight_decay),
        };
        [
            ("optimizer", format!("{kind} {constants:?}")),
            ("weight_decay", weight_decay.to_string()),
            ("lr", lr.to_string()),
            ("schedule", word(schedule)),
            ("ramp_steps", ramp_steps.to_string()),
            ("clip_norm", clip_norm.to_string()),
            ("steps", steps.to_string()),
            ("batch", batch.to_string()),
            ("budget_samples", budget_samples.to_string()),
            ("target_accuracy", target_accuracy.map_or("none".to_owned(), |target| target.to_string())),
            ("outer.lr", outer_lr.to_string()),
            ("outer.momentum", momentum.to_string()),
            ("update", word(update)),
        ]
    }
}

/// A value's word in JSON and in job files.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            optimizer: Optimizer::muon(),
            lr: 0.024,
            schedule: Schedule::Cosine,
            ramp_steps: 3,
            clip_norm: 1.0,
            steps: 8,
            batch: 32,
            budget_samples: 10_000,
            target_accuracy: Some(0.9),
            outer: OuterStep::default(),
            update: UpdateEncoding::E3m0,
        }
    }

    #[track_caller]
    fn check(json: &str, expected: &[(&str, &str, &str)]) {
        let change: RecipeChange = serde_json::from_str(json).expect("a change");
        let again = serde_json::to_string(&change).expect("JSON");
        assert_eq!(serde_json::from_str::<RecipeChange>(&again).expect("a change"), change, "{again}");
        let changed = recipe().changed(&change);
        let differences = recipe().differences(&changed);
        let told: Vec<_> = differences.iter().map(|d| (d.field, d.from.as_str(), d.to.as_str())).collect();
        assert_eq!(told, expected);
        assert_eq!(recipe().changed(&RecipeChange::to(&changed)), changed);
    }

    #[test]
    fn what_is_not_named_stays() {
        check("{}", &[]);
        check(r#"{"lr": 0.012}"#, &[("lr", "0.024", "0.012")]);
        check(r#"{"lr": 0.024}"#, &[]);
        check(r#"{"schedule": "constant", "steps": 4}"#, &[("schedule", "cosine", "constant"), ("steps", "8", "4")]);
        check(r#"{"outer": {"momentum": 0.5}}"#, &[("outer.momentum", "0.8", "0.5")]);
        check(r#"{"weight_decay": 0.2}"#, &[("weight_decay", "0.1", "0.2")]);
        let sgd = r#"{"optimizer": {"sgd": {"momentum": 0.9, "weight_decay": 0.1}}, "update": "int8"}"#;
        check(sgd, &[("optimizer", "muon [0.9, 0.9, 0.95, 1e-8]", "sgd [0.9]"), ("update", "e3m0", "int8")]);
    }

    #[test]
    fn a_ramp_over_the_whole_task_stays_one() {
        let rising = Recipe { ramp_steps: 8, ..recipe() };
        let ramp = |json| rising.changed(&serde_json::from_str(json).expect("a change")).ramp_steps;
        assert_eq!(
            [r#"{"steps": 4}"#, r#"{"steps": 16}"#, r#"{"steps": 16, "ramp_steps": 8}"#, "{}"].map(ramp),
            [4, 16, 8, 8]
        );
    }

    #[test]
    fn a_target_can_be_given_up() {
        check(r#"{"target_accuracy": null}"#, &[("target_accuracy", "0.9", "none")]);
        check(r#"{"target_accuracy": 0.95}"#, &[("target_accuracy", "0.9", "0.95")]);
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for (json, expected) in [(r#"{"lrr": 1}"#, "unknown field `lrr`"), (r#"{"outer": {"mu": 1}}"#, "`mu`")] {
            let error = serde_json::from_str::<RecipeChange>(json).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_nobody_could_judge_is_no_job_for_strangers() {
        let long = Recipe { steps: 16, ..recipe() };
        let (field, expected) = long.owner_problem().expect("a problem");
        assert!(field == "steps" && expected.contains("update = \"int8\""), "{expected}");
        assert_eq!(Recipe { update: UpdateEncoding::Int8, ..long }.owner_problem(), None);
        assert_eq!(Recipe { lr: f32::NAN, ..recipe() }.owner_problem().map(|(field, _)| field), Some("lr"));
    }
}
