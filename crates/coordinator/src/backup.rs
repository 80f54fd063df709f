//! Copies of a folder that can be trusted: a backup at any moment, also while it is served; the same
//! brought back; and a folder that was copied by hand made the one that counts.
//!
//! It must not decide which of two copies is the right one: its owner says so, with a new epoch.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use potluck_protocol::{BlobId, JobName, LeaderId};
use potluck_scheduler::{Fact, Fork, State};
use rusqlite::{Connection, OpenFlags, backup::Backup};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Audit, AuditError},
    blobs::BlobError,
    clock::Clock,
    folder::{BACKUP_FILE, Folder, FolderError, OwnerToken, keep_all},
    job::{FACT_SCHEMA, JournalError},
    log::{EventLog, LogError, SqliteLog},
    needed::{self, Depth},
    stores::Stores,
};

pub(crate) const LOG_FILE: &str = "potluck.sqlite";

/// The folders of a coordinator that hold bytes which the log names, and what came with imported jobs.
const STORES: [&str; 5] = ["blobs", "updates", "momenta", "seals", "jobs"];

/// Version of what a backup looks like.
const FORMAT: u32 = 1;

/// Pages of the log that are copied between two words about it: 1,024 x 4 KiB = 4 MiB.
const PAGES_AT_ONCE: i32 = 1024;

