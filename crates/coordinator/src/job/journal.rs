//! A job's facts on their way into the log and out of it. It knows how a fact is written; what
//! follows from one is the scheduler's matter.

use std::sync::Arc;

use potluck_protocol::{JobName, limits};
use potluck_scheduler::Fact;

use crate::{
    folder::Folder,
    log::{EventLog, Head, LogError, Record},
};

/// Version of the JSON that facts are written in. A change that an older reader would take wrongly
/// raises it.
pub(crate) const FACT_SCHEMA: u32 = 1;

/// Why the log of a job cannot be continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A stored fact cannot be read.
    #[error("fact {seq} of {job} cannot be read ({reason}): was it written by a newer Potluck?")]
    Unreadable {
        /// The job.
        job: JobName,
        /// Its position.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// A new fact would not be read back as it is.
    #[error("a fact of {job} cannot be written: {fact}")]
    Unwritable {
        /// The job.
        job: JobName,
        /// The fact, for a bug report.
        fact: String,
    },
}

impl JournalError {
    /// True where nothing was written, since the disk takes nothing at the moment.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Log(LogError::DiskFull { .. }))
    }
}

/// The end of one job's log, held by its one writer.
pub(crate) struct Journal {
    job: JobName,
    log: Arc<dyn EventLog>,
    head: Head,
    /// This process's turn as the job's leader.
    epoch: u64,
    /// Kept while an append runs, so that the folder is not free before the last one is done.
    folder: Arc<Folder>,
}

impl Journal {
    /// Reads a job's log after `from`, checks its chain, and hands each fact to `take`.
    pub(crate) async fn open(
        job: JobName,
        log: Arc<dyn EventLog>,
        folder: Arc<Folder>,
        from: Head,
        mut take: impl FnMut(Fact),
    ) -> Result<Self, JournalError> {
        let take = |record: &Record| fact_of(&job, record).map(&mut take);
        let head = walk(&job, &log, from, None, take).await?;
        let (reader, name) = (Arc::clone(&log), job.clone());
        let expected = blocking(move || reader.head(&name)).await?;
        if head != expected {
            let (found, expected) = (head.to_string(), expected.to_string());
            return Err(LogError::Cut { job, found, expected }.into());
        }
        let epoch = head.epoch + 1;
        Ok(Self { job, log, head, epoch, folder })
    }

    /// Which epoch this process writes.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the log ends.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Adds facts, all or none; when it returns they are durable.
    pub(crate) async fn append(&mut self, facts: &[Fact]) -> Result<(), JournalError> {
        if facts.is_empty() {
            return Ok(());
        }
        let mut head = self.head;
        let mut records = Vec::with_capacity(facts.len());
        for fact in facts {
            let record = head.next(self.epoch, FACT_SCHEMA, self.written(fact)?);
            head = Head::from(&record);
            records.push(record);
        }
        let (log, folder, name, expected) =
            (Arc::clone(&self.log), Arc::clone(&self.folder), self.job.clone(), self.head);
        blocking(move || {
            let appended = log.append(&name, &expected, &records);
            drop(folder);
            appended
        })
        .await?;
        self.head = head;
        Ok(())
    }

    /// The fact as text. A text that is read back as something else (JSON has no infinity, say)
    /// would stop every later start, so it is better refused now.
    fn written(&self, fact: &Fact) -> Result<String, JournalError> {
        let unwritable = || JournalError::Unwritable { job: self.job.clone(), fact: format!("{fact:?}") };
        let text = serde_json::to_string(fact).map_err(|_| unwritable())?;
        let same = serde_json::from_str::<Fact>(&text).is_ok_and(|back| back == *fact);
        if same { Ok(text) } else { Err(unwritable()) }
    }
}

