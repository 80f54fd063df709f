//! How a job's work is paced and merged, by name: what a job file says and the first fact of a log
//! keeps. What each does is in the scheduler.

use serde::{Deserialize, Serialize};

/// The strategies that a job file can name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StrategyName {
    /// Rounds while the crowd is small or even, buffers where rounds would keep it waiting.
    #[default]
    Auto,
    /// Rounds: all train from the same version, and momentum goes from one to the next.
    Rounds,
    /// Buffers: nobody waits, updates from older versions are welcome, and momentum is led.
    Buffered,
}

impl StrategyName {
    /// What jobs were trained with before there was a choice.
    pub fn of_old_jobs() -> Self {
        Self::Rounds
    }
}
