//! A log in memory: for tests and for trying things out. It forgets everything with the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use potluck_protocol::JobName;

use super::{EventLog, Head, LogError, Record, chain::check_append};

/// The facts of all jobs, in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<BTreeMap<JobName, Vec<Record>>>);

impl MemoryLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobName, Vec<Record>>> {
        // Nothing under this lock can panic halfway, so a poisoned map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for MemoryLog {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        let mut jobs = self.lock();
        let stored = jobs.get(job).and_then(|records| records.last());
        let head = stored.map_or_else(|| Head::genesis(job), Head::from);
        check_append(job, expected, head, records)?;
        if !records.is_empty() {
            jobs.entry(job.clone()).or_default().extend_from_slice(records);
        }
        Ok(())
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        let jobs = self.lock();
        let records = jobs.get(job).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(records.len());
        Ok(records[from..].iter().take(limit).cloned().collect())
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        Ok(self.lock().keys().cloned().collect())
    }
}
