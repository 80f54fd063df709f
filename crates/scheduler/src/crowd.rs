//! Who is there, as a strategy sees it: how much of a round they would wait. Knows no names.

use crate::ladder::Ladder;
use crate::median::{lower_quartile, median};
use crate::shares::cap;

/// A crowd at the moment of a commit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crowd {
    /// Volunteers who are connected.
    pub volunteers: usize,
    /// Share of their time that rounds would waste, as far as their speeds are known; 0 to 1.
    pub idle_share: f64,
    /// Share of recent commits that held something stale, as an exponential average.
    pub stale_commits: f64,
    /// Commits since the mode changed.
    pub commits: u64,
}

/// How many usual tasks a round lasts after its first result.
pub(crate) const GRACE_TASKS: f64 = 2.0;

/// The share of a round that volunteers wait if each takes so long for a whole task, and gets one that
/// follows its speed. The round ends with its slowest, or when its grace is over; until then whoever
/// may take another task does so.
pub(crate) fn idle_share(task_millis: &[f64], ladder: &Ladder) -> f64 {
    let usual = median(task_millis.iter().copied());
    let Some((usual, target)) = usual.zip(lower_quartile(task_millis.iter().copied())) else { return 0.0 };
    let takes = |&whole: &f64| whole * ladder.share(ladder.rung(whole, target, None));
    let takes: Vec<f64> = task_millis.iter().map(takes).collect();
    let shortest = takes.iter().copied().fold(f64::INFINITY, f64::min);
    if shortest <= 0.0 {
        return 0.0;
    }
    let slowest = takes.iter().copied().fold(0.0, f64::max);
    let lasts = slowest.min(shortest + GRACE_TASKS * usual);
    // Nobody takes more tasks than its share of the commit may be.
    let most = (cap(takes.len()) * takes.len() as f64).floor().max(1.0);
    let busy = |millis: &f64| ((lasts / millis).floor().clamp(1.0, most) * millis / lasts).min(1.0);
    1.0 - takes.iter().map(busy).sum::<f64>() / takes.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::recipe;

    #[track_caller]
    fn check(task_millis: &[f64], expected: f64) {
        let got = idle_share(task_millis, &Ladder::of(&recipe(), 32));
        assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    }

    #[test]
    fn one_and_equals_wait_for_nobody() {
        check(&[], 0.0);
        check(&[500.0], 0.0);
        check(&[500.0; 7], 0.0);
    }

    #[test]
    fn whose_work_follows_speed_waits_for_nobody() {
        check(&[100.0, 200.0], 0.0);
        check(&[100.0, 200.0, 400.0, 800.0], 0.0);
    }

    #[test]
    fn a_few_wait_for_who_is_slower_than_the_smallest_batch() {
        check(&[100.0, 1_600.0], 0.25);
        check(&[100.0, 100.0, 100.0, 3_200.0], 0.5);
    }

    #[test]
    fn among_many_the_fast_take_more_than_one() {
        // Ten may take two tasks each: the fast ones need not wait for the slow one.
        let mut crowd = [100.0; 10];
        crowd[9] = 1_600.0;
        check(&crowd, 0.0);
    }
}
