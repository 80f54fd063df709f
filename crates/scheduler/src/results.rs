//! What becomes of a result.
//!
//! The signature was verified and the update decoded before; here the result is held against its
//! lease. A result that fails its checks ends its lease, so that somebody else gets the blocks. One
//! that passes is credited, always; it is merged unless somebody was faster with one of its blocks,
//! its base is more than `STALENESS_MAX` versions back, or the job's last version is made: none of
//! that is the volunteer's fault. The blocks that a too stale result held are free again.

use potluck_protocol::{
    BlobId, ErrorCode, Evaluation, Millis, Refusal, ServerMessage, SignedStatement, Split, Statement, TaskId, Verdict,
    VolunteerKey, limits,
};

use crate::decide::Turn;
use crate::ladder::Work;
use crate::{Fact, HandedIn, Leased, SessionId, UpdateFacts, norms, round};

/// Answers a result.
pub(crate) fn judge(
    turn: &mut Turn<'_>,
    session: SessionId,
    statement: &Statement,
    signed: &SignedStatement,
    update: Option<&UpdateFacts>,
) {
    let Some(volunteer) = turn.presence.session(session).map(|s| s.volunteer) else { return };
    let answer = match find(turn, volunteer, statement) {
        Found::Repeat => Ok(()),
        Found::Nothing(refusal) => Err(refusal),
        Found::Out(leased) => {
            let checked = check(turn, leased, statement, signed, update);
            if checked.is_err() {
                turn.lapse(statement.task, true);
            }
            checked.map(|fact| turn.facts.push(fact))
        }
    };
    turn.send(session, verdict(turn, volunteer, statement.task, answer));
}

fn refuse(code: ErrorCode, detail: impl Into<String>) -> Refusal {
    Refusal { code, detail: detail.into() }
}

fn verdict(turn: &Turn<'_>, volunteer: VolunteerKey, task: TaskId, answer: Result<(), Refusal>) -> ServerMessage {
    let tally = turn.state.tally(&volunteer).copied().unwrap_or_default();
    let (tasks, samples) = turn.facts.iter().fold((tally.tasks, tally.samples), |(tasks, total), fact| match fact {
        Fact::ResultAccepted { samples, .. } => (tasks + 1, total + samples),
        _ => (tasks, total),
    });
    ServerMessage::Verdict(Verdict {
        task,
        accepted: answer.is_ok(),
        refusal: answer.err(),
        credited_samples: samples,
        credited_tasks: tasks,
    })
}

/// What a statement is about.
enum Found<'a> {
    /// A task that may be handed in by this volunteer.
    Out(&'a Leased),
    /// The same result again.
    Repeat,
    /// Nothing that could count.
    Nothing(Refusal),
}

fn find<'a>(turn: &Turn<'a>, volunteer: VolunteerKey, statement: &Statement) -> Found<'a> {
    let task = statement.task;
    if statement.volunteer != volunteer {
        return Found::Nothing(refuse(ErrorCode::BadSignature, "the signer is not who said hello"));
    }
    if statement.job != turn.job.name {
        return Found::Nothing(refuse(ErrorCode::UnknownJob, format!("this is job {}", turn.job.name)));
    }
    if let Some(before) = turn.state.handed_in(task) {
        return again(before, volunteer, statement);
    }
    let Some(leased) = turn.state.lease(task) else { return Found::Nothing(gone(turn, volunteer, task)) };
    if leased.volunteer != volunteer {
        return Found::Nothing(not_yours(task));
    }
    if turn.now > leased.expiry_at {
        return Found::Nothing(expired(task));
    }
    Found::Out(leased)
}

/// The task was handed in before.
fn again(before: &HandedIn, volunteer: VolunteerKey, statement: &Statement) -> Found<'static> {
    let HandedIn { volunteer: by, update, steps, recipe: _ } = *before;
    if by != volunteer {
        return Found::Nothing(not_yours(statement.task));
    }
    if (update, steps) == (statement.update, statement.steps) {
        return Found::Repeat;
    }
    let detail = format!("task {} was already handed in with another result", statement.task);
    Found::Nothing(refuse(ErrorCode::ResultMismatch, detail))
}

/// The task is not out: it never was, it was refused, given back, or it is long over.
fn gone(turn: &Turn<'_>, volunteer: VolunteerKey, task: TaskId) -> Refusal {
    match turn.presence.refusal(task, &volunteer) {
        Some(refusal) => refusal.clone(),
        None if turn.state.was_leased(task) => expired(task),
        None => refuse(ErrorCode::UnknownTask, format!("task {task} was never leased")),
    }
}

fn expired(task: TaskId) -> Refusal {
    refuse(ErrorCode::LeaseExpired, format!("the lease of task {task} is over"))
}

fn not_yours(task: TaskId) -> Refusal {
    refuse(ErrorCode::NotYourTask, format!("task {task} was leased to somebody else"))
}

fn check(
    turn: &Turn<'_>,
    leased: &Leased,
    statement: &Statement,
    signed: &SignedStatement,
    update: Option<&UpdateFacts>,
) -> Result<Fact, Refusal> {
    match leased.evaluates() {
        None => trained(turn, leased, statement, signed, update),
        Some(split) => evaluated(turn, leased, split, statement),
    }
}

