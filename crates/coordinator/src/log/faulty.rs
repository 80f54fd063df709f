//! A log that breaks where it is told to: for tests of what stands on a log. It wraps any other and
//! is that other one until its fault comes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use potluck_protocol::JobName;

use super::{EventLog, Head, LogError, Record, Snapshot};

/// What happens to one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error; nothing is stored.
    Fail,
    /// An error; so many of the records are stored all the same, as where a store does not keep its
    /// word, or where its answer was lost.
    Tear(usize),
    /// No answer before [`FaultyLog::thaw`]; then the append goes ahead, however the log has changed.
    Freeze,
}

/// A log with at most one fault.
#[derive(Debug)]
pub struct FaultyLog<L> {
    inner: L,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    appends: u64,
    planned: Option<(u64, Fault)>,
    is_frozen: bool,
}

impl<L> FaultyLog<L> {
    /// The same log, without a fault so far.
    pub fn new(inner: L) -> Self {
        Self { inner, progress: Mutex::default(), changed: Condvar::new() }
    }

    /// Plans a fault for the append that comes after `appends` others, counted from the first one of
    /// this log.
    pub fn plan(&self, appends: u64, fault: Fault) {
        self.lock().planned = Some((appends, fault));
    }

    /// Appends that were asked for so far, those that failed included.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    /// Blocks until an append is frozen, and returns at once where none will be: without a plan.
    pub fn wait_frozen(&self) {
        let mut progress = self.lock();
        while !progress.is_frozen && progress.planned.is_some() {
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets a frozen append go ahead, and drops a freeze that has not come.
    pub fn thaw(&self) {
        let mut progress = self.lock();
        progress.planned = None;
        progress.is_frozen = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // No step under this lock leaves the numbers half changed.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an append, and waits where it is to freeze.
    fn next_fault(&self) -> Option<Fault> {
        let mut progress = self.lock();
        let number = progress.appends;
        progress.appends += 1;
        let (_, fault) = progress.planned.filter(|(at, _)| *at == number)?;
        if fault == Fault::Freeze {
            progress.is_frozen = true;
            self.changed.notify_all();
            while progress.is_frozen {
                progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
        }
        progress.planned = None;
        self.changed.notify_all();
        Some(fault)
    }
}

impl<L: EventLog> EventLog for FaultyLog<L> {
    fn append(&self, job: &JobName, expected: &Head, records: &[Record]) -> Result<(), LogError> {
        let broken =
            || LogError::DiskFailed { file: "potluck.sqlite".to_owned(), reason: "a planned fault".to_owned() };
        match self.next_fault() {
            None | Some(Fault::Freeze) => self.inner.append(job, expected, records),
            Some(Fault::Fail) => Err(broken()),
            Some(Fault::Tear(durable)) => {
                self.inner.append(job, expected, &records[..durable.min(records.len())])?;
                Err(broken())
            }
        }
    }

    fn read(&self, job: &JobName, after: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        self.inner.read(job, after, limit)
    }

    fn head(&self, job: &JobName) -> Result<Head, LogError> {
        self.inner.head(job)
    }

    fn jobs(&self) -> Result<Vec<JobName>, LogError> {
        self.inner.jobs()
    }

    fn put_snapshot(&self, job: &JobName, snapshot: &Snapshot) -> Result<(), LogError> {
        self.inner.put_snapshot(job, snapshot)
    }

    fn snapshot(&self, job: &JobName) -> Result<Option<Snapshot>, LogError> {
        self.inner.snapshot(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        MemoryLog,
        conformance::{job, records},
    };

    /// Appends three records, the second append with a fault; returns what is stored.
    #[track_caller]
    fn check(fault: Fault, expected: u64) {
        let log = FaultyLog::new(MemoryLog::default());
        let (job, records) = (job(), records(4));
        log.plan(1, fault);
        log.append(&job, &Head::genesis(&job), &records[..1]).expect("before the fault");
        let error = log.append(&job, &Head::from(&records[0]), &records[1..]).expect_err("the fault");
        assert!(error.to_string().contains("potluck.sqlite failed (a planned fault)"), "{error}");
        assert_eq!(log.head(&job).expect("a head").seq, expected);
        let found = log.head(&job).expect("a head");
        let rest = &records[found.seq as usize..];
        log.append(&job, &found, rest).expect("after the fault");
        assert_eq!(log.read(&job, 0, 10).expect("records"), records);
    }

    #[test]
    fn an_append_fails_or_tears() {
        check(Fault::Fail, 1);
        check(Fault::Tear(0), 1);
        check(Fault::Tear(2), 3);
        check(Fault::Tear(9), 4);
    }

    #[test]
    fn a_frozen_append_that_thaws_after_another_leader_wrote_is_fenced() {
        let log = FaultyLog::new(MemoryLog::default());
        let (job, records) = (job(), records(2));
        log.plan(0, Fault::Freeze);
        std::thread::scope(|threads| {
            let frozen = threads.spawn(|| log.append(&job, &Head::genesis(&job), &records));
            log.wait_frozen();
            let other = Head::genesis(&job).next(2, 1, "{}".to_owned());
            log.append(&job, &Head::genesis(&job), std::slice::from_ref(&other)).expect("the new leader");
            log.thaw();
            let outcome = frozen.join().expect("it ends");
            assert!(matches!(outcome, Err(LogError::Conflict { .. })), "{outcome:?}");
            assert_eq!(log.read(&job, 0, 10).expect("records"), [other]);
        });
    }
}
