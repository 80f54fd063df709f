//! Public blobs in memory, so that a thousand tabs that fetch one version cost one read, one hash
//! and one copy. Whether a blob is public was decided before it is asked for here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use potluck_protocol::BlobId;
use tokio::sync::OnceCell;

use crate::blobs::BlobError;

/// At most `bytes_max` bytes of blobs; answers that are still being sent keep theirs beyond it.
#[derive(Debug)]
pub(crate) struct ServedBlobs {
    bytes_max: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    clock: u64,
    bytes: usize,
    blobs: HashMap<BlobId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    used: u64,
    /// Filled by the first who asks; the others wait for it.
    blob: Arc<OnceCell<Bytes>>,
    /// Zero until it is counted.
    counted: usize,
}

impl ServedBlobs {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, entries: Mutex::default() }
    }

    /// The blob, from memory or as `load` brings it.
    pub(crate) async fn get(
        &self,
        id: BlobId,
        load: impl Future<Output = Result<Bytes, BlobError>>,
    ) -> Result<Bytes, BlobError> {
        let cell = self.lock().touch(id);
        let loaded = cell.get_or_try_init(|| load).await.cloned();
        let mut entries = self.lock();
        match &loaded {
            Ok(bytes) => entries.count(id, bytes.len(), self.bytes_max),
            // Nothing to remember; a cell that others have filled meanwhile stays.
            Err(_) if cell.get().is_none() => drop(entries.blobs.remove(&id)),
            Err(_) => {}
        }
        loaded
    }

    /// Remembers a blob before anybody asks for it.
    pub(crate) fn put(&self, id: BlobId, bytes: Bytes) {
        let mut entries = self.lock();
        let (cell, count) = (entries.touch(id), bytes.len());
        // One that is there already is the same.
        let _ = cell.set(bytes);
        entries.count(id, count, self.bytes_max);
    }

    /// Drops a blob that is not to be served any more.
    pub(crate) fn forget(&self, id: BlobId) {
        let mut entries = self.lock();
        if let Some(entry) = entries.blobs.remove(&id) {
            entries.bytes -= entry.counted;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // The worst that a panic under this lock leaves behind is a wrong sum of a cache.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn touch(&mut self, id: BlobId) -> Arc<OnceCell<Bytes>> {
        self.clock += 1;
        let entry = self.blobs.entry(id).or_default();
        entry.used = self.clock;
        Arc::clone(&entry.blob)
    }

    /// Counts a loaded blob and drops the least recently used ones past the limit.
    fn count(&mut self, id: BlobId, bytes: usize, bytes_max: usize) {
        let Some(entry) = self.blobs.get_mut(&id).filter(|entry| entry.counted == 0) else { return };
        entry.counted = bytes;
        self.bytes += bytes;
        // A scan of some hundreds of entries, once a load.
        while self.bytes > bytes_max {
            let counted = self.blobs.iter().filter(|(_, entry)| entry.counted > 0);
            let Some(oldest) = counted.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else { return };
            self.bytes -= self.blobs.remove(&oldest).map_or(0, |entry| entry.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Blobs;

    #[tokio::test]
    async fn the_least_recently_served_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Blobs::in_folder(folder.path()).expect("a store");
        let mut ids = Vec::new();
        for n in 0..3u8 {
            ids.push(store.put(Bytes::from(vec![n; 10])).await.expect("stored"));
        }
        let served = ServedBlobs::new(20);
        for id in [ids[0], ids[1], ids[0], ids[2]] {
            served.get(id, store.get(id, 10)).await.expect("loaded");
        }
        for id in &ids {
            store.delete(*id).await.expect("deleted");
        }
        served.get(ids[0], store.get(ids[0], 10)).await.expect("kept: it was used after the second");
        served.get(ids[2], store.get(ids[2], 10)).await.expect("kept");
        assert!(served.get(ids[1], store.get(ids[1], 10)).await.is_err(), "dropped");
        assert!(served.get(ids[1], store.get(ids[1], 10)).await.is_err(), "a failure is tried again");
        assert_eq!(served.lock().bytes, 20);
    }
}
