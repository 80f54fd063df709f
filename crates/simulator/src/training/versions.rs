//! The coordinator's side: merged updates in, the next version out.

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

    /// The outer momentum, if there was any step with one.
    pub(crate) fn momentum(&self) -> Option<&[f32]> {
        self.momentum.as_deref()
    }

    /// Takes these outer steps, one after the other, and publishes where they lead. Returns the bytes
    /// that a volunteer who has the version before fetches; `None` where a step is not finite, which
    /// ends a run.
    pub(crate) fn commit(&mut self, steps: &[(Vec<f32>, OuterStep)]) -> Result<Option<u64>> {
        let mut target = self.theta.clone();
        for (merged, outer) in steps {
            if !outer_step(&mut target, &mut self.momentum, merged, *outer) {
                return Ok(None);
            }
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

/// One update of these, whose weights add up to 1.
pub(crate) fn merged(merging: Merging, parts: &[Scaled<'_>]) -> Vec<f32> {
    match merging {
        Merging::Robust => merge_scaled(parts),
        Merging::Mean => {
            let count = parts.first().map_or(0, |part| part.values.len());
            let sum =
                |index: usize| parts.iter().map(|p| f64::from(p.weight) * f64::from(p.values[index])).sum::<f64>();
            (0..count).map(|index| sum(index) as f32).collect()
        }
    }
}
