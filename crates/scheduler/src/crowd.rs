//! Who is there, as a strategy sees it: how much of a round they would wait. Knows no names.

use crate::ladder::Ladder;
use crate::median::{lower_quartile, median};
use crate::shares::work_cap;
use crate::speed::{Tempo, target};

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

/// The share of a round that volunteers wait if each takes so long for a whole task, and gets the one
/// that rounds lease at its speed. The round ends with its slowest, or when its grace is over; until
/// then whoever may take another task does so.
pub(crate) fn idle_share(task_millis: &[f64], ladder: &Ladder) -> f64 {
    let Some(target) = lower_quartile(task_millis.iter().copied()).map(target) else { return 0.0 };
    let takes = |tempo| move |&whole: &f64| whole * ladder.share(ladder.task_of(whole, tempo));
    let uncut = Tempo { usual: f64::INFINITY, target };
    let Some(usual) = median(task_millis.iter().map(takes(uncut))) else { return 0.0 };
    let takes: Vec<f64> = task_millis.iter().map(takes(Tempo { usual, target })).collect();
    let shortest = takes.iter().copied().fold(f64::INFINITY, f64::min);
    if shortest <= 0.0 {
        return 0.0;
    }
    let slowest = takes.iter().copied().fold(0.0, f64::max);
    let lasts = slowest.min(shortest + GRACE_TASKS * usual);
    // Nobody takes more tasks than its share of the round may be.
    let most = (work_cap(takes.len()) * takes.len() as f64).floor().max(1.0);
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
        check(&[1_000.0, 2_000.0], 0.0);
        check(&[1_000.0, 2_000.0, 4_000.0, 8_000.0], 0.0);
    }

    #[test]
    fn nobody_gets_less_where_all_are_quick() {
        // A quarter of a second is no wait: the one who takes 80 ms has a whole task.
        check(&[10.0, 80.0], 1.0 - (10.0 / 80.0 + 1.0) / 2.0);
    }

    #[test]
    fn a_few_wait_for_who_is_slower_than_the_smallest_batch() {
        check(&[1_000.0, 16_000.0], 0.25);
        check(&[1_000.0, 1_000.0, 1_000.0, 32_000.0], 0.5);
    }

    #[test]
    fn among_many_the_fast_take_more_than_one() {
        // Ten may take two tasks each: the fast ones need not wait for the slow one.
        let mut crowd = [1_000.0; 10];
        crowd[9] = 16_000.0;
        check(&crowd, 0.0);
    }
}
