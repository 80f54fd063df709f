//! Commits: when enough is in, what is merged and how, and when the job is done.
//!
//! Results from older versions join the commit that they come into. Whether that is a round's or a
//! buffer's says the mode; what step it takes, the strategy.

use std::collections::{BTreeMap, BTreeSet};

use potluck_protocol::{BlobId, Millis, OuterStep, ServerMessage, Split, TaskId, Version, VolunteerKey};

use crate::decide::Turn;
use crate::ladder::Ladder;
use crate::shares::{shares, weight};
use crate::state::Pending;
use crate::{Contribution, Crowd, Effect, Fact, MergePart, Mode, Phase, State, Updates, barrier, buffer, crowd};

/// Asks for a merge if a commit is due. Returns true where it did.
pub(crate) fn end(turn: &mut Turn<'_>) -> bool {
    if turn.presence.merging().is_some() || !is_due(turn) {
        return false;
    }
    let version = turn.state.version();
    let parts = parts(turn.state.pending(), version);
    let outer = turn.strategy.outer(turn.state.mode(), turn.job.recipe.outer, updates(turn.state, &parts));
    turn.effects.push(Effect::Merge { version: version.next(), parts, outer });
    true
}

/// The end of a job is the same in both modes: what is there is merged once nobody is awaited.
fn is_due(turn: &Turn<'_>) -> bool {
    match turn.state.mode() {
        Mode::Buffered if turn.state.finishing_at().is_none() => buffer::is_full(turn),
        _ => barrier::is_over(turn),
    }
}

fn updates(state: &State, parts: &[MergePart]) -> Updates {
    let pending = |part: &MergePart| state.pending().get(&part.contribution.task);
    let is_stale = |part: &&MergePart| pending(part).is_some_and(|p| p.base_version != state.version());
    let volunteers: BTreeSet<VolunteerKey> = parts.iter().filter_map(pending).map(|p| p.volunteer).collect();
    let stale_share = parts.iter().filter(is_stale).map(|part| part.contribution.weight).sum();
    Updates { volunteers: volunteers.len(), stale_share, is_momentum_outdated: state.pacing().is_outdated }
}

/// The step of a commit whose fact does not say it: momentum only where all parts start from the
/// current version.
pub(crate) fn outer_of_old_logs<'a>(state: &State, mut parts: impl Iterator<Item = &'a Pending>) -> OuterStep {
    let is_barrier = parts.all(|pending| pending.base_version == state.version());
    let OuterStep { lr, momentum, lead } = state.job().map_or_else(OuterStep::default, |job| job.recipe.outer);
    OuterStep { lr, momentum: if is_barrier { momentum } else { 0.0 }, lead }
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
        encoding: pending.encoding,
    };
    pending.iter().zip(shares(&weights)).map(part).collect()
}

/// A merge is done. One that was answered before, or that holds what does not wait, changes nothing.
/// The strategy hears of every commit, and may change the mode for what follows.
pub(crate) fn commit(
    turn: &mut Turn<'_>,
    version: Version,
    (base, delta): (BlobId, BlobId),
    parts: &[Contribution],
    outer: OuterStep,
) {
    let (state, at) = (turn.state, turn.now);
    let pending: Option<Vec<&Pending>> = parts.iter().map(|part| state.pending().get(&part.task)).collect();
    let Some(pending) = pending.filter(|_| version == state.version().next()) else { return };
    let is_stale = pending.iter().any(|pending| pending.base_version != state.version());
    let mode = turn.strategy.next(state.mode(), &crowd_after(turn, is_stale, outer));
    let (parts, outer, delta) = (parts.to_vec(), Some(outer), Some(delta));
    turn.facts.push(Fact::Committed { at, version, base, momentum: None, parts, outer, delta });
    if mode != state.mode() {
        turn.facts.push(Fact::ModeChanged { at, mode });
    }
}

/// Who is there after a commit.
fn crowd_after(turn: &Turn<'_>, is_stale: bool, outer: OuterStep) -> Crowd {
    let pacing = turn.state.pacing().committed(turn.presence.volunteers(), is_stale, outer.momentum > 0.0);
    let ladder = Ladder::of(&turn.job.recipe, turn.job.block_samples());
    Crowd {
        volunteers: turn.presence.volunteers(),
        idle_share: crowd::idle_share(&turn.presence.task_millis(turn.job.recipe.task_samples()), &ladder),
        stale_commits: pacing.stale,
        commits: pacing.commits,
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
    (quiet && (is_closed(turn) || !barrier::is_awaited(turn))).then(|| turn.state.version())
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
