//! The one shuffle of an owner's samples, and which of them each split gets. Simple enough to be
//! repeated in any language: `tests/python` does.

use potluck_graph::random::permutation;
use potluck_protocol::DataSection;

/// Rows of the file, split by split, in the order in which they go into blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splits {
    /// Rows that tasks train on.
    pub(crate) train: Vec<u32>,
    /// Rows that gate targets.
    pub(crate) valid: Vec<u32>,
    /// Rows that are only reported.
    pub(crate) test: Vec<u32>,
}

/// Samples of a split: the share rounded to the nearest whole number, and at least one.
fn count(samples: usize, share: f32) -> usize {
    ((f64::from(share) * samples as f64).round() as usize).max(1)
}

/// Samples that are left to train on; `None` where the other splits take all.
fn train_count(samples: usize, section: &DataSection) -> Option<usize> {
    samples.checked_sub(count(samples, section.test) + count(samples, section.valid))
}

/// The fewest samples from which on there are always `train_min` left to train on.
pub(crate) fn samples_needed(section: &DataSection, train_min: u32) -> usize {
    let enough = |samples: usize| train_count(samples, section).is_some_and(|left| left >= train_min as usize);
    // Shares are at most 0.4 each, so a fifth is left, less two samples for rounding. From above,
    // since rounding makes the count that is left step back now and then.
    let surely = (train_min as usize + 2) * 5;
    (0..=surely).rev().find(|&samples| !enough(samples)).map_or(0, |samples| samples + 1)
}

/// Shuffles the rows by `data.seed` and hands them out: `test` first, then `valid`, the rest is
/// `train`. `None` where fewer than `train_min` would be left.
pub(crate) fn split(samples: u32, section: &DataSection, train_min: u32) -> Option<Splits> {
    train_count(samples as usize, section).filter(|&left| left >= (train_min as usize).max(1))?;
    let mut test = permutation(section.seed, samples);
    let mut valid = test.split_off(count(samples as usize, section.test));
    let train = valid.split_off(count(samples as usize, section.valid));
    Some(Splits { train, valid, test })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::section;

    #[test]
    fn the_order_is_kept_for_ever() {
        // Other languages repeat this (tests/python), so a change here breaks their splits.
        let splits = split(10, &DataSection { valid: 0.2, test: 0.2, seed: 1, ..section() }, 1).expect("enough");
        assert_eq!((splits.test, splits.valid, splits.train), (vec![9, 0], vec![1, 4], vec![8, 2, 3, 7, 6, 5]));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn splits_partition_the_samples(
                samples in 0u32..2000, valid in 0.01f32..=0.4, test in 0.01f32..=0.4, seed: u64, train_min in 1u32..100,
            ) {
                let section = DataSection { valid, test, seed, ..section() };
                let needed = samples_needed(&section, train_min);
                let Some(splits) = split(samples, &section, train_min) else {
                    prop_assert!((samples as usize) < needed, "{needed} are needed");
                    return Ok(());
                };
                prop_assert!(splits.train.len() >= train_min as usize);
                prop_assert!(!splits.valid.is_empty() && !splits.test.is_empty());
                let mut all = [splits.train, splits.valid, splits.test].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..samples).collect::<Vec<_>>());
            }
        }
    }
}
