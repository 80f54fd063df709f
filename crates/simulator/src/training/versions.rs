//! The coordinator's side of a round: updates in, the next version out.

use anyhow::{Context, Result, ensure};
use potluck_protocol::{BlobId, OuterStep};
use potluck_update::{Published, Scaled, apply_delta, bytes_from_weights, merge_scaled, outer_step, publish};

use super::arm::{Merging, Publishing};

/// The newest version and what the coordinator keeps beside it.
pub(crate) struct Versions {
    theta: Vec<f32>,
    momentum: Option<Vec<f32>>,
    feedback: Vec<f32>,
    publishing: Publishing,
}

impl Versions {
    pub(crate) fn new(theta: Vec<f32>, publishing: Publishing) -> Self {
        Self { theta, momentum: None, feedback: Vec::new(), publishing }
    }

    /// The newest version, as every volunteer has it.
    pub(crate) fn theta(&self) -> &[f32] {
        &self.theta
    }

    /// Merges and publishes. Returns the bytes that a volunteer who has the version before fetches;
    /// `None` where the step is not finite, which ends a run.
    pub(crate) fn commit(&mut self, updates: &[Vec<f32>], merging: Merging, outer: OuterStep) -> Result<Option<u64>> {
        let merged = merged(merging, updates);
        let mut target = self.theta.clone();
        if !outer_step(&mut target, &mut self.momentum, &merged, outer) {
            return Ok(None);
        }
        let Publishing::Delta = self.publishing else {
            let bytes = 4 * target.len() as u64;
            self.theta = target;
            return Ok(Some(bytes));
        };
        let Published { delta, theta, feedback } =
            publish(&self.theta, &target, &self.feedback).context("a finite step has no delta")?;
        let held = apply_delta(&self.theta, &delta, BlobId::of(&bytes_from_weights(&theta)))?;
        ensure!(held == theta, "a volunteer and the coordinator hold different versions");
        (self.theta, self.feedback) = (held, feedback);
        Ok(Some(delta.len() as u64))
    }
}

fn merged(merging: Merging, updates: &[Vec<f32>]) -> Vec<f32> {
    let weight = 1.0 / updates.len() as f32;
    match merging {
        Merging::Robust => {
            let parts: Vec<Scaled<'_>> = updates.iter().map(|values| Scaled { weight, scale: 1.0, values }).collect();
            merge_scaled(&parts)
        }
        Merging::Mean => {
            let count = updates.first().map_or(0, Vec::len);
            let sum = |index: usize| updates.iter().map(|update| f64::from(update[index])).sum::<f64>();
            (0..count).map(|index| (sum(index) / updates.len() as f64) as f32).collect()
        }
    }
}
