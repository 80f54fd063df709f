//! How long to wait before trying again.
//!
//! It must not know what is tried.

use potluck_graph::random::SplitMix64;
use potluck_protocol::Millis;

/// A span that doubles with each failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// Span after the first failure.
    pub(super) first: Millis,
    /// Longest span.
    pub(super) max: Millis,
}

/// Connecting again: a restarted coordinator is back within seconds, and a thousand tabs that lost
/// it together come back spread over the jitter.
pub(super) const CONNECT: Backoff = Backoff { first: 1_000, max: 60_000 };
/// Fetching or uploading again.
pub(super) const TRANSFER: Backoff = Backoff { first: 500, max: 15_000 };
/// Asking again after a task could not be done or was refused.
pub(super) const TASK: Backoff = Backoff { first: 1_000, max: 60_000 };

impl Backoff {
    /// The span after `failures` failures (at least 1): between half and all of
    /// `first x 2^(failures - 1)`, at most `max`.
    pub(super) fn span(self, failures: u32, random: &mut SplitMix64) -> Millis {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        full / 2 + (random.unit() * (full - full / 2) as f32) as Millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failures: u32, range: std::ops::RangeInclusive<Millis>) {
        for seed in 0..100 {
            let span = CONNECT.span(failures, &mut SplitMix64::new(seed));
            assert!(range.contains(&span), "{span} is outside {range:?}");
        }
    }

    #[test]
    fn doubles_with_jitter_up_to_its_bound() {
        check(1, 500..=1_000);
        check(2, 1_000..=2_000);
        check(6, 16_000..=32_000);
        check(u32::MAX, 30_000..=60_000);
    }
}
