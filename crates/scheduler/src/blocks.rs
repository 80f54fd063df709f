//! Which training blocks are free, out, handed in or merged. Knows nothing of who holds them or when
//! a lease ends.
//!
//! A block of an epoch is handed out, then in exactly one of four states: returned (free again), held
//! by a lease, held by an accepted result that waits for its commit, or merged. Merged ones are not
//! stored: they are what is left, so memory does not grow with epochs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_set};

use potluck_protocol::{TaskId, limits};
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, permutation, seed_of};
use crate::{BlockRef, pairs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hold {
    /// By a lease.
    Leased(TaskId),
    /// By a result that waits for its commit.
    Accepted(TaskId),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blocks {
    seed: u64,
    /// Samples of each block.
    samples: Vec<u32>,
    /// The epoch that is being handed out.
    epoch: u32,
    /// Its blocks in the order of handing out.
    order: Vec<u32>,
    /// Those that were not handed out yet. The fold relies on this set alone, so that an old log
    /// means the same under another order.
    fresh: BTreeSet<u32>,
    /// Position in `order` before which nothing is fresh.
    next: usize,
    returned: BTreeSet<BlockRef>,
    #[serde(with = "pairs")]
    held: BTreeMap<BlockRef, Hold>,
}

impl Blocks {
    pub(crate) fn new(seed: u64, samples: Vec<u32>) -> Self {
        let mut blocks = Self { seed, samples, ..Self::default() };
        blocks.start_epoch(0);
        blocks
    }

    fn count(&self) -> u32 {
        self.samples.len() as u32
    }

    fn order_of(&self, epoch: u32) -> Vec<u32> {
        permutation(seed_of(self.seed, Purpose::Epoch, u64::from(epoch)), self.count())
    }

    /// What an older epoch did not hand out is free rather than forgotten.
    fn start_epoch(&mut self, epoch: u32) {
        let before = self.epoch;
        let left = std::mem::take(&mut self.fresh);
        self.returned.extend(left.into_iter().map(|index| BlockRef { epoch: before, index }));
        self.epoch = epoch;
        self.order = self.order_of(epoch);
        self.fresh = (0..self.count()).collect();
        self.next = 0;
    }

    fn hand_out(&mut self, block: BlockRef) {
        if block.epoch > self.epoch {
            self.start_epoch(block.epoch);
        }
        if block.epoch == self.epoch {
            self.fresh.remove(&block.index);
            while self.order.get(self.next).is_some_and(|index| !self.fresh.contains(index)) {
                self.next += 1;
            }
        }
        self.returned.remove(&block);
    }

    pub(crate) fn lease(&mut self, task: TaskId, blocks: &[BlockRef]) {
        let count = self.count();
        for &block in blocks.iter().filter(|b| b.index < count) {
            self.hand_out(block);
            self.held.insert(block, Hold::Leased(task));
        }
    }

    /// The task's blocks are free, as far as nobody else holds them by now.
    pub(crate) fn release(&mut self, task: TaskId, blocks: &[BlockRef]) {
        for &block in blocks {
            if self.held.get(&block) == Some(&Hold::Leased(task)) {
                self.held.remove(&block);
                self.returned.insert(block);
            }
        }
    }

    /// The task's result counts: its blocks are its own now, even those leased to somebody else
    /// since.
    pub(crate) fn accept(&mut self, task: TaskId, blocks: &[BlockRef]) {
        for &block in blocks {
            self.returned.remove(&block);
            self.held.insert(block, Hold::Accepted(task));
        }
    }

    pub(crate) fn merge(&mut self, task: TaskId, blocks: &[BlockRef]) {
        for block in blocks {
            if self.held.get(block) == Some(&Hold::Accepted(task)) {
                self.held.remove(block);
            }
        }
    }

    /// True where somebody handed one of these blocks in already. They were handed out before.
    pub(crate) fn any_claimed(&self, blocks: &[BlockRef]) -> bool {
        blocks.iter().any(|block| match self.held.get(block) {
            Some(Hold::Leased(_)) => false,
            Some(Hold::Accepted(_)) => true,
            None => !self.returned.contains(block),
        })
    }

    /// True where the task holds all of these: nobody was given them since.
    pub(crate) fn are_with(&self, task: TaskId, blocks: &[BlockRef]) -> bool {
        blocks.iter().all(|block| self.held.get(block) == Some(&Hold::Leased(task)))
    }

    /// What can be leased, best first; endless unless there are no blocks at all.
    pub(crate) fn supply(&self) -> Supply<'_> {
        Supply {
            blocks: self,
            returned: self.returned.iter(),
            epoch: self.epoch,
            order: Cow::Borrowed(&self.order),
            next: self.next,
            ahead: None,
        }
    }

    /// Where each handed-out block is, for the tests: (returned, leased, accepted).
    #[cfg(test)]
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        let leased = self.held.values().filter(|h| matches!(h, Hold::Leased(_))).count();
        (self.returned.len(), leased, self.held.len() - leased)
    }

    /// Blocks handed out so far, for the tests.
    #[cfg(test)]
    pub(crate) fn handed_out(&self) -> u64 {
        u64::from(self.epoch) * self.samples.len() as u64 + (self.samples.len() - self.fresh.len()) as u64
    }
}

/// The blocks that leases of one turn take from: returned ones, then the epoch's, then the next
/// epoch's. Changes nothing; the facts that come of it do.
pub(crate) struct Supply<'a> {
    blocks: &'a Blocks,
    returned: btree_set::Iter<'a, BlockRef>,
    epoch: u32,
    order: Cow<'a, [u32]>,
    next: usize,
    ahead: Option<BlockRef>,
}

