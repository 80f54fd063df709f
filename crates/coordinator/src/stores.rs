//! Where the bytes of all jobs are, and which of them anyone may fetch. Knows nothing of requests.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use potluck_protocol::{BlobId, JobName, limits};
use tokio::sync::Semaphore;

use crate::{
    blobs::{BlobError, Blobs},
    disk::Disk,
    packs::Packs,
    served::ServedBlobs,
};

/// The stores of one coordinator.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Programs, blocks, parameters, momentum.
    pub(crate) blobs: Blobs,
    /// Limits how many updates are decoded at once.
    pub(crate) decoding: Semaphore,
    /// How much room there is.
    pub(crate) disk: Arc<Disk>,
    folder: PathBuf,
    served: ServedBlobs,
    public: RwLock<HashSet<BlobId>>,
}

impl Stores {
    /// The stores in a coordinator's folder.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, BlobError> {
        Self::in_folder_up_to(folder, None)
    }

    /// The same in a folder that may hold so many bytes.
    pub(crate) fn in_folder_up_to(folder: &Path, disk_max: Option<u64>) -> Result<Self, BlobError> {
        Ok(Self {
            disk: Arc::new(Disk::new(folder, disk_max)),
            blobs: Blobs::in_folder(&folder.join("blobs"))?,
            decoding: Semaphore::new(limits::DECODING_MAX),
            folder: folder.to_owned(),
            served: ServedBlobs::new(limits::SERVED_BLOBS_BYTES_MAX),
            public: RwLock::default(),
        })
    }

    /// The uploads of one job, a store of their own: what is not among `blobs` cannot be served by
    /// mistake, and can be swept without looking at 64 Ki blocks.
    pub(crate) fn updates_of(&self, job: &JobName) -> Result<Packs, BlobError> {
        Packs::in_folder(&self.folder.join("updates").join(job.as_str()))
    }

    /// The outer momenta of one job, in a store of their own for the same reasons.
    pub(crate) fn momenta_of(&self, job: &JobName) -> Result<Blobs, BlobError> {
        Blobs::in_folder(&self.folder.join("momenta").join(job.as_str()))
    }

    /// Takes these blobs back and deletes them, all that can be; the first error is returned.
    pub(crate) async fn withdraw(&self, ids: &[BlobId]) -> Result<(), BlobError> {
        {
            let mut public = self.public.write().unwrap_or_else(PoisonError::into_inner);
            public.retain(|id| !ids.contains(id));
        }
        let mut result = Ok(());
        for id in ids {
            self.served.forget(*id);
            result = result.and(self.blobs.delete(*id).await);
        }
        result
    }

    /// Lets anyone fetch these blobs.
    pub(crate) fn publish(&self, ids: impl IntoIterator<Item = BlobId>) {
        // A set is whole after any panic.
        self.public.write().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    /// True where anyone may fetch this blob.
    pub(crate) fn is_public(&self, id: BlobId) -> bool {
        self.public.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// A blob that is public, mostly from memory.
    pub(crate) async fn served(&self, id: BlobId) -> Result<Bytes, BlobError> {
        self.served.get(&self.blobs, id).await
    }
}
