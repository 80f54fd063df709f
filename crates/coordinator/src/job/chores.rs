//! Deletes what a job needs no more, beside everything else and never in its way. What is needed
//! is decided by the scheduler's state; a chore that is lost with the process costs disk space only.

use std::{collections::BTreeSet, sync::Arc};

use potluck_protocol::{BlobId, JobName};
use potluck_scheduler::{Core, State};
use tokio::{sync::oneshot, task::JoinSet};

use super::{keep, merge::Bench};
use crate::{blobs::BlobError, stores::Stores};

/// Blobs that nobody needs.
#[derive(Debug, Default)]
struct Rubbish {
    uploads: Vec<BlobId>,
    momenta: Vec<BlobId>,
    bases: Vec<BlobId>,
    /// Everything among the uploads but what the state retains and what tasks name.
    all_uploads_but: Option<BTreeSet<BlobId>>,
    /// Answered once all of it is gone.
    waiting: Vec<oneshot::Sender<()>>,
}

/// One job's chores.
pub(super) struct Chores {
    job: JobName,
    bench: Bench,
    stores: Arc<Stores>,
    rubbish: Rubbish,
    /// The momentum of the newest commit.
    momentum: Option<BlobId>,
    /// At most one at a time.
    running: JoinSet<()>,
}

impl Chores {
    pub(super) fn new(job: JobName, bench: Bench, stores: Arc<Stores>, core: &Core) -> Self {
        let momentum = core.state().momentum();
        Self { job, bench, stores, rubbish: Rubbish::default(), momentum, running: JoinSet::new() }
    }

    /// A version was committed: the one that it pushes out goes, and the momentum before it.
    pub(super) fn committed(&mut self, state: &State) {
        let parameters = state.job().map_or(0, |job| job.facts.parameters);
        let out = keep::pushed_out(state.version(), parameters).and_then(|version| state.record(version));
        if let Some(record) = out {
            let others = state.history().any(|r| r.base == record.base && r.version != record.version);
            if !others && !state.retained().contains(&record.base) {
                self.rubbish.bases.push(record.base);
            }
        }
        if state.momentum() != self.momentum {
            self.rubbish.momenta.extend(self.momentum);
            self.momentum = state.momentum();
        }
        self.forget_uploads(state);
    }

    /// Uploads whose results will not come any more, or whose merge is done.
    pub(super) fn forget_uploads(&mut self, state: &State) {
        let retained = state.retained();
        let is_needed = |task| {
            let waits = state.handed_in(task).and_then(|h| h.update).is_some_and(|id| retained.contains(&id));
            waits || state.lease(task).is_some()
        };
        self.rubbish.uploads.extend(self.bench.uploads.forget(is_needed));
    }

    /// Uploads that an earlier process took in and never used.
    pub(super) fn sweep_uploads(&mut self, state: &State) {
        self.rubbish.all_uploads_but = Some(state.retained());
    }

    /// Everything that the job does not need goes now, and `answer` is sent when it has. What an
    /// earlier process took in and nobody was thanked for goes too: whoever sent it sends it again.
    pub(super) fn collect(&mut self, state: &State, answer: oneshot::Sender<()>) {
        self.forget_uploads(state);
        self.sweep_uploads(state);
        self.rubbish.waiting.push(answer);
    }

    /// True where somebody waits for a start that has not come.
    pub(super) fn is_awaited(&self) -> bool {
        !self.rubbish.waiting.is_empty()
    }

    /// Starts what is to be done, unless something is under way.
    pub(super) fn start(&mut self) {
        while self.running.try_join_next().is_some() {}
        if !self.running.is_empty() {
            return;
        }
        // While a backup is made nothing goes; there will be another time.
        let Some(may_delete) = self.bench.may_delete() else { return };
        let rubbish = std::mem::take(&mut self.rubbish);
        let (bench, stores, job) = (self.bench.clone(), Arc::clone(&self.stores), self.job.clone());
        self.running.spawn(async move {
            if let Err(error) = carry_off(rubbish, &bench, &stores).await {
                tracing::warn!("job {job}: old blobs could not be deleted: {error}");
            }
            drop(may_delete);
        });
    }

    /// Waits for what is under way.
    pub(super) async fn done(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

async fn carry_off(rubbish: Rubbish, bench: &Bench, stores: &Stores) -> Result<(), BlobError> {
    let Rubbish { uploads, momenta, bases, all_uploads_but, waiting } = rubbish;
    // What cannot be deleted does not keep the rest; it is not asked for again, so that the rest is
    // not lost with it.
    let mut result = bench.uploads.delete(uploads).await;
    if let Some(retained) = all_uploads_but {
        result = result.and(bench.uploads.sweep(&retained).await);
    }
    for id in momenta {
        result = result.and(bench.momenta.delete(id).await);
    }
    result = result.and(stores.withdraw(&bases).await);
    for answer in waiting {
        // Who asked may wait no more.
        let _ = answer.send(());
    }
    result
}
