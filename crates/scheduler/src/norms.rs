//! The norms of recent updates, by their steps and batch: what a new one is compared with.
//!
//! Two bands hold at once. What is possible follows from the recipe alone, so that the first results
//! of a job are checked too and zeros cannot make themselves the usual. What is usual follows from
//! others' updates.
//!
//! The norm of an update grows with its steps and with the learning rate, and a smaller batch is
//! noisier, so the comparison is within one size of task (or, where it has too few, all of them, a
//! step), a unit of learning rate, and the recent past. Without the learning rate in
//! it a job of few tasks would refuse its own end: a schedule falls to a tenth, the band is a
//! quarter.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use potluck_protocol::{Optimizer, Recipe, limits};
use serde::{Deserialize, Serialize};

use crate::ladder::Work;
use crate::median::median;
use crate::pairs;

/// Norms that are kept for a size of task: enough for a steady median, few enough that the job has
/// hardly moved.
const KEPT: usize = 32;

/// Norms without which there is no telling what is usual.
const NEEDED: usize = 5;

/// How far from the median an update may be, as a factor.
const BAND: f64 = 4.0;

/// For each (steps, batch), norms divided by the learning rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Norms(#[serde(with = "pairs")] BTreeMap<(u32, u32), VecDeque<f64>>);

