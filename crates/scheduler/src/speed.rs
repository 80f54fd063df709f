//! How fast a volunteer was, learnt from one task after the other, and what tasks of all who are at work
//! take. Knows no connections and reads no clock.

use potluck_protocol::{Version, limits};

use crate::crowd::GRACE_TASKS;
use crate::ladder::{STAYS, Work};
use crate::median::{lower_quartile, median};

/// Weight of a new measurement in a volunteer's averages.
const SPEED_EMA: f64 = 0.2;

/// Least that a task should take: a round waits for a moment anyway.
const TARGET_MILLIS_MIN: f64 = (limits::ROUND_GRACE_MILLIS_MIN / 4) as f64;

/// How fast a volunteer was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    /// Milliseconds a sample, the way to and fro included, as an exponential moving average.
    pub(crate) pace: f64,
    /// Milliseconds a task, in the same way: what does not grow with the batch is not divided by it.
    pub(crate) took: f64,
    /// Its last task; a small one that came beside it is passed over.
    pub(crate) work: Work,
    /// Tasks of that batch, one after the other.
    pub(crate) tasks: u32,
    /// The batch that it last came down from; `None` where it has been above that since.
    pub(crate) left: Option<u32>,
    /// What that task started from.
    version: Version,
}

/// A task that came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Milliseconds between its lease and its result.
    pub(crate) took: f64,
    /// Samples done.
    pub(crate) done: u64,
    /// The whole task.
    pub(crate) work: Work,
    /// What it started from.
    pub(crate) version: Version,
}

impl Speed {
    /// What is known after one more task.
    ///
    /// The first also fetches the program and a whole version, and the first of each batch makes a plan,
    /// unless the volunteer has that still: such a task tells no more than how slow it is at most. The
    /// next one tells how fast it is.
    pub(crate) fn after(before: Option<Self>, task: &Measured) -> Self {
        let Measured { took, done, work, version } = *task;
        let measured = took / done.max(1) as f64;
        let Some(before) = before else { return Self { pace: measured, took, work, tasks: 1, left: None, version } };
        let is_same = before.work.batch == work.batch;
        let (pace, took) = match before {
            _ if !is_same => (measured.min(before.pace), took),
            _ if before.is_fresh() => (measured, took),
            _ => (average(before.pace, measured), average(before.took, took)),
        };
        if version == before.version && work.samples() < before.work.samples() {
            return Self { pace, ..before };
        }
        let tasks = if is_same { before.tasks.saturating_add(1) } else { 1 };
        let left = before.left.filter(|&left| work.batch < left);
        let left = if work.batch < before.work.batch { Some(before.work.batch) } else { left };
        Self { pace, took, work, tasks, left, version }
    }

    /// True where its last task made a plan, so that little is known of its speed.
    pub(crate) fn is_fresh(&self) -> bool {
        self.tasks == 1
    }

    /// What it takes for so many samples, in milliseconds.
    pub(crate) fn millis(&self, samples: u64) -> f64 {
        self.pace * samples as f64
    }
}

fn average(before: f64, measured: f64) -> f64 {
    before + SPEED_EMA * (measured - before)
}

/// What a task should take, in milliseconds, where a whole one takes so long at the lower quartile: as
/// long as that, so that the fast, who do most of the work, need not wait.
pub(crate) fn target(quick: f64) -> f64 {
    quick.max(TARGET_MILLIS_MIN)
}

/// What tasks take and should take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tempo {
    /// The last task of the one in the middle.
    pub(crate) usual: f64,
    /// What a task should take.
    pub(crate) target: f64,
}

impl Tempo {
    /// Beyond this a task is cut even where it has the smallest batch.
    pub(crate) fn longest(self) -> f64 {
        (GRACE_TASKS * self.usual).max(STAYS * self.target)
    }
}

/// The speeds of those who are at work, summed up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AtWork {
    /// Milliseconds a sample of each.
    paces: Vec<f64>,
    /// Milliseconds that the last task of the one in the middle takes it; `None` where nobody's is known.
    usual: Option<f64>,
    /// Milliseconds a sample of the one at the lower quartile.
    quick: Option<f64>,
    /// What all together do.
    pub(crate) samples_per_milli: f64,
}

impl AtWork {
    pub(crate) fn of(speeds: impl Iterator<Item = Speed>) -> Self {
        let speeds: Vec<Speed> = speeds.filter(|speed| speed.pace > 0.0).collect();
        let paces: Vec<f64> = speeds.iter().map(|speed| speed.pace).collect();
        Self {
            usual: median(speeds.iter().map(|speed| speed.millis(speed.work.samples()))),
            quick: lower_quartile(paces.iter().copied()),
            samples_per_milli: paces.iter().map(|pace| 1.0 / pace).sum(),
            paces,
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.usual.is_some()
    }

    /// The last task of the one in the middle.
    pub(crate) fn usual(&self) -> Option<f64> {
        self.usual
    }

    /// The tempo where a whole task has so many samples; `None` where nobody's speed is known.
    pub(crate) fn tempo(&self, samples: u64) -> Option<Tempo> {
        let (usual, quick) = self.usual.zip(self.quick)?;
        Some(Tempo { usual, target: target(quick * samples as f64) })
    }

    /// What each takes for so many samples.
    pub(crate) fn task_millis(&self, samples: u64) -> Vec<f64> {
        self.paces.iter().map(|pace| pace * samples as f64).collect()
    }
}
