//! The seam under which the facts of a job are kept: an append-only sequence, fenced by position
//! and chained by hash.
//!
//! It stores texts. What a fact means, and that there are jobs with actors, is none of its
//! business, so that another store (PostgreSQL, say) needs six functions and no knowledge.

mod chain;
#[cfg(test)]
mod conformance;
mod faulty;
mod inspect;
mod memory;
mod snapshot;
mod sqlite;
mod witness;
mod writer;

use potluck_protocol::JobName;

use crate::folder::RESTORE;

pub use chain::{Head, Record, RecordHash};
pub use faulty::{Fault, FaultyLog};
pub use memory::MemoryLog;
pub use snapshot::Snapshot;
pub use sqlite::SqliteLog;
pub(crate) use sqlite::take_job;

/// Where the facts of all jobs of a coordinator are kept.
///
/// Calls block until the answer is durable; callers on an async runtime move them to a thread that
/// may block. Implementations are used from several threads at once, and let appends that wait at
/// the same time share a sync; of one job, one append is under way at a time.
pub trait EventLog: Send + Sync + 'static {
    /// Adds `records` after `expected`, all of them or none. When it returns `Ok`, they survive a
    /// power cut.
    ///
    /// # Errors
    ///
    /// [`LogError::Conflict`] where the log does not end at `expected`, or where the records do
    /// not follow from it: somebody else leads this job now, and the caller must stop.
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError>;

    /// Up to `limit` records after position `after` (0 reads from the start), in order. They come
    /// as they were stored; the caller checks the chain with [`Head::follow`].
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError>;

    /// Where the job's log ends, by an account of its own that every append changes along with the
    /// records: a reader that comes to another end knows that the end is missing.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn head(&self, job: &JobName) -> Result<Head, LogError>;

    /// The jobs that have at least one record, in the order of their names.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn jobs(&self) -> Result<Vec<JobName>, LogError>;

    /// Keeps a snapshot in place of the job's one before.
    ///
    /// # Errors
    ///
    /// Those of the store. A snapshot that is not kept costs time at the next start and nothing else.
    fn put_snapshot(&self, job: &JobName, snapshot: &Snapshot) -> Result<(), LogError>;

    /// The job's newest snapshot as it was stored; the caller checks it with [`Snapshot::is_whole`].
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn snapshot(&self, job: &JobName) -> Result<Option<Snapshot>, LogError>;
}

/// Why the log cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log ends somewhere else.
    #[error("the log of {job} ends at {found}, not at {expected}: another coordinator wrote to it; stop one of them")]
    Conflict {
        /// The job.
        job: JobName,
        /// Where the caller thinks it ends, as `seq/hash`.
        expected: String,
        /// Where it ends.
        found: String,
    },
    /// A record is not what its hash says, or does not follow its predecessor.
    #[error("potluck.sqlite is damaged at fact {seq} of {job} ({what}): {RESTORE}")]
    Broken {
        /// The job.
        job: JobName,
        /// Position of the first bad record.
        seq: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The last records are missing, or what is said of them is wrong.
    #[error(
        "potluck.sqlite is damaged at the end of {job} (its facts end at {found} and should end at {expected}): {RESTORE}"
    )]
    Cut {
        /// The job.
        job: JobName,
        /// Where reading ended, as `seq/hash`.
        found: String,
        /// Where the log says that it ends.
        expected: String,
    },
    /// Facts that were acknowledged are gone, in one piece with the end of the log.
    #[error(
        "{file} has lost facts: {job} ends at {found} and had reached {expected}. An old copy was put in its place, its \
         -wal file is damaged or gone, or the disk lost what it had written: put the newer file back, or {RESTORE}; \
         `potluck restore FOLDER --new-epoch` goes on without what was lost"
    )]
    Lost {
        /// The log's file.
        file: String,
        /// The job.
        job: JobName,
        /// Where its log ends, as `seq/hash`.
        found: String,
        /// How far it had come.
        expected: String,
    },
    /// The store cannot give back what it was given.
    #[error("{file} is damaged ({reason}): {RESTORE}")]
    Damaged {
        /// The log's file.
        file: String,
        /// What is wrong, and where, as far as the store can tell.
        reason: String,
    },
    /// No space is left.
    #[error(
        "the disk with {file} is full, or a limit is reached: free some space; a coordinator that is running goes on by \
         itself, another has to be started again; nothing that was acknowledged is lost"
    )]
    DiskFull {
        /// The log's file.
        file: String,
    },
    /// The disk does not take what is written, or does not give it back.
    #[error(
        "{file} failed ({reason}): the disk or a quota may be full, or the disk is failing; free some space and \
         start again; nothing that was acknowledged is lost"
    )]
    DiskFailed {
        /// The log's file.
        file: String,
        /// What the store said.
        reason: String,
    },
    /// The file cannot be opened or written.
    #[error("{file} cannot be written ({reason}): make it writable for this user, or choose another folder")]
    NotWritable {
        /// The log's file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The file is no SQLite database, or a newer Potluck wrote it.
    #[error("{file} cannot be read as a Potluck log ({reason})")]
    NotALog {
        /// The log's file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Anything else that the store says.
    #[error("the log in {file} failed: {reason}")]
    Store {
        /// The log's file.
        file: String,
        /// What the store said.
        reason: String,
    },
}