/// Why a folder cannot be backed up or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The folder is in use, cannot be written, or is no place of its own.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What was read does not hold.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A fact cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A blob that the log needs was not copied whole.
    #[error("the copy lacks something that its log needs: {error}")]
    Incomplete {
        /// What.
        error: BlobError,
    },
    /// The folder that should be written holds something.
    #[error("{folder} is not empty: name a folder that does not exist yet")]
    NotEmpty {
        /// The folder.
        folder: String,
    },
    /// What should be restored is no backup.
    #[error("{folder} is not a backup ({reason}): name a folder that `potluck backup` wrote and finished")]
    NotABackup {
        /// The folder.
        folder: String,
        /// Why not.
        reason: String,
    },
    /// What should be imported is no export.
    #[error("{folder} is not an export ({reason}): name a folder that `potluck export --with-log` wrote and finished")]
    NotAnExport {
        /// The folder.
        folder: String,
        /// Why not.
        reason: String,
    },
    /// There is no such job to export.
    #[error("{folder} has no job {job}: give the job file of one that it has")]
    UnknownJob {
        /// The folder.
        folder: String,
        /// The job.
        job: JobName,
    },
    /// A job of this name is there already.
    #[error("{folder} has a job {job} already: import into another folder")]
    JobThere {
        /// The folder.
        folder: String,
        /// The job.
        job: JobName,
    },
    /// A job file cannot be used.
    #[error("the job file {path} cannot be used ({reason})")]
    JobFile {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk with {path} is full: free some space, delete what was written of the copy, and do it again")]
    DiskFull {
        /// What could not be written.
        path: String,
    },
    /// Something cannot be read or written.
    #[error("{path} cannot be copied ({reason})")]
    Copy {
        /// What.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// What was copied.
#[derive(Debug, Clone, Default)]
pub struct Copied {
    /// Files besides the log.
    pub files: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Each job, the facts in its log, and where it ends.
    pub jobs: Vec<(JobName, u64, String)>,
}

/// `backup.json`. Written last, so that a backup that broke off has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    at: u64,
    jobs: Vec<(JobName, u64, String)>,
}

/// Copies a folder, which may be in use, into one that does not exist yet, and checks the copy: every
/// fact follows from the one before it, and every blob that the log needs is there and whole. `tell`
/// hears how far it is.
///
/// # Errors
///
/// Each is a sentence that says what to do. What was written until then stays and is no backup.
pub async fn backup(folder: &Path, to: &Path, mut tell: impl FnMut(&str)) -> Result<Copied, BackupError> {
    if !folder.join(LOG_FILE).is_file() {
        return Err(AuditError::NoLog { folder: folder.display().to_string() }.into());
    }
    // A copy of a log that has lost its end would look whole.
    drop(SqliteLog::open(&folder.join(LOG_FILE))?);
    make_empty(to)?;
    // From before the log is read until the last blob is copied: what it names must still be there.
    let keeping = keep_all(folder)?;
    tell("the log");
    copy_log(&folder.join(LOG_FILE), &to.join(LOG_FILE))?;
    let mut copied = Copied::default();
    for store in STORES {
        copy_folder(&folder.join(store), &to.join(store), &mut copied, &mut tell)?;
    }
    copy_file(&folder.join(OwnerToken::FILE), &to.join(OwnerToken::FILE), &mut copied)?;
    drop(keeping);
    tell("checking the copy");
    copied.jobs = check(to).await?;
    let at = Clock::system().now();
    let manifest = Manifest { format: FORMAT, at, jobs: copied.jobs.clone() };
    write_manifest(to, &manifest)?;
    copied.bytes += fs::metadata(to.join(LOG_FILE)).map_or(0, |log| log.len());
    Ok(copied)
}

/// Copies a backup into a folder that does not exist yet, and checks it. It cannot be served before
/// [`new_epoch`] made it the one that counts.
///
/// # Errors
///
/// As [`backup`].
pub async fn restore(from: &Path, folder: &Path, mut tell: impl FnMut(&str)) -> Result<Copied, BackupError> {
    let manifest = read_manifest(from)?;
    make_empty(folder)?;
    let mut copied = Copied::default();
    for file in [LOG_FILE, OwnerToken::FILE] {
        copy_file(&from.join(file), &folder.join(file), &mut copied)?;
    }
    for store in STORES {
        copy_folder(&from.join(store), &folder.join(store), &mut copied, &mut tell)?;
    }
    tell("checking the copy");
    copied.jobs = check(folder).await?;
    if copied.jobs != manifest.jobs {
        let reason = "its log is not the one that was backed up".to_owned();
        return Err(BackupError::NotABackup { folder: from.display().to_string(), reason });
    }
    write_manifest(folder, &manifest)?;
    Ok(copied)
}

/// Makes a folder the one that counts: each of its jobs leaves its line and begins a new one, which
/// names where it left. Coordinators on other copies stop as soon as a volunteer of this one comes by.
///
/// # Errors
///
/// As [`backup`]; also where the folder is being served.
pub async fn new_epoch(folder: &Path) -> Result<Vec<(JobName, LeaderId)>, BackupError> {
    if !folder.join(LOG_FILE).is_file() {
        return Err(AuditError::NoLog { folder: folder.display().to_string() }.into());
    }
    let held = Folder::open(folder)?;
    let unforgettable = |e| explain(folder, &e);
    SqliteLog::forget_witness(&folder.join(LOG_FILE)).map_err(unforgettable)?;
    let log = SqliteLog::open(&folder.join(LOG_FILE))?;
    let mut lines = Vec::new();
    for job in Audit::jobs(folder)? {
        let mut audit = Audit::new(job.clone());
        audit.advance(folder).await?;
        let leader = fork(&log, &job, &audit)?;
        lines.push((job, leader));
    }
    // Last: before it the folder cannot be served, and all of this can be done again.
    let mark = folder.join(BACKUP_FILE);
    if mark.exists() {
        fs::remove_file(&mark).map_err(|e| explain(&mark, &e))?;
    }
    held.take_place()?;
    Ok(lines)
}

/// Begins a new line of a job at the end of its log, which the audit has read.
pub(crate) fn fork(log: &SqliteLog, job: &JobName, audit: &Audit) -> Result<LeaderId, BackupError> {
    let head = *audit.head();
    let mut leader = LeaderId([0; 16]);
    getrandom::fill(&mut leader.0).map_err(|e| FolderError::NoRandomness(e.to_string()))?;
    let at = Clock::system().now().max(newest_time(audit.state()));
    let fork = Some(Fork { seq: head.seq, head: BlobId(head.hash.0) });
    let fact = Fact::Began { at, epoch: head.epoch + 1, leader, fork };
    let unwritable = |_| JournalError::Unwritable { job: job.clone(), fact: format!("{fact:?}") };
    let text = serde_json::to_string(&fact).map_err(unwritable)?;
    log.append(job, &head, &[head.next(head.epoch + 1, FACT_SCHEMA, text)])?;
    Ok(leader)
}

fn newest_time(state: &State) -> u64 {
    state.record(state.version()).map_or(0, |record| record.at)
}

/// Folds the log of every job and reads every blob that its state needs.
async fn check(folder: &Path) -> Result<Vec<(JobName, u64, String)>, BackupError> {
    let incomplete = |error| BackupError::Incomplete { error };
    let stores = Stores::in_folder(folder).map_err(incomplete)?;
    let mut jobs = Vec::new();
    for job in Audit::jobs(folder)? {
        let mut audit = Audit::new(job.clone());
        audit.advance(folder).await?;
        needed::check(&stores, &job, audit.state(), Depth::Everything).await.map_err(incomplete)?;
        jobs.push((job, audit.fact_count(), audit.head().hash.to_string()));
    }
    Ok(jobs)
}

/// A copy of the log as it is at one moment, with SQLite's own means. The transaction keeps that
/// moment, so that what is written meanwhile does not start the copy over again.
pub(crate) fn copy_log(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copy = || {
        let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        source.busy_timeout(Duration::from_secs(30))?;
        source.execute_batch("BEGIN")?;
        source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let mut target = Connection::open(to)?;
        Backup::new(&source, &mut target)?.run_to_completion(PAGES_AT_ONCE, Duration::ZERO, None)
    };
    copy().map_err(|e: rusqlite::Error| {
        let full = matches!(e.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
        let path = to.display().to_string();
        if full { BackupError::DiskFull { path } } else { BackupError::Copy { path, reason: e.to_string() } }
    })
}

/// Everything below a folder. What vanishes meanwhile was not whole yet, or is needed by nobody.
fn copy_folder(from: &Path, to: &Path, copied: &mut Copied, tell: &mut impl FnMut(&str)) -> Result<(), BackupError> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(explain(from, &e)),
    };
    fs::create_dir_all(to).map_err(|e| explain(to, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| explain(from, &e))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target, copied, tell)?;
        } else {
            copy_file(&entry.path(), &target, copied)?;
            if copied.files.is_multiple_of(1024) {
                tell(&format!("{} files, {} MiB", copied.files, copied.bytes >> 20));
            }
        }
    }
    sync(to)
}

