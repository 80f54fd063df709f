//! The log in one SQLite file: durable on every append, and open to anyone with `sqlite3`.
//!
//! Write-ahead log with `synchronous=FULL`: with `NORMAL` a commit may be lost in a power cut.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use potluck_protocol::JobName;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use super::{EventLog, Head, LogError, Record, RecordHash, chain::check_append};

/// Version of the tables, kept in `user_version`; a file with a larger one is left alone.
const TABLES_VERSION: i64 = 1;

const CREATE: &str = "
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
PRAGMA user_version = 1;
";

/// The facts of all jobs, in `potluck.sqlite`.
#[derive(Debug)]
pub struct SqliteLog {
    file: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteLog {
    /// Opens the file, making it where it is missing.
    ///
    /// # Errors
    ///
    /// Where it cannot be made, is no database, or was written by a newer Potluck.
    pub fn open(file: &Path) -> Result<Self, LogError> {
        let explain = |e| explain(file, e);
        let connection = Connection::open(file).map_err(explain)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(explain)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(explain)?;
        if version > TABLES_VERSION {
            let reason = format!("its tables have version {version}, this program knows {TABLES_VERSION}: update it");
            return Err(LogError::NotALog { file: file.display().to_string(), reason });
        }
        connection.execute_batch(CREATE).map_err(explain)?;
        Ok(Self { file: file.to_owned(), connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that was cut short by a panic has been rolled back: the connection is whole.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: rusqlite::Error) -> LogError {
        explain(&self.file, error)
    }
}

impl EventLog for SqliteLog {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        let explain = |e| self.explain(e);
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
        let last = "SELECT * FROM facts WHERE job = ?1 ORDER BY seq DESC LIMIT 1";
        let stored = transaction.query_row(last, [job.as_str()], record_from_row).optional().map_err(explain)?;
        let found = stored.as_ref().map_or_else(|| Head::genesis(job), Head::from);
        check_append(job, expected, found, records)?;
        {
            let insert = "INSERT INTO facts (job, seq, epoch, schema, previous, hash, fact) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let mut insert = transaction.prepare_cached(insert).map_err(explain)?;
            for Record { epoch, seq, previous, schema, fact, hash } in records {
                let (epoch, seq) = (epoch.cast_signed(), seq.cast_signed());
                let (previous, hash) = (previous.to_string(), hash.to_string());
                insert.execute(params![job.as_str(), seq, epoch, schema, previous, hash, fact]).map_err(explain)?;
            }
        }
        transaction.commit().map_err(explain)
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let explain = |e| self.explain(e);
        let connection = self.lock();
        let page = "SELECT * FROM facts WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut page = connection.prepare_cached(page).map_err(explain)?;
        let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = page.query_map(params![job.as_str(), after, limit], record_from_row).map_err(explain)?;
        rows.collect::<Result<_, _>>().map_err(explain)
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        let explain = |e| self.explain(e);
        let connection = self.lock();
        let mut names = connection.prepare_cached("SELECT DISTINCT job FROM facts ORDER BY job").map_err(explain)?;
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
}

fn record_from_row(row: &Row<'_>) -> Result<Record, rusqlite::Error> {
    let hash = |column: &str| -> Result<RecordHash, rusqlite::Error> {
        let mut bytes = [0; 32];
        // An unreadable hash becomes one that nothing has; the chain then names the position.
        let _ = hex::decode_to_slice(row.get::<_, String>(column)?, &mut bytes);
        Ok(RecordHash(bytes))
    };
    Ok(Record {
        epoch: row.get::<_, i64>("epoch")?.cast_unsigned(),
        seq: row.get::<_, i64>("seq")?.cast_unsigned(),
        previous: hash("previous")?,
        schema: row.get("schema")?,
        fact: row.get("fact")?,
        hash: hash("hash")?,
    })
}

/// What the owner can do about an error.
fn explain(file: &Path, error: rusqlite::Error) -> LogError {
    let code = error.sqlite_error_code();
    let (file, reason) = (file.display().to_string(), error.to_string());
    match code {
        Some(ErrorCode::DiskFull) => LogError::DiskFull { file },
        // SQLite says no more of an exceeded quota or file size limit.
        Some(ErrorCode::SystemIoFailure) => LogError::DiskFailed { file, reason },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            LogError::NotWritable { file, reason }
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            LogError::NotALog { file, reason: format!("{reason}: restore it from a backup") }
        }
        _ => LogError::Store { file, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance;

    #[test]
    fn conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        conformance::check_all(
            || SqliteLog::open(&file).expect("a log"),
            || std::fs::remove_file(&file).expect("gone"),
        );
    }

    #[test]
    fn keeps_records_when_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        let records = conformance::records(3);
        let log = SqliteLog::open(&file).expect("a log");
        log.append(&conformance::job(), &Head::genesis(&conformance::job()), &records).expect("appended");
        drop(log);
        let log = SqliteLog::open(&file).expect("a log");
        assert_eq!(log.read(&conformance::job(), 0, 10).expect("records"), records);
    }

    #[test]
    fn two_writers_cannot_fork_a_job() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        let (one, two) = (SqliteLog::open(&file).expect("a log"), SqliteLog::open(&file).expect("a log"));
        let (job, records) = (conformance::job(), conformance::records(2));
        let genesis = Head::genesis(&job);
        one.append(&job, &genesis, &records[..1]).expect("the first wins");
        assert!(matches!(two.append(&job, &genesis, &records), Err(LogError::Conflict { .. })));
        assert_eq!(two.read(&job, 0, 10).expect("records"), records[..1]);
    }

    #[test]
    fn a_full_disk_is_named_and_nothing_is_half_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        let log = SqliteLog::open(&file).expect("a log");
        let job = conformance::job();
        // The same error code as a full disk: the file may not grow past these pages.
        log.lock().pragma_update(None, "max_page_count", 8).expect("a limit");
        let record = Head::genesis(&job).next(1, 1, "x".repeat(1 << 20));
        let error = log.append(&job, &Head::genesis(&job), &[record]).expect_err("full");
        assert!(error.to_string().contains("is full: free some space"), "{error}");
        assert_eq!(log.read(&job, 0, 10).expect("records"), []);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        std::fs::write(&file, "no database, but long enough to be looked at as one ".repeat(100)).expect("written");
        let error = SqliteLog::open(&file).expect_err("no database");
        assert!(matches!(error, LogError::NotALog { .. }), "{error}");
        let error = SqliteLog::open(&folder.path().join("missing/potluck.sqlite")).expect_err("no folder");
        assert!(matches!(error, LogError::NotWritable { .. }), "{error}");
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("potluck.sqlite");
        let log = SqliteLog::open(&file).expect("a log");
        log.lock().pragma_update(None, "user_version", 2).expect("set");
        drop(log);
        let error = SqliteLog::open(&file).expect_err("newer").to_string();
        assert!(error.contains("version 2, this program knows 1: update it"), "{error}");
    }
}
