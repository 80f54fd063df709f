//! Who is there, as a strategy sees it: how much of a round they would wait. Knows no names.

use crate::median::median;
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

/// The share of a round that volunteers wait if each takes so long for a whole task. The round ends
/// with its slowest, or when its grace is over; until then whoever may take another task does so.
pub(crate) fn idle_share(task_millis: &[f64]) -> f64 {
    let shortest = task_millis.iter().copied().fold(f64::INFINITY, f64::min);
    let Some(usual) = median(task_millis.iter().copied()).filter(|_| shortest > 0.0) else { return 0.0 };
    let slowest = task_millis.iter().copied().fold(0.0, f64::max);
    let lasts = slowest.min(shortest + GRACE_TASKS * usual);
    // Nobody takes more tasks than its share of the commit may be.
    let most = (cap(task_millis.len()) * task_millis.len() as f64).floor().max(1.0);
    let busy = |millis: &f64| ((lasts / millis).floor().clamp(1.0, most) * millis / lasts).min(1.0);
    1.0 - task_millis.iter().map(busy).sum::<f64>() / task_millis.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(task_millis: &[f64], expected: f64) {
        let got = idle_share(task_millis);
        assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    }

    #[test]
    fn one_and_equals_wait_for_nobody() {
        check(&[], 0.0);
        check(&[500.0], 0.0);
        check(&[500.0; 7], 0.0);
    }

    #[test]
    fn a_few_of_different_speed_wait() {
        check(&[100.0, 200.0], 0.25);
        check(&[100.0, 100.0, 100.0, 1_000.0], 0.5);
    }

    #[test]
    fn among_many_the_fast_take_more_than_one() {
        // Ten may take two tasks each: the fast ones need not wait for the slow one.
        let mut crowd = [100.0; 10];
        crowd[9] = 200.0;
        check(&crowd, 0.0);
    }
}
