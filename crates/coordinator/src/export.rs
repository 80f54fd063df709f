//! One job with its log, taken out of a folder and brought into another, which may have jobs of its
//! own. What comes in is verified to the last fact and blob before anything of it is written.
//!
//! An export is a folder: `potluck.sqlite` with the facts of this job, `blobs`, `updates` and
//! `momenta` as a coordinator keeps them, `job.toml`, and `seal-key`, by which the original and the
//! copy know each other's volunteers. It holds no owner token. `export.json` is written last, so that
//! an export that broke off has none. Names are taken from the log and from this list alone, never
//! from what else lies in the folder.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use potluck_protocol::{BlobId, JobFile, JobName, LeaderId, limits};
use potluck_scheduler::State;
use serde::{Deserialize, Serialize};

use crate::{
    audit::Audit,
    backup::{self, BackupError, Copied, LOG_FILE},
    blobs::{BlobError, Blobs},
    clock::Clock,
    folder::{EXPORT_FILE, Folder, keep_all},
    job::fact_of,
    lineage::Sealer,
    log::{EventLog, Head, LogError, SqliteLog, take_job},
    packs::Packs,
    stores::Stores,
};

/// Version of what an export looks like.
const FORMAT: u32 = 1;

const JOB_FILE: &str = "job.toml";
const SEAL_FILE: &str = "seal-key";

/// The log of an import on its way into the folder's own.
const STAGED_FILE: &str = "import.sqlite";

/// Bytes between two words about how far it is.
const TELL_BYTES: u64 = 64 << 20;

/// `export.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    at: u64,
    job: JobName,
    facts: u64,
    head: String,
}

/// Where the bytes of one job are.
struct Shelf {
    blobs: Blobs,
    updates: Packs,
    momenta: Blobs,
}

/// In which store a blob is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Blob,
    Update,
    Momentum,
}

impl Shelf {
    fn of(folder: &Path, job: &JobName) -> Result<Self, BackupError> {
        let open = || {
            let stores = Stores::in_folder(folder)?;
            let (updates, momenta) = (stores.updates_of(job)?, stores.momenta_of(job)?);
            Ok(Self { blobs: stores.blobs, updates, momenta })
        };
        open().map_err(|error| BackupError::Incomplete { error })
    }

    /// Its bytes, verified against its id.
    async fn get(&self, id: BlobId) -> Result<(Kind, Bytes), BlobError> {
        let max = limits::BLOB_BYTES_MAX;
        if let Ok(bytes) = self.updates.get(id, max).await {
            return Ok((Kind::Update, bytes));
        }
        if let Ok(bytes) = self.momenta.get(id, max).await {
            return Ok((Kind::Momentum, bytes));
        }
        Ok((Kind::Blob, self.blobs.get(id, max).await?))
    }

    async fn put(&self, kind: Kind, bytes: Bytes) -> Result<BlobId, BlobError> {
        match kind {
            Kind::Blob => self.blobs.put(bytes).await,
            Kind::Update => self.updates.put(bytes).await,
            Kind::Momentum => self.momenta.put(bytes).await,
        }
    }

    /// Copies what a state needs, and of its old versions what is still there. `added` hears of every
    /// blob that was not there before.
    async fn copy_to(
        &self,
        to: &Self,
        state: &State,
        added: &mut Vec<BlobId>,
        tell: &mut impl FnMut(&str),
    ) -> Result<Copied, BackupError> {
        let incomplete = |error| BackupError::Incomplete { error };
        let needed = state.retained();
        let old: BTreeSet<BlobId> = state.history().map(|record| record.base).collect();
        let (mut copied, mut told) = (Copied::default(), 0);
        for id in needed.union(&old) {
            let (kind, bytes) = match self.get(*id).await {
                Err(BlobError::Missing { .. }) if !needed.contains(id) => continue,
                found => found.map_err(incomplete)?,
            };
            copied.files += 1;
            copied.bytes += bytes.len() as u64;
            if matches!(kind, Kind::Blob) && to.blobs.get(*id, limits::BLOB_BYTES_MAX).await.is_err() {
                added.push(*id);
            }
            to.put(kind, bytes).await.map_err(incomplete)?;
            if copied.bytes >= told + TELL_BYTES {
                told = copied.bytes;
                tell(&format!("{} blobs, {} MiB", copied.files, copied.bytes >> 20));
            }
        }
        Ok(copied)
    }
}