fn mismatch(detail: impl Into<String>) -> Refusal {
    refuse(ErrorCode::ResultMismatch, detail)
}

fn trained(
    turn: &Turn<'_>,
    leased: &Leased,
    statement: &Statement,
    signed: &SignedStatement,
    update: Option<&UpdateFacts>,
) -> Result<Fact, Refusal> {
    let (least, most, steps) = (limits::TASK_STEPS_MIN, leased.steps, statement.steps);
    if !(least..=most).contains(&steps) {
        return Err(mismatch(format!("expected {least} to {most} steps, got {steps}")));
    }
    let Some(train_loss) = statement.train_loss.filter(|loss| loss.is_finite()) else {
        return Err(mismatch("expected a finite training loss"));
    };
    let Some(id) = statement.update.filter(|_| statement.evaluation.is_none()) else {
        return Err(mismatch("expected an update and no evaluation"));
    };
    let samples = u64::from(steps) * u64::from(leased.batch);
    let least_millis = least_millis(samples, turn.job.facts.train_flops_per_sample);
    if turn.now.saturating_sub(leased.leased_at) < least_millis {
        return Err(mismatch("faster than any device"));
    }
    let norm = usable_norm(turn, leased, steps, (id, update))?;
    Ok(Fact::ResultAccepted {
        at: turn.now,
        task: statement.task,
        steps,
        samples,
        update: id,
        norm,
        train_loss,
        signed: signed.clone(),
        late: is_late(turn, leased),
    })
}

/// The time that training on so many samples takes on the fastest device there is; 0 for a small
/// job. This is layer 0 of DESIGN's defence: what cannot have been computed needs no look at its
/// values.
fn least_millis(samples: u64, flops_per_sample: u64) -> Millis {
    samples.saturating_mul(flops_per_sample) / (limits::DEVICE_FLOPS_MAX / 1000)
}

/// The norm of an update that can be merged.
fn usable_norm(
    turn: &Turn<'_>,
    leased: &Leased,
    steps: u32,
    (id, update): (BlobId, Option<&UpdateFacts>),
) -> Result<f32, Refusal> {
    let recipe = turn.state.recipe(leased.recipe).unwrap_or(&turn.job.recipe);
    let Some(&UpdateFacts { id: _, norm, finite, well_formed }) = update.filter(|facts| facts.id == id) else {
        return Err(refuse(ErrorCode::UpdateMissing, format!("update {id} was not uploaded")));
    };
    if !well_formed {
        let detail = format!("update {id} is not {:?} of the program's parameters", recipe.update);
        return Err(refuse(ErrorCode::UpdateMalformed, detail));
    }
    if !finite || !norm.is_finite() {
        return Err(refuse(ErrorCode::UpdateNotFinite, format!("update {id} holds NaN or infinity")));
    }
    let possible = norms::possible(recipe, turn.job.facts.parameters, steps, leased.lr);
    let is_comparable = norms::are_alike(recipe, &turn.job.recipe);
    let usual =
        turn.state.norms().band(recipe, Work { steps, batch: leased.batch }, leased.lr).filter(|_| is_comparable);
    if possible.contains(&norm) && usual.is_none_or(|band| band.contains(&norm)) {
        return Ok(norm);
    }
    // The band itself would tell a cheat where to aim.
    Err(refuse(ErrorCode::NormOutOfRange, "update norm is far from that of others with the same steps"))
}

fn is_late(turn: &Turn<'_>, leased: &Leased) -> bool {
    let merged_into = turn.presence.merging().unwrap_or(turn.state.version());
    let staleness = merged_into.0.saturating_sub(leased.base_version.0);
    turn.state.blocks().any_claimed(&leased.blocks) || staleness > limits::STALENESS_MAX || round::is_closed(turn)
}

fn evaluated(turn: &Turn<'_>, leased: &Leased, split: Split, statement: &Statement) -> Result<Fact, Refusal> {
    let Some(evaluation) = statement.evaluation.filter(|_| statement.update.is_none() && statement.steps == 0) else {
        return Err(mismatch("expected an evaluation, no update and 0 steps"));
    };
    let samples = turn.job.samples(split, &leased.blocks);
    if evaluation.samples != samples {
        return Err(mismatch(format!("expected {samples} samples, got {}", evaluation.samples)));
    }
    let version = leased.base_version;
    if !turn.state.evaluations().wants((version, split), &leased.blocks) {
        return Err(refuse(ErrorCode::AlreadyMerged, format!("{version} needs this evaluation no more")));
    }
    let evaluation = storable(evaluation);
    Ok(Fact::Evaluated { at: turn.now, task: statement.task, version, split, evaluation })
}

/// A diverged model has no finite loss, but it must be evaluated all the same or the job never ends,
/// and JSON has no word for NaN: the worst finite values stand for it.
fn storable(evaluation: Evaluation) -> Evaluation {
    let Evaluation { loss, accuracy, samples } = evaluation;
    Evaluation {
        loss: if loss.is_finite() { loss } else { f32::MAX },
        accuracy: if accuracy.is_finite() { accuracy.clamp(0.0, 1.0) } else { 0.0 },
        samples,
    }
}
