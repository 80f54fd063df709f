//! Leases that end without a result: past their deadline, left behind, or given back.
//!
//! A connection that drops may come back, so its training leases are kept for a moment
//! (`ORPHAN_MILLIS`); no round waits for them. A new connection of the same volunteer that asks for
//! work says with it that the old one's tasks are lost: it would have handed them in first. In both
//! cases a result that comes all the same, before its expiry, still counts if nobody was faster. An
//! evaluation is free at once: somebody else can do it, and doing it twice harms nothing.

use std::collections::BTreeSet;

use potluck_protocol::{TaskId, limits};

use crate::decide::Turn;
use crate::{Fact, Leased, SessionId};

impl Turn<'_> {
    /// The lease's blocks are free; where it was not `released` its result may still count.
    pub(crate) fn lapse(&mut self, task: TaskId, released: bool) {
        self.facts.push(Fact::TaskLapsed { at: self.now, task, released });
    }
}

/// Leases whose time is over.
pub(crate) fn due(turn: &mut Turn<'_>) {
    let over: Vec<TaskId> = turn.state.leases().filter(|(_, l)| is_over(turn, l)).map(|(task, _)| task).collect();
    over.into_iter().for_each(|task| turn.lapse(task, false));
}

fn is_over(turn: &Turn<'_>, leased: &Leased) -> bool {
    let orphaned = turn.presence.absent_since(&leased.volunteer).is_some_and(|since| {
        let kept = if leased.trains() { limits::ORPHAN_MILLIS } else { 0 };
        turn.now >= since.saturating_add(kept)
    });
    orphaned || turn.now > leased.deadline_at
}

/// A connection asks for work: what was sent to closed connections of the same volunteer is lost.
pub(crate) fn lost_by(turn: &mut Turn<'_>, session: SessionId) {
    let lost = of_volunteer(turn, session, |holder| holder.is_none());
    lost.into_iter().for_each(|task| turn.lapse(task, false));
}

/// A connection gives back these tasks, as far as they are out and with it, or with a connection of
/// the same volunteer that is closed: what another open one computes is not its to give.
pub(crate) fn released(turn: &mut Turn<'_>, session: SessionId, tasks: &[TaskId]) {
    let wanted: BTreeSet<TaskId> = tasks.iter().copied().collect();
    let given = of_volunteer(turn, session, |holder| holder.is_none_or(|id| id == session));
    given.into_iter().filter(|task| wanted.contains(task)).for_each(|task| turn.lapse(task, true));
}

/// A connection says goodbye: what was sent to it is free at once, and so is what was sent to
/// earlier connections where this was the volunteer's last.
pub(crate) fn given_back_by(turn: &mut Turn<'_>, session: SessionId) {
    let Some(volunteer) = turn.presence.session(session).map(|s| s.volunteer) else { return };
    let is_last = turn.presence.session_count(&volunteer) <= 1;
    let given = of_volunteer(turn, session, |holder| is_last || holder == Some(session));
    given.into_iter().for_each(|task| turn.lapse(task, true));
}

/// Open leases of the session's volunteer whose holder, where it is still connected, is as wanted.
fn of_volunteer(turn: &Turn<'_>, session: SessionId, is_wanted: impl Fn(Option<SessionId>) -> bool) -> Vec<TaskId> {
    let Some(session) = turn.presence.session(session) else { return Vec::new() };
    let open = turn.state.all_leases().of(&session.volunteer).map(|(task, _)| task);
    open.filter(|&task| is_wanted(turn.presence.holder(task))).collect()
}
