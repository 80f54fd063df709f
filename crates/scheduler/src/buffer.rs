//! Buffered mode: when enough is in for a commit.
//!
//! Enough is half of what is in flight, so that an update is about two versions old when it is
//! merged, and at least half of what the crowd does in a usual task, for where the fast hand in many
//! tasks while the slow do one. Then a short grace, for those who are about to hand in. After a minute
//! whatever is there from two volunteers is enough, and after two minutes whatever is there.
//!
//! Whoever hands in just before a commit waits for it: the next task then starts from a version that is
//! newer by one, and those who waited hand in together.

use std::collections::BTreeSet;

use potluck_protocol::{Millis, VolunteerKey, limits};

use crate::decide::Turn;
use crate::ladder::{Ladder, Work};
use crate::speed::Speed;

/// Tasks that a commit waits for at least, where there are two volunteers or more.
const TASKS_MIN: u64 = 2;

/// Updates that are merged at once however many are in flight: the rest of what the coordinator may
/// hold is room for those that come in while it merges.
const UPDATES_MAX: usize = limits::PENDING_UPDATES_MAX * 3 / 4;

/// True where a commit is due.
pub(crate) fn is_full(turn: &Turn<'_>) -> bool {
    let (state, presence) = (turn.state, turn.presence);
    let Some(first_at) = state.pending().values().map(|pending| pending.at).min() else { return false };
    let in_flight = in_flight(turn);
    if in_flight == 0 || presence.volunteers() <= 1 || state.pending().len() >= UPDATES_MAX {
        return true;
    }
    let enough = enough(turn, in_flight);
    if reached_at(turn, enough).is_some_and(|at| turn.now >= at.saturating_add(grace(turn))) {
        return true;
    }
    let waited = turn.now.saturating_sub(first_at.max(presence.started_at()));
    let contributors: BTreeSet<VolunteerKey> = state.pending().values().map(|pending| pending.volunteer).collect();
    let needed = if contributors.len() >= 2 { 1 } else { 2 };
    waited >= needed * limits::BUFFER_MILLIS_MAX
}

/// Samples that volunteers who are there compute on.
pub(crate) fn in_flight(turn: &Turn<'_>) -> u64 {
    let out = turn.state.leases().filter(|(_, leased)| leased.trains());
    let expected = out.filter(|(_, leased)| turn.presence.is_expected(&leased.volunteer, turn.now));
    expected.map(|(_, leased)| leased.samples()).sum()
}

fn enough(turn: &Turn<'_>, in_flight: u64) -> u64 {
    let least = TASKS_MIN * turn.job.recipe.task_samples();
    let in_half_a_task = working_samples_per_milli(turn) * turn.presence.usual_millis() as f64 / 2.0;
    least.max(in_flight / 2).max(in_half_a_task as u64)
}

/// What those who are at work do, without those who wait.
fn working_samples_per_milli(turn: &Turn<'_>) -> f64 {
    (turn.presence.samples_per_milli() - turn.presence.waiting_samples_per_milli()).max(0.0)
}

/// How full a buffer is, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filling {
    /// Samples that are in.
    pub is_in: u64,
    /// Samples that are enough for a commit.
    pub enough: u64,
    /// Samples that come in, a millisecond.
    pub samples_per_milli: f64,
}

impl Filling {
    pub(crate) fn of(turn: &Turn<'_>) -> Self {
        Self {
            is_in: turn.state.pending().values().map(|pending| pending.samples).sum(),
            enough: enough(turn, in_flight(turn)),
            samples_per_milli: working_samples_per_milli(turn),
        }
    }

    /// True where the commit is so near that whoever may wait for so long had better start from it: half
    /// of what is needed is in, and the rest soon will be.
    pub fn is_near(&self, patience_millis: f64) -> bool {
        let missing = self.enough.saturating_sub(self.is_in) as f64;
        2 * self.is_in >= self.enough && missing <= patience_millis * self.samples_per_milli
    }
}

/// How long somebody waits for a commit at most who takes so long for a task.
pub fn patience_millis(task_millis: f64) -> f64 {
    task_millis / 4.0
}

/// When so many samples were in; `None` while they are not.
fn reached_at(turn: &Turn<'_>, samples: u64) -> Option<Millis> {
    let mut waiting: Vec<(Millis, u64)> = turn.state.pending().values().map(|p| (p.at, p.samples)).collect();
    waiting.sort_unstable();
    let mut total = 0;
    waiting.into_iter().find_map(|(at, samples_of_one)| {
        total += samples_of_one;
        (total >= samples).then_some(at)
    })
}

/// A tenth of a usual task, so that whoever is about to hand in is not a version late.
fn grace(turn: &Turn<'_>) -> Millis {
    (turn.presence.usual_millis() / 10).min(limits::BUFFER_GRACE_MILLIS_MAX)
}

/// The next task of a volunteer of this speed: less for the slow, so that what it hands in is about half
/// as stale as it may be.
pub(crate) fn work(turn: &Turn<'_>, ladder: &Ladder, speed: &Speed) -> Work {
    let Some(commit) = commit_millis(turn) else { return ladder.whole() };
    ladder.filling(speed, (limits::STALENESS_MAX / 2 * commit) as f64)
}

/// Milliseconds between recent commits, in the mean; `None` while there were too few.
fn commit_millis(turn: &Turn<'_>) -> Option<Millis> {
    let newest = turn.state.history().next_back()?.at;
    let before = turn.state.history().rev().nth(limits::STALENESS_MAX as usize)?.at;
    Some(newest.saturating_sub(before) / limits::STALENESS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is_in: u64, enough: u64, patience_millis: f64, expected: bool) {
        let filling = Filling { is_in, enough, samples_per_milli: 0.5 };
        assert_eq!(filling.is_near(patience_millis), expected, "{filling:?} within {patience_millis} ms");
    }

    #[test]
    fn a_commit_is_near_once_half_is_in_and_the_rest_soon_will_be() {
        check(0, 100, 1e9, false);
        check(49, 100, 1e9, false);
        check(50, 100, 100.0, true);
        check(50, 100, 99.0, false);
        check(90, 100, 20.0, true);
        check(100, 100, 0.0, true);
    }

    #[test]
    fn nobody_waits_where_nothing_comes() {
        let filling = Filling { is_in: 60, enough: 100, samples_per_milli: 0.0 };
        assert!(!filling.is_near(1e9));
    }
}
