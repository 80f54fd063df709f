//! How large a task is: the same steps for everybody, and a batch that follows speed.
//!
//! The same samples in the same number of steps learn better than in fewer steps of a whole batch
//! (`docs/training.md`, `hetero`). A volunteer compiles a plan for each batch, so there are four at
//! most: the recipe's, a half, a quarter and an eighth of it. Knows nothing of who is there.

use potluck_protocol::{Recipe, limits};

/// What the batches of a job are of the recipe's.
const DIVISORS: [u32; 4] = [1, 2, 4, 8];

/// The rung of a newcomer, whose speed nobody knows: an answer comes soon, and a slow device keeps
/// nobody waiting.
const FIRST: usize = 2;

/// A task is on the right rung where it takes at most this many times what it should: rungs are a
/// factor of two apart.
const NEAREST: f64 = std::f64::consts::SQRT_2;

/// A volunteer stays on its rung while its task takes between these, in what it should take. Twice the
/// less is below the more, and half of the more above the less, so nobody goes up and down.
const STAYS: (f64, f64) = (0.8, 1.7);

/// The size of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Optimizer steps.
    pub(crate) steps: u32,
    /// Samples a step.
    pub(crate) batch: u32,
}

impl Work {
    pub(crate) fn samples(self) -> u64 {
        u64::from(self.steps) * u64::from(self.batch)
    }
}

/// The sizes that tasks of a job may have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ladder {
    steps: u32,
    /// The recipe's batch first, each once.
    batches: Vec<u32>,
    /// The fewest steps of a task of the smallest batch.
    steps_min: u32,
}

impl Ladder {
    /// A task is no smaller than a block, as far as a whole one is not: a block is merged with the task
    /// that had it, and samples that it had no room for would not be seen.
    pub(crate) fn of(recipe: &Recipe, block_samples: u32) -> Self {
        let Recipe { steps, batch, .. } = *recipe;
        let holds_a_block = |&batch: &u32| Work { steps, batch }.samples() >= u64::from(block_samples);
        let smaller = DIVISORS[1..].iter().map(|divisor| (batch / divisor).max(1)).filter(holds_a_block);
        let mut batches: Vec<u32> = std::iter::once(batch).chain(smaller).collect();
        batches.dedup();
        let smallest = batches[batches.len() - 1].max(1);
        let steps_min = limits::TASK_STEPS_MIN.max(block_samples.div_ceil(smallest)).min(steps);
        Self { steps, batches, steps_min }
    }

    fn work(&self, rung: usize) -> Work {
        Work { steps: self.steps, batch: self.batches[rung.min(self.batches.len() - 1)] }
    }

    /// A task as the recipe says.
    pub(crate) fn whole(&self) -> Work {
        self.work(0)
    }

    /// A newcomer's first task among others.
    pub(crate) fn first(&self) -> Work {
        self.work(FIRST)
    }

    /// The smallest task there is.
    pub(crate) fn least(&self) -> Work {
        Work { steps: self.steps_min, ..self.work(usize::MAX) }
    }

    /// What a task takes of what a whole one does.
    pub(crate) fn share(&self, work: Work) -> f64 {
        work.samples() as f64 / self.whole().samples().max(1) as f64
    }

    /// The task of somebody who takes so long for a whole one, where tasks should take so long, and
    /// whose last one had such a batch.
    pub(crate) fn rung(&self, whole: f64, target: f64, batch: Option<u32>) -> Work {
        let takes = |rung: usize| whole * self.share(self.work(rung));
        let smallest = self.batches.len() - 1;
        let nearest = (0..smallest).find(|&rung| takes(rung) <= NEAREST * target).unwrap_or(smallest);
        let Some(now) = batch.and_then(|batch| self.batches.iter().position(|&b| b == batch)) else {
            return self.work(nearest);
        };
        // What does not grow with the batch, such as the way to and fro, counts in full on a small one:
        // whoever has time goes up one rung at least.
        let rung = match takes(now) / target {
            ratio if ratio < STAYS.0 => nearest.min(now.saturating_sub(1)),
            ratio if ratio > STAYS.1 => nearest,
            _ => now,
        };
        self.work(rung)
    }

