//! Which versions wait for an evaluation, and how far each has come. A split may need several tasks;
//! their results are added up by samples.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{Evaluation, Split, TaskId, Version, limits};
use serde::{Deserialize, Serialize};

use crate::{BlockRef, pairs};

/// One version on one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Blocks that were not evaluated yet.
    left: BTreeSet<u32>,
    /// Those of them that are out.
    out: BTreeMap<u32, TaskId>,
    loss_sum: f64,
    correct_sum: f64,
    samples: u64,
}

impl Progress {
    fn new(block_count: usize) -> Self {
        Self { left: (0..block_count as u32).collect(), ..Self::default() }
    }

    fn due(&self) -> impl Iterator<Item = u32> {
        self.left.iter().copied().filter(|index| !self.out.contains_key(index))
    }

    fn evaluation(&self) -> Evaluation {
        let samples = self.samples.max(1) as f64;
        Evaluation {
            loss: (self.loss_sum / samples) as f32,
            accuracy: (self.correct_sum / samples) as f32,
            samples: self.samples,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluations {
    /// Versions that wait for `valid`, begun or not.
    waiting: BTreeSet<Version>,
    #[serde(with = "pairs")]
    begun: BTreeMap<(Version, Split), Progress>,
    /// The newest version that was evaluated on `valid`.
    newest: Option<Version>,
}

impl Evaluations {
    /// A version is to be evaluated on `valid`.
    pub(crate) fn want(&mut self, version: Version) {
        self.waiting.insert(version);
        self.pass_over();
    }

    pub(crate) fn lease(&mut self, task: TaskId, of: (Version, Split), block_count: usize, blocks: &[BlockRef]) {
        let progress = self.begun.entry(of).or_insert_with(|| Progress::new(block_count));
        for block in blocks.iter().filter(|b| progress.left.contains(&b.index)) {
            progress.out.insert(block.index, task);
        }
    }

    pub(crate) fn release(&mut self, task: TaskId, of: (Version, Split)) {
        if let Some(progress) = self.begun.get_mut(&of) {
            progress.out.retain(|_, holder| *holder != task);
        }
    }

    /// True where a result for these blocks still tells something.
    pub(crate) fn wants(&self, of: (Version, Split), blocks: &[BlockRef]) -> bool {
        self.begun.get(&of).is_some_and(|p| blocks.iter().all(|b| p.left.contains(&b.index)))
    }

    /// Adds a part. Returns the whole evaluation where this was the last one.
    pub(crate) fn add(&mut self, of: (Version, Split), blocks: &[BlockRef], part: Evaluation) -> Option<Evaluation> {
        let progress = self.begun.get_mut(&of)?;
        for block in blocks {
            progress.left.remove(&block.index);
            progress.out.remove(&block.index);
        }
        let samples = part.samples as f64;
        progress.loss_sum += f64::from(part.loss) * samples;
        progress.correct_sum += f64::from(part.accuracy) * samples;
        progress.samples += part.samples;
        if !progress.left.is_empty() {
            return None;
        }
        let whole = progress.evaluation();
        self.begun.remove(&of);
        if of.1 == Split::Valid {
            self.waiting.remove(&of.0);
            self.newest = self.newest.max(Some(of.0));
            self.pass_over();
        }
        Some(whole)
    }

    /// Where too many wait, those older than the newest evaluated one tell nothing new.
    fn pass_over(&mut self) {
        while self.waiting.len() > limits::EVALUATIONS_WAITING_MAX {
            let Some(oldest) = self.waiting.first().copied().filter(|&v| Some(v) < self.newest) else { return };
            self.waiting.remove(&oldest);
            self.begun.remove(&(oldest, Split::Valid));
        }
    }

    /// The newest version that was evaluated on `valid`.
    pub(crate) fn newest(&self) -> Option<Version> {
        self.newest
    }

    /// Versions whose parameters evaluations need.
    pub(crate) fn versions(&self) -> impl Iterator<Item = Version> {
        self.waiting.iter().copied().chain(self.begun.keys().map(|&(version, _)| version))
    }

    /// Versions that wait for `valid`: begun ones first, so that each gets done, then newest first.
    pub(crate) fn waiting(&self) -> Vec<Version> {
        let mut waiting: Vec<Version> = self.waiting.iter().rev().copied().collect();
        waiting.sort_by_key(|&version| !self.begun.contains_key(&(version, Split::Valid)));
        waiting
    }

    /// The blocks of one evaluation that nobody computes yet, cut into tasks that end long before
    /// their deadline. `flops` are those of each block of the split.
    pub(crate) fn due(&self, of: (Version, Split), flops: &[u64]) -> Vec<Vec<BlockRef>> {
        let untouched = Progress::new(if self.begun.contains_key(&of) { 0 } else { flops.len() });
        let progress = self.begun.get(&of).unwrap_or(&untouched);
        let mut tasks: Vec<Vec<BlockRef>> = Vec::new();
        let mut total: u64 = 0;
        for index in progress.due() {
            let more = flops.get(index as usize).copied().unwrap_or(0);
            total = total.saturating_add(more);
            let block = BlockRef { epoch: 0, index };
            match tasks.last_mut() {
                Some(task) if task.len() < limits::TASK_BLOCKS_MAX && total <= limits::EVALUATE_FLOPS_MAX => {
                    task.push(block);
                }
                _ => {
                    tasks.push(vec![block]);
                    total = more;
                }
            }
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(evaluations: &mut Evaluations, version: u64) {
        let of = (Version(version), Split::Valid);
        let blocks = evaluations.due(of, &[0]).remove(0);
        evaluations.lease(TaskId(version + 1), of, 1, &blocks);
        let part = Evaluation { loss: 1.0, accuracy: 0.5, samples: 10 };
        assert_eq!(evaluations.add(of, &blocks, part), Some(part));
    }

    #[track_caller]
    fn check(wanted: std::ops::Range<u64>, evaluated: &[u64], expected: &[u64]) {
        let mut evaluations = Evaluations::default();
        wanted.for_each(|v| evaluations.want(Version(v)));
        evaluated.iter().for_each(|&v| evaluate(&mut evaluations, v));
        let waiting: Vec<u64> = evaluations.waiting().into_iter().map(|v| v.0).collect();
        assert_eq!(waiting, expected);
    }

    #[test]
    fn the_newest_goes_first() {
        check(0..4, &[3], &[2, 1, 0]);
    }

    #[test]
    fn sixteen_may_wait() {
        check(0..17, &[16], &(0..16).rev().collect::<Vec<_>>());
    }

    #[test]
    fn of_more_the_oldest_are_passed_over() {
        check(0..20, &[19], &(3..19).rev().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_newer_than_the_newest_evaluated_is_passed_over() {
        check(0..20, &[0], &(1..20).rev().collect::<Vec<_>>());
    }

    #[test]
    fn parts_add_up_by_samples() {
        let mut evaluations = Evaluations::default();
        let of = (Version(0), Split::Test);
        let parts = evaluations.due(of, &[0; 2 * limits::TASK_BLOCKS_MAX - 1]);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [64, 63]);
        evaluations.lease(TaskId(1), of, 127, &parts[0]);
        assert_eq!(evaluations.due(of, &[0; 127]), parts[1..]);
        evaluations.lease(TaskId(2), of, 127, &parts[1]);
        assert!(evaluations.due(of, &[0; 127]).is_empty());
        let part = |loss, accuracy, samples| Evaluation { loss, accuracy, samples };
        assert_eq!(evaluations.add(of, &parts[0], part(1.0, 1.0, 300)), None);
        assert_eq!(evaluations.add(of, &parts[1], part(2.0, 0.0, 100)), Some(part(1.25, 0.75, 400)));
    }

    #[track_caller]
    fn check_tasks(flops: &[u64], expected: &[usize]) {
        let tasks = Evaluations::default().due((Version(0), Split::Valid), flops);
        assert_eq!(tasks.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        assert!(tasks.concat().iter().map(|block| block.index).eq(0..flops.len() as u32));
    }

    #[test]
    fn tasks_hold_what_ends_before_the_deadline_and_at_least_a_block() {
        let most = limits::EVALUATE_FLOPS_MAX;
        check_tasks(&[], &[]);
        check_tasks(&[most / 2; 5], &[2, 2, 1]);
        check_tasks(&[most + 1; 3], &[1, 1, 1]);
        check_tasks(&[1, u64::MAX, u64::MAX, 1, 1], &[1, 1, 1, 2]);
        check_tasks(&[most, 1, 1], &[1, 2]);
    }

    #[test]
    fn one_that_was_begun_is_done_before_a_newer_one() {
        let mut evaluations = Evaluations::default();
        (0..3).for_each(|v| evaluations.want(Version(v)));
        evaluations.lease(TaskId(1), (Version(1), Split::Valid), 200, &[BlockRef { epoch: 0, index: 0 }]);
        assert_eq!(evaluations.waiting(), [Version(1), Version(2), Version(0)]);
        evaluations.release(TaskId(1), (Version(1), Split::Valid));
        assert_eq!(evaluations.due((Version(1), Split::Valid), &[0; 200]).concat().len(), 200);
    }
}