/// Writes one job of a folder, which may be in use, into a folder that does not exist yet, and checks
/// the copy. `tell` hears how far it is.
///
/// # Errors
///
/// Each is a sentence that says what to do. What was written until then stays and is no export.
pub async fn export_job(
    folder: &Path,
    job_file: &Path,
    to: &Path,
    mut tell: impl FnMut(&str),
) -> Result<Copied, BackupError> {
    let (text, job) = read_job_file(job_file)?;
    let known = Audit::jobs(folder)?;
    if !known.contains(&job) {
        return Err(BackupError::UnknownJob { folder: shown(folder), job });
    }
    backup::make_empty(to)?;
    // From before the log is read until the last blob is copied: what it names must still be there.
    let keeping = keep_all(folder)?;
    tell("the log");
    let state = copy_log_of(&job, folder, to)?;
    let mut copied =
        Shelf::of(folder, &job)?.copy_to(&Shelf::of(to, &job)?, &state, &mut Vec::new(), &mut tell).await?;
    drop(keeping);
    write(&to.join(JOB_FILE), &text)?;
    write(&to.join(SEAL_FILE), &Sealer::read(folder, &job)?.to_text())?;
    tell("checking the copy");
    let mut audit = Audit::new(job.clone());
    audit.advance(to).await?;
    let (facts, head) = (audit.fact_count(), audit.head().hash.to_string());
    let manifest = Manifest { format: FORMAT, at: Clock::system().now(), job: job.clone(), facts, head: head.clone() };
    write(&to.join(EXPORT_FILE), &serde_json::to_string_pretty(&manifest).unwrap_or_default())?;
    copied.jobs.push((job, facts, head));
    Ok(copied)
}

/// Brings an exported job into a folder that nobody serves, made where it is missing. The job begins
/// a new line, as after [`crate::new_epoch`]: the original stops as soon as a volunteer of this one
/// comes by. Returns what was copied, the new line, and where the job file is.
///
/// # Errors
///
/// Each is a sentence that says what to do; nothing of the job is in the folder then.
pub async fn import_job(
    from: &Path,
    folder: &Path,
    mut tell: impl FnMut(&str),
) -> Result<(Copied, LeaderId, PathBuf), BackupError> {
    let not = |reason: String| BackupError::NotAnExport { folder: shown(from), reason };
    let manifest = read_manifest(from)?;
    let job = manifest.job.clone();
    let (text, named) = read_job_file(&from.join(JOB_FILE))?;
    if Audit::jobs(from)? != [job.clone()] || named != job {
        return Err(not(format!("it is not all of job {job} and of nothing else")));
    }
    let seal = Sealer::from_text(&read_short(&from.join(SEAL_FILE)).map_err(not)?);
    let seal = seal.ok_or_else(|| not(format!("{SEAL_FILE} is not 64 hexadecimal digits")))?;
    tell("checking the export");
    let mut audit = Audit::new(job.clone());
    audit.advance(from).await?;
    if (audit.fact_count(), audit.head().hash.to_string()) != (manifest.facts, manifest.head) {
        return Err(not("its log is not the one that was exported".to_owned()));
    }
    let held = Folder::open(folder)?;
    held.check_place()?;
    let log = SqliteLog::open(&folder.join(LOG_FILE))?;
    if log.jobs()?.contains(&job) {
        return Err(BackupError::JobThere { folder: shown(folder), job });
    }
    let (source, target) = (Shelf::of(from, &job)?, Shelf::of(folder, &job)?);
    let mut added = Vec::new();
    let job_file = folder.join("jobs").join(format!("{job}.toml"));
    let bring = async {
        let mut copied = source.copy_to(&target, audit.state(), &mut added, &mut tell).await?;
        write(&job_file, &text)?;
        write(&Sealer::file(folder, &job), &seal.to_text())?;
        let leader = take_log(&job, from, folder, &audit)?;
        copied.jobs.push((job.clone(), audit.fact_count(), audit.head().hash.to_string()));
        Ok((copied, leader, job_file.clone()))
    };
    let brought = bring.await;
    // What cannot be removed costs space and nothing else: no log names it.
    let _ = fs::remove_file(folder.join(STAGED_FILE));
    if brought.is_err() {
        for id in added {
            let _ = target.blobs.delete(id).await;
        }
        let _ = (fs::remove_file(&job_file), fs::remove_file(Sealer::file(folder, &job)));
        for store in ["updates", "momenta"] {
            let _ = fs::remove_dir_all(folder.join(store).join(job.as_str()));
        }
    }
    brought
}