impl Norms {
    /// Remembers an update of this norm after this much work at this mean learning rate.
    pub(crate) fn add(&mut self, work: Work, lr: f32, norm: f32) {
        let kept = self.0.entry((work.steps, work.batch)).or_default();
        kept.push_back(f64::from(norm) / f64::from(lr));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// What is usual after this much work at this mean learning rate; `None` while too few are known.
    /// Where this size has too few, those of all sizes are compared a step.
    pub(crate) fn band(&self, recipe: &Recipe, work: Work, lr: f32) -> Option<RangeInclusive<f32>> {
        let middle = self.of_size(work).or_else(|| self.pooled(recipe, work.steps))? * f64::from(lr);
        Some((middle / BAND) as f32..=(middle * BAND) as f32)
    }

    fn of_size(&self, work: Work) -> Option<f64> {
        let kept = self.0.get(&(work.steps, work.batch)).filter(|kept| kept.len() >= NEEDED)?;
        median(kept.iter().copied())
    }

    fn pooled(&self, recipe: &Recipe, steps: u32) -> Option<f64> {
        let a_step = |(&(steps, _), kept): (&(u32, u32), &VecDeque<f64>)| {
            let steps = full_steps(recipe, steps.max(1));
            kept.iter().map(|norm| norm / steps).collect::<Vec<_>>()
        };
        let pool: Vec<f64> = self.0.iter().flat_map(a_step).collect();
        let middle = median(pool.iter().copied()).filter(|_| pool.len() >= NEEDED)?;
        Some(middle * full_steps(recipe, steps))
    }
}

/// Steps after the ramp that come to as much as these, the ramp's among them: what is handed in early
/// may be nothing but ramp.
fn full_steps(recipe: &Recipe, steps: u32) -> f64 {
    let ramp = f64::from(recipe.ramp_steps);
    let rising = f64::from(steps).min(ramp);
    f64::from(steps) - rising + rising * (rising + 1.0) / (2.0 * ramp.max(1.0))
}

/// True where updates of both recipes have norms of one kind, in units of steps and learning rate. A
/// change of budget or schedule moves the learning rate by a factor of ten at most, as a schedule does
/// by itself; anything else that a step depends on makes what was usual no measure any more.
pub(crate) fn are_alike(one: &Recipe, other: &Recipe) -> bool {
    let Recipe {
        optimizer,
        lr,
        schedule: _,
        ramp_steps,
        clip_norm,
        steps: _,
        batch,
        budget_samples: _,
        target_accuracy: _,
        outer: _,
        update: _,
    } = one;
    let same_step = (optimizer, batch, ramp_steps) == (&other.optimizer, &other.batch, &other.ramp_steps);
    same_step && (lr, clip_norm) == (&other.lr, &other.clip_norm)
}

/// What a norm can be at all after this many steps at this mean learning rate. AdamW and Muon move
/// values by their learning rate. SGD moves them by their gradients: a step's is clipped to
/// `clip_norm` and momentum adds up to 1 / (1 - momentum) of them, and near a minimum it is small
/// however many parameters there are.
pub(crate) fn possible(recipe: &Recipe, parameters: u64, steps: u32, lr: f32) -> RangeInclusive<f32> {
    let unit = full_steps(recipe, steps) * f64::from(lr);
    let by_rate = limits::NORM_LEARNING_RATES_MAX * (parameters as f64).sqrt();
    let (least, most) = match recipe.optimizer {
        Optimizer::Adamw { .. } | Optimizer::Muon { .. } => (by_rate, by_rate),
        Optimizer::Sgd { momentum, .. } => {
            let clip = f64::from(recipe.clip_norm);
            let by_gradient = limits::NORM_LEARNING_RATES_MAX * clip / (1.0 - f64::from(momentum));
            (clip.min(1.0), by_rate.max(by_gradient))
        }
    };
    let most = (unit * most).min(limits::UPDATE_NORM_MAX);
    let least = (limits::NORM_SHARE_MIN * unit * least).max(f64::from(f32::MIN_POSITIVE));
    least as f32..=most as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::recipe;

    fn work(steps: u32) -> Work {
        Work { steps, batch: 32 }
    }

    /// Without a ramp.
    fn flat() -> Recipe {
        Recipe { ramp_steps: 0, ..recipe() }
    }

    #[track_caller]
    fn check(norms: &[f32], steps: u32, expected: Option<RangeInclusive<f32>>) {
        let mut all = Norms::default();
        norms.iter().for_each(|&n| all.add(work(8), 0.01, n));
        assert_eq!(all.band(&flat(), work(steps), 0.01), expected);
    }

    #[test]
    fn four_are_too_few() {
        check(&[1.0; 4], 8, None);
    }

    #[test]
    fn five_make_a_band() {
        check(&[1.0, 2.0, 4.0, 8.0, 100.0], 8, Some(1.0..=16.0));
    }

    #[test]
    fn other_steps_are_compared_a_step() {
        check(&[1.0; 9], 4, Some(0.125..=2.0));
        check(&[1.0; 4], 4, None);
    }

    #[test]
    fn a_ramp_counts_for_what_it_is() {
        let mut all = Norms::default();
        (0..9).for_each(|_| all.add(work(8), 1.0, 36.0));
        let rising = Recipe { ramp_steps: 8, ..recipe() };
        assert_eq!(all.band(&rising, work(1), 1.0), Some(0.25..=4.0), "1 of 36 eighths");
        let short = Recipe { ramp_steps: 3, ..recipe() };
        assert_eq!([1, 3, 8].map(|steps| full_steps(&short, steps)), [1.0 / 3.0, 2.0, 7.0]);
        assert_eq!(full_steps(&flat(), 8), 8.0);
    }

    #[test]
    fn own_steps_come_first_once_there_are_enough() {
        let mut all = Norms::default();
        (0..9).for_each(|_| all.add(work(8), 1.0, 8.0));
        (0..5).for_each(|_| all.add(work(4), 1.0, 1.0));
        assert_eq!(all.band(&flat(), work(4), 1.0), Some(0.25..=4.0));
    }

    #[test]
    fn each_batch_has_a_band_of_its_own() {
        let mut all = Norms::default();
        let small = Work { steps: 8, batch: 4 };
        (0..9).for_each(|_| all.add(work(8), 1.0, 1.0));
        assert_eq!(all.band(&flat(), small, 1.0), Some(0.25..=4.0), "a step, while its own are too few");
        (0..5).for_each(|_| all.add(small, 1.0, 3.0));
        assert_eq!(all.band(&flat(), small, 1.0), Some(0.75..=12.0));
        assert_eq!(all.band(&flat(), work(8), 1.0), Some(0.25..=4.0));
    }

    #[track_caller]
    fn check_possible(optimizer: Optimizer, norm: f32, expected: bool) {
        let recipe = Recipe { optimizer, ..flat() };
        assert_eq!(possible(&recipe, 10_000, 8, 0.01).contains(&norm), expected, "{norm}");
    }

    #[test]
    fn what_moves_by_its_learning_rate_stays_within_ten() {
        for optimizer in [Optimizer::default(), Optimizer::muon()] {
            // 8 steps x 0.01 x sqrt(10,000) = 8 is where every value moves by the learning rate.
            for norm in [0.01, 0.2 * 8.0, 8.0, 5.0 * 8.0] {
                check_possible(optimizer, norm, true);
            }
            for norm in [0.0, 1e-6, 81.0, f32::MAX] {
                check_possible(optimizer, norm, false);
            }
        }
    }

    #[test]
    fn sgd_stays_within_its_clipped_gradients() {
        for norm in [1e-6, 0.08, 8.0] {
            check_possible(Optimizer::sgd(), norm, true);
        }
        for norm in [0.0, 1e-8, 81.0, f32::MAX] {
            check_possible(Optimizer::sgd(), norm, false);
        }
    }

    #[test]
    fn no_recipe_lets_everything_through() {
        let recipe = Recipe { optimizer: Optimizer::sgd(), clip_norm: f32::MAX, ..recipe() };
        assert_eq!(*possible(&recipe, u64::MAX, 16, 10.0).end(), 1e9);
    }

    #[test]
    fn the_distant_past_is_forgotten() {
        let norms: Vec<f32> = [100.0; 40].into_iter().chain([1.0; 32]).collect();
        check(&norms, 8, Some(0.25..=4.0));
    }

    #[test]
    fn the_band_falls_with_the_learning_rate() {
        let mut all = Norms::default();
        (0..9).for_each(|_| all.add(work(8), 0.25, 1.0));
        assert_eq!(all.band(&flat(), work(8), 0.125), Some(0.125..=2.0));
    }
}
