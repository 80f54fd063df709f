//! Work for those who wait for it: training for volunteers, evaluations for trusted sessions, and a
//! word to the rest. What cannot be given now is pushed as soon as it can.

use std::collections::{BTreeSet, VecDeque};

use potluck_protocol::{
    Lease, Millis, ServerMessage, Split, Task, TaskId, TaskKind, Version, VolunteerKey, WaitReason, limits,
};

use crate::barrier::Plan;
use crate::blocks::Supply;
use crate::buffer::{self, Filling};
use crate::decide::Turn;
use crate::ladder::{Ladder, Work};
use crate::random::{Purpose, seed_of};
use crate::seats::Seats;
use crate::{BlockRef, Fact, Mode, Phase, Session, SessionId, round, tail};

/// A deadline is this many times what the volunteer usually takes.
const DEADLINE_FACTOR: Millis = 4;

/// A task is done after this part of what it takes at the earliest.
const SOONEST: Millis = 4;

/// When to ask again at the earliest, in case the push is lost; work that comes up is pushed at once.
const RETRY_MILLIS: Millis = 1_000;

/// The same where only the owner, or somebody who leaves, can change something.
const RETRY_LATER_MILLIS: Millis = 5_000;

/// Serves everybody who waits, in the order of asking.
pub(crate) fn serve(turn: &mut Turn<'_>) {
    serve_those(turn, turn.presence.waiting());
}

/// Serves those who asked since they were last told to wait.
pub(crate) fn serve_new(turn: &mut Turn<'_>) {
    let waiting = turn.presence.waiting().into_iter().filter(|(_, session)| !session.told).collect();
    serve_those(turn, waiting);
}

fn serve_those(turn: &mut Turn<'_>, waiting: Vec<(SessionId, &Session)>) {
    if waiting.is_empty() {
        return;
    }
    let mut desk = Desk::open(turn);
    let crowd = turn.presence.waiting_count() as u64;
    for (id, session) in waiting {
        let order = if session.trusted { desk.evaluation(turn, id, session) } else { desk.training(turn, id, session) };
        match order {
            Ok(order) => desk.lease(turn, id, session.volunteer, order),
            Err(_) if session.told => {}
            Err(_) if turn.state.phase() == Phase::Finished => turn.send(id, ServerMessage::Finished),
            Err(reason) => turn.send(id, wait(reason, crowd)),
        }
    }
}

/// Each ask looks at everybody who waits: were all of a crowd to ask each second, its cost would grow
/// with the square of the crowd.
fn wait(reason: WaitReason, crowd: u64) -> ServerMessage {
    let is_later = matches!(reason, WaitReason::Paused | WaitReason::Enough);
    let least = if is_later { RETRY_LATER_MILLIS } else { RETRY_MILLIS };
    let retry_millis = least.max(1_000 * crowd / limits::WAITING_ASKS_PER_SECOND_MAX);
    ServerMessage::Wait { retry_millis, reason }
}

/// What one lease is to be.
struct Order {
    kind: TaskKind,
    version: Version,
    blocks: Vec<BlockRef>,
    /// Its steps are 0 for an evaluation.
    work: Work,
    /// Samples leased before it, where the learning rate's schedule stands.
    position: u64,
    deadline_millis: Millis,
}

/// What there is to give in this turn; goes down with each lease of it.
struct Desk<'a> {
    last_task: u64,
    evaluations: VecDeque<(Version, Split, Vec<BlockRef>)>,
    supply: Supply<'a>,
    ladder: Ladder,
    seats: Seats,
    /// Why nobody trains at the moment.
    closed: Option<WaitReason>,
    /// Updates that the coordinator has room for.
    room: usize,
    /// Samples until the budget is spoken for.
    samples_left: u64,
    /// Samples merged, waiting or out.
    position: u64,
    /// What is left of the round, once somebody has looked; nothing in buffered mode.
    round: Option<Plan>,
    /// How near the next commit is in buffered mode, once somebody has looked.
    filling: Option<Filling>,
    /// Volunteers who got something in this turn, of which the state does not know yet.
    served: BTreeSet<VolunteerKey>,
    /// Leases that may be given out once more, once somebody has looked.
    late: Option<Vec<tail::Late<'a>>>,
}

