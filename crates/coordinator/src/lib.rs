//! A Potluck coordinator: it leases a job's work to volunteers, checks and merges what comes back,
//! and serves pages, model and tally. One process, one folder, any number of jobs.
//!
//! It mounts in any axum server:
//!
//! ```no_run
//! use potluck_coordinator::Coordinator;
//! use potluck_protocol::JobFile;
//!
//! # async fn example(text: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let coordinator = Coordinator::builder("potluck-data")
//!     .job(JobFile::parse(text)?, "examples/digits")
//!     .observe(|fact| println!("{fact:?}"))
//!     .start()
//!     .await?;
//! let app: axum::Router = axum::Router::new().nest("/potluck", coordinator.router());
//! # Ok(()) }
//! ```
//!
//! What is true of a job is its log of facts ([`EventLog`]); what follows from them is decided by
//! `potluck-scheduler`. This crate reads clocks, does I/O and knows addresses; it must not decide
//! about training, and it executes no program but in its own embedded volunteer.

mod audit;
mod backup;
mod blobs;
mod clock;
mod disk;
mod export;
mod folder;
mod http;
mod job;
mod lineage;
mod log;
mod needed;
mod packs;
mod problem;
mod served;
mod shared;
mod stores;
#[cfg(test)]
mod tests;
mod views;
mod worker;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use potluck_protocol::{JobFile, JobName, limits};
use potluck_scheduler::Fact;
use tokio::{net::TcpListener, task::JoinHandle};

pub use audit::{Audit, AuditError};
pub use backup::{BackupError, Copied, backup, new_epoch, restore};
pub use blobs::BlobError;
pub use export::{export_job, import_job};
pub use folder::FolderError;
pub use job::{JournalError, MergeError, OpenError, size_problem};
pub use log::{EventLog, Fault, FaultyLog, Head, LogError, MemoryLog, Record, RecordHash, Snapshot, SqliteLog};

use clock::Clock;
use folder::{Folder, OwnerToken};
use job::{Job, Opened, Premises, open};
use shared::Shared;
use stores::Stores;
use worker::Worker;

/// What is called with every fact once it is durable.
type Observer = Arc<dyn Fn(&JobName, &Fact) + Send + Sync>;

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its blobs cannot be used.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A job cannot be made or resumed.
    #[error("job {job}: {error}")]
    Job {
        /// Which.
        job: JobName,
        /// Why.
        error: OpenError,
    },
    /// Two job files have the same name.
    #[error("two jobs are named {job}: give one of them another job.name")]
    SameName {
        /// The name.
        job: JobName,
    },
    /// The embedded volunteer cannot start.
    #[error("the embedded volunteer cannot start: {0}")]
    Worker(std::io::Error),
}

/// Settings of a coordinator that is about to start.
pub struct Builder {
    folder: PathBuf,
    jobs: Vec<(JobFile, PathBuf)>,
    observers: Vec<Observer>,
    embedded_volunteer: bool,
    keep_updates: bool,
    snapshot_facts: u64,
    disk_max: Option<u64>,
    log: Option<Arc<dyn EventLog>>,
    clock: Clock,
}

impl Builder {
    /// Adds a job. Paths in its file are relative to `base_folder`. A job whose name the folder's
    /// log knows goes on where it stopped.
    #[must_use]
    pub fn job(mut self, file: JobFile, base_folder: impl Into<PathBuf>) -> Self {
        self.jobs.push((file, base_folder.into()));
        self
    }

    /// Calls this with every new fact, once it is durable and in order. It runs on the job's own
    /// task, so it must be quick.
    #[must_use]
    pub fn observe(self, observer: impl Fn(&Fact) + Send + Sync + 'static) -> Self {
        self.observe_each(move |_, fact| observer(fact))
    }

