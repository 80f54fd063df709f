//! Seeded randomness: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Not for secrets.

/// The odd constant nearest to 2^64 / golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a seed is for, so that two uses of one job seed never share a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The order of an epoch's blocks.
    Epoch,
    /// The shuffle inside a task.
    Task,
}

/// The seed of the `index`-th thing of this purpose.
pub(crate) fn seed_of(job_seed: u64, purpose: Purpose, index: u64) -> u64 {
    let purpose = match purpose {
        Purpose::Epoch => 1,
        Purpose::Task => 2,
    };
    let stream = scramble(job_seed ^ scramble(GAMMA.wrapping_mul(purpose)));
    scramble(stream.wrapping_add(GAMMA.wrapping_mul(index.wrapping_add(1))))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        scramble(self.0)
    }

    /// A number below `end`, which is above 0. The bias is below `end` / 2^64.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// The numbers 0 to `count - 1` in a seeded order (Fisher and Yates).
pub(crate) fn permutation(seed: u64, count: u32) -> Vec<u32> {
    let mut random = SplitMix(seed);
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..order.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_number_once() {
        let mut order = permutation(7, 100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!(permutation(7, 0).is_empty());
    }

    #[test]
    fn seeds_differ_by_job_purpose_and_index() {
        let seeds = [
            seed_of(1, Purpose::Task, 1),
            seed_of(1, Purpose::Task, 2),
            seed_of(2, Purpose::Task, 1),
            seed_of(1, Purpose::Epoch, 1),
        ];
        let distinct: std::collections::BTreeSet<u64> = seeds.into_iter().collect();
        assert_eq!(distinct.len(), seeds.len());
    }
}
