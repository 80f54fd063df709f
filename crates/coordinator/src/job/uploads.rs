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

use crate::blobs::{BlobError, Blobs};

/// The uploads of one job.
#[derive(Debug)]
pub(crate) struct Uploads {
    store: Blobs,
    encoding: UpdateEncoding,
    parameters: usize,
    /// A task is in here while its lease may still bring a result, and until its update is merged;
    /// so bytes that nothing in here names are needed by nobody.
    kept: Mutex<BTreeMap<TaskId, VecDeque<UpdateFacts>>>,
    /// Held for reading while bytes are stored and entered above, for writing while they are
    /// deleted: two tasks may have the same bytes.
    sweeping: RwLock<()>,
}

impl Uploads {
    pub(crate) fn new(store: Blobs, encoding: UpdateEncoding, parameters: usize) -> Self {
        Self { store, encoding, parameters, kept: Mutex::default(), sweeping: RwLock::default() }
    }

    /// Bytes of every update of this job.
    pub(crate) fn update_bytes(&self) -> usize {
        potluck_update::encoded_len(self.encoding, self.parameters)
    }

    /// What was found in an upload for this task.
    pub(crate) fn find(&self, task: TaskId, id: BlobId) -> Option<UpdateFacts> {
        self.lock().get(&task)?.iter().find(|facts| facts.id == id).copied()
    }

    /// Stores an update that was found good, and remembers it for its task. The oldest of too many
    /// is forgotten.
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
        let mut kept = self.lock();
        let of_task = kept.entry(task).or_default();
        if of_task.iter().any(|known| known.id == facts.id) {
            return None;
        }
        of_task.push_back(facts);
        if of_task.len() > limits::UPLOADS_PER_TASK_MAX { of_task.pop_front() } else { None }
    }

    /// Finds an update again that was stored before a restart.
    pub(crate) async fn recall(
        &self,
        task: TaskId,
        id: BlobId,
        decoding: &Semaphore,
    ) -> Result<Option<UpdateFacts>, BlobError> {
        let _storing = self.sweeping.read().await;
        let bytes = match self.store.get(id, self.update_bytes()).await {
            Ok(bytes) => bytes,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::TooLarge { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = self.facts(id, bytes, decoding).await?;
        self.enter(task, facts);
        Ok(Some(facts))
    }

    /// What these bytes turn out to be. Decodes on a thread that may take its time.
    pub(crate) async fn facts(&self, id: BlobId, bytes: Bytes, decoding: &Semaphore) -> Result<UpdateFacts, BlobError> {
        let (encoding, parameters) = (self.encoding, self.parameters);
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
    pub(crate) async fn bytes(&self, id: BlobId) -> Result<Bytes, BlobError> {
        self.store.get(id, self.update_bytes()).await
    }

    /// Forgets the tasks that are not needed any more and returns what is then nobody's.
    pub(crate) fn forget(&self, needed: impl Fn(TaskId) -> bool) -> Vec<BlobId> {
        let mut kept = self.lock();
        let gone: Vec<TaskId> = kept.keys().filter(|task| !needed(**task)).copied().collect();
        let gone = gone.into_iter().filter_map(|task| kept.remove(&task));
        gone.flatten().map(|facts| facts.id).collect()
    }

    /// Deletes those of `ids` that no task names.
    pub(crate) async fn delete(&self, ids: impl IntoIterator<Item = BlobId>) -> Result<(), BlobError> {
        for id in ids {
            let _sweeping = self.sweeping.write().await;
            let named = self.lock().values().flatten().any(|facts| facts.id == id);
            if !named {
                self.store.delete(id).await?;
            }
        }
        Ok(())
    }

    /// Deletes everything that no task names and that is not `retained`: what a crash left behind.
    pub(crate) async fn sweep(&self, retained: &BTreeSet<BlobId>) -> Result<(), BlobError> {
        let all = self.store.list().await?;
        self.delete(all.into_iter().filter(|id| !retained.contains(id))).await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, VecDeque<UpdateFacts>>> {
        // No step under this lock leaves the map half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TaskId = TaskId(1);
    const TWO: TaskId = TaskId(2);

    fn uploads() -> (tempfile::TempDir, Uploads, Semaphore) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Blobs::in_folder(folder.path()).expect("a store");
        (folder, Uploads::new(store, UpdateEncoding::Int8, 3), Semaphore::new(1))
    }

    fn update(value: f32) -> Bytes {
        potluck_update::encode(UpdateEncoding::Int8, &[value, 0.0, 0.0]).into()
    }

    async fn keep(uploads: &Uploads, decoding: &Semaphore, task: TaskId, value: f32) -> BlobId {
        let bytes = update(value);
        let facts = uploads.facts(BlobId::of(&bytes), bytes.clone(), decoding).await.expect("decoded");
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
        uploads.bytes(id).await.expect("still named by the second task");
        let orphans = uploads.forget(|_| false);
        uploads.delete(orphans).await.expect("swept");
        assert!(matches!(uploads.bytes(id).await, Err(BlobError::Missing { .. })));
    }

    #[tokio::test]
    async fn too_many_for_one_task_push_out_the_oldest() {
        let (_folder, uploads, decoding) = uploads();
        let first = keep(&uploads, &decoding, ONE, 1.0).await;
        for n in 0..limits::UPLOADS_PER_TASK_MAX {
            keep(&uploads, &decoding, ONE, 2.0 + n as f32).await;
        }
        assert_eq!(uploads.find(ONE, first), None);
        assert!(uploads.bytes(first).await.is_err());
    }

    #[tokio::test]
    async fn an_upload_is_found_again_after_a_restart_or_swept() {
        let (folder, uploads, decoding) = uploads();
        let id = keep(&uploads, &decoding, ONE, 1.0).await;
        let again = Uploads::new(Blobs::in_folder(folder.path()).expect("a store"), UpdateEncoding::Int8, 3);
        assert_eq!(again.find(ONE, id), None);
        let facts = again.recall(ONE, id, &decoding).await.expect("readable").expect("found");
        assert!(facts.finite && facts.well_formed);
        again.sweep(&BTreeSet::new()).await.expect("swept");
        again.bytes(id).await.expect("named again");
        again.forget(|_| false);
        again.sweep(&BTreeSet::from([id])).await.expect("swept");
        again.bytes(id).await.expect("retained");
        again.sweep(&BTreeSet::new()).await.expect("swept");
        assert_eq!(again.recall(ONE, id, &decoding).await.expect("readable"), None);
    }

    #[tokio::test]
    async fn bad_bytes_are_told_apart() {
        let (_folder, uploads, decoding) = uploads();
        let facts = |bytes: Bytes| {
            let (uploads, decoding) = (&uploads, &decoding);
            async move {
                let facts = uploads.facts(BlobId::of(&bytes), bytes, decoding).await.expect("looked at");
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