    /// The same, with the job that the fact is about.
    #[must_use]
    pub fn observe_each(mut self, observer: impl Fn(&JobName, &Fact) + Send + Sync + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Whether the coordinator evaluates by itself (it does unless told otherwise). Without it no
    /// version is evaluated and no job can finish, unless another trusted worker does it.
    #[must_use]
    pub fn embedded_volunteer(mut self, is: bool) -> Self {
        self.embedded_volunteer = is;
        self
    }

    /// Whether updates stay after they were merged (they go unless told otherwise), so that anyone
    /// with the folder can make every version again: an [`Audit`] then leaves nothing out.
    #[must_use]
    pub fn keep_updates(mut self, is: bool) -> Self {
        self.keep_updates = is;
        self
    }

    /// Keeps a snapshot of what the log adds up to each so many facts, and at a graceful stop, so that
    /// a start reads only what came after: 50,000 unless told otherwise.
    #[must_use]
    pub fn snapshot_facts(mut self, facts: u64) -> Self {
        self.snapshot_facts = facts;
        self
    }

    /// Bytes that the folder may hold (all that the disk takes, unless told otherwise). Past it, what
    /// nothing needs is deleted; then no training is leased and no upload taken until there is room
    /// again. What was accepted is still merged, so that it may pass this by what that writes.
    #[must_use]
    pub fn disk_max(mut self, bytes: u64) -> Self {
        self.disk_max = Some(bytes);
        self
    }

    /// Keeps facts here instead of in the folder's `potluck.sqlite`.
    #[must_use]
    pub fn log(mut self, log: Arc<dyn EventLog>) -> Self {
        self.log = Some(log);
        self
    }

    /// Another clock, which tests turn by hand.
    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens or makes everything and starts the jobs.
    ///
    /// # Errors
    ///
    /// Each is a sentence that says what to do.
    pub async fn start(self) -> Result<Coordinator, StartError> {
        let Self { folder, jobs, observers, embedded_volunteer, keep_updates, snapshot_facts, disk_max, log, clock } =
            self;
        let folder = Arc::new(Folder::open(&folder)?);
        folder.check_place()?;
        let token = folder.owner_token()?;
        let log = match log {
            Some(log) => log,
            None => Arc::new(SqliteLog::open(&folder.join("potluck.sqlite"))?) as Arc<dyn EventLog>,
        };
        let stores = Arc::new(Stores::in_folder_up_to(folder.path(), disk_max)?);
        let mut running = Vec::new();
        for (file, base_folder) in &jobs {
            let name = &file.job.name;
            if running.iter().any(|(job, _): &(Arc<Job>, _)| job.name() == name) {
                return Err(StartError::SameName { job: name.clone() });
            }
            let premises =
                Premises { folder: &folder, log: &log, stores: &stores, clock: &clock, keep_updates, snapshot_facts };
            let opened = open(file, base_folder, &premises).await;
            let Opened { job, actor } = opened.map_err(|error| StartError::Job { job: name.clone(), error })?;
            let actor = tokio::spawn(actor.observed_by(observers.clone()).run());
            running.push((Arc::new(job), actor));
        }
        let (jobs, actors): (Vec<_>, Vec<_>) = running.into_iter().unzip();
        let disk = tokio::spawn(Arc::clone(&stores.disk).watch(jobs.clone()));
        let shared = Arc::new(Shared::new(jobs, Arc::clone(&stores), token, clock));
        let mut workers = Vec::new();
        if embedded_volunteer {
            for job in shared.jobs() {
                let worker = Worker::start(Arc::clone(job), Arc::clone(&stores), shared.sessions());
                workers.push(worker.map_err(StartError::Worker)?);
            }
        }
        Ok(Coordinator { shared, actors, workers, disk, servers: Mutex::default(), folder })
    }
}

/// A running coordinator. Dropped without [`Coordinator::shutdown`] it stops as if it had crashed,
/// which loses nothing that was acknowledged.
pub struct Coordinator {
    shared: Arc<Shared>,
    actors: Vec<JoinHandle<()>>,
    workers: Vec<Worker>,
    disk: JoinHandle<()>,
    servers: Mutex<Vec<JoinHandle<()>>>,
    // Last, so that its lock is given back when nothing of the above uses it any more.
    folder: Arc<Folder>,
}

impl Coordinator {
    /// A coordinator that keeps everything in this folder, which is made where it is missing.
    pub fn builder(folder: impl AsRef<Path>) -> Builder {
        Builder {
            folder: folder.as_ref().to_owned(),
            jobs: Vec::new(),
            observers: Vec::new(),
            embedded_volunteer: true,
            keep_updates: false,
            snapshot_facts: limits::SNAPSHOT_FACTS,
            disk_max: None,
            log: None,
            clock: Clock::system(),
        }
    }

    /// All its addresses.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.shared))
    }

    /// Answers on this listener until [`Coordinator::shutdown`], with limits on connections and on
    /// slow requests that `axum::serve` does not have. Returns the address.
    ///
    /// # Errors
    ///
    /// Where the listener has no address.
    pub fn serve(&self, listener: TcpListener) -> std::io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let server = tokio::spawn(http::serve(listener, self.router(), self.shared.closing()));
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        Ok(address)
    }

    /// The file with the owner's token.
    pub fn owner_token_file(&self) -> PathBuf {
        self.folder.join(OwnerToken::FILE)
    }

    /// Returns once every job is finished, or with the reason why one of them had to stop.
    ///
    /// # Errors
    ///
    /// The sentence that `/healthz` shows.
    pub async fn finished(&self) -> Result<(), String> {
        for job in self.shared.jobs() {
            job.finished().await?;
        }
        Ok(())
    }

    /// Returns the reason, once a job can go on no more. That takes a full disk or a broken log.
    pub async fn failed(&self) -> String {
        let failures: Vec<_> = self.shared.jobs().map(|job| Box::pin(job.failed())).collect();
        if failures.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(failures).await.0
    }

    /// Stops: accepts nothing more, closes sockets and event streams, takes in what was received,
    /// and returns when the log is closed and the folder is free, with how the volunteers parted.
    pub async fn shutdown(mut self) -> Farewell {
        let connected = self.shared.jobs().map(|job| job.connected() as u64).sum();
        self.shared.close();
        self.workers.iter().for_each(Worker::stop);
        let gone = async {
            for job in self.shared.jobs() {
                job.all_gone().await;
            }
        };
        // What is still connected after that has its results in the log or will send them again.
        let _ = tokio::time::timeout(Duration::from_millis(limits::STOP_MILLIS_MAX), gone).await;
        for job in self.shared.jobs() {
            job.stop().await;
        }
        self.shared.disk().end();
        let _ = (&mut self.disk).await;
        let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        for task in servers.into_iter().chain(std::mem::take(&mut self.actors)) {
            let _ = task.await;
        }
        let workers = std::mem::take(&mut self.workers);
        let _ = tokio::task::spawn_blocking(|| workers.into_iter().for_each(Worker::join)).await;
        Farewell { connected, told: self.shared.jobs().map(|job| job.told()).sum() }
    }
}

/// How the volunteers of all jobs parted from a coordinator that stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// So many were connected.
    pub connected: u64,
    /// So many have read when to connect again, each another time; the rest is left to its back-off.
    pub told: u64,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.disk().end();
        self.workers.iter().for_each(Worker::stop);
        self.actors.iter().for_each(JoinHandle::abort);
    }
}
