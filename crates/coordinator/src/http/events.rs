//! Server-sent events: what the dashboard draws while it is open.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::header,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use potluck_protocol::{ErrorCode, limits};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, watch},
    time::Instant,
};

use crate::{
    job::Job,
    problem::Problem,
    shared::{Shared, closed},
    views::VersionRow,
};

/// `GET jobs/{job}/events`
pub(super) async fn events(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let job = Arc::clone(shared.job(&name)?);
    let full = || Problem::new(ErrorCode::Full, "as many pages as possible follow this coordinator; try again later");
    let permit = shared.event_stream().ok_or_else(full)?;
    let follower = Follower {
        rows: job.rows(),
        changes: job.changes(),
        closing: shared.closing(),
        next_job_at: Instant::now(),
        job,
        _permit: permit,
    };
    // A proxy that buffers would show nothing for minutes.
    let headers = [(header::HeaderName::from_static("x-accel-buffering"), "no")];
    let keep_alive = KeepAlive::new().interval(Duration::from_millis(limits::PING_MILLIS));
    Ok((headers, Sse::new(follower.stream()).keep_alive(keep_alive)).into_response())
}

/// One page that follows a job.
struct Follower {
    job: Arc<Job>,
    changes: watch::Receiver<u64>,
    rows: broadcast::Receiver<Arc<VersionRow>>,
    closing: watch::Receiver<bool>,
    /// Not before this is the job sent again.
    next_job_at: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    fn stream(mut self) -> impl Stream<Item = Result<Event, Infallible>> {
        // The state as of now counts as the first change.
        self.changes.mark_changed();
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// The next event; `None` when the job's actor or the coordinator ends.
    async fn next(&mut self) -> Option<Event> {
        let Self { job, changes, rows, closing, next_job_at, .. } = self;
        loop {
            let changed = async {
                tokio::time::sleep_until(*next_job_at).await;
                changes.changed().await
            };
            tokio::select! {
                () = closed(closing) => return None,
                row = rows.recv() => match row {
                    Ok(row) => return Event::default().event("version").json_data(&*row).ok(),
                    // The page fell behind; the rows are in the history when it asks again.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = changed => {
                    changed.ok()?;
                    *next_job_at = Instant::now() + Duration::from_millis(limits::EVENT_MILLIS_MIN);
                    let view = job.view().await.ok()?;
                    return Event::default().event("job").json_data(&*view).ok();
                }
            }
        }
    }
}
