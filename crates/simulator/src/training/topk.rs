//! Top-k with error feedback: 64 of every 4,096 values, what is left out added to the next update.
//!
//! As SparseLoCo and Templar have it (arXiv 2508.15706): a 12-bit index and a 2-bit value over the
//! means of four bins a chunk. For comparison only, and therefore here and not in the protocol: an
//! update that depends on a residual cannot be done again by anybody else, and visits are short.

use potluck_update::CHUNK_VALUES;

/// Values kept of a chunk.
const KEPT: usize = 64;

/// Of the residual, how much the next update still knows.
const MEMORY: f32 = 0.95;

/// Bytes of a full chunk: 64 x 14 bits, and four f32 means.
const CHUNK_BYTES: usize = KEPT * 14 / 8 + 4 * 4;

/// What was left out so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Residual(Vec<f32>);

impl Residual {
    /// Adds an update to what was left out, and sends the largest of the sum.
    pub(super) fn send(&mut self, values: &[f32]) -> Vec<f32> {
        self.0.resize(values.len(), 0.0);
        self.0.iter_mut().zip(values).for_each(|(left, value)| *left = MEMORY * *left + value);
        let sent = sparse(&self.0);
        self.0.iter_mut().zip(&sent).for_each(|(left, sent)| *left -= sent);
        sent
    }
}

/// Bytes that `count` values take.
pub(super) fn bytes(count: usize) -> usize {
    count.div_ceil(CHUNK_VALUES) * CHUNK_BYTES
}

/// The largest values of each chunk at the means of their bins, zeros elsewhere.
pub(super) fn sparse(values: &[f32]) -> Vec<f32> {
    let mut sent = vec![0.0; values.len()];
    for (values, sent) in values.chunks(CHUNK_VALUES).zip(sent.chunks_mut(CHUNK_VALUES)) {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
        order.truncate(KEPT);
        let middle = mean(order.iter().map(|&index| values[index].abs()));
        // Bins are sign and side of the mean magnitude.
        let bin = |index: usize| (values[index] < 0.0, values[index].abs() >= middle);
        for &index in &order {
            let same = order.iter().filter(|&&other| bin(other) == bin(index));
            sent[index] = mean(same.map(|&other| values[other]));
        }
    }
    sent
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value), count + 1.0));
    (sum / count) as f32
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_but_what_is_forgotten(updates in vec(vec(-1.0f32..1.0, 200), 1..10)) {
            let mut residual = Residual::default();
            for update in &updates {
                let before = residual.clone();
                let sent = residual.send(update);
                prop_assert!(sent.iter().filter(|value| **value != 0.0).count() <= KEPT);
                for (index, sent) in sent.iter().enumerate() {
                    let owed = MEMORY * before.0.get(index).copied().unwrap_or(0.0) + update[index];
                    prop_assert!((owed - sent - residual.0[index]).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_largest_are_sent_at_the_means_of_their_bins() {
        let mut values = vec![0.01; CHUNK_VALUES];
        values[..4].copy_from_slice(&[4.0, -6.0, 8.0, -2.0]);
        values[4..KEPT].fill(1.0);
        let sent = sparse(&values);
        assert_eq!(sent[..4], [6.0, -4.0, 6.0, -4.0]);
        assert!(sent[4..KEPT].iter().all(|&value| value == 1.0));
        assert!(sent[KEPT..].iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_quarter_of_a_bit_a_parameter() {
        assert_eq!(bytes(1 << 20) * 8, (1 << 20) / 4);
    }
}
