//! Who trains, and what each is given to do.

use super::arm::LOCAL_BATCH;

/// Volunteers by speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Team {
    /// So many of one speed.
    Even(u32),
    /// Eight in four levels of speed, [`LEVELS`].
    Mixed(Work),
    /// As many as each number says, one number after the other, each for an equal part of the samples.
    Ramp(&'static [u32]),
}

/// How the work of a task follows the speed of who does it. All three come to 960 samples together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Not at all: 15 steps of 8 samples.
    Equal,
    /// Steps in proportion to speed: 32, 16, 8 and 4, of 8 samples each.
    Steps,
    /// Batch in proportion to speed: 8 steps of 32, 16, 8 and 4 samples.
    Batch,
}

/// How many times as long as the fastest each takes for a sample: full speed, half, a quarter, an
/// eighth, two volunteers each.
const LEVELS: [u32; 8] = [1, 1, 2, 2, 4, 4, 8, 8];

/// The fastest device's steps or samples a step.
const FASTEST: u32 = 32;

/// One volunteer's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskSize {
    pub(crate) steps: u32,
    pub(crate) batch: u32,
    /// What a sample takes, in those of the fastest.
    pub(crate) slowness: u32,
}

impl TaskSize {
    pub(crate) fn samples(self) -> u64 {
        u64::from(self.steps) * u64::from(self.batch)
    }

    /// What it takes, in samples of the fastest device.
    pub(crate) fn span(self) -> u64 {
        self.samples() * u64::from(self.slowness)
    }
}

impl Team {
    /// A task for each, when this part of the samples was given out, 0 to 1.
    pub(crate) fn tasks(self, steps: u32, progress: f64) -> Vec<TaskSize> {
        let even = |count: u32| vec![TaskSize { steps, batch: LOCAL_BATCH, slowness: 1 }; count as usize];
        match self {
            Self::Even(count) => even(count),
            Self::Ramp(counts) => {
                let at = (progress * counts.len() as f64) as usize;
                even(counts[at.min(counts.len() - 1)])
            }
            Self::Mixed(work) => LEVELS.map(|slowness| work.of(slowness)).to_vec(),
        }
    }
}

impl Work {
    fn of(self, slowness: u32) -> TaskSize {
        let (steps, batch) = match self {
            Self::Equal => (15, LOCAL_BATCH),
            Self::Steps => (FASTEST / slowness, LOCAL_BATCH),
            Self::Batch => (8, FASTEST / slowness),
        };
        TaskSize { steps, batch, slowness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixed_do_the_same_together_however_it_is_shared() {
        for work in [Work::Equal, Work::Steps, Work::Batch] {
            let tasks = Team::Mixed(work).tasks(8, 0.0);
            assert_eq!(tasks.iter().map(|task| task.samples()).sum::<u64>(), 960, "{work:?}");
            let spans: Vec<u64> = tasks.iter().map(|task| task.span()).collect();
            let is_even = spans.iter().all(|span| *span == spans[0]);
            assert_eq!(is_even, work != Work::Equal, "in proportion, all end together: {spans:?}");
        }
    }

    #[test]
    fn a_ramp_goes_through_its_numbers() {
        let counts = |progress| Team::Ramp(&[1, 4, 2]).tasks(8, progress).len();
        assert_eq!([0.0, 0.3, 0.34, 0.67, 1.0].map(counts), [1, 1, 4, 2, 2]);
    }
}
