//! `PUT jobs/{job}/tasks/{task}/update`: the encoded update of a task, before its result.
//!
//! Checked in this order: job, lease, length, bytes. Nothing is allocated before the length is
//! known to fit, and nothing reaches the disk before the bytes decode to finite numbers.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use futures::StreamExt;
use potluck_protocol::{BlobId, ErrorCode, TaskId, VOLUNTEER_HEADER, VolunteerKey, limits};

use crate::{
    job::{Job, no_room, update_malformed, update_too_large},
    problem::Problem,
    shared::Shared,
    views::LeaseView,
};

/// Slower than a bad phone line is not waited for.
const BYTES_PER_SECOND_MIN: u64 = 16_000;

/// Answers 204 once the update is durable; the same bytes again get the same answer.
pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Path((name, task)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let job = shared.job(&name)?;
    let taken = take(&shared, job, &task, &headers, body).await;
    taken.inspect_err(|problem| job.count_refusal(problem.code))
}

async fn take(shared: &Shared, job: &Job, task: &str, headers: &HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let lease = lease(shared, job, task, headers).await?;
    let expected = job.uploads().update_bytes(lease.encoding);
    check_length(headers, expected)?;
    let busy = || Problem::new(ErrorCode::Full, "another upload for this task is on its way; try again later");
    if let Some(why) = shared.disk().room().blocked() {
        return Err(no_room(why));
    }
    let _arrival = job.uploads().arrive(lease.task).ok_or_else(busy)?;
    // Held until the bytes are stored: what is received at once has a bound.
    let _permit = shared.upload_permit(expected).await?;
    // Past its expiry an upload is of no use, however slowly it still comes.
    let left = lease.expiry_at.saturating_sub(shared.now()).max(limits::LEASE_MILLIS_MIN);
    let received = tokio::time::timeout(patience(left, expected), receive(body, expected)).await;
    let bytes = received.map_err(|_| match shared.now() > lease.expiry_at {
        true => expired(),
        false => too_slow(format!("the update came at less than {BYTES_PER_SECOND_MIN} bytes a second")),
    })??;
    // While it came, a result may have been accepted or the lease have ended.
    let lease = self::lease(shared, job, task, headers).await?;
    let id = BlobId::of(&bytes);
    if lease.accepted == Some(id) || job.uploads().find(lease.task, id).is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    if lease.accepted.is_some() {
        let detail = "another update was accepted for this task already";
        return Err(Problem::new(ErrorCode::ResultMismatch, detail));
    }
    job.take_update(lease.task, lease.encoding, bytes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How long an upload of this size may take in all. It holds memory that others wait for, so one
/// that comes byte by byte does not get the whole lease.
fn patience(left_millis: u64, bytes: usize) -> Duration {
    let needed = limits::UPLOAD_STALL_MILLIS_MAX + bytes as u64 * 1000 / BYTES_PER_SECOND_MIN;
    Duration::from_millis(needed.min(left_millis))
}

/// The lease of this task, if the sender holds it.
async fn lease(shared: &Shared, job: &Job, task: &str, headers: &HeaderMap) -> Result<LeaseView, Problem> {
    let bad = |detail: &str| Problem::new(ErrorCode::BadRequest, detail);
    let unknown = || Problem::new(ErrorCode::UnknownTask, "no such task is leased");
    let task = TaskId(task.parse().map_err(|_| unknown())?);
    let sender = headers.get(VOLUNTEER_HEADER).and_then(|value| value.to_str().ok());
    let sender: VolunteerKey = sender
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("the header x-potluck-volunteer has to hold the volunteer's key, 64 hexadecimal digits"))?;
    let lease = job.lease(task).await?;
    if lease.volunteer != sender {
        return Err(Problem::new(ErrorCode::NotYourTask, "this task is leased to somebody else"));
    }
    if !lease.trains {
        return Err(Problem::new(ErrorCode::ResultMismatch, "an evaluation has no update"));
    }
    if lease.accepted.is_none() && shared.now() > lease.expiry_at {
        return Err(expired());
    }
    Ok(lease)
}

/// Refuses by the announced length, where there is one.
fn check_length(headers: &HeaderMap, expected: usize) -> Result<(), Problem> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    match length.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > expected as u64 => Err(update_too_large(expected)),
        Some(length) if length < expected as u64 => Err(update_malformed(&format!("{length} bytes"), expected)),
        Some(_) => Ok(()),
        None => Err(Problem::new(ErrorCode::BadRequest, "Content-Length is not a number")),
    }
}

/// The body, which is read no further than one chunk past `expected` bytes.
async fn receive(body: Body, expected: usize) -> Result<Bytes, Problem> {
    let stall = Duration::from_millis(limits::UPLOAD_STALL_MILLIS_MAX);
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::with_capacity(expected);
    loop {
        let next = tokio::time::timeout(stall, chunks.next()).await;
        let next = next.map_err(|_| too_slow(format!("nothing of the update came for {} s", stall.as_secs())))?;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|_| Problem::new(ErrorCode::BadRequest, "the update broke off"))?;
        if bytes.len() + chunk.len() > expected {
            return Err(update_too_large(expected));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() < expected {
        return Err(update_malformed(&format!("{} bytes", bytes.len()), expected));
    }
    Ok(bytes.into())
}

fn too_slow(detail: String) -> Problem {
    Problem { status: StatusCode::REQUEST_TIMEOUT, code: ErrorCode::BadRequest, detail }
}

fn expired() -> Problem {
    Problem::new(ErrorCode::LeaseExpired, "the lease of this task has expired")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_waited_for_by_its_size_and_never_past_its_lease() {
        let stall = limits::UPLOAD_STALL_MILLIS_MAX;
        assert_eq!(patience(300_000, 0), Duration::from_millis(stall));
        assert_eq!(patience(300_000, 160_000), Duration::from_millis(stall + 10_000));
        assert_eq!(patience(5_000, 160_000), Duration::from_millis(5_000));
    }
}
