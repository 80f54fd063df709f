//! Cuts a step or an evaluation into slices: how many dispatches fit into the time that one submit may take, learned
//! from how long the slices before took.
//!
//! It must not know a clock or a device.

use std::{ops::Range, time::Duration};

/// What is expected of each dispatch of one plan on one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slices {
    /// Seconds of each dispatch.
    expected: Vec<f64>,
    budget: f64,
}

/// How far one measurement moves an expectation: a slice may have waited for something else.
const TRUST: f64 = 0.5;

impl Slices {
    /// Nothing is known yet: one dispatch at a time.
    pub(crate) fn new(dispatches: usize, budget: Duration) -> Self {
        let budget = budget.as_secs_f64();
        Self { expected: vec![budget; dispatches], budget }
    }

    /// Dispatches from `from` on that fit, one at least.
    pub(crate) fn fitting(&self, from: usize) -> usize {
        let mut left = self.budget;
        let fits = |seconds: &&f64| {
            left -= **seconds;
            left >= 0.0
        };
        self.expected.iter().skip(from).take_while(fits).count().max(1)
    }

    /// True where the first `count` dispatches take half a slice at most: then two such may be in flight.
    pub(crate) fn whole(&self, count: usize) -> bool {
        self.expected.iter().take(count).sum::<f64>() <= self.budget / 2.0
    }

    /// What these took together is shared out as it was expected.
    pub(crate) fn took(&mut self, range: Range<usize>, time: Duration) {
        let Some(part) = self.expected.get_mut(range) else { return };
        let expected: f64 = part.iter().sum();
        let factor = time.as_secs_f64() / expected.max(f64::MIN_POSITIVE);
        // Never 0, so that what was quick can become slow again.
        let floor = self.budget / 1e4;
        part.iter_mut().for_each(|seconds| *seconds = (*seconds * (1.0 + TRUST * (factor - 1.0))).max(floor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(12);

    /// Steps over dispatches of these milliseconds; the slices of the last step.
    fn slices_after(steps: u32, millis: &[f64]) -> Vec<Range<usize>> {
        let mut slices = Slices::new(millis.len(), BUDGET);
        let mut cuts = Vec::new();
        for _ in 0..steps {
            cuts.clear();
            let mut from = 0;
            while from < millis.len() {
                let to = from + slices.fitting(from);
                let took = Duration::from_secs_f64(millis[from..to].iter().sum::<f64>() / 1e3);
                slices.took(from..to, took);
                cuts.push(from..to);
                from = to;
            }
        }
        cuts
    }

    fn longest(cuts: &[Range<usize>], millis: &[f64]) -> f64 {
        cuts.iter().map(|cut| millis[cut.clone()].iter().sum()).fold(0.0, f64::max)
    }

    #[test]
    fn nothing_known_is_one_at_a_time() {
        assert_eq!(slices_after(1, &[1.0; 4]), [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn a_quick_step_becomes_whole() {
        assert_eq!(slices_after(20, &[0.1; 8]).len(), 1);
        let mut slices = Slices::new(2, BUDGET);
        assert!(!slices.whole(2));
        (0..9).for_each(|_| slices.took(0..2, Duration::from_millis(1)));
        assert!(slices.whole(2));
    }

    #[test]
    fn slices_keep_to_the_budget_once_it_is_known() {
        let millis = [1.0, 5.0, 0.5, 0.5, 11.0, 3.0, 2.0, 30.0, 1.0, 1.0];
        let cuts = slices_after(30, &millis);
        let others: Vec<_> = cuts.iter().filter(|cut| !cut.contains(&7)).cloned().collect();
        assert!(longest(&others, &millis) <= 13.0, "{cuts:?}");
        assert!(cuts.contains(&(7..8)), "what is longer than a slice is alone: {cuts:?}");
        assert!(cuts.len() <= 6, "{cuts:?}");
    }

    #[test]
    fn a_device_that_slows_down_gets_less() {
        let mut slices = Slices::new(6, BUDGET);
        (0..20).for_each(|_| slices.took(0..6, Duration::from_millis(6)));
        assert_eq!(slices.fitting(0), 6);
        (0..20).for_each(|_| slices.took(0..6, Duration::from_millis(36)));
        assert_eq!(slices.fitting(0), 2);
    }

    proptest::proptest! {
        #[test]
        fn every_dispatch_runs_once_in_order(millis in proptest::collection::vec(0.0f64..60.0, 1..40)) {
            let cuts = slices_after(3, &millis);
            let flat: Vec<usize> = cuts.into_iter().flatten().collect();
            proptest::prop_assert_eq!(flat, (0..millis.len()).collect::<Vec<_>>());
        }
    }
}
