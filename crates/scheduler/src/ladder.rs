//! How large a task is: the same steps for everybody, and a batch that follows speed.
//!
//! The same samples in the same number of steps learn better than in fewer steps of a whole batch
//! (`docs/training.md`, `hetero`). A volunteer compiles a plan for each batch, so there are four at
//! most: the recipe's, a half, a quarter and an eighth of it. Knows nothing of who is there.
//!
//! What a volunteer would take on another rung is reckoned as if all of its time grew with the batch. The
//! way to and fro does not, so on a higher rung it takes that long at most. Where the two are far
//! apart, only trying tells.

use potluck_protocol::{Recipe, limits};

use crate::speed::{Speed, Tempo};

/// What the batches of a job are of the recipe's.
const DIVISORS: [u32; 4] = [1, 2, 4, 8];

/// The rung of a newcomer, whose speed nobody knows: an answer comes soon, and a slow device keeps
/// nobody waiting.
const FIRST: usize = 2;

/// A task is on the right rung where it takes at most this many times what it should: rungs are a
/// factor of two apart.
const NEAREST: f64 = std::f64::consts::SQRT_2;

/// A volunteer goes up where a task of the next rung would take at most this, in what it should take:
/// where rungs are a factor of two apart, below 0.8 on its own.
const RISES: f64 = 1.6;

/// It stays where its task takes at most this. That is above `RISES`, so nobody goes up and down.
pub(crate) const STAYS: f64 = 1.7;

/// Once it has done so many tasks on its rung, it tries the next one where that would take at most this:
/// below 1.2 on its own. Where the way to and fro is most of it, a larger batch takes hardly longer.
const TRIES: (u32, f64) = (4, 2.4);

/// In buffers a volunteer stays on its rung while it takes at most this many times what it may.
const OVER: f64 = 1.2;

/// Of its samples a task may train on so few twice: its blocks are merged with it, and what they have
/// less than it has steps for comes once more.
const REPEATED: u64 = 8;

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

    /// True where blocks of so many samples fill it but for an eighth.
    fn is_filled(self, block_samples: u64) -> bool {
        let samples = self.samples();
        samples >= block_samples && samples % block_samples * REPEATED <= samples
    }
}

/// The sizes that tasks of a job may have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ladder {
    steps: u32,
    /// The recipe's batch first, each once.
    batches: Vec<u32>,
    /// Steps that a task of the smallest batch may have beside those, the most first.
    fewer: Vec<u32>,
}

impl Ladder {
    /// A task is no smaller than a block, and blocks fill it, as far as they do a whole one: a block is
    /// merged with the task that had it, and samples that it had no room for would not be seen.
    pub(crate) fn of(recipe: &Recipe, block_samples: u32) -> Self {
        let Recipe { steps, batch, .. } = *recipe;
        let block_samples = u64::from(block_samples.max(1));
        let is_whole_filled = Work { steps, batch }.is_filled(block_samples);
        let may = |work: Work| work.samples() >= block_samples && (work.is_filled(block_samples) || !is_whole_filled);
        let smaller = DIVISORS[1..].iter().map(|divisor| (batch / divisor).max(1));
        let smaller = smaller.filter(|&batch| may(Work { steps, batch }));
        let mut batches: Vec<u32> = std::iter::once(batch).chain(smaller).collect();
        batches.dedup();
        let smallest = batches[batches.len() - 1];
        let fewer = (limits::TASK_STEPS_MIN..steps).rev().filter(|&steps| may(Work { steps, batch: smallest }));
        Self { steps, fewer: fewer.collect(), batches }
    }

    fn work(&self, rung: usize) -> Work {
        Work { steps: self.steps, batch: self.batches[rung.min(self.batches.len() - 1)] }
    }

