//! The one source of randomness: SplitMix64, so that any language can repeat it in ten lines.
//!
//! Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

/// A SplitMix64 generator.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts from a seed; every seed is good.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1): the upper 24 bits, exact in f32.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    /// Standard normal by Box and Muller, in f64 and rounded once: two draws make one.
    pub fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, turn) = (unit(self.next_u64()), unit(self.next_u64()));
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()) as f32
    }

    /// Uniform below `n` (`n > 0`), by the high half of a 128-bit product; its bias is below
    /// n / 2^64.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u32
    }
}

/// Two seeds made one, order mattering: `mix(mix(a, b), c)` names a stream inside a stream.
pub fn mix(seed: u64, stream: u64) -> u64 {
    SplitMix64::new(seed ^ SplitMix64::new(stream).next_u64()).next_u64()
}

/// The numbers `0..count` in a seeded order: Fisher and Yates from the back, each swap by
/// [`SplitMix64::below`].
pub fn permutation(seed: u64, count: u32) -> Vec<u32> {
    let mut random = SplitMix64::new(seed);
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last as usize, random.below(last + 1) as usize);
    }
    order
}

/// The rows of each step of a task over `samples` rows: a seeded permutation, cut into `steps`
/// batches of `batch`, starting again from its front where it runs out. Empty without samples.
pub fn batches(seed: u64, samples: u32, steps: u32, batch: u32) -> Vec<Vec<u32>> {
    if samples == 0 {
        return Vec::new();
    }
    let mut rows = permutation(seed, samples).into_iter().cycle();
    (0..steps).map(|_| rows.by_ref().take(batch as usize).collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        // The first outputs for seed 1234567 in the reference implementation (splitmix64.c).
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    proptest! {
        #[test]
        fn permutations_hold_every_number_once(seed: u64, count in 0u32..500) {
            let mut order = permutation(seed, count);
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn batches_use_every_row_before_any_twice(seed: u64, samples in 1u32..100, steps in 1u32..10, batch in 1u32..20) {
            let all: Vec<u32> = batches(seed, samples, steps, batch).concat();
            prop_assert_eq!(all.len() as u32, steps * batch);
            for round in all.chunks(samples as usize) {
                let mut seen = round.to_vec();
                seen.sort_unstable();
                seen.dedup();
                prop_assert_eq!(seen.len(), round.len());
            }
        }
    }
}
