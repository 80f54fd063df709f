//! Deletes what a job needs no more, beside everything else and never in its way. What is needed
//! is decided by the scheduler's state; a chore that is lost with the process costs disk space only.

use std::{collections::BTreeSet, sync::Arc};

use potluck_protocol::{BlobId, JobName, TaskId};
use potluck_scheduler::{Checkpoint, Core, State};
use tokio::{sync::oneshot, task::JoinSet};

use super::{keep, merge::Bench};
use crate::{blobs::BlobError, stores::Stores};

/// Blobs that nobody needs.
#[derive(Debug, Default)]
struct Rubbish {
    uploads: Vec<BlobId>,
    momenta: Vec<BlobId>,
    /// Deltas, and parameters that are stored or can be made.
    versions: Vec<BlobId>,
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
    /// The newest.
    checkpoint: Checkpoint,
    /// At most one at a time.
    running: JoinSet<()>,
}

impl Chores {
    pub(super) fn new(job: JobName, bench: Bench, stores: Arc<Stores>, core: &Core) -> Self {
        let checkpoint = *core.state().last_checkpoint();
        Self { job, bench, stores, rubbish: Rubbish::default(), checkpoint, running: JoinSet::new() }
    }

    /// A version was committed or checkpointed: what it pushes out goes.
    pub(super) fn committed(&mut self, state: &State) {
        self.rubbish.versions.extend(keep::pushed_out(state));
        let before = std::mem::replace(&mut self.checkpoint, *state.last_checkpoint());
        let stays = |id: &BlobId| [self.checkpoint.momentum, self.checkpoint.feedback].contains(&Some(*id));
        let gone = before.momentum.into_iter().chain(before.feedback).filter(|id| !stays(id));
        self.rubbish.momenta.extend(gone);
        self.forget_uploads(state);
    }

    /// Uploads whose results will not come any more, or whose version is checkpointed.
    pub(super) fn forget_uploads(&mut self, state: &State) {
        let unsettled: BTreeSet<TaskId> = state.unsettled().map(|(task, _)| task).collect();
        let is_needed = |task| unsettled.contains(&task) || state.lease(task).is_some();
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

    /// Waits for what is under way and does the rest.
    pub(super) async fn done(&mut self) {
        while self.running.join_next().await.is_some() {}
        self.start();
        while self.running.join_next().await.is_some() {}
    }
}

async fn carry_off(rubbish: Rubbish, bench: &Bench, stores: &Stores) -> Result<(), BlobError> {
    let Rubbish { uploads, momenta, versions, all_uploads_but, waiting } = rubbish;
    // What cannot be deleted does not keep the rest; it is not asked for again, so that the rest is
    // not lost with it.
    let mut result = bench.uploads.delete(uploads).await;
    if let Some(retained) = all_uploads_but {
        result = result.and(bench.uploads.sweep(&retained).await);
    }
    for id in momenta {
        result = result.and(bench.momenta.delete(id).await);
    }
    result = result.and(stores.withdraw(&versions).await);
    for answer in waiting {
        // Who asked may wait no more.
        let _ = answer.send(());
    }
    result
}
