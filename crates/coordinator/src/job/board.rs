//! What is shown of a job, made from what its core knows. Reads, never changes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use potluck_protocol::{Device, ErrorCode, Evaluation, JobCard, Split, TaskId, Version, VolunteerKey, limits};
use potluck_scheduler::{Core, HandedIn, Mode, RecipeRecord, VersionRecord};

use crate::{
    disk::Room,
    log::Head,
    problem::Problem,
    views::{ChangeRow, Connected, ContributionRow, JobView, LeaseView, LogView, Pace, Phase, SplitPair, VersionRow},
};

/// The devices of those who are connected or have given something, as they last said. Gone with
/// the process: a device is nobody's to keep.
pub(super) type Devices = BTreeMap<VolunteerKey, Device>;

/// `None` before the job's first fact, which no running job lacks.
pub(super) fn job(
    core: &Core,
    card: &JobCard,
    head: &Head,
    room: Room,
    refused: BTreeMap<String, u64>,
) -> Option<JobView> {
    let state = core.state();
    let job = state.job()?;
    let newest = |split| state.newest(split).map(|(_, evaluation)| evaluation);
    let (valid, test) = (newest(Split::Valid), newest(Split::Test));
    let pair = |of: fn(Evaluation) -> f32| SplitPair { valid: valid.map(of), test: test.map(of) };
    let view = JobView {
        card: card.clone(),
        phase: phase(state.phase()),
        blocked: None,
        version: state.version(),
        samples: state.samples(),
        budget_samples: job.recipe.budget_samples,
        volunteers: core.presence().volunteers(),
        accuracy: pair(|evaluation| evaluation.accuracy),
        loss: pair(|evaluation| evaluation.loss),
        model: format!("/api/v1/jobs/{}/model.safetensors", card.name),
        recipe: job.recipe.clone(),
        strategy: job.strategy,
        mode: pace(state.mode()),
        changes: changes(core),
        program: job.facts,
        connected: connected(core),
        refused,
        started_at: job.created_at,
        log: log(core, head),
    };
    Some(blocked(view, room))
}

/// The view while there is this much room.
pub(super) fn blocked(mut view: JobView, room: Room) -> JobView {
    if view.phase == Phase::Running
        && let Some(why) = room.blocked()
    {
        view.phase = Phase::Paused;
        view.blocked = Some(why);
    }
    view
}

fn changes(core: &Core) -> Vec<ChangeRow> {
    let recipes = core.state().recipes();
    let newest = recipes.len().saturating_sub(limits::CHANGE_ROWS_MAX + 1);
    let row = |pair: &[RecipeRecord]| {
        let [before, RecipeRecord { at, version, samples, recipe }] = pair else { return None };
        let differences = before.recipe.differences(recipe);
        Some(ChangeRow { at: *at, version: *version, samples: *samples, differences })
    };
    recipes[newest..].windows(2).filter_map(row).collect()
}

fn log(core: &Core, head: &Head) -> LogView {
    let newest = core.state().lineage().newest();
    let (line, leader) = (newest.map(|(line, ..)| line), newest.map(|(_, _, leader)| leader));
    LogView { facts: head.seq, head: head.hash.to_string(), epoch: head.epoch, line, leader }
}

fn pace(mode: Mode) -> Pace {
    match mode {
        Mode::Barrier => Pace::Rounds,
        Mode::Buffered => Pace::Buffered,
    }
}

fn phase(phase: potluck_scheduler::Phase) -> Phase {
    match phase {
        potluck_scheduler::Phase::Paused => Phase::Paused,
        potluck_scheduler::Phase::Finished => Phase::Finished,
        // Finishing too: there is work until the last version is evaluated.
        _ => Phase::Running,
    }
}

fn connected(core: &Core) -> Vec<Connected> {
    let presence = core.presence();
    let row = |session: &potluck_scheduler::Session| {
        let device = session.device.as_ref();
        Connected {
            key: session.volunteer,
            agent: device.map(|d| d.agent.clone()),
            adapter: device.map(|d| d.adapter.clone()),
            backend: device.map(|d| d.backend),
            forced: device.is_some_and(|d| d.forced),
            trusted: session.trusted,
            speed: presence.speed(&session.volunteer),
        }
    };
    presence.connected().take(limits::CONNECTED_ROWS_MAX).map(|(_, session)| row(session)).collect()
}

pub(super) fn version(core: &Core, version: Version) -> Option<VersionRow> {
    core.state().record(version).map(version_row)
}

pub(super) fn history(core: &Core, after: Option<Version>, rows_max: usize) -> Vec<VersionRow> {
    // A cursor may be any number, the largest included.
    let from = after.map_or(0, |version| version.0.saturating_add(1));
    // Versions have no gaps, so this starts where the page does.
    let rows = (from..=core.state().version().0).filter_map(|v| core.state().record(Version(v)));
    rows.take(rows_max).map(version_row).collect()
}

fn version_row(record: &VersionRecord) -> VersionRow {
    let VersionRecord { version, base, delta: _, stored: _, at, samples, parts, valid, test } = *record;
    VersionRow {
        version,
        at,
        samples,
        loss: valid.map(|e| e.loss),
        accuracy: valid.map(|e| e.accuracy),
        test_loss: test.map(|e| e.loss),
        test_accuracy: test.map(|e| e.accuracy),
        contributions: parts,
        base,
    }
}

pub(super) fn contributions(
    core: &Core,
    devices: &Devices,
    after: Option<VolunteerKey>,
    rows_max: usize,
) -> Vec<ContributionRow> {
    let tallies: BTreeMap<_, _> = core.state().tallies().collect();
    let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let rows = tallies.range::<VolunteerKey, _>((start, Bound::Unbounded)).take(rows_max);
    rows.map(|(&&volunteer, tally)| {
        let device = devices.get(&volunteer);
        ContributionRow {
            volunteer,
            agent: device.map(|d| d.agent.clone()),
            adapter: device.map(|d| d.adapter.clone()),
            backend: device.map(|d| d.backend),
            tasks: tally.tasks,
            samples: tally.samples,
            flops: tally.flops,
            first_at: tally.first_at,
            last_at: tally.last_at,
        }
    })
    .collect()
}

/// The lease of a task, or what was accepted for it.
pub(super) fn lease(core: &Core, task: TaskId) -> Result<LeaseView, Problem> {
    let state = core.state();
    let encoding = |recipe| state.recipe(recipe).map(|recipe| recipe.update).ok_or_else(|| no_lease(core, task));
    if let Some(HandedIn { volunteer, update, recipe, .. }) = state.handed_in(task) {
        let (volunteer, accepted, encoding) = (*volunteer, *update, encoding(*recipe)?);
        return Ok(LeaseView { task, volunteer, trains: accepted.is_some(), expiry_at: 0, accepted, encoding });
    }
    let leased = state.lease(task).ok_or_else(|| no_lease(core, task))?;
    let (volunteer, trains, expiry_at) = (leased.volunteer, leased.trains(), leased.expiry_at);
    let encoding = encoding(leased.recipe)?;
    Ok(LeaseView { task, volunteer, trains, expiry_at, accepted: None, encoding })
}

fn no_lease(core: &Core, task: TaskId) -> Problem {
    match core.state().was_leased(task) {
        true => Problem::new(ErrorCode::LeaseExpired, "the lease of this task is over"),
        false => Problem::new(ErrorCode::UnknownTask, "no such task is leased"),
    }
}

/// Shared, because many pages ask for the same.
pub(super) type Shown = Option<Arc<JobView>>;
