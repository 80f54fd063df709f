//! What became of everybody's time: a fold over what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::{Millis, TaskId, Version};
use potluck_scheduler::Fact;

/// Sums over one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Books {
    /// Samples that volunteers trained on, in tasks that they ended or stopped early.
    pub(crate) finished_samples: u64,
    /// Samples of tasks that nobody handed in: the tab was closed.
    pub(crate) lost_samples: u64,
    /// Samples of results that were credited, not merged.
    pub(crate) late_samples: u64,
    /// Results that were refused.
    pub(crate) refused: u64,
    pub(crate) tasks: u64,
    pub(crate) commits: u64,
    parts: u64,
    staleness: u64,
    stale_commits: u64,
    plain_commits: u64,
    /// Milliseconds of being there, and of computing, over all visitors.
    pub(crate) present: u64,
    pub(crate) computing: u64,
    /// The same weighted with speed: operations that were possible.
    pub(crate) possible_flops: f64,
    pub(crate) up_bytes: u64,
    pub(crate) down_bytes: u64,
    /// What the core took of a real processor, all inputs together. Not part of what repeats.
    pub(crate) core: Duration,
    /// Evaluations on `valid`, in the order in which they came in.
    pub(crate) evaluations: Vec<Seen>,
    /// The last version of a job that finished, and when that was.
    pub(crate) finished: Option<(Version, Millis)>,
    /// Virtual time of the run.
    pub(crate) lasted: Millis,
    bases: BTreeMap<TaskId, Version>,
}

/// An evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    /// When the version was made.
    pub(crate) made_at: Millis,
    pub(crate) version: Version,
    /// Samples merged into it.
    pub(crate) samples: u64,
    pub(crate) loss: f32,
}

impl Books {
    /// Takes in a fact of the log.
    pub(super) fn observe(&mut self, fact: &Fact) {
        match fact {
            Fact::TaskLeased { task, base_version, .. } => {
                self.tasks += 1;
                self.bases.insert(*task, *base_version);
            }
            Fact::ResultAccepted { late: true, samples, .. } => self.late_samples += samples,
            Fact::Committed { version, parts, outer, .. } => {
                let staleness = |task: &TaskId| {
                    let base = self.bases.get(task).copied().unwrap_or_default();
                    version.0.saturating_sub(1).saturating_sub(base.0)
                };
                let stale: Vec<u64> = parts.iter().map(|part| staleness(&part.task)).collect();
                self.commits += 1;
                self.parts += stale.len() as u64;
                self.staleness += stale.iter().sum::<u64>();
                self.stale_commits += u64::from(stale.iter().any(|&staleness| staleness > 0));
                self.plain_commits += u64::from(outer.is_some_and(|outer| outer.momentum == 0.0));
            }
            Fact::Finished { at, version } => self.finished = Some((*version, *at)),
            _ => {}
        }
    }

    /// Somebody was there for so long, at this speed.
    pub(super) fn was_there(&mut self, millis: Millis, speed: f64) {
        self.present += millis;
        self.possible_flops += millis as f64 * speed;
    }

    /// The first evaluation that is as good as this.
    pub(crate) fn reached(&self, loss: f32) -> Option<Seen> {
        self.evaluations.iter().find(|seen| seen.loss <= loss).copied()
    }

    /// Updates in a commit, in the mean.
    pub(crate) fn parts_a_commit(&self) -> f64 {
        self.parts as f64 / self.commits as f64
    }

    /// Versions between an update's base and the one that it was merged into, in the mean.
    pub(crate) fn mean_staleness(&self) -> f64 {
        self.staleness as f64 / self.parts as f64
    }

    /// Share of commits that held something stale.
    pub(crate) fn stale_share(&self) -> f64 {
        self.stale_commits as f64 / self.commits as f64
    }

    /// Share of commits that had to step without momentum.
    pub(crate) fn plain_share(&self) -> f64 {
        self.plain_commits as f64 / self.commits as f64
    }
}
