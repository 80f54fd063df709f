//! The norms of recent updates, by their steps: what a new one is compared with.
//!
//! The norm of an update grows with its steps and shrinks with the learning rate, so the comparison
//! is within one step count and over the recent past.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use crate::median::median;

/// Norms that are kept for a step count: enough for a steady median, few enough that the learning
/// rate has hardly moved.
const KEPT: usize = 32;

/// Norms without which there is no telling what is usual.
const NEEDED: usize = 5;

/// How far from the median an update may be, as a factor.
const BAND: f32 = 4.0;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Norms(BTreeMap<u32, VecDeque<f32>>);

impl Norms {
    pub(crate) fn add(&mut self, steps: u32, norm: f32) {
        let kept = self.0.entry(steps).or_default();
        kept.push_back(norm);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// What a norm after this many steps may be; `None` while too few are known.
    pub(crate) fn band(&self, steps: u32) -> Option<RangeInclusive<f32>> {
        let kept = self.0.get(&steps).filter(|kept| kept.len() >= NEEDED)?;
        let middle = median(kept.iter().map(|&n| f64::from(n)))? as f32;
        Some(middle / BAND..=middle * BAND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(norms: &[f32], steps: u32, expected: Option<RangeInclusive<f32>>) {
        let mut all = Norms::default();
        norms.iter().for_each(|&n| all.add(8, n));
        assert_eq!(all.band(steps), expected);
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
}