impl<'a> Desk<'a> {
    fn open(turn: &Turn<'a>) -> Self {
        let state = turn.state;
        let pending: u64 = state.pending().values().map(|p| p.samples).sum();
        let out: u64 = state.leases().map(|(_, l)| l.samples()).sum();
        // A straggler of an earlier round, or one who is gone, may never come back; it must not keep
        // the last samples.
        let out_now: u64 = match state.mode() {
            Mode::Barrier => {
                state.leases().filter(|(_, l)| l.base_version == state.version()).map(|(_, l)| l.samples()).sum()
            }
            Mode::Buffered => buffer::in_flight(turn),
        };
        let busy = state.pending().len() + state.all_leases().open_count();
        let ladder = Ladder::of(&turn.job.recipe, turn.job.block_samples());
        Self {
            last_task: state.all_leases().last(),
            evaluations: due_evaluations(turn),
            supply: state.blocks().supply(),
            seats: Seats::of(turn, &ladder),
            ladder,
            closed: closed(turn),
            room: limits::PENDING_UPDATES_MAX.saturating_sub(busy),
            samples_left: turn.job.recipe.budget_samples.saturating_sub(state.samples() + pending + out_now),
            position: state.samples() + pending + out,
            round: None,
            filling: None,
            served: BTreeSet::new(),
            late: None,
        }
    }

    fn evaluation(&mut self, turn: &Turn<'_>, id: SessionId, session: &Session) -> Result<Order, WaitReason> {
        if has_task(turn, id, session) || has_all(turn, session) {
            return Err(WaitReason::Round);
        }
        let (version, split, blocks) = self.evaluations.pop_front().ok_or(WaitReason::Round)?;
        let kind = TaskKind::Evaluate { split };
        let deadline_millis = limits::LEASE_MILLIS_MAX;
        let work = Work { steps: 0, batch: turn.job.recipe.batch };
        Ok(Order { kind, version, blocks, work, position: 0, deadline_millis })
    }

    fn training(&mut self, turn: &Turn<'a>, id: SessionId, session: &Session) -> Result<Order, WaitReason> {
        if let Some(reason) = self.closed {
            return Err(reason);
        }
        if self.room == 0 {
            return Err(WaitReason::Busy);
        }
        let volunteer = &session.volunteer;
        // In buffers whoever sends an update may have the next task meanwhile.
        let has_its_task = match turn.state.mode() {
            Mode::Barrier => is_training(turn, volunteer) || has_task(turn, id, session),
            Mode::Buffered => has_new_task(turn, volunteer),
        };
        let may = !has_its_task && !self.served.contains(volunteer) && !has_all(turn, session);
        if self.samples_left == 0 {
            return if may { self.copy(turn, volunteer) } else { None }.ok_or(WaitReason::Round);
        }
        if !self.seats.has(volunteer) {
            return Err(WaitReason::Enough);
        }
        if self.waits_for_commit(turn, session) {
            return Err(WaitReason::Round);
        }
        let work = if may { self.work(turn, volunteer) } else { None }.ok_or(WaitReason::Round)?;
        let samples = work.samples();
        let blocks = self.supply.take(samples);
        if blocks.is_empty() {
            return Err(WaitReason::Round);
        }
        if let Some(round) = &mut self.round {
            round.take(*volunteer, samples);
        }
        self.served.insert(*volunteer);
        self.room -= 1;
        self.samples_left = self.samples_left.saturating_sub(samples);
        let position = self.position;
        self.position += samples;
        let version = turn.state.version();
        let deadline_millis = deadline_millis(turn, volunteer, samples);
        Ok(Order { kind: TaskKind::Train, version, blocks, work, position, deadline_millis })
    }