impl Supply<'_> {
    fn peek(&mut self) -> Option<BlockRef> {
        if self.ahead.is_none() {
            self.ahead = self.draw();
        }
        self.ahead
    }

    fn draw(&mut self) -> Option<BlockRef> {
        if let Some(&block) = self.returned.next() {
            return Some(block);
        }
        if self.blocks.samples.is_empty() {
            return None;
        }
        loop {
            let Some(&index) = self.order.get(self.next) else {
                self.epoch += 1;
                self.order = Cow::Owned(self.blocks.order_of(self.epoch));
                self.next = 0;
                continue;
            };
            self.next += 1;
            if self.epoch > self.blocks.epoch || self.blocks.fresh.contains(&index) {
                return Some(BlockRef { epoch: self.epoch, index });
            }
        }
    }

    /// Blocks for one task: while they fit into its samples and a message, and at least one.
    pub(crate) fn take(&mut self, samples_max: u64) -> Vec<BlockRef> {
        let mut taken = Vec::new();
        let mut total = 0;
        while let Some(block) = self.peek() {
            total += u64::from(self.blocks.samples[block.index as usize]);
            if !taken.is_empty() && (total > samples_max || taken.len() == limits::TASK_BLOCKS_MAX) {
                break;
            }
            taken.push(block);
            self.ahead = None;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes leases until `count` blocks are out, and returns the blocks of each.
    fn hand_out(blocks: &mut Blocks, samples_max: u64, count: usize) -> Vec<Vec<BlockRef>> {
        let mut all = Vec::new();
        while all.iter().map(Vec::len).sum::<usize>() < count {
            let taken = blocks.supply().take(samples_max);
            blocks.lease(TaskId(all.len() as u64 + 1), &taken);
            all.push(taken);
        }
        all
    }

    #[test]
    fn an_epoch_hands_out_each_block_once() {
        let mut blocks = Blocks::new(1, vec![10; 12]);
        let mut seen: Vec<BlockRef> = hand_out(&mut blocks, 40, 12).concat();
        assert!(seen.iter().any(|b| b.index != 0) && seen.iter().all(|b| b.epoch == 0));
        seen.sort_unstable();
        assert_eq!(seen, (0..12).map(|index| BlockRef { epoch: 0, index }).collect::<Vec<_>>());
    }

    #[test]
    fn a_task_runs_over_the_end_of_an_epoch() {
        let mut blocks = Blocks::new(1, vec![10; 5]);
        let all = hand_out(&mut blocks, 30, 10);
        let epochs: Vec<Vec<u32>> = all.iter().map(|t| t.iter().map(|b| b.epoch).collect()).collect();
        assert_eq!(epochs, [vec![0, 0, 0], vec![0, 0, 1], vec![1, 1, 1], vec![1, 2, 2]]);
    }

    #[test]
    fn epochs_differ_in_order() {
        let mut blocks = Blocks::new(1, vec![1; 50]);
        let all = hand_out(&mut blocks, 50, 100);
        let indices = |t: &[BlockRef]| t.iter().map(|b| b.index).collect::<Vec<_>>();
        assert_ne!(indices(&all[0]), indices(&all[1]));
    }

    #[test]
    fn a_large_block_is_taken_alone() {
        let mut blocks = Blocks::new(1, vec![100; 3]);
        assert!(hand_out(&mut blocks, 30, 3).iter().all(|t| t.len() == 1));
    }

    #[test]
    fn a_task_fits_a_message() {
        let blocks = Blocks::new(1, vec![1; 200]);
        assert_eq!(blocks.supply().take(u64::MAX).len(), limits::TASK_BLOCKS_MAX);
    }

    #[test]
    fn no_blocks_are_no_supply() {
        assert!(Blocks::new(1, vec![]).supply().take(10).is_empty());
    }

    #[test]
    fn what_came_back_goes_first() {
        let mut blocks = Blocks::new(1, vec![10; 12]);
        let all = hand_out(&mut blocks, 30, 6);
        blocks.release(TaskId(1), &all[0]);
        let mut again = blocks.supply().take(30);
        let mut first = all[0].clone();
        again.sort_unstable();
        first.sort_unstable();
        assert_eq!(again, first);
    }

    #[test]
    fn the_first_result_claims_the_block() {
        let mut blocks = Blocks::new(1, vec![10; 4]);
        let first = hand_out(&mut blocks, 20, 2).remove(0);
        blocks.release(TaskId(1), &first);
        let second = blocks.supply().take(20);
        blocks.lease(TaskId(2), &second);
        assert!(!blocks.any_claimed(&first));
        blocks.accept(TaskId(1), &first);
        assert!(blocks.any_claimed(&second));
        blocks.release(TaskId(2), &second);
        assert_eq!(blocks.census(), (0, 0, 2), "the loser gives back nothing that was claimed");
        blocks.merge(TaskId(1), &first);
        assert!(blocks.any_claimed(&second), "merged blocks stay claimed");
        assert_eq!(blocks.census(), (0, 0, 0));
    }

    #[test]
    fn an_unfinished_epoch_is_not_forgotten() {
        let mut blocks = Blocks::new(1, vec![10; 4]);
        blocks.lease(TaskId(1), &[BlockRef { epoch: 1, index: 0 }]);
        assert_eq!(blocks.census(), (4, 1, 0));
    }
}
