//! Updates between their upload and their merge. Keeps what was found in each, so that a result is
//! answered without decoding again, and the bytes only as long as somebody needs them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use potluck_protocol::{BlobId, TaskId, UpdateEncoding, limits};
use potluck_scheduler::UpdateFacts;
use tokio::sync::{RwLock, Semaphore};

use crate::{blobs::BlobError, packs::Packs};

/// The uploads of one job.
#[derive(Debug)]
pub(crate) struct Uploads {
    store: Packs,
    parameters: usize,
    known: Mutex<Known>,
    /// Held for reading while bytes are stored and entered above, for writing while they are
    /// deleted: two tasks may have the same bytes.
    sweeping: RwLock<()>,
    /// Updates that stay after their merge too; `None` where none do.
    archive: Option<Mutex<BTreeSet<BlobId>>>,
    /// Tasks whose update is being received.
    arriving: Mutex<BTreeSet<TaskId>>,
}

/// A task is in here while its lease may still bring a result, and until its update is merged; so
/// bytes that nothing in here names are needed by nobody.
#[derive(Debug, Default)]
struct Known {
    kept: BTreeMap<TaskId, VecDeque<UpdateFacts>>,
    /// The one upload of a task that its result names: a merge will ask for it, so that no later
    /// upload may push it out.
    pinned: BTreeMap<TaskId, BlobId>,
}

impl Known {
    fn is_named(&self, id: BlobId) -> bool {
        self.kept.values().flatten().any(|facts| facts.id == id) || self.pinned.values().any(|pinned| *pinned == id)
    }
}

/// An upload that is being received. While it lives, no other for its task is.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    uploads: &'a Uploads,
    task: TaskId,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.uploads.arriving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.task);
    }
}

impl Uploads {
    pub(crate) fn new(store: Packs, parameters: usize) -> Self {
        let (known, sweeping, arriving) = (Mutex::default(), RwLock::default(), Mutex::default());
        Self { store, parameters, known, sweeping, archive: None, arriving }
    }

    /// Keeps these updates, and every later one that is accepted, for whoever wants to make the
    /// versions again.
    pub(crate) fn archiving(mut self, accepted: BTreeSet<BlobId>) -> Self {
        self.archive = Some(Mutex::new(accepted));
        self
    }

    /// An update that was accepted: it stays, where any do.
    pub(crate) fn archive(&self, id: BlobId) {
        if let Some(archive) = &self.archive {
            archive.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        }
    }

    fn is_archived(&self, id: BlobId) -> bool {
        let archive = self.archive.as_ref().map(|ids| ids.lock().unwrap_or_else(PoisonError::into_inner));
        archive.is_some_and(|ids| ids.contains(&id))
    }

