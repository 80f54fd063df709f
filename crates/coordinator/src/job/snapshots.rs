//! A job's folded state, kept now and then beside its log, so that a start folds only what came
//! after it. What is in a state is the scheduler's matter.
//!
//! A start believes a snapshot where its own hash is right, its schema is this program's, and the
//! log holds the very record that it was folded up to; everything after that record is followed fact
//! by fact. The chain before it is followed beside the work ([`check_past`]). A snapshot that is not
//! believed is ignored, with a word, and the whole log is folded.

use std::sync::Arc;

use potluck_protocol::JobName;
use potluck_scheduler::{STATE_SCHEMA, State, StateError};
use tokio::task::JoinHandle;

use super::journal::{JournalError, blocking, walk};
use crate::{
    folder::Folder,
    log::{EventLog, Head, LogError, Record, Snapshot},
};

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("its bytes are not those that were written")]
    Changed,
    #[error("its schema is {found}, this program's is {STATE_SCHEMA}")]
    OtherSchema { found: u32 },
    #[error("the log does not hold fact {head} that it ends with")]
    OtherLog { head: Head },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The job's newest snapshot, where it can be believed.
pub(super) async fn newest(job: &JobName, log: &Arc<dyn EventLog>) -> Option<(Head, State)> {
    let (reader, name) = (Arc::clone(log), job.clone());
    let found = blocking(move || Ok(read(&name, &*reader))).await;
    match found.map_err(Doubt::from).flatten() {
        Ok(found) => found,
        Err(doubt) => {
            tracing::warn!("job {job}: the snapshot of its state is ignored and the whole log read: {doubt}");
            None
        }
    }
}

fn read(job: &JobName, log: &dyn EventLog) -> Result<Option<(Head, State)>, Doubt> {
    let Some(snapshot) = log.snapshot(job)? else { return Ok(None) };
    if !snapshot.is_whole(job) {
        return Err(Doubt::Changed);
    }
    let Snapshot { head, schema, state, .. } = snapshot;
    if schema != STATE_SCHEMA {
        return Err(Doubt::OtherSchema { found: schema });
    }
    let before = head.seq.checked_sub(1).ok_or(Doubt::OtherLog { head })?;
    let records = log.read(job, before, 1)?;
    if !records.first().is_some_and(|record| is_at(job, head, record)) {
        return Err(Doubt::OtherLog { head });
    }
    Ok(Some((head, State::from_text(&state)?)))
}

/// True where this record is whole and the one that `head` names.
fn is_at(job: &JobName, head: Head, record: &Record) -> bool {
    let before = Head { epoch: record.epoch, seq: head.seq - 1, hash: record.previous };
    before.follow(job, record).is_ok_and(|found| found == head)
}

/// Follows the chain up to the record that a snapshot was folded up to, which a start has skipped,
/// and hands each record to `take`.
///
/// # Errors
///
/// What a start without a snapshot would have said.
pub(super) async fn check_past(
    job: JobName,
    log: Arc<dyn EventLog>,
    to: Head,
    take: impl FnMut(&Record) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let found = walk(&job, &log, Head::genesis(&job), Some(to.seq), take).await?;
    if found == to {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), to.to_string());
    Err(LogError::Cut { job, found, expected }.into())
}

/// Keeps snapshots of one job, one at a time and beside its work.
pub(super) struct Snapshots {
    job: JobName,
    log: Arc<dyn EventLog>,
    /// Held while one is written, so that the folder is not free before it is done.
    folder: Arc<Folder>,
    /// Facts from one to the next.
    each: u64,
    /// Position of the newest that is kept or under way.
    newest: u64,
    writing: Option<JoinHandle<()>>,
}

impl Snapshots {
    pub(super) fn new(job: JobName, log: Arc<dyn EventLog>, folder: Arc<Folder>, each: u64, newest: u64) -> Self {
        Self { job, log, folder, each, newest, writing: None }
    }

    /// Keeps the state that the log adds up to at `head`, where that is far enough from the last one.
    pub(super) fn offer(&mut self, head: &Head, state: &State) {
        let is_busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if head.seq >= self.newest.saturating_add(self.each) && !is_busy {
            self.start(*head, state.clone());
        }
    }

    /// Keeps the last state of a process, so that the next start folds nothing; a log that is folded
    /// at once anyway needs none. Returns when nothing is under way any more.
    pub(super) async fn finish(&mut self, last: Option<(&Head, &State)>) {
        self.done().await;
        if let Some((head, state)) = last.filter(|(head, _)| head.seq >= self.each && head.seq > self.newest) {
            self.start(*head, state.clone());
            self.done().await;
        }
    }

    async fn done(&mut self) {
        if let Some(writing) = self.writing.take() {
            // One that panicked kept nothing.
            let _ = writing.await;
        }
    }

    fn start(&mut self, head: Head, state: State) {
        self.newest = head.seq;
        let (job, log, folder) = (self.job.clone(), Arc::clone(&self.log), Arc::clone(&self.folder));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(doubt) = write(&job, &*log, head, &state) {
                tracing::warn!(
                    "job {job}: no snapshot of its state could be kept, the next start takes longer: {doubt}"
                );
            }
            drop(folder);
        }));
    }
}

fn write(job: &JobName, log: &dyn EventLog, head: Head, state: &State) -> Result<(), Doubt> {
    let text = state.to_text()?;
    Ok(log.put_snapshot(job, &Snapshot::new(job, head, STATE_SCHEMA, text))?)
}
