//! The shares of a commit: by weight, but nobody more than a cap.
//!
//! The cap is max(20 %, 2/n) for n volunteers, over all parts of one together. Equal shares, as 1/n would
//! leave where five or fewer are, make a commit of few noisy: who did an eighth of the work would have as
//! much to say as who did the most (`sim hetero`).

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::VolunteerKey;

/// Largest share of one volunteer among many.
const SHARE_MAX: f64 = 0.2;

/// Largest share of one volunteer among few, in equal ones.
const EQUAL_SHARES_MAX: f64 = 2.0;

/// Rounding slack when a share is compared with the cap.
const SLACK: f64 = 1e-12;

/// The weight of an update before the cap: samples x (1 + staleness)^(-1/2).
pub fn weight(samples: u64, staleness: u64) -> f64 {
    samples as f64 / (1.0 + staleness as f64).sqrt()
}

/// The largest share that one of `count` volunteers may have.
fn cap(count: usize) -> f64 {
    (EQUAL_SHARES_MAX / count.max(1) as f64).clamp(SHARE_MAX, 1.0)
}

/// The share of a round up to which one of `count` volunteers gets further tasks of it.
pub(crate) fn work_cap(count: usize) -> f64 {
    (1.0 / count.max(1) as f64).max(SHARE_MAX)
}

/// Shares that add up to 1, in the order of the parts. What the cap cuts off goes to the others in
/// proportion; parts of one volunteer keep their proportion to each other. Weights are above 0.
pub fn shares(parts: &[(VolunteerKey, f64)]) -> Vec<f32> {
    let mut totals: BTreeMap<VolunteerKey, f64> = BTreeMap::new();
    for &(volunteer, weight) in parts {
        *totals.entry(volunteer).or_default() += weight;
    }
    let by_volunteer = capped(&totals);
    parts.iter().map(|(volunteer, weight)| (by_volunteer[volunteer] * weight / totals[volunteer]) as f32).collect()
}

fn capped(totals: &BTreeMap<VolunteerKey, f64>) -> BTreeMap<VolunteerKey, f64> {
    let cap = cap(totals.len());
    let mut at_cap: BTreeSet<VolunteerKey> = BTreeSet::new();
    loop {
        let free: f64 = totals.iter().filter(|(v, _)| !at_cap.contains(*v)).map(|(_, total)| total).sum();
        let scale = (1.0 - cap * at_cap.len() as f64) / free;
        let over: Vec<VolunteerKey> = totals
            .iter()
            .filter(|(v, total)| !at_cap.contains(*v) && *total * scale > cap + SLACK)
            .map(|(v, _)| *v)
            .collect();
        if over.is_empty() {
            let share = |v: &VolunteerKey, total: f64| if at_cap.contains(v) { cap } else { total * scale };
            return totals.iter().map(|(v, &total)| (*v, share(v, total))).collect();
        }
        at_cap.extend(over);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn key(n: u8) -> VolunteerKey {
        VolunteerKey([n; 32])
    }

    #[track_caller]
    fn check(parts: &[(u8, f64)], expected: &[f32]) {
        let parts: Vec<(VolunteerKey, f64)> = parts.iter().map(|&(n, weight)| (key(n), weight)).collect();
        let got = shares(&parts);
        let close = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6);
        assert!(close, "{got:?} is not {expected:?}");
    }

    #[test]
    fn one_takes_all() {
        check(&[(1, 3.0)], &[1.0]);
    }

    #[test]
    fn among_few_weight_tells_up_to_two_equal_shares() {
        check(&[(1, 9.0), (2, 1.0)], &[0.9, 0.1]);
        check(&[(1, 12.0), (2, 3.0), (3, 2.0), (4, 1.0)], &[0.5, 0.25, 1.0 / 6.0, 1.0 / 12.0]);
        check(&[(1, 8.0), (2, 8.0), (3, 2.0), (4, 1.0), (5, 1.0)], &[0.4, 0.4, 0.1, 0.05, 0.05]);
    }

    #[test]
    fn among_many_weight_tells_up_to_the_cap() {
        let parts: Vec<(u8, f64)> = [(0, 92.0)].into_iter().chain((1..11).map(|n| (n, 1.0))).collect();
        let expected: Vec<f32> = [0.2].into_iter().chain([0.08; 10]).collect();
        check(&parts, &expected);
    }

    #[test]
    fn parts_of_one_volunteer_share_its_cap() {
        check(&[(1, 6.0), (2, 2.0), (3, 1.0), (1, 3.0)], &[4.0 / 9.0, 2.0 / 9.0, 1.0 / 9.0, 2.0 / 9.0]);
    }

    #[test]
    fn weights_fall_with_staleness() {
        assert_eq!(weight(256, 0), 256.0);
        assert_eq!(weight(256, 3), 128.0);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_obey_the_cap(parts in vec((0u8..12, 0.01f64..1e9), 1..40)) {
            let parts: Vec<(VolunteerKey, f64)> = parts.into_iter().map(|(n, weight)| (key(n), weight)).collect();
            let got = shares(&parts);
            prop_assert!((got.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let mut totals: BTreeMap<VolunteerKey, f64> = BTreeMap::new();
            for ((volunteer, _), share) in parts.iter().zip(&got) {
                prop_assert!(*share >= 0.0);
                *totals.entry(*volunteer).or_default() += f64::from(*share);
            }
            prop_assert!(totals.values().all(|&total| total <= cap(totals.len()) + 1e-5), "{:?}", totals);
        }
    }
}