    /// The work of somebody slower once more, where all that is left is out: whoever hands it in first
    /// is merged, the other is credited.
    fn copy(&mut self, turn: &Turn<'a>, volunteer: &VolunteerKey) -> Option<Order> {
        let late = self.late.get_or_insert_with(|| tail::late(turn));
        let leased = tail::take(turn, late, volunteer)?;
        let (version, blocks) = (turn.state.version(), leased.blocks.clone());
        // The owner may have changed them since.
        let (steps, batch) = (leased.steps.min(turn.job.recipe.steps), leased.batch.min(turn.job.recipe.batch));
        let work = Work { steps, batch };
        self.served.insert(*volunteer);
        self.room -= 1;
        let deadline_millis = deadline_millis(turn, volunteer, work.samples());
        let position = self.position.saturating_sub(leased.samples());
        Some(Order { kind: TaskKind::Train, version, blocks, work, position, deadline_millis })
    }

    /// True where nobody is to wait for a round, and yet this volunteer had better wait for a version.
    fn waits_for_commit(&mut self, turn: &Turn<'_>, session: &Session) -> bool {
        let speed = turn.presence.speed_of(&session.volunteer);
        let (Mode::Buffered, Some(speed), Some(asked_at)) = (turn.state.mode(), speed, session.asked_at) else {
            return false;
        };
        let patience = buffer::patience_millis(speed.took);
        let waited = turn.now.saturating_sub(asked_at) as f64;
        waited < patience && self.filling.get_or_insert_with(|| Filling::of(turn)).is_near(patience)
    }

    /// This volunteer's next task; `None` where there is none for it now.
    fn work(&mut self, turn: &Turn<'_>, volunteer: &VolunteerKey) -> Option<Work> {
        let (speed, samples) = (turn.presence.speed_of(volunteer), turn.job.recipe.task_samples());
        match (turn.state.mode(), speed) {
            (Mode::Barrier, _) => {
                let round = self.round.get_or_insert_with(|| Plan::of(turn));
                round.work(volunteer, &self.ladder, speed)
            }
            (Mode::Buffered, Some(speed)) => Some(buffer::work(turn, &self.ladder, &speed)),
            (Mode::Buffered, None) if turn.presence.tempo(samples).is_some() => Some(self.ladder.first()),
            (Mode::Buffered, None) => Some(self.ladder.whole()),
        }
    }

    fn lease(&mut self, turn: &mut Turn<'_>, session: SessionId, volunteer: VolunteerKey, order: Order) {
        let Order { kind, version, blocks, work, position, deadline_millis } = order;
        let Work { steps, batch } = work;
        let (job, state, at) = (turn.job, turn.state, turn.now);
        let Some(record) = state.record(version) else { return };
        self.last_task += 1;
        let id = TaskId(self.last_task);
        let (split, lr_start, lr_end) = if let TaskKind::Evaluate { split } = kind {
            (split, 0.0, 0.0)
        } else {
            let end = position + work.samples();
            (Split::Train, job.recipe.lr_at(position), job.recipe.lr_at(end))
        };
        let seed = seed_of(job.seed, Purpose::Task, id.0);
        let expiry_millis = 2 * deadline_millis;
        let task = Task {
            id,
            kind,
            program: job.program,
            base_version: version,
            base: record.base,
            blocks: job.block_ids(split, &blocks),
            seed,
            steps,
            batch,
            lr_start,
            lr_end,
            recipe: job.recipe.clone(),
        };
        turn.facts.push(Fact::TaskLeased {
            at,
            task: id,
            kind,
            volunteer,
            blocks,
            base_version: version,
            seed,
            steps,
            batch,
            lr_start,
            lr_end,
            deadline_at: at.saturating_add(deadline_millis),
            expiry_at: at.saturating_add(expiry_millis),
        });
        let deltas = state.deltas_to(version);
        let lease = Lease { task, deadline_millis, expiry_millis, deltas };
        turn.send(session, ServerMessage::Lease(Box::new(lease)));
    }
}

