//! A job, as handlers and workers see it: what never changes, and questions and inputs for the
//! actor that owns the rest.

mod actor;
mod board;
mod chores;
mod journal;
mod keep;
mod mail;
mod merge;
mod open;
mod outboxes;
mod refusals;
mod snapshots;
mod uploads;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use potluck_graph::Program;
use potluck_protocol::{
    BlobId, ErrorCode, JobCard, JobName, Millis, Refusal, Statement, TaskId, UpdateEncoding, Version, VolunteerKey,
    limits,
};
use potluck_scheduler::{Control, Input, UpdateFacts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};

use crate::{
    blobs::{BlobError, id_of},
    problem::Problem,
    stores::Stores,
    views::{ContributionRow, JobView, LeaseView, Phase, VersionRow},
};

pub(crate) use actor::Actor;
pub use journal::JournalError;
pub(crate) use journal::{FACT_SCHEMA, fact_of};
pub(crate) use mail::{Message, Newcomer, Query};
pub use merge::MergeError;
pub use open::{OpenError, size_problem};
pub(crate) use open::{Opened, Premises, open};
use refusals::Refusals;
pub(crate) use uploads::Uploads;
pub(crate) use verify::verify;

/// The actor has ended; [`Job::failure`] may say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What of a job never changes while the process runs.
pub(crate) struct Fixed {
    pub(crate) card: JobCard,
    pub(crate) origins: Vec<String>,
    pub(crate) program: Arc<Program>,
    pub(crate) program_json: Bytes,
    /// What goes with the parameters, by file name.
    pub(crate) files: BTreeMap<String, BlobId>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) stores: Arc<Stores>,
}

/// What the actor tells everybody.
pub(crate) struct Outlets {
    /// Grows with everything that a page may want to show.
    pub(crate) changes: watch::Sender<u64>,
    /// Rows of the history that are new or have changed.
    pub(crate) rows: broadcast::Sender<Arc<VersionRow>>,
    /// Set once, when the actor can go on no more.
    pub(crate) failure: OnceLock<String>,
    /// Results that were accepted, those of them that came too late to be merged, and those that were
    /// refused.
    pub(crate) accepted: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Those, and what was refused before it reached the actor.
    pub(crate) refusals: Refusals,
}

impl Outlets {
    /// Rows that a slow page may be behind; it asks for the history when it was more.
    const ROWS_BEHIND_MAX: usize = 64;

    pub(crate) fn new() -> Self {
        Self {
            changes: watch::Sender::new(0),
            rows: broadcast::Sender::new(Self::ROWS_BEHIND_MAX),
            failure: OnceLock::new(),
            accepted: AtomicU64::default(),
            late: AtomicU64::default(),
            refused: AtomicU64::default(),
            refusals: Refusals::default(),
        }
    }
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) late: u64,
    pub(crate) refused: u64,
    pub(crate) bad: u64,
    pub(crate) uploads: u64,
    pub(crate) upload_bytes: u64,
}

/// A running job.
pub(crate) struct Job {
    fixed: Fixed,
    outlets: Arc<Outlets>,
    mailbox: mpsc::Sender<Message>,
    connections: Arc<Semaphore>,
    /// Keys of workers in this process, which nobody else may go by.
    own_keys: Mutex<BTreeSet<VolunteerKey>>,
    bad_messages: AtomicU64,
    /// Volunteers that were sent away with a time to connect again.
    left: AtomicU64,
    /// Those of them who have read it.
    told: AtomicU64,
    upload_count: AtomicU64,
    upload_bytes: AtomicU64,
}

impl Job {
    pub(crate) fn new(fixed: Fixed, outlets: Arc<Outlets>, mailbox: mpsc::Sender<Message>) -> Self {
        Self {
            fixed,
            outlets,
            mailbox,
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            own_keys: Mutex::default(),
            bad_messages: AtomicU64::default(),
            left: AtomicU64::default(),
            told: AtomicU64::default(),
            upload_count: AtomicU64::default(),
            upload_bytes: AtomicU64::default(),
        }
    }

    pub(crate) fn name(&self) -> &JobName {
        &self.fixed.card.name
    }

    pub(crate) fn card(&self) -> &JobCard {
        &self.fixed.card
    }

