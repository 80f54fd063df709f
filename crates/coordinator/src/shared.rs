//! What all handlers share: the jobs by name, the stores, the owner's token, and what is counted
//! over the whole coordinator.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use potluck_protocol::{BlobId, ErrorCode, JobName, Millis, limits};
use potluck_scheduler::SessionId;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    blobs::BlobError, clock::Clock, disk::Disk, folder::OwnerToken, job::Job, problem::Problem, stores::Stores,
    views::VersionRow,
};

/// One coordinator, as its handlers see it.
pub(crate) struct Shared {
    jobs: BTreeMap<JobName, Arc<Job>>,
    stores: Arc<Stores>,
    token: OwnerToken,
    clock: Clock,
    sessions: Arc<AtomicU64>,
    event_streams: Arc<Semaphore>,
    /// One permit a KiB.
    uploading: Arc<Semaphore>,
    /// The last file of a model that was made. Locked while one is made: each takes several times
    /// the model's size.
    model_file: Arc<Mutex<Option<ModelFile>>>,
    closing: watch::Sender<bool>,
}

/// A version's `model.safetensors`.
pub(crate) struct ModelFile {
    pub(crate) job: JobName,
    pub(crate) row: VersionRow,
    pub(crate) bytes: Bytes,
}

impl Shared {
    pub(crate) fn new(jobs: Vec<Arc<Job>>, stores: Arc<Stores>, token: OwnerToken, clock: Clock) -> Self {
        Self {
            jobs: jobs.into_iter().map(|job| (job.name().clone(), job)).collect(),
            stores,
            token,
            clock,
            sessions: Arc::default(),
            event_streams: Arc::new(Semaphore::new(limits::EVENT_STREAMS_MAX)),
            uploading: Arc::new(Semaphore::new(limits::UPLOADING_BYTES_MAX >> 10)),
            model_file: Arc::default(),
            closing: watch::Sender::new(false),
        }
    }

    /// The jobs in the order of their names.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    pub(crate) fn job(&self, name: &str) -> Result<&Arc<Job>, Problem> {
        let job = name.parse::<JobName>().ok().and_then(|name| self.jobs.get(&name));
        job.ok_or_else(|| Problem::new(ErrorCode::UnknownJob, "there is no job of that name here"))
    }

    pub(crate) fn is_owner(&self, token: &str) -> bool {
        self.token.is(token)
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(crate) fn new_session(&self) -> SessionId {
        self.sessions()()
    }

    /// Makes numbers for sessions, for who does not hold on to everything that is shared.
    pub(crate) fn sessions(&self) -> impl Fn() -> SessionId + Send + 'static {
        let sessions = Arc::clone(&self.sessions);
        move || SessionId(sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn is_public(&self, id: BlobId) -> bool {
        self.stores.is_public(id)
    }

    /// How much room there is.
    pub(crate) fn disk(&self) -> &Disk {
        &self.stores.disk
    }

    /// A public blob.
    pub(crate) async fn served(&self, id: BlobId) -> Result<Bytes, Problem> {
        match self.stores.served(id).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.reported(error).await),
        }
    }

    /// What a peer is told of a blob that cannot be read, after the jobs were told.
    async fn reported(&self, error: BlobError) -> Problem {
        tracing::error!("{error}");
        for job in self.jobs() {
            job.report(&error).await;
        }
        Problem::new(ErrorCode::Internal, error.to_string())
    }

    /// Waits until this many bytes may be received.
    pub(crate) async fn upload_permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.uploading).acquire_many_owned(kib);
        let wait = std::time::Duration::from_millis(limits::UPLOAD_STALL_MILLIS_MAX);
        let full = || Problem::new(ErrorCode::Full, "too many uploads at once; try again in a few seconds");
        tokio::time::timeout(wait, permit).await.ok().and_then(Result::ok).ok_or_else(full)
    }

    /// The last model file, and the right to make the next.
    pub(crate) async fn model_file(&self) -> OwnedMutexGuard<Option<ModelFile>> {
        Arc::clone(&self.model_file).lock_owned().await
    }

    /// A place among those who follow events.
    pub(crate) fn event_stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.event_streams).try_acquire_owned().ok()
    }

    /// Becomes true once, when the coordinator stops.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// Returns when the coordinator stops.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say so.
    let _ = closing.wait_for(|closing| *closing).await;
}