/// Why nobody trains at the moment.
fn closed(turn: &Turn<'_>) -> Option<WaitReason> {
    let between_versions = turn.presence.merging().is_some() || turn.state.finishing_at().is_some();
    match turn.state.phase() {
        Phase::Paused => Some(WaitReason::Paused),
        _ if turn.presence.is_full() => Some(WaitReason::Paused),
        _ if between_versions => Some(WaitReason::Round),
        _ => None,
    }
}

/// True where the connection has a task.
fn has_task(turn: &Turn<'_>, id: SessionId, session: &Session) -> bool {
    turn.state.all_leases().of(&session.volunteer).any(|(task, _)| turn.presence.holder(task) == Some(id))
}

/// True where the volunteer has a task that it cannot be done with: an ask may cross a lease.
fn has_new_task(turn: &Turn<'_>, volunteer: &VolunteerKey) -> bool {
    turn.state.all_leases().of(volunteer).any(|(_, leased)| {
        let takes = turn.presence.expected_millis(volunteer, leased.samples());
        takes.is_none_or(|takes| turn.now.saturating_sub(leased.leased_at) < takes / SOONEST)
    })
}

/// True where the volunteer has as many tasks as one may.
fn has_all(turn: &Turn<'_>, session: &Session) -> bool {
    turn.state.all_leases().of(&session.volunteer).count() >= limits::LEASES_PER_VOLUNTEER_MAX
}

/// True where the volunteer has a task of this round.
fn is_training(turn: &Turn<'_>, volunteer: &VolunteerKey) -> bool {
    let version = turn.state.version();
    turn.state.all_leases().of(volunteer).any(|(_, leased)| leased.trains() && leased.base_version == version)
}

/// Four times what it usually takes, so that only what is lost lapses.
fn deadline_millis(turn: &Turn<'_>, volunteer: &VolunteerKey, samples: u64) -> Millis {
    let usual = turn.presence.longest_millis(volunteer, samples);
    usual
        .map_or(limits::LEASE_MILLIS_DEFAULT, |usual| usual.saturating_mul(DEADLINE_FACTOR))
        .clamp(limits::LEASE_MILLIS_MIN, limits::LEASE_MILLIS_MAX)
}

/// Evaluations that nobody computes yet: those that the job's end waits for, then those begun, then
/// the newest. A finished job needs none.
fn due_evaluations(turn: &Turn<'_>) -> VecDeque<(Version, Split, Vec<BlockRef>)> {
    if turn.state.phase() == Phase::Finished {
        return VecDeque::new();
    }
    let last = round::last_version(turn);
    let for_the_end = last.into_iter().flat_map(|v| [(v, Split::Valid), (v, Split::Test)]);
    let others = turn.state.evaluations().waiting().into_iter().filter(|v| Some(*v) != last);
    for_the_end
        .chain(others.map(|v| (v, Split::Valid)))
        .filter(|&(version, split)| !turn.state.is_evaluated(version, split))
        .flat_map(|(version, split)| {
            let a_sample = turn.job.facts.evaluate_flops_per_sample;
            let blocks = turn.job.blocks(split).iter();
            let flops: Vec<u64> = blocks.map(|&(_, samples)| u64::from(samples).saturating_mul(a_sample)).collect();
            let tasks = turn.state.evaluations().due((version, split), &flops);
            tasks.into_iter().map(move |blocks| (version, split, blocks))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reason: WaitReason, crowd: u64, expected: Millis) {
        assert_eq!(wait(reason, crowd), ServerMessage::Wait { retry_millis: expected, reason });
    }

    #[test]
    fn a_crowd_asks_again_later_than_a_few() {
        check(WaitReason::Round, 1, 1_000);
        check(WaitReason::Round, 100, 1_000);
        check(WaitReason::Round, 256, 2_560);
        check(WaitReason::Paused, 256, 5_000);
        check(WaitReason::Enough, 1, 5_000);
        check(WaitReason::Busy, limits::CONNECTIONS_MAX as u64, 100_000);
    }
}
