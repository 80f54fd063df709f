//! The norms of recent updates, by their steps: what a new one is compared with.
//!
//! The norm of an update grows with its steps and with the learning rate, so the comparison is
//! within one step count, a unit of learning rate, and the recent past. Without the learning rate in
//! it a job of few tasks would refuse its own end: a schedule falls to a tenth, the band is a
//! quarter.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use crate::median::median;

/// Norms that are kept for a step count: enough for a steady median, few enough that the job has
/// hardly moved.
const KEPT: usize = 32;

/// Norms without which there is no telling what is usual.
const NEEDED: usize = 5;

/// How far from the median an update may be, as a factor.
const BAND: f64 = 4.0;

/// For each step count, norms divided by the learning rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Norms(BTreeMap<u32, VecDeque<f64>>);

impl Norms {
    /// Remembers an update of this norm after this many steps at this mean learning rate.
    pub(crate) fn add(&mut self, steps: u32, lr: f32, norm: f32) {
        let kept = self.0.entry(steps).or_default();
        kept.push_back(f64::from(norm) / f64::from(lr));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// What a norm may be after this many steps at this mean learning rate; `None` while too few
    /// are known.
    pub(crate) fn band(&self, steps: u32, lr: f32) -> Option<RangeInclusive<f32>> {
        let kept = self.0.get(&steps).filter(|kept| kept.len() >= NEEDED)?;
        let middle = median(kept.iter().copied())? * f64::from(lr);
        Some((middle / BAND) as f32..=(middle * BAND) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(norms: &[f32], steps: u32, expected: Option<RangeInclusive<f32>>) {
        let mut all = Norms::default();
        norms.iter().for_each(|&n| all.add(8, 0.01, n));
        assert_eq!(all.band(steps, 0.01), expected);
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
    fn other_steps_are_another_matter() {
        check(&[1.0; 9], 4, None);
    }

    #[test]
    fn the_distant_past_is_forgotten() {
        let norms: Vec<f32> = [100.0; 40].into_iter().chain([1.0; 32]).collect();
        check(&norms, 8, Some(0.25..=4.0));
    }

    #[test]
    fn the_band_falls_with_the_learning_rate() {
        let mut all = Norms::default();
        (0..9).for_each(|_| all.add(8, 0.25, 1.0));
        assert_eq!(all.band(8, 0.125), Some(0.125..=2.0));
    }
}
