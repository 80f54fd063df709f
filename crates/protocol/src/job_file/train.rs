//! `[train]`: the recipe and the strategy. The recipe's own rules are in [`Recipe::owner_problem`]; here they
//! get a line.

use serde::Deserialize;
use toml::Spanned;

use super::{
    ModelSection,
    source::{JobFileError, Source},
};
use crate::{Optimizer, OuterStep, Recipe, Schedule, StrategyName, UpdateEncoding};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrain {
    lr: Option<Spanned<f32>>,
    schedule: Option<Schedule>,
    ramp_steps: Option<Spanned<u32>>,
    clip_norm: Option<Spanned<f32>>,
    steps: Option<Spanned<u32>>,
    batch: Option<Spanned<u32>>,
    budget_samples: Spanned<u64>,
    target_accuracy: Option<Spanned<f32>>,
    optimizer: Option<RawOptimizer>,
    weight_decay: Option<Spanned<f32>>,
    outer: Option<Spanned<OuterStep>>,
    update: Option<UpdateEncoding>,
    strategy: Option<StrategyName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawOptimizer {
    Adamw,
    Muon,
    Sgd,
}

pub(super) fn train(
    source: &Source<'_>,
    raw: Spanned<RawTrain>,
    model: &ModelSection,
) -> Result<(Recipe, StrategyName), JobFileError> {
    let table_start = raw.span().start;
    let RawTrain {
        lr,
        schedule,
        ramp_steps,
        clip_norm,
        steps,
        batch,
        budget_samples,
        target_accuracy,
        optimizer,
        weight_decay,
        outer,
        update,
        strategy,
    } = raw.into_inner();
    fn value<T: Copy>(field: &Option<Spanned<T>>, default: T) -> T {
        field.as_ref().map_or(default, |f| *f.as_ref())
    }
    let optimizer = match optimizer {
        None => default_optimizer(model),
        Some(RawOptimizer::Adamw) => Optimizer::default(),
        Some(RawOptimizer::Muon) => Optimizer::muon(),
        Some(RawOptimizer::Sgd) => Optimizer::sgd(),
    };
    let decay = weight_decay.as_ref().map(|d| *d.as_ref());
    let steps_or_default = value(&steps, 8);
    let recipe = Recipe {
        optimizer: decay.map_or(optimizer, |decay| optimizer.with_weight_decay(decay)),
        lr: value(&lr, default_lr(&optimizer)),
        schedule: schedule.unwrap_or(Schedule::Cosine),
        ramp_steps: value(&ramp_steps, default_ramp(&optimizer, steps_or_default)),
        clip_norm: value(&clip_norm, 1.0),
        steps: steps_or_default,
        batch: value(&batch, 32),
        budget_samples: *budget_samples.as_ref(),
        target_accuracy: target_accuracy.as_ref().map(|t| *t.as_ref()),
        outer: value(&outer, OuterStep::default()),
        update: update.unwrap_or_default(),
    };
    let Some((field, expected)) = recipe.owner_problem() else { return Ok((recipe, strategy.unwrap_or_default())) };
    let start = |span: Option<std::ops::Range<usize>>| span.map_or(table_start, |s| s.start);
    let offset = match field {
        "lr" => start(lr.map(|f| f.span())),
        "ramp_steps" => start(ramp_steps.map(|f| f.span())),
        "clip_norm" => start(clip_norm.map(|f| f.span())),
        "steps" => start(steps.map(|f| f.span())),
        "batch" => start(batch.map(|f| f.span())),
        "budget_samples" => budget_samples.span().start,
        "target_accuracy" => start(target_accuracy.map(|f| f.span())),
        "optimizer" => start(weight_decay.map(|f| f.span())),
        "outer" => start(outer.map(|f| f.span())),
        _ => table_start,
    };
    Err(source.error(offset, &format!("train.{field}"), format!("expected {expected}")))
}

/// What a preset is trained with where the job file does not say: Muon for transformers, whose
/// layers it trains best from a fresh state; AdamW for the others. `docs/trust.md` has the
/// table that says that both can be checked.
fn default_optimizer(model: &ModelSection) -> Optimizer {
    match model {
        ModelSection::Gpt(_) | ModelSection::Vit { .. } => Optimizer::muon(),
        _ => Optimizer::default(),
    }
}

/// Muon's updates have the same size whatever the gradient's, and its best rates are higher.
fn default_lr(optimizer: &Optimizer) -> f32 {
    match optimizer {
        Optimizer::Muon { .. } => 30e-3,
        Optimizer::Adamw { .. } | Optimizer::Sgd { .. } => 4e-3,
    }
}

/// Muon's first steps in a task are its worst, as its momentum starts at zero: there the rate rises to
/// the last step (`docs/training.md` has the figures).
fn default_ramp(optimizer: &Optimizer, steps: u32) -> u32 {
    match optimizer {
        Optimizer::Muon { .. } => steps,
        Optimizer::Adamw { .. } | Optimizer::Sgd { .. } => 3,
    }
}