/// Copies the log of one job as it is now, and folds it.
fn copy_log_of(job: &JobName, folder: &Path, to: &Path) -> Result<State, BackupError> {
    let (source, target) = (SqliteLog::open(&folder.join(LOG_FILE))?, SqliteLog::open(&to.join(LOG_FILE))?);
    let (end, mut head, mut state) = (source.head(job)?, Head::genesis(job), State::default());
    while head.seq < end.seq {
        let left = usize::try_from(end.seq - head.seq).unwrap_or(usize::MAX);
        let page = source.read(job, head.seq, left.min(limits::LOG_PAGE_FACTS))?;
        let before = head;
        for record in &page {
            head = head.follow(job, record)?;
            state.apply(&fact_of(job, record)?);
        }
        if page.is_empty() {
            break;
        }
        target.append(job, &before, &page)?;
    }
    if head != end {
        let (found, expected) = (head.to_string(), end.to_string());
        return Err(LogError::Cut { job: job.clone(), found, expected }.into());
    }
    Ok(state)
}

/// Puts an export's log, with a new line at its end, into the folder's own, all of it or nothing.
fn take_log(job: &JobName, from: &Path, folder: &Path, audit: &Audit) -> Result<LeaderId, BackupError> {
    let staged = folder.join(STAGED_FILE);
    let _ = fs::remove_file(&staged);
    backup::copy_log(&from.join(LOG_FILE), &staged)?;
    let log = SqliteLog::open(&staged)?;
    // Checked before; but the copy is another read.
    if log.head(job)? != *audit.head() {
        let reason = "its log changed while it was read".to_owned();
        return Err(BackupError::NotAnExport { folder: shown(from), reason });
    }
    let leader = backup::fork(&log, job, audit)?;
    drop(log);
    take_job(&folder.join(LOG_FILE), &staged, job)?;
    Ok(leader)
}

fn read_job_file(path: &Path) -> Result<(String, JobName), BackupError> {
    let bad = |reason: String| BackupError::JobFile { path: shown(path), reason };
    let metadata = fs::metadata(path).map_err(|e| bad(e.to_string()))?;
    if metadata.len() > limits::JOB_FILE_BYTES_MAX as u64 {
        return Err(bad(format!("it has {} bytes, a job file at most {}", metadata.len(), limits::JOB_FILE_BYTES_MAX)));
    }
    let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let name = JobFile::parse(&text).map_err(|e| bad(e.to_string()))?.job.name;
    Ok((text, name))
}

fn read_manifest(folder: &Path) -> Result<Manifest, BackupError> {
    let not = |reason: String| BackupError::NotAnExport { folder: shown(folder), reason };
    let text = read_short(&folder.join(EXPORT_FILE)).map_err(not)?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| not(format!("{EXPORT_FILE}: {e}")))?;
    if manifest.format != FORMAT {
        return Err(not(format!("its format is {}, this program knows {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// A file of less than a page; a larger one is not read.
fn read_short(path: &Path) -> Result<String, String> {
    let explain = |e: std::io::Error| format!("{}: {e}", path.display());
    let length = fs::metadata(path).map_err(explain)?.len();
    if length > 4096 {
        return Err(format!("{}: it has {length} bytes, at most 4096 are expected", path.display()));
    }
    fs::read_to_string(path).map_err(explain)
}

/// Writes a file that only its owner reads, durably.
fn write(path: &Path, text: &str) -> Result<(), BackupError> {
    let put = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all())
    };
    put().map_err(|e| backup::explain(path, &e))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
