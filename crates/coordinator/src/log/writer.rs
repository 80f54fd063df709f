//! The one thread that writes to a log's database. Whatever waits when it comes round goes into one
//! transaction, so that any number of callers share a sync; each is answered once that is over.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::JoinHandle,
};

use potluck_protocol::{JobName, limits};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{Head, LogError, Record, Snapshot, chain::check_append, sqlite, witness::Witness};

/// Records that are to follow `expected`.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) job: JobName,
    pub(super) expected: Head,
    pub(super) records: Vec<Record>,
}

#[derive(Debug)]
enum Work {
    Append(Append),
    PutSnapshot(JobName, Snapshot),
    #[cfg(test)]
    LimitPages(u32),
}

impl Work {
    fn records(&self) -> usize {
        if let Self::Append(append) = self { append.records.len() } else { 1 }
    }
}

#[derive(Debug)]
struct Request {
    work: Work,
    answer: SyncSender<Result<(), LogError>>,
}

/// The thread, as its callers see it. Ends it when dropped, after what was asked for before.
#[derive(Debug)]
pub(super) struct Writer {
    file: PathBuf,
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts a thread that owns this connection.
    pub(super) fn start(file: &Path, connection: Connection, witness: Witness) -> Result<Self, LogError> {
        let (requests, inbox) = channel();
        let file = file.to_owned();
        let desk = Desk { file: file.clone(), connection, witness };
        let thread = std::thread::Builder::new().name("potluck log".to_owned()).spawn(move || desk.serve(&inbox));
        let thread = thread.map_err(|e| LogError::Store { file: file.display().to_string(), reason: e.to_string() })?;
        Ok(Self { file, requests: Some(requests), thread: Some(thread) })
    }

    /// Returns once the records are durable.
    pub(super) fn append(&self, append: Append) -> Result<(), LogError> {
        self.ask(Work::Append(append))
    }

    /// Returns once the snapshot is durable.
    pub(super) fn put_snapshot(&self, job: JobName, snapshot: Snapshot) -> Result<(), LogError> {
        self.ask(Work::PutSnapshot(job, snapshot))
    }

    /// Lets the file grow no further than this many pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.ask(Work::LimitPages(pages)).expect("limited");
    }

    fn ask(&self, work: Work) -> Result<(), LogError> {
        let gone = || {
            let reason = "the thread that writes to it has ended; start again".to_owned();
            LogError::Store { file: self.file.display().to_string(), reason }
        };
        let (answer, answered) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request { work, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    file: PathBuf,
    connection: Connection,
    witness: Witness,
}

impl Desk {
    fn serve(mut self, inbox: &Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let mut records = first.work.records();
            let mut group = vec![first];
            while records < limits::LOG_GROUP_FACTS_MAX
                && let Ok(request) = inbox.try_recv()
            {
                records += request.work.records();
                group.push(request);
            }
            self.answer(group);
        }
    }

    /// Carries the group out in one transaction. A request that is refused changes nothing and keeps
    /// nobody else; an error of the store is everybody's, and nothing of the group is stored.
    fn answer(&mut self, group: Vec<Request>) {
        let (work, answers): (Vec<Work>, Vec<_>) = group.into_iter().map(|r| (r.work, r.answer)).unzip();
        let outcomes = self.commit(&work).unwrap_or_else(|error| {
            let error = sqlite::explain(&self.file, &error);
            work.iter().map(|_| Err(error.clone())).collect()
        });
        self.bear_witness(&work, &outcomes);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Who asked may be gone.
            let _ = answer.send(outcome);
        }
    }

    /// Before anybody is answered: whatever was acknowledged is within what the witness says.
    fn bear_witness(&mut self, work: &[Work], outcomes: &[Result<(), LogError>]) {
        let mut is_new = false;
        for (work, outcome) in work.iter().zip(outcomes) {
            if let (Work::Append(Append { job, records, .. }), Ok(())) = (work, outcome)
                && let Some(last) = records.last()
            {
                self.witness.note(job, Head::from(last));
                is_new = true;
            }
        }
        if is_new {
            self.witness.write();
        }
    }

    fn commit(&mut self, work: &[Work]) -> Result<Vec<Result<(), LogError>>, rusqlite::Error> {
        #[cfg(test)]
        if let [Work::LimitPages(pages)] = work {
            self.connection.pragma_update(None, "max_page_count", pages)?;
            return Ok(vec![Ok(())]);
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcomes = work.iter().map(|work| carry_out(&transaction, work)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }
}

/// The inner error is this request's alone.
fn carry_out(transaction: &Transaction<'_>, work: &Work) -> Result<Result<(), LogError>, rusqlite::Error> {
    match work {
        Work::Append(append) => carry_out_append(transaction, append),
        Work::PutSnapshot(job, snapshot) => put_snapshot(transaction, job, snapshot).map(Ok),
        #[cfg(test)]
        Work::LimitPages(_) => Ok(Ok(())),
    }
}

fn carry_out_append(transaction: &Transaction<'_>, append: &Append) -> Result<Result<(), LogError>, rusqlite::Error> {
    let Append { job, expected, records } = append;
    let found = sqlite::head(transaction, job)?;
    if let Err(refused) = check_append(job, expected, found, records) {
        return Ok(Err(refused));
    }
    let Some(last) = records.last() else { return Ok(Ok(())) };
    let insert =
        "INSERT INTO facts (job, seq, epoch, schema, previous, hash, fact) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut insert = transaction.prepare_cached(insert)?;
    for Record { epoch, seq, previous, schema, fact, hash } in records {
        let (epoch, seq) = (epoch.cast_signed(), seq.cast_signed());
        let (previous, hash) = (previous.to_string(), hash.to_string());
        insert.execute(params![job.as_str(), seq, epoch, schema, previous, hash, fact])?;
    }
    let head = "INSERT OR REPLACE INTO heads (job, epoch, seq, hash) VALUES (?1, ?2, ?3, ?4)";
    let (epoch, seq) = (last.epoch.cast_signed(), last.seq.cast_signed());
    transaction.prepare_cached(head)?.execute(params![job.as_str(), epoch, seq, last.hash.to_string()])?;
    Ok(Ok(()))
}

fn put_snapshot(transaction: &Transaction<'_>, job: &JobName, snapshot: &Snapshot) -> Result<(), rusqlite::Error> {
    let Snapshot { head: Head { epoch, seq, hash }, schema, state, digest } = snapshot;
    let put = "INSERT OR REPLACE INTO snapshots (job, epoch, seq, hash, schema, digest, state) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (epoch, seq) = (epoch.cast_signed(), seq.cast_signed());
    let (hash, digest) = (hash.to_string(), digest.to_string());
    transaction.prepare_cached(put)?.execute(params![job.as_str(), epoch, seq, hash, schema, digest, state])?;
    Ok(())
}