    pub(crate) fn origins(&self) -> &[String] {
        &self.fixed.origins
    }

    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.fixed.program
    }

    pub(crate) fn program_json(&self) -> &Bytes {
        &self.fixed.program_json
    }

    /// A file that goes with the parameters.
    pub(crate) fn file(&self, name: &str) -> Option<BlobId> {
        self.fixed.files.get(name).copied()
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.fixed.uploads
    }

    /// Why the actor had to end.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.outlets.failure.get().map(String::as_str)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.outlets.changes.subscribe()
    }

    pub(crate) fn rows(&self) -> broadcast::Receiver<Arc<VersionRow>> {
        self.outlets.rows.subscribe()
    }

    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: load(&self.outlets.accepted),
            late: load(&self.outlets.late),
            refused: load(&self.outlets.refused),
            bad: load(&self.bad_messages),
            uploads: load(&self.upload_count),
            upload_bytes: load(&self.upload_bytes),
        }
    }

    pub(crate) fn count_bad_message(&self, code: ErrorCode) {
        self.bad_messages.fetch_add(1, Ordering::Relaxed);
        self.count_refusal(code);
    }

    pub(crate) fn count_refusal(&self, code: ErrorCode) {
        self.outlets.refusals.count(code);
    }

    /// Keeps this key for a worker in this process.
    pub(crate) fn reserve(&self, key: VolunteerKey) {
        self.own_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// True for the key of a worker in this process. Pages show it, so anybody can say it.
    pub(crate) fn is_reserved(&self, key: &VolunteerKey) -> bool {
        self.own_keys.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// A place among the connected.
    pub(crate) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// When the next volunteer to be sent away is to connect again: one after the other, so that a
    /// coordinator that comes back is not met by all of them at once.
    pub(crate) fn leave_millis(&self) -> Millis {
        reconnect_after(self.left.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts one who has read when to connect again.
    pub(crate) fn count_told(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// How many are connected.
    pub(crate) fn connected(&self) -> usize {
        limits::CONNECTIONS_MAX - self.connections.available_permits()
    }

    /// Returns once nobody is connected.
    pub(crate) async fn all_gone(&self) {
        // An error would mean a closed semaphore: nobody is connected to that either.
        let _ = self.connections.acquire_many(limits::CONNECTIONS_MAX as u32).await;
    }

    /// Returns once the job is finished, or with the reason why it cannot go on.
    pub(crate) async fn finished(&self) -> Result<(), String> {
        let mut changes = self.changes();
        loop {
            if self.view().await.map_err(|problem| problem.detail)?.phase == Phase::Finished {
                return Ok(());
            }
            // Its sender lives as long as this job.
            let _ = changes.changed().await;
        }
    }

    /// Returns the reason, once the actor can go on no more.
    pub(crate) async fn failed(&self) -> String {
        let mut changes = self.changes();
        loop {
            if let Some(failure) = self.failure() {
                return format!("job {}: {failure}", self.name());
            }
            let _ = changes.changed().await;
        }
    }

    /// Enters a connection; its welcome comes through its outbox.
    pub(crate) async fn join(&self, newcomer: Newcomer) -> Result<(), Gone> {
        self.mail(Message::Join(newcomer)).await
    }

    /// Hands something to the scheduler.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Gone> {
        self.mail(Message::Input(input)).await
    }

    /// Deletes what the job does not need, and returns when that is done.
    pub(crate) async fn collect(&self) {
        // One that has ended collects nothing.
        let _ = self.ask(Message::Collect).await;
    }

    /// Tells the job of what could not be read. It stops where it needs that.
    pub(crate) async fn report(&self, error: &BlobError) {
        if let Some(id) = error.harmed() {
            // One that is gone needs nothing any more.
            let _ = self.mail(Message::Harmed(id, error.to_string())).await;
        }
    }

    /// Ends the actor after what it was given before.
    pub(crate) async fn stop(&self) {
        // One that is gone has stopped already.
        let _ = self.mail(Message::Stop).await;
    }

    async fn mail(&self, message: Message) -> Result<(), Gone> {
        self.mailbox.send(message).await.map_err(|_| Gone)
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        let gone = || {
            let detail = self.failure().unwrap_or("the coordinator stops");
            Problem::new(ErrorCode::Internal, format!("job {}: {detail}", self.name()))
        };
        self.mail(question(answer)).await.map_err(|_| gone())?;
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // It is about to end, and says why before it is gone.
                self.mailbox.closed().await;
                Err(gone())
            }
        }
    }

    /// The owner's word; returns once it is durable, or with the reason why it cannot be done.
    pub(crate) async fn control(&self, control: Control) -> Result<(), Problem> {
        let refusal = self.ask(|answer| Message::Control(control, answer)).await?;
        refusal.map_or(Ok(()), |Refusal { code, detail }| Err(Problem::new(code, detail)))
    }

    pub(crate) async fn view(&self) -> Result<Arc<JobView>, Problem> {
        self.ask(|answer| Message::Query(Query::View(answer))).await
    }

    /// Rows after a version, or from the start.
    pub(crate) async fn history(&self, after: Option<Version>, rows_max: usize) -> Result<Vec<VersionRow>, Problem> {
        self.ask(|answer| Message::Query(Query::History { after, rows_max, answer })).await
    }

    pub(crate) async fn version(&self, version: Version) -> Result<Option<VersionRow>, Problem> {
        self.ask(|answer| Message::Query(Query::Version { version, answer })).await
    }

    /// Rows after a volunteer, or from the start, in the order of keys.
    pub(crate) async fn contributions(
        &self,
        after: Option<VolunteerKey>,
        rows_max: usize,
    ) -> Result<Vec<ContributionRow>, Problem> {
        self.ask(|answer| Message::Query(Query::Contributions { after, rows_max, answer })).await
    }

    /// Who holds a task; refused with its own code where it never was leased, and where that is over.
    pub(crate) async fn lease(&self, task: TaskId) -> Result<LeaseView, Problem> {
        self.ask(|answer| Message::Query(Query::Lease { task, answer })).await?
    }

    /// Takes in an update whose sender was checked: decodes it, and stores it if it is good.
    pub(crate) async fn take_update(
        &self,
        task: TaskId,
        encoding: UpdateEncoding,
        bytes: Bytes,
    ) -> Result<(), Problem> {
        let Fixed { uploads, stores, .. } = &self.fixed;
        let (id, length) = (id_of(&bytes).await.map_err(|e| self.internal(&e))?, bytes.len());
        let facts = uploads.facts((id, encoding), bytes.clone(), &stores.decoding).await;
        let facts = facts.map_err(|e| self.internal(&e))?;
        if !facts.well_formed {
            return Err(update_malformed("bytes of another kind", uploads.update_bytes(encoding)));
        }
        if !facts.finite {
            return Err(Problem::new(ErrorCode::UpdateNotFinite, "the update holds NaN or infinity"));
        }
        uploads.keep(task, facts, bytes).await.map_err(|e| match e {
            BlobError::DiskFull => {
                stores.disk.is_full(&e);
                no_room("disk full")
            }
            other => self.internal(&other),
        })?;
        stores.disk.took(length);
        self.upload_count.fetch_add(1, Ordering::Relaxed);
        self.upload_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Looks for an upload that this process does not remember. Only for who holds the lease, so
    /// that nobody can make the coordinator read and remember at will.
    pub(crate) async fn recall_upload(
        &self,
        statement: &Statement,
        volunteer: VolunteerKey,
        id: BlobId,
    ) -> Result<Option<UpdateFacts>, Problem> {
        let lease = self.lease(statement.task).await.ok();
        let Some(lease) = lease.filter(|lease| lease.trains && lease.volunteer == volunteer) else { return Ok(None) };
        let Fixed { uploads, stores, .. } = &self.fixed;
        uploads.recall(statement.task, (id, lease.encoding), &stores.decoding).await.map_err(|e| self.internal(&e))
    }

    fn internal(&self, error: &BlobError) -> Problem {
        tracing::error!("job {}: {error}", self.name());
        Problem::new(ErrorCode::Internal, error.to_string())
    }
}

/// Span after which the `nth` volunteer that is sent away comes back, from 0.
fn reconnect_after(nth: u64) -> Millis {
    limits::RECONNECT_MILLIS_MIN + nth * 1_000 / limits::RECONNECTS_PER_SECOND
}

/// An update that the disk does not take now.
pub(crate) fn no_room(why: &str) -> Problem {
    Problem::new(ErrorCode::Full, format!("the coordinator has paused ({why}); hand the update in later"))
}

/// An update of the wrong size or form.
pub(crate) fn update_malformed(got: &str, expected: usize) -> Problem {
    let detail = format!("expected {expected} bytes in the encoding that its task asks for, got {got}");
    Problem::new(ErrorCode::UpdateMalformed, detail)
}

/// An update that is longer than any of this job.
pub(crate) fn update_too_large(expected: usize) -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("an update of this job has {expected} bytes; this is more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_sent_away_comes_back_one_by_one() {
        let spans: Vec<Millis> = (0..limits::CONNECTIONS_MAX as u64).map(reconnect_after).collect();
        let in_a_second = |from: Millis| spans.iter().filter(|at| (from..from + 1_000).contains(*at)).count() as u64;
        let last = spans[spans.len() - 1];
        assert!((0..last).step_by(97).all(|from| in_a_second(from) <= limits::RECONNECTS_PER_SECOND));
        // Within what volunteers agree to.
        assert!(spans[0] == limits::RECONNECT_MILLIS_MIN && last < 60_000, "{last}");
    }
}