fn copy_file(from: &Path, to: &Path, copied: &mut Copied) -> Result<(), BackupError> {
    match fs::copy(from, to) {
        Ok(bytes) => {
            copied.files += 1;
            copied.bytes += bytes;
            sync(to)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(()),
        Err(e) => Err(explain(to, &e)),
    }
}

fn sync(path: &Path) -> Result<(), BackupError> {
    // Systems that cannot open a folder have nothing to sync there.
    let Ok(file) = File::open(path) else { return Ok(()) };
    file.sync_all().map_err(|e| explain(path, &e))
}

pub(crate) fn make_empty(folder: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(folder).map_err(|e| explain(folder, &e))?;
    let mut entries = fs::read_dir(folder).map_err(|e| explain(folder, &e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::NotEmpty { folder: folder.display().to_string() }),
    }
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = folder.join(BACKUP_FILE);
    let text = serde_json::to_string_pretty(manifest).unwrap_or_default();
    fs::write(&path, text + "\n").map_err(|e| explain(&path, &e))?;
    sync(&path).and_then(|()| sync(folder))
}

fn read_manifest(folder: &Path) -> Result<Manifest, BackupError> {
    let not = |reason: String| BackupError::NotABackup { folder: folder.display().to_string(), reason };
    let path: PathBuf = folder.join(BACKUP_FILE);
    let text = fs::read_to_string(&path).map_err(|e| not(format!("{}: {e}", path.display())))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| not(format!("{BACKUP_FILE}: {e}")))?;
    if manifest.format != FORMAT {
        return Err(not(format!("its format is {}, this program knows {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

pub(crate) fn explain(path: &Path, error: &io::Error) -> BackupError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BackupError::DiskFull { path }
        }
        _ => BackupError::Copy { path, reason: error.to_string() },
    }
}
