//! The log in one SQLite file: durable on every append, and open to anyone with `sqlite3`.
//!
//! Write-ahead log with `synchronous=FULL`: with `NORMAL` a commit may be lost in a power cut.
//! One thread writes ([`super::writer`]); reads have a connection of their own and wait for no write.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use potluck_protocol::JobName;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::folder::RESTORE;

use super::{
    EventLog, Head, LogError, Record, RecordHash, Snapshot,
    inspect::Inspection,
    witness::{Seen, Witness},
    writer::{Append, Writer},
};

/// Version of the tables, kept in `user_version`; a file with a larger one is left alone. Version 1
/// had the facts alone.
const TABLES_VERSION: i64 = 2;

/// How long to wait for another program that looks at the file, such as `sqlite3`.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Tables of the newest version, out of a file of any older one.
const CREATE: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS facts (
    job      TEXT    NOT NULL,
    seq      INTEGER NOT NULL,  -- from 1
    epoch    INTEGER NOT NULL,  -- which leader wrote it
    schema   INTEGER NOT NULL,  -- version of the JSON
    previous TEXT    NOT NULL,  -- hash of the fact before it
    hash     TEXT    NOT NULL,  -- hash of this one
    fact     TEXT    NOT NULL,  -- JSON
    PRIMARY KEY (job, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS heads (
    job      TEXT    NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,  -- of the job's last fact, as are the others
    seq      INTEGER NOT NULL,
    hash     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    job      TEXT    NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,  -- of the last fact that is in it, as are the next two
    seq      INTEGER NOT NULL,
    hash     TEXT    NOT NULL,
    schema   INTEGER NOT NULL,  -- version of the state's JSON
    digest   TEXT    NOT NULL,  -- hash over all of it
    state    TEXT    NOT NULL   -- JSON
) STRICT;
INSERT OR IGNORE INTO heads (job, epoch, seq, hash)
    SELECT job, epoch, max(seq), hash FROM facts WHERE (SELECT user_version FROM pragma_user_version) < 2 GROUP BY job;
PRAGMA user_version = 2;
COMMIT;
";

/// The facts of all jobs, in `potluck.sqlite`.
#[derive(Debug)]
pub struct SqliteLog {
    file: PathBuf,
    reader: Mutex<Connection>,
    inspection: Inspection,
    writer: Writer,
}

impl SqliteLog {
    /// Opens the file, making it where it is missing.
    ///
    /// # Errors
    ///
    /// Where it cannot be made, is no database, was written by a newer Potluck, is damaged, or ends
    /// before facts that were acknowledged.
    pub fn open(file: &Path) -> Result<Self, LogError> {
        let explain = |e| explain(file, &e);
        // Before the log, which may be growing under another process and is never behind it.
        let witness = Witness::read(file);
        let connection = Connection::open(file).map_err(explain)?;
        connection.busy_timeout(BUSY).map_err(explain)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(explain)?;
        if version > TABLES_VERSION {
            let reason = format!(
                "its tables have version {version}, this program knows {TABLES_VERSION}: update it, or, where no newer \
                 Potluck wrote it, {RESTORE}"
            );
            return Err(LogError::NotALog { file: file.display().to_string(), reason });
        }
        if version < TABLES_VERSION {
            connection.execute_batch(CREATE).map_err(explain)?;
        }
        let reader = Connection::open(file).map_err(explain)?;
        reader.busy_timeout(BUSY).map_err(explain)?;
        reader.pragma_update(None, "query_only", true).map_err(explain)?;
        let inspection = Inspection::start(file)?;
        check_reaches(file, &reader, &witness)?;
        let writer = Writer::start(file, connection, witness)?;
        Ok(Self { file: file.to_owned(), reader: Mutex::new(reader), inspection, writer })
    }

    /// Drops what says how far the logs had come: their owner has said that what is there counts.
    ///
    /// # Errors
    ///
    /// Where that cannot be written.
    pub(crate) fn forget_witness(file: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(super::witness::path_of(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        // A read that was cut short by a panic has ended: the connection is whole.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: &rusqlite::Error) -> LogError {
        explain(&self.file, error)
    }
}

impl EventLog for SqliteLog {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        self.inspection.check()?;
        self.writer.append(Append { job: job.clone(), expected: *expected, records: records.to_vec() })
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let connection = self.reader();
        let page = "SELECT * FROM facts WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut page = connection.prepare_cached(page).map_err(|e| self.explain(&e))?;
        let (from, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = page.query_map(params![job.as_str(), from, limit], record_from_row);
        let mut records: Vec<Record> = Vec::new();
        for row in rows.map_err(|e| self.explain(&e))? {
            let last = records.last().map_or(after, |record| record.seq);
            let at = |error| match explain(&self.file, &error) {
                LogError::Damaged { file, reason } => {
                    LogError::Damaged { file, reason: format!("{reason}, after fact {last} of {job}") }
                }
                other => other,
            };
            records.push(row.map_err(at)?);
        }
        Ok(records)
    }

    fn head(&self, job: &JobName) -> Result<Head, LogError> {
        head(&self.reader(), job).map_err(|e| self.explain(&e))
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        let explain = |e| self.explain(&e);
        let connection = self.reader();
        let mut names = connection.prepare_cached("SELECT job FROM heads ORDER BY job").map_err(explain)?;
        let names = names.query_map([], |row| row.get::<_, String>(0)).map_err(explain)?;
        let mut jobs = Vec::new();
        for name in names {
            let name = name.map_err(explain)?;
            jobs.push(name.parse().map_err(|e: potluck_protocol::IdError| LogError::NotALog {
                file: self.file.display().to_string(),
                reason: e.to_string(),
            })?);
        }
        Ok(jobs)
    }

    fn put_snapshot(&self, job: &JobName, snapshot: &Snapshot) -> Result<(), LogError> {
        self.writer.put_snapshot(job.clone(), snapshot.clone())
    }

    fn snapshot(&self, job: &JobName) -> Result<Option<Snapshot>, LogError> {
        let connection = self.reader();
        let query = "SELECT * FROM snapshots WHERE job = ?1";
        let found = connection.query_row(query, [job.as_str()], |row| {
            let head = head_from_row(row)?;
            let digest = hash_from_row(row, "digest")?;
            Ok(Snapshot { head, schema: row.get("schema")?, state: row.get("state")?, digest })
        });
        found.optional().map_err(|e| self.explain(&e))
    }
}

/// Takes a job's facts over from another file, all of them or none.
pub(crate) fn take_job(file: &Path, from: &Path, job: &JobName) -> Result<(), LogError> {
    let explain = |e| explain(file, &e);
    let take = || {
        let mut connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute("ATTACH ?1 AS other", [from.to_string_lossy()])?;
        let taking = connection.transaction()?;
        for table in ["facts", "heads"] {
            taking
                .execute(&format!("INSERT INTO {table} SELECT * FROM other.{table} WHERE job = ?1"), [job.as_str()])?;
        }
        taking.commit()
    };
    take().map_err(explain)
}

/// Where a job's log ends by the table of heads.
pub(super) fn head(connection: &Connection, job: &JobName) -> Result<Head, rusqlite::Error> {
    let mut query = connection.prepare_cached("SELECT epoch, seq, hash FROM heads WHERE job = ?1")?;
    let stored = query.query_row([job.as_str()], head_from_row).optional()?;
    Ok(stored.unwrap_or_else(|| Head::genesis(job)))
}

/// Refuses a log that does not reach what it once had reached.
fn check_reaches(file: &Path, connection: &Connection, witness: &Witness) -> Result<(), LogError> {
    let explain = |e| explain(file, &e);
    for (job, Seen { seq, hash }) in witness.jobs() {
        let mut query = connection.prepare("SELECT hash FROM facts WHERE job = ?1 AND seq = ?2").map_err(explain)?;
        let stored = query.query_row(params![job.as_str(), seq.cast_signed()], |row| row.get::<_, String>(0));
        let stored = stored.optional().map_err(explain)?;
        if stored.as_deref() != Some(hash.to_string().as_str()) {
            let found = head(connection, job).map_err(explain)?.to_string();
            let expected = Head { epoch: 0, seq: *seq, hash: *hash }.to_string();
            return Err(LogError::Lost { file: file.display().to_string(), job: job.clone(), found, expected });
        }
    }
    Ok(())
}

fn head_from_row(row: &Row<'_>) -> Result<Head, rusqlite::Error> {
    Ok(Head {
        epoch: row.get::<_, i64>("epoch")?.cast_unsigned(),
        seq: row.get::<_, i64>("seq")?.cast_unsigned(),
        hash: hash_from_row(row, "hash")?,
    })
}

fn record_from_row(row: &Row<'_>) -> Result<Record, rusqlite::Error> {
    let Head { epoch, seq, hash } = head_from_row(row)?;
    let previous = hash_from_row(row, "previous")?;
    Ok(Record { epoch, seq, previous, schema: row.get("schema")?, fact: row.get("fact")?, hash })
}

/// An unreadable hash becomes one that nothing has; the chain then names the position.
fn hash_from_row(row: &Row<'_>, column: &str) -> Result<RecordHash, rusqlite::Error> {
    let mut bytes = [0; 32];
    let _ = hex::decode_to_slice(row.get::<_, String>(column)?, &mut bytes);
    Ok(RecordHash(bytes))
}

fn is_refused_write(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

/// What the owner can do about an error.
pub(super) fn explain(file: &Path, error: &rusqlite::Error) -> LogError {
    let code = error.sqlite_error_code();
    let (file, reason) = (file.display().to_string(), error.to_string());
    match code {
        // A write that was refused: SQLite says no more of an exceeded quota or file size limit. Nothing of
        // the transaction is there.
        Some(ErrorCode::DiskFull) => LogError::DiskFull { file },
        Some(ErrorCode::SystemIoFailure) if is_refused_write(error) => LogError::DiskFull { file },
        Some(ErrorCode::SystemIoFailure) => LogError::DiskFailed { file, reason },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            LogError::NotWritable { file, reason }
        }
        Some(ErrorCode::NotADatabase) => LogError::NotALog { file, reason: format!("{reason}: {RESTORE}") },
        // A schema that cannot be understood and values of the wrong kind are nothing that this
        // program wrote.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown | ErrorCode::TypeMismatch) => {
            LogError::Damaged { file, reason }
        }
        None => LogError::Damaged { file, reason },
        _ => LogError::Store { file, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        (folder, file)
    }

    #[test]
    fn conforms() {
        let (_folder, file) = file();
        let clear = || {
            std::fs::remove_file(&file).expect("gone");
            SqliteLog::forget_witness(&file).expect("forgotten");
        };
        conformance::check_all(|| SqliteLog::open(&file).expect("a log"), clear);
    }

    #[test]
    fn keeps_everything_when_opened_again() {
        let (_folder, file) = file();
        let (job, records) = (conformance::job(), conformance::records(3));
        let snapshot = Snapshot::new(&job, Head::from(&records[1]), 1, "{}".to_owned());
        let log = SqliteLog::open(&file).expect("a log");
        log.append(&job, &Head::genesis(&job), &records).expect("appended");
        log.put_snapshot(&job, &snapshot).expect("kept");
        drop(log);
        let log = SqliteLog::open(&file).expect("a log");
        assert_eq!(log.read(&job, 0, 10).expect("records"), records);
        assert_eq!(log.head(&job).expect("a head"), Head::from(&records[2]));
        assert_eq!(log.snapshot(&job).expect("readable"), Some(snapshot));
    }

    #[test]
    fn two_writers_cannot_fork_a_job() {
        let (_folder, file) = file();
        let (one, two) = (SqliteLog::open(&file).expect("a log"), SqliteLog::open(&file).expect("a log"));
        let (job, records) = (conformance::job(), conformance::records(2));
        let genesis = Head::genesis(&job);
        one.append(&job, &genesis, &records[..1]).expect("the first wins");
        assert!(matches!(two.append(&job, &genesis, &records), Err(LogError::Conflict { .. })));
        assert_eq!(two.read(&job, 0, 10).expect("records"), records[..1]);
    }

    #[test]
    fn a_full_disk_is_named_and_nothing_is_half_written() {
        let (_folder, file) = file();
        let log = SqliteLog::open(&file).expect("a log");
        let job = conformance::job();
        // The same error code as a full disk: the file may not grow past these pages.
        log.writer.limit_pages(12);
        let record = Head::genesis(&job).next(1, 1, "x".repeat(1 << 20));
        let error = log.append(&job, &Head::genesis(&job), &[record]).expect_err("full");
        assert!(error.to_string().contains("is full, or a limit is reached: free some space"), "{error}");
        assert_eq!(log.read(&job, 0, 10).expect("records"), []);
        assert_eq!(log.head(&job).expect("a head"), Head::genesis(&job));
        log.append(&job, &Head::genesis(&job), &conformance::records(1)).expect("what fits is taken");
    }

    #[test]
    fn other_files_are_refused() {
        let (folder, file) = file();
        std::fs::write(&file, "no database, but long enough to be looked at as one ".repeat(100)).expect("written");
        let error = SqliteLog::open(&file).expect_err("no database");
        assert!(matches!(error, LogError::NotALog { .. }), "{error}");
        let error = SqliteLog::open(&folder.path().join("missing/potluck.sqlite")).expect_err("no folder");
        assert!(matches!(error, LogError::NotWritable { .. }), "{error}");
    }

    /// Appends five facts in two runs, changes the files, and opens the log again.
    #[track_caller]
    fn check_loss(change: impl FnOnce(&Path), expected: Option<&str>) {
        let (_folder, file) = file();
        let (job, records) = (conformance::job(), conformance::records(5));
        let log = SqliteLog::open(&file).expect("a log");
        log.append(&job, &Head::genesis(&job), &records[..2]).expect("appended");
        drop(log);
        std::fs::copy(&file, file.with_extension("old")).expect("copied");
        let log = SqliteLog::open(&file).expect("a log");
        log.append(&job, &Head::from(&records[1]), &records[2..]).expect("appended");
        drop(log);
        change(&file);
        let opened = SqliteLog::open(&file).map_err(|e| e.to_string());
        match expected {
            None => assert_eq!(opened.expect("opened").read(&job, 0, 9).expect("records"), records),
            Some(expected) => {
                let error = opened.expect_err("refused");
                assert!(error.contains(expected) && error.contains("potluck restore"), "{error}");
            }
        }
    }

    #[test]
    fn a_log_that_lost_its_end_is_refused_however_whole_it_looks() {
        check_loss(|_| (), None);
        let old = |file: &Path| std::fs::rename(file.with_extension("old"), file).expect("replaced");
        check_loss(old, Some("digits ends at 2/"));
        check_loss(|file| std::fs::remove_file(file).expect("removed"), Some("digits ends at 0/"));
        check_loss(|file| std::fs::write(file, "").expect("emptied"), Some("digits ends at 0/"));
        // Without the witness nothing is known of what is gone, and nothing else is affected.
        check_loss(|file| SqliteLog::forget_witness(file).expect("forgotten"), None);
    }

    #[test]
    fn a_damaged_index_is_found_before_anything_is_written() {
        let damage = |file: &Path| {
            let connection = Connection::open(file).expect("a database");
            let page: i64 = connection
                .query_row("SELECT rootpage FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex_facts%'", [], |r| {
                    r.get(0)
                })
                .expect("an index");
            let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).expect("a size");
            drop(connection);
            let mut bytes = std::fs::read(file).expect("read");
            // The last key of the page, which no look at the facts in their order would miss.
            let end = (page * size) as usize;
            bytes[end - 1] ^= 1;
            std::fs::write(file, bytes).expect("written");
        };
        check_loss(damage, Some("potluck.sqlite is damaged ("));
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let (_folder, file) = file();
        drop(SqliteLog::open(&file).expect("a log"));
        let connection = Connection::open(&file).expect("a database");
        connection.pragma_update(None, "user_version", TABLES_VERSION + 1).expect("set");
        let error = SqliteLog::open(&file).expect_err("newer").to_string();
        assert!(error.contains("version 3, this program knows 2: update it, or"), "{error}");
    }

    #[test]
    fn a_file_of_the_first_version_is_read_and_continued() {
        let (_folder, file) = file();
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/log-v1.sqlite");
        std::fs::copy(golden, &file).expect("copied");
        let log = SqliteLog::open(&file).expect("a log");
        let job = conformance::job();
        assert_eq!(log.jobs().expect("jobs"), std::slice::from_ref(&job));
        let records = log.read(&job, 0, 100).expect("records");
        let end = records.iter().try_fold(Head::genesis(&job), |head, record| head.follow(&job, record));
        let head = log.head(&job).expect("a head");
        assert_eq!((end.expect("a whole chain"), head.seq), (head, 41));
        log.append(&job, &head, &[head.next(2, 1, "{}".to_owned())]).expect("continued");
        assert_eq!(log.snapshot(&job).expect("readable"), None);
    }
}