    /// A place for an upload of this task; `None` while another is on its way.
    pub(crate) fn arrive(&self, task: TaskId) -> Option<Arrival<'_>> {
        let is_first = self.arriving.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
        // Made only where it is given away: its end frees the place.
        is_first.then(|| Arrival { uploads: self, task })
    }

    /// Bytes of every update of this job in this encoding.
    pub(crate) fn update_bytes(&self, encoding: UpdateEncoding) -> usize {
        potluck_update::encoded_len(encoding, self.parameters)
    }

    /// What was found in an upload for this task.
    pub(crate) fn find(&self, task: TaskId, id: BlobId) -> Option<UpdateFacts> {
        self.lock().kept.get(&task)?.iter().find(|facts| facts.id == id).copied()
    }

    /// Keeps the update that a result names from being pushed out, until its task is forgotten.
    /// False where it was pushed out already; then the result has no update.
    pub(crate) fn pin(&self, task: TaskId, id: BlobId) -> bool {
        let mut known = self.lock();
        let is_kept = known.kept.get(&task).is_some_and(|of_task| of_task.iter().any(|facts| facts.id == id));
        if is_kept {
            known.pinned.insert(task, id);
            self.archive(id);
        }
        is_kept || known.pinned.get(&task) == Some(&id)
    }

    /// Pins what was accepted before a restart and is not merged yet.
    pub(crate) fn pin_accepted(&self, accepted: impl IntoIterator<Item = (TaskId, BlobId)>) {
        self.lock().pinned.extend(accepted);
    }

    /// Stores an update that was found good, and remembers it for its task. The oldest of too many
    /// is forgotten, unless it is pinned.
    pub(crate) async fn keep(&self, task: TaskId, facts: UpdateFacts, bytes: Bytes) -> Result<(), BlobError> {
        let forgotten = {
            let _storing = self.sweeping.read().await;
            self.store.put(bytes).await?;
            self.enter(task, facts)
        };
        self.delete(forgotten.map(|facts| facts.id)).await
    }

    /// Remembers an update that is stored already.
    pub(crate) fn enter(&self, task: TaskId, facts: UpdateFacts) -> Option<UpdateFacts> {
        let mut known = self.lock();
        let pinned = known.pinned.get(&task).copied();
        let of_task = known.kept.entry(task).or_default();
        if of_task.iter().any(|known| known.id == facts.id) {
            return None;
        }
        of_task.push_back(facts);
        if of_task.len() <= limits::UPLOADS_PER_TASK_MAX {
            return None;
        }
        let oldest = of_task.iter().position(|facts| Some(facts.id) != pinned)?;
        of_task.remove(oldest)
    }

    /// Finds an update again that was stored before a restart.
    pub(crate) async fn recall(
        &self,
        task: TaskId,
        (id, encoding): (BlobId, UpdateEncoding),
        decoding: &Semaphore,
    ) -> Result<Option<UpdateFacts>, BlobError> {
        let storing = self.sweeping.read().await;
        let bytes = match self.bytes(id, encoding).await {
            Ok(bytes) => bytes,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::TooLarge { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = self.facts((id, encoding), bytes, decoding).await?;
        let forgotten = self.enter(task, facts);
        // Deleting waits until nobody stores.
        drop(storing);
        self.delete(forgotten.map(|facts| facts.id)).await?;
        Ok(Some(facts))
    }

    /// What these bytes turn out to be. Decodes on a thread that may take its time.
    pub(crate) async fn facts(
        &self,
        (id, encoding): (BlobId, UpdateEncoding),
        bytes: Bytes,
        decoding: &Semaphore,
    ) -> Result<UpdateFacts, BlobError> {
        let parameters = self.parameters;
        let _permit = decoding.acquire().await.map_err(|e| BlobError::Store(e.to_string()))?;
        let found = tokio::task::spawn_blocking(move || {
            let Ok(values) = potluck_update::decode(encoding, parameters, &bytes) else {
                return UpdateFacts { id, norm: 0.0, finite: false, well_formed: false };
            };
            // A norm that overflows cannot be told from infinity, in the log least of all.
            let norm = potluck_update::norm(&values);
            let finite = norm.is_finite() && values.iter().all(|value| value.is_finite());
            UpdateFacts { id, norm: if finite { norm } else { 0.0 }, finite, well_formed: true }
        });
        found.await.map_err(|e| BlobError::Store(e.to_string()))
    }

    /// The bytes of an update that was kept.
    pub(crate) async fn bytes(&self, id: BlobId, encoding: UpdateEncoding) -> Result<Bytes, BlobError> {
        self.store.get(id, self.update_bytes(encoding)).await
    }

    /// Forgets the tasks that are not needed any more and returns what is then nobody's.
    pub(crate) fn forget(&self, needed: impl Fn(TaskId) -> bool) -> Vec<BlobId> {
        let Known { kept, pinned } = &mut *self.lock();
        let tasks: BTreeSet<TaskId> = kept.keys().chain(pinned.keys()).copied().collect();
        let mut gone = Vec::new();
        for task in tasks.into_iter().filter(|task| !needed(*task)) {
            gone.extend(kept.remove(&task).into_iter().flatten().map(|facts| facts.id));
            gone.extend(pinned.remove(&task));
        }
        gone
    }

    /// Deletes those of `ids` that no task names. One that cannot be deleted does not keep the
    /// others; the first error is returned.
    pub(crate) async fn delete(&self, ids: impl IntoIterator<Item = BlobId>) -> Result<(), BlobError> {
        let mut result = Ok(());
        for id in ids {
            let _sweeping = self.sweeping.write().await;
            let is_named = self.lock().is_named(id) || self.is_archived(id);
            if !is_named {
                result = result.and(self.store.delete(id).await);
            }
        }
        result
    }

    /// Deletes everything that no task names and that is not `retained`: what a crash left behind.
    pub(crate) async fn sweep(&self, retained: &BTreeSet<BlobId>) -> Result<(), BlobError> {
        let all = self.store.list().await?;
        self.delete(all.into_iter().filter(|id| !retained.contains(id))).await
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No step under this lock leaves the maps half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TaskId = TaskId(1);
    const TWO: TaskId = TaskId(2);
    const INT8: UpdateEncoding = UpdateEncoding::Int8;

    fn uploads() -> (tempfile::TempDir, Uploads, Semaphore) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Packs::in_folder(folder.path()).expect("a store");
        (folder, Uploads::new(store, 3), Semaphore::new(1))
    }

    fn update(value: f32) -> Bytes {
        potluck_update::encode(INT8, &[value, 0.0, 0.0]).into()
    }

    async fn keep(uploads: &Uploads, decoding: &Semaphore, task: TaskId, value: f32) -> BlobId {
        let bytes = update(value);
        let facts = uploads.facts((BlobId::of(&bytes), INT8), bytes.clone(), decoding).await.expect("decoded");
        uploads.keep(task, facts, bytes).await.expect("kept");
        facts.id
    }

    #[tokio::test]
    async fn bytes_live_as_long_as_a_task_names_them() {
        let (_folder, uploads, decoding) = uploads();
        let id = keep(&uploads, &decoding, ONE, 1.0).await;
        assert_eq!(keep(&uploads, &decoding, TWO, 1.0).await, id);
        assert_eq!(uploads.find(TWO, id).map(|facts| facts.norm), Some(1.0));
        let orphans = uploads.forget(|task| task == TWO);
        uploads.delete(orphans).await.expect("swept");
        uploads.bytes(id, INT8).await.expect("still named by the second task");
        let orphans = uploads.forget(|_| false);
        uploads.delete(orphans).await.expect("swept");
        assert!(matches!(uploads.bytes(id, INT8).await, Err(BlobError::Missing { .. })));
    }

    #[tokio::test]
    async fn too_many_for_one_task_push_out_the_oldest() {
        let (_folder, uploads, decoding) = uploads();
        let first = keep(&uploads, &decoding, ONE, 1.0).await;
        for n in 0..limits::UPLOADS_PER_TASK_MAX {
            keep(&uploads, &decoding, ONE, 2.0 + n as f32).await;
        }
        assert_eq!(uploads.find(ONE, first), None);
        assert!(uploads.bytes(first, INT8).await.is_err());
    }

    #[tokio::test]
    async fn what_a_result_names_is_never_pushed_out() {
        let (folder, uploads, decoding) = uploads();
        let first = keep(&uploads, &decoding, ONE, 1.0).await;
        assert!(uploads.pin(ONE, first) && uploads.pin(ONE, first));
        let second = keep(&uploads, &decoding, ONE, 1.5).await;
        for n in 0..2 * limits::UPLOADS_PER_TASK_MAX {
            keep(&uploads, &decoding, ONE, 2.0 + n as f32).await;
        }
        uploads.bytes(first, INT8).await.expect("pinned");
        assert!(uploads.bytes(second, INT8).await.is_err(), "the oldest of the others goes");
        assert!(!uploads.pin(ONE, second));
        let again = Uploads::new(Packs::in_folder(folder.path()).expect("a store"), 3);
        again.pin_accepted([(ONE, first)]);
        again.sweep(&BTreeSet::new()).await.expect("swept");
        again.bytes(first, INT8).await.expect("pinned after a restart too");
        let orphans = again.forget(|_| false);
        assert_eq!(orphans, [first]);
        again.delete(orphans).await.expect("swept");
        assert!(again.bytes(first, INT8).await.is_err(), "the pin went with its task");
    }

    #[tokio::test]
    async fn what_a_recall_pushes_out_is_deleted() {
        let (_folder, uploads, decoding) = uploads();
        let stored = keep(&uploads, &decoding, TWO, 9.0).await;
        let first = keep(&uploads, &decoding, ONE, 1.0).await;
        for n in 1..limits::UPLOADS_PER_TASK_MAX {
            keep(&uploads, &decoding, ONE, 2.0 + n as f32).await;
        }
        uploads.recall(ONE, (stored, INT8), &decoding).await.expect("readable").expect("found");
        assert!(uploads.bytes(first, INT8).await.is_err());
    }

    #[test]
    fn one_upload_of_a_task_arrives_at_once() {
        let (_folder, uploads, _) = uploads();
        let one = uploads.arrive(ONE);
        assert!(one.is_some() && uploads.arrive(TWO).is_some());
        assert!(uploads.arrive(ONE).is_none() && uploads.arrive(ONE).is_none());
        drop(one);
        assert!(uploads.arrive(ONE).is_some());
    }

    #[tokio::test]
    async fn an_upload_is_found_again_after_a_restart_or_swept() {
        let (folder, uploads, decoding) = uploads();
        let id = keep(&uploads, &decoding, ONE, 1.0).await;
        let again = Uploads::new(Packs::in_folder(folder.path()).expect("a store"), 3);
        assert_eq!(again.find(ONE, id), None);
        let facts = again.recall(ONE, (id, INT8), &decoding).await.expect("readable").expect("found");
        assert!(facts.finite && facts.well_formed);
        again.sweep(&BTreeSet::new()).await.expect("swept");
        again.bytes(id, INT8).await.expect("named again");
        again.forget(|_| false);
        again.sweep(&BTreeSet::from([id])).await.expect("swept");
        again.bytes(id, INT8).await.expect("retained");
        again.sweep(&BTreeSet::new()).await.expect("swept");
        assert_eq!(again.recall(ONE, (id, INT8), &decoding).await.expect("readable"), None);
    }

    #[tokio::test]
    async fn bad_bytes_are_told_apart() {
        let (_folder, uploads, decoding) = uploads();
        let facts = |bytes: Bytes| {
            let (uploads, decoding) = (&uploads, &decoding);
            async move {
                let facts = uploads.facts((BlobId::of(&bytes), INT8), bytes, decoding).await.expect("looked at");
                (facts.well_formed, facts.finite)
            }
        };
        assert_eq!(facts(update(1.0)).await, (true, true));
        assert_eq!(facts(Bytes::from_static(b"short")).await, (false, false));
        let mut nan = update(1.0).to_vec();
        nan[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(facts(nan.into()).await, (true, false));
        assert_eq!(facts(update(f32::MAX)).await, (true, true));
    }
}