    fn rung_of(&self, batch: u32) -> Option<usize> {
        self.batches.iter().position(|&of| of == batch)
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
    fn least(&self) -> Work {
        let smallest = self.work(usize::MAX);
        Work { steps: self.fewer.last().copied().unwrap_or(self.steps), ..smallest }
    }

    /// What a task takes of what a whole one does.
    pub(crate) fn share(&self, work: Work) -> f64 {
        work.samples() as f64 / self.whole().samples().max(1) as f64
    }

    /// The rung of somebody who takes so long for a whole task, where tasks should take so long.
    fn nearest(&self, whole: f64, target: f64) -> usize {
        let smallest = self.batches.len() - 1;
        let is_near = |&rung: &usize| whole * self.share(self.work(rung)) <= NEAREST * target;
        (0..smallest).find(is_near).unwrap_or(smallest)
    }

    /// The task of this volunteer, whatever the round is like.
    pub(crate) fn rung(&self, speed: &Speed, target: f64) -> Work {
        let whole = speed.millis(self.whole().samples());
        let nearest = self.nearest(whole, target);
        let Some(now) = self.rung_of(speed.work.batch) else { return self.work(nearest) };
        let takes = |rung: usize| whole * self.share(self.work(rung)) / target;
        let may_try = |up: usize| {
            let (tasks, most) = TRIES;
            speed.tasks >= tasks && takes(up) <= most && speed.left.is_none_or(|left| self.batches[up] < left)
        };
        let rung = match now.checked_sub(1) {
            Some(up) if takes(up) <= RISES => nearest.min(up),
            Some(up) if may_try(up) => up,
            _ if takes(now) > STAYS && !speed.is_fresh() => nearest,
            _ => now,
        };
        self.work(rung)
    }

    /// Its first task of a round. One that made a plan is repeated rather than cut.
    pub(crate) fn task(&self, speed: &Speed, tempo: Tempo) -> Work {
        let rung = self.rung(speed, tempo.target);
        match self.again(speed.work) {
            Some(again) if rung.batch > again.batch => rung,
            Some(again) if speed.is_fresh() => again,
            _ => self.cut(rung, speed.millis(self.whole().samples()), tempo),
        }
    }

    /// The same of somebody who takes so long for a whole task and is on no rung yet.
    pub(crate) fn task_of(&self, whole: f64, tempo: Tempo) -> Work {
        self.cut(self.work(self.nearest(whole, tempo.target)), whole, tempo)
    }

    fn cut(&self, rung: Work, whole: f64, tempo: Tempo) -> Work {
        self.within(rung, whole, tempo.longest()).unwrap_or_else(|| self.least())
    }

    /// The same task, as far as it is one of this ladder.
    fn again(&self, work: Work) -> Option<Work> {
        let same = self.work(self.rung_of(work.batch)?);
        let is_short = same.batch == self.least().batch && self.fewer.contains(&work.steps);
        Some(if is_short { work } else { same })
    }

    /// The largest task, up to `most`, that is done in so many milliseconds: of a smaller batch, and
    /// below the smallest of fewer steps. `None` where the smallest is too much.
    pub(crate) fn within(&self, most: Work, whole: f64, millis: f64) -> Option<Work> {
        let fits = |work: &Work| whole * self.share(*work) <= millis;
        let rungs = (0..self.batches.len()).map(|rung| self.work(rung)).filter(|work| work.batch <= most.batch);
        let fewer = self.fewer.iter().map(|&steps| Work { steps, ..self.work(usize::MAX) });
        rungs.chain(fewer).find(fits)
    }

    /// As much as this volunteer does in so many milliseconds. It stays on its rung while that is hardly
    /// more, and for another task where it just made a plan.
    pub(crate) fn filling(&self, speed: &Speed, millis: f64) -> Work {
        let whole = speed.millis(self.whole().samples());
        let work = self.within(self.whole(), whole, millis).unwrap_or_else(|| self.least());
        let takes = |work: Work| whole * self.share(work);
        let stays =
            |again: &Work| again.samples() > work.samples() && (speed.is_fresh() || takes(*again) <= OVER * millis);
        self.again(speed.work).filter(stays).unwrap_or(work)
    }
}

#[cfg(test)]
mod tests {
    use potluck_protocol::Version;
    use proptest::prelude::*;

    use super::*;
    use crate::speed::Measured;
    use crate::tests::fixture::recipe;

    fn ladder(batch: u32, block_samples: u32) -> Ladder {
        Ladder::of(&Recipe { batch, ..recipe() }, block_samples)
    }

    #[track_caller]
    fn check(batch: u32, block_samples: u32, batches: &[u32], fewer: &[u32]) {
        let ladder = ladder(batch, block_samples);
        assert_eq!((ladder.batches.as_slice(), ladder.fewer.as_slice()), (batches, fewer));
    }

    #[test]
    fn batches_are_halves_down_to_an_eighth() {
        check(32, 32, &[32, 16, 8, 4], &[]);
        check(32, 16, &[32, 16, 8, 4], &[4]);
        check(6, 1, &[6, 3, 1], &[7, 6, 5, 4]);
        check(1, 1, &[1], &[7, 6, 5, 4]);
    }

    #[test]
    fn no_task_is_smaller_than_a_block() {
        check(32, 64, &[32, 16, 8], &[]);
        check(32, 200, &[32], &[7]);
        check(32, 1000, &[32], &[]);
    }

    #[test]
    fn blocks_fill_a_task_but_for_an_eighth() {
        check(32, 60, &[32, 16, 8], &[]);
        // 28 of 128 and 14 of 64 samples would come twice.
        check(32, 50, &[32], &[7, 5]);
        // As 56 of 256 do; then a smaller task is no worse.
        check(32, 100, &[32, 16], &[7]);
    }

    /// Somebody who takes so long for a whole task, which is known from two of this batch.
    fn speed(whole: f64, batch: u32) -> Speed {
        let work = Work { steps: 8, batch };
        let took = whole * f64::from(batch) / 32.0;
        let task = Measured { took, done: work.samples(), work, version: Version(0) };
        Speed::after(Some(Speed::after(None, &task)), &task)
    }

    #[track_caller]
    fn check_rung(whole: f64, batch: u32, expected: u32) {
        assert_eq!(ladder(32, 1).rung(&speed(whole, batch), 100.0), Work { steps: 8, batch: expected });
    }

