//! A log in memory: for tests and for trying things out. It forgets everything with the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use potluck_protocol::JobName;

use super::{EventLog, Head, LogError, Record, Snapshot, chain::check_append};

/// The facts of all jobs, in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<BTreeMap<JobName, Kept>>);

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Record>,
    snapshot: Option<Snapshot>,
}

impl Kept {
    fn head(&self, job: &JobName) -> Head {
        self.records.last().map_or_else(|| Head::genesis(job), Head::from)
    }
}

impl MemoryLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobName, Kept>> {
        // Nothing under this lock can panic halfway, so a poisoned map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for MemoryLog {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        let mut jobs = self.lock();
        let head = jobs.get(job).map_or_else(|| Head::genesis(job), |kept| kept.head(job));
        check_append(job, expected, head, records)?;
        if !records.is_empty() {
            jobs.entry(job.clone()).or_default().records.extend_from_slice(records);
        }
        Ok(())
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let jobs = self.lock();
        let records = jobs.get(job).map(|kept| kept.records.as_slice()).unwrap_or_default();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(records.len());
        Ok(records[from..].iter().take(limit).cloned().collect())
    }

    fn head(&self, job: &JobName) -> Result<Head, LogError> {
        Ok(self.lock().get(job).map_or_else(|| Head::genesis(job), |kept| kept.head(job)))
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        Ok(self.lock().iter().filter(|(_, kept)| !kept.records.is_empty()).map(|(job, _)| job.clone()).collect())
    }

    fn put_snapshot(&self, job: &JobName, snapshot: &Snapshot) -> Result<(), LogError> {
        self.lock().entry(job.clone()).or_default().snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn snapshot(&self, job: &JobName) -> Result<Option<Snapshot>, LogError> {
        Ok(self.lock().get(job).and_then(|kept| kept.snapshot.clone()))
    }
}