/// Follows the chain of a log after `from`, to its end or to a position, and hands each record to
/// `take`. Returns where it came to.
pub(super) async fn walk(
    job: &JobName,
    log: &Arc<dyn EventLog>,
    from: Head,
    until: Option<u64>,
    mut take: impl FnMut(&Record) -> Result<(), JournalError>,
) -> Result<Head, JournalError> {
    let mut head = from;
    loop {
        let left = until.map_or(u64::MAX, |until| until.saturating_sub(head.seq));
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(limits::LOG_PAGE_FACTS);
        let (reader, name, after) = (Arc::clone(log), job.clone(), head.seq);
        let page = blocking(move || reader.read(&name, after, limit)).await?;
        if page.is_empty() {
            return Ok(head);
        }
        for record in &page {
            head = head.follow(job, record)?;
            take(record)?;
        }
    }
}

/// The fact in a record.
pub(crate) fn fact_of(job: &JobName, record: &Record) -> Result<Fact, JournalError> {
    let unreadable = |reason: String| JournalError::Unreadable { job: job.clone(), seq: record.seq, reason };
    if record.schema != FACT_SCHEMA {
        return Err(unreadable(format!("its schema is {}, this program knows {FACT_SCHEMA}", record.schema)));
    }
    serde_json::from_str(&record.fact).map_err(|e| unreadable(e.to_string()))
}

/// Runs a call of the log where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let panicked = |e: tokio::task::JoinError| LogError::Store { file: "the log".to_owned(), reason: e.to_string() };
    tokio::task::spawn_blocking(call).await.map_err(panicked)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemoryLog;

    fn folder() -> (tempfile::TempDir, Arc<Folder>) {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Arc::new(Folder::open(root.path()).expect("opened"));
        (root, folder)
    }

    async fn open(log: &Arc<MemoryLog>, folder: &Arc<Folder>) -> Result<(Journal, Vec<Fact>), JournalError> {
        let mut facts = Vec::new();
        let log: Arc<dyn EventLog> = log.clone();
        let job = "digits".parse().expect("a name");
        let genesis = Head::genesis(&job);
        let journal = Journal::open(job, log, Arc::clone(folder), genesis, |fact| facts.push(fact)).await?;
        Ok((journal, facts))
    }

    #[tokio::test]
    async fn facts_come_back_and_each_start_is_a_new_epoch() {
        let (_root, folder) = folder();
        let log = Arc::new(MemoryLog::default());
        let (mut journal, facts) = open(&log, &folder).await.expect("empty");
        assert_eq!((facts, journal.epoch), (vec![], 1));
        journal.append(&[Fact::Paused { at: 1 }, Fact::Resumed { at: 2 }]).await.expect("appended");
        let (mut again, facts) = open(&log, &folder).await.expect("two facts");
        assert_eq!((facts, again.epoch), (vec![Fact::Paused { at: 1 }, Fact::Resumed { at: 2 }], 2));
        again.append(&[Fact::Paused { at: 3 }]).await.expect("appended");
        let error = journal.append(&[Fact::Stopped { at: 4 }]).await.expect_err("deposed");
        assert!(matches!(error, JournalError::Log(LogError::Conflict { .. })), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_back_is_not_written() {
        let (_root, folder) = folder();
        let log = Arc::new(MemoryLog::default());
        let (mut journal, _) = open(&log, &folder).await.expect("empty");
        let contribution = potluck_scheduler::Contribution { task: potluck_protocol::TaskId(1), weight: f32::INFINITY };
        let base = potluck_protocol::BlobId([0; 32]);
        let version = potluck_protocol::Version(1);
        let parts = vec![contribution];
        let fact = Fact::Committed { at: 1, version, base, momentum: None, parts, outer: None, delta: None };
        let error = journal.append(&[Fact::Paused { at: 1 }, fact]).await.expect_err("refused");
        assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
        assert_eq!(open(&log, &folder).await.expect("nothing was written").1, []);
    }

    #[tokio::test]
    async fn a_changed_or_newer_fact_is_refused() {
        let (_root, folder) = folder();
        let log = Arc::new(MemoryLog::default());
        let job: JobName = "digits".parse().expect("a name");
        let head = Head::genesis(&job);
        log.append(&job, &head, &[head.next(1, FACT_SCHEMA + 1, "{}".to_owned())]).expect("appended");
        let error = open(&log, &folder).await.err().expect("refused").to_string();
        assert!(error.contains("fact 1 of digits cannot be read (its schema is 2"), "{error}");
    }
}