    #[test]
    fn who_is_new_to_the_ladder_gets_the_nearest_rung() {
        let tempo = Tempo { usual: 9e9, target: 100.0 };
        for (whole, expected) in [(1.0, 32), (140.0, 32), (150.0, 16), (400.0, 8), (800.0, 4), (9e9, 4)] {
            assert_eq!(ladder(32, 1).task_of(whole, tempo).batch, expected);
            check_rung(whole, 31, expected);
        }
    }

    #[test]
    fn who_is_on_a_rung_stays_until_it_is_far_off() {
        // On 16 a task takes half of the whole: 81 to 169 are right.
        for (whole, expected) in [(159.0, 32), (161.0, 16), (339.0, 16), (341.0, 8), (2_000.0, 4)] {
            check_rung(whole, 16, expected);
        }
        check_rung(20.0, 4, 32);
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

    #[test]
    fn a_buffers_task_stays_on_its_rung_while_it_is_hardly_too_long() {
        // Half of a whole one takes 500.
        for (millis, expected) in [(1_000.0, 32), (999.0, 16), (500.0, 16), (420.0, 16), (410.0, 8)] {
            assert_eq!(ladder(32, 1).filling(&speed(1_000.0, 16), millis).batch, expected, "{millis}");
        }
    }

    /// A volunteer whose tasks take a fixed time and one that grows with the batch, and who makes the
    /// plan of a batch that is none of the last ones.
    struct Device {
        fixed: f64,
        moving: f64,
        plan: f64,
        kept: usize,
        plans: Vec<u32>,
        speed: Option<Speed>,
    }

    impl Device {
        fn new(fixed: f64, moving: f64, plan: f64, kept: usize) -> Self {
            Self { fixed, moving, plan, kept, plans: Vec::new(), speed: None }
        }

        /// The batches of so many tasks, where others take so long for one.
        fn tasks(mut self, ladder: &Ladder, target: f64, count: u64) -> Vec<u32> {
            (0..count).map(|n| self.task(ladder, target, Version(n)).batch).collect()
        }

        fn task(&mut self, ladder: &Ladder, target: f64, version: Version) -> Work {
            let tempo = Tempo { usual: target, target };
            let work = self.speed.map_or_else(|| ladder.first(), |speed| ladder.task(&speed, tempo));
            let mut took = self.fixed + self.moving * ladder.share(work);
            if !self.plans.contains(&work.batch) {
                took += self.plan;
            }
            self.plans.retain(|batch| *batch != work.batch);
            self.plans.push(work.batch);
            let old = self.plans.len().saturating_sub(self.kept);
            self.plans.drain(..old);
            let task = Measured { took, done: work.samples(), work, version };
            self.speed = Some(Speed::after(self.speed, &task));
            work
        }
    }

    #[test]
    fn a_larger_batch_is_tried_once() {
        // All of its time grows with the batch, and a quarter takes as long as a task should.
        let batches = Device::new(0.0, 4_000.0, 3_000.0, 2).tasks(&ladder(32, 1), 1_000.0, 100);
        assert_eq!(batches[..8], [8, 8, 8, 8, 16, 16, 8, 8]);
        assert!(batches[6..].iter().all(|&batch| batch == 8), "{batches:?}");
    }

    #[test]
    fn who_is_far_away_gets_a_whole_task_all_the_same() {
        let batches = Device::new(1_000.0, 100.0, 3_000.0, 1).tasks(&ladder(32, 1), 1_000.0, 20);
        assert_eq!(batches[..10], [8, 8, 8, 8, 16, 16, 16, 16, 32, 32]);
        assert!(batches[8..].iter().all(|&batch| batch == 32), "{batches:?}");
    }

    proptest! {
        /// Whatever of a task's time grows with its batch and whatever does not, and however long a plan
        /// takes, a volunteer settles.
        #[test]
        fn a_steady_device_settles(
            batch in 1u32..200, block in 1u32..300, fixed in 0.0f64..1e5, moving in 1.0f64..1e5,
            plan in 0.0f64..1e5, kept in 1usize..3, target in 250.0f64..1e5,
        ) {
            let ladder = ladder(batch, block);
            let batches = Device::new(fixed, moving, plan, kept).tasks(&ladder, target, 48);
            prop_assert!(batches[32..].iter().all(|batch| *batch == batches[47]), "{:?}", batches);
            let least = ladder.least().samples();
            prop_assert!(least >= u64::from(block).min(ladder.whole().samples()));
        }

        /// Making plans is no slowness.
        #[test]
        fn a_fast_device_soon_has_whole_tasks(
            share in 0.0f64..1.0, takes in 10.0f64..1_200.0, plan in 0.0f64..20_000.0, kept in 1usize..3,
        ) {
            let (fixed, moving) = (takes * share, takes * (1.0 - share));
            let batches = Device::new(fixed, moving, plan, kept).tasks(&ladder(32, 32), 1_000.0, 30);
            prop_assert!(batches[8..].iter().all(|batch| *batch == 32), "{:?}", batches);
            if fixed + moving / 4.0 <= 400.0 {
                prop_assert!(batches[3..].iter().all(|batch| *batch == 32), "{:?}", batches);
            }
        }
    }
}
