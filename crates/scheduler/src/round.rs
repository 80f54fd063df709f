//! Rounds: when enough is in, what is merged and how, and when the job is done.
//!
//! A round is everything leased from the current version. It ends when something is in and nobody
//! who is connected (or, just after a start, about to be again) computes on it any more, or when a grace after its first result is over: twice a
//! usual task, 1 to 60 s. Results from older versions join the commit of the round they come into;
//! alone they wait for its grace.
//!
//! Outer momentum needs a barrier: with a staleness of even one or two it makes training diverge. A
//! commit that holds a stale part therefore steps without it, at the recipe's rate, and leaves it as
//! it was for the rounds that follow.

use std::collections::BTreeMap;

use potluck_protocol::{BlobId, Millis, OuterStep, ServerMessage, Split, TaskId, Version, VolunteerKey};

use crate::decide::Turn;
use crate::shares::{shares, weight};
use crate::state::Pending;
use crate::{Contribution, Effect, Fact, MergePart, Phase, State};

/// Asks for a merge if the round is over. Returns true where it did.
pub(crate) fn end(turn: &mut Turn<'_>) -> bool {
    let over = turn.presence.merging().is_none() && is_over(turn);
    let Some(base) = turn.state.base().filter(|_| over) else { return false };
    let version = turn.state.version();
    let parts = parts(turn.state.pending(), version);
    let outer = outer_step(turn.state, turn.state.pending().values());
    let momentum = turn.state.momentum();
    turn.effects.push(Effect::Merge { version: version.next(), base, momentum, parts, outer });
    true
}

/// The step for these parts: with momentum only where all of them start from the current version.
pub(crate) fn outer_step<'a>(state: &State, mut parts: impl Iterator<Item = &'a Pending>) -> OuterStep {
    let is_barrier = parts.all(|pending| pending.base_version == state.version());
    let OuterStep { lr, momentum } = state.job().map_or_else(OuterStep::default, |job| job.recipe.outer);
    OuterStep { lr, momentum: if is_barrier { momentum } else { 0.0 } }
}

/// All that is pending, in the order of its tasks.
fn parts(pending: &BTreeMap<TaskId, Pending>, version: Version) -> Vec<MergePart> {
    let weights: Vec<(VolunteerKey, f64)> = pending
        .values()
        .map(|p| (p.volunteer, weight(p.samples, version.0.saturating_sub(p.base_version.0))))
        .collect();
    let part = |((&task, pending), weight): ((&TaskId, &Pending), f32)| MergePart {
        contribution: Contribution { task, weight },
        scale: pending.scale,
        update: pending.update,
    };
    pending.iter().zip(shares(&weights)).map(part).collect()
}

fn is_over(turn: &Turn<'_>) -> bool {
    let (state, pending) = (turn.state, turn.state.pending());
    let Some(first_at) = pending.values().map(|pending| pending.at).min() else { return false };
    let began_at = state.record(state.version()).map_or(0, |record| record.at);
    // A grace that passed while nobody could hand anything in was none.
    let since = state.finishing_at().unwrap_or(first_at.max(began_at)).max(turn.presence.started_at());
    // What earlier rounds left over is no reason to end one that has hardly begun.
    let has_own = state.finishing_at().is_some() || pending.values().any(|p| p.base_version == state.version());
    (has_own && !is_awaited(turn)) || turn.now >= since.saturating_add(turn.presence.grace())
}

/// True while somebody who is connected, or about to be again, computes what the round waits for: tasks of the current
/// version, and at the end of the job any.
fn is_awaited(turn: &Turn<'_>) -> bool {
    let (version, any_base) = (turn.state.version(), turn.state.finishing_at().is_some());
    turn.state.leases().any(|(_, leased)| {
        let is_of_round = leased.trains() && (any_base || leased.base_version == version);
        is_of_round && turn.presence.is_expected(&leased.volunteer, turn.now)
    })
}

/// A merge is done. One that was answered before, or that holds what does not wait, changes nothing.
pub(crate) fn commit(
    turn: &mut Turn<'_>,
    version: Version,
    base: BlobId,
    momentum: Option<BlobId>,
    parts: &[Contribution],
) {
    let pending = turn.state.pending();
    if version == turn.state.version().next() && parts.iter().all(|part| pending.contains_key(&part.task)) {
        turn.facts.push(Fact::Committed { at: turn.now, version, base, momentum, parts: parts.to_vec() });
    }
}

/// True from when no result can make another version any more: the job ends and its grace is over.
pub(crate) fn is_closed(turn: &Turn<'_>) -> bool {
    let over = |at: Millis| turn.now >= at.max(turn.presence.started_at()).saturating_add(turn.presence.grace());
    turn.state.phase() == Phase::Finished || turn.state.finishing_at().is_some_and(over)
}

/// The last version, once nothing waits to be merged into another.
pub(crate) fn last_version(turn: &Turn<'_>) -> Option<Version> {
    turn.state.finishing_at()?;
    let quiet = turn.presence.merging().is_none() && turn.state.pending().is_empty();
    (quiet && (is_closed(turn) || !is_awaited(turn))).then(|| turn.state.version())
}

/// Finishes the job if its last version is made and evaluated. Returns true where it did.
pub(crate) fn finish(turn: &mut Turn<'_>) -> bool {
    let evaluated = |v: &Version| [Split::Valid, Split::Test].iter().all(|&split| turn.state.is_evaluated(*v, split));
    let last = last_version(turn).filter(evaluated).filter(|_| turn.state.phase() != Phase::Finished);
    let Some(version) = last else { return false };
    turn.facts.push(Fact::Finished { at: turn.now, version });
    turn.broadcast(ServerMessage::Finished);
    true
}