    /// The largest task, up to `most`, that is done in so many milliseconds: of a smaller batch, and
    /// below the smallest of fewer steps. `None` where the smallest is too much.
    pub(crate) fn within(&self, most: Work, whole: f64, millis: f64) -> Option<Work> {
        let fits = |work: &Work| whole * self.share(*work) <= millis;
        let rungs = (0..self.batches.len()).map(|rung| self.work(rung)).filter(|work| work.batch <= most.batch);
        let fewer = (self.steps_min..self.steps).rev().map(|steps| Work { steps, ..self.work(usize::MAX) });
        rungs.chain(fewer).find(fits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::fixture::recipe;

    fn ladder(batch: u32, block_samples: u32) -> Ladder {
        Ladder::of(&Recipe { batch, ..recipe() }, block_samples)
    }

    #[track_caller]
    fn check(batch: u32, block_samples: u32, batches: &[u32], steps_min: u32) {
        let ladder = ladder(batch, block_samples);
        assert_eq!((ladder.batches.as_slice(), ladder.steps_min), (batches, steps_min));
    }

    #[test]
    fn batches_are_halves_down_to_an_eighth() {
        check(32, 32, &[32, 16, 8, 4], 8);
        check(32, 16, &[32, 16, 8, 4], 4);
        check(6, 1, &[6, 3, 1], 4);
        check(1, 1, &[1], 4);
    }

    #[test]
    fn no_task_is_smaller_than_a_block() {
        check(32, 64, &[32, 16, 8], 8);
        check(32, 200, &[32], 7);
        check(32, 1000, &[32], 8);
    }

    #[track_caller]
    fn check_rung(whole: f64, batch: Option<u32>, expected: u32) {
        assert_eq!(ladder(32, 1).rung(whole, 100.0, batch), Work { steps: 8, batch: expected });
    }

    #[test]
    fn who_is_new_to_the_ladder_gets_the_nearest_rung() {
        for (whole, expected) in [(1.0, 32), (140.0, 32), (150.0, 16), (400.0, 8), (800.0, 4), (9e9, 4)] {
            check_rung(whole, None, expected);
            check_rung(whole, Some(31), expected);
        }
    }

    #[test]
    fn who_is_on_a_rung_stays_until_it_is_far_off() {
        // On 16 a task takes half of the whole: 81 to 169 are right.
        for (whole, expected) in [(159.0, 32), (161.0, 16), (339.0, 16), (341.0, 8), (2_000.0, 4)] {
            check_rung(whole, Some(16), expected);
        }
        check_rung(20.0, Some(4), 32);
    }

    #[test]
    fn what_fits_has_a_smaller_batch_and_then_fewer_steps() {
        let ladder = ladder(32, 1);
        let within = |millis| ladder.within(ladder.whole(), 800.0, millis).map(|work| (work.steps, work.batch));
        let expected = [Some((8, 32)), Some((8, 16)), Some((8, 4)), Some((5, 4)), Some((4, 4)), None];
        assert_eq!([800.0, 799.0, 100.0, 99.0 * 0.7, 50.0, 49.0].map(within), expected);
        let half = Work { steps: 8, batch: 16 };
        assert_eq!(ladder.within(half, 800.0, 9e9), Some(half));
    }

    proptest! {
        /// Whatever of a task's time grows with its batch and whatever does not, a volunteer settles.
        #[test]
        fn a_steady_device_settles(
            batch in 1u32..200, block in 1u32..300, start in 0usize..4, fixed in 1.0f64..1e5, moving in 1.0f64..1e5,
            target in 1.0f64..1e5,
        ) {
            let ladder = ladder(batch, block);
            let mut work = ladder.work(start);
            let mut batches = Vec::new();
            for _ in 0..12 {
                let took = fixed + moving * ladder.share(work);
                work = ladder.rung(took / ladder.share(work), target, Some(work.batch));
                batches.push(work.batch);
            }
            prop_assert!(batches[6..].iter().all(|batch| *batch == batches[11]), "{:?}", batches);
            prop_assert!(work.samples() >= u64::from(block).min(ladder.whole().samples()));
        }
    }
}
