//! Where the bytes of all jobs are, and which of them anyone may fetch. Knows nothing of requests.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use potluck_protocol::{BlobId, JobName, limits};
use potluck_scheduler::Making;
use potluck_update::{advance, bytes_from_weights, weights_from_bytes};
use tokio::sync::Semaphore;

use crate::{
    blobs::{BlobError, Blobs, id_of},
    disk::Disk,
    packs::Packs,
    served::ServedBlobs,
};

/// The stores of one coordinator.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Programs, blocks, deltas, and the parameters of some versions.
    pub(crate) blobs: Blobs,
    /// Limits how many updates are decoded at once.
    pub(crate) decoding: Semaphore,
    /// How much room there is.
    pub(crate) disk: Arc<Disk>,
    folder: PathBuf,
    served: ServedBlobs,
    public: RwLock<HashSet<BlobId>>,
    /// Versions that are not stored whole, and how they are made.
    makings: RwLock<HashMap<BlobId, Making>>,
    /// Limits how many are made at once.
    making: Semaphore,
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
            makings: RwLock::default(),
            making: Semaphore::new(limits::MAKING_MAX),
        })
    }

    /// The uploads of one job, a store of their own: what is not among `blobs` cannot be served by
    /// mistake, and can be swept without looking at 64 Ki blocks.
    pub(crate) fn updates_of(&self, job: &JobName) -> Result<Packs, BlobError> {
        Packs::in_folder(&self.folder.join("updates").join(job.as_str()))
    }

    /// Outer momentum and feedback of one job, in a store of their own for the same reasons.
    pub(crate) fn momenta_of(&self, job: &JobName) -> Result<Blobs, BlobError> {
        Blobs::in_folder(&self.folder.join("momenta").join(job.as_str()))
    }

    /// Takes these blobs back and deletes them, all that can be; the first error is returned.
    pub(crate) async fn withdraw(&self, ids: &[BlobId]) -> Result<(), BlobError> {
        {
            let mut public = self.public.write().unwrap_or_else(PoisonError::into_inner);
            public.retain(|id| !ids.contains(id));
            let mut makings = self.makings.write().unwrap_or_else(PoisonError::into_inner);
            makings.retain(|id, _| !ids.contains(id));
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

    /// Lets anyone fetch the parameters of a version that is not stored: they are made when somebody
    /// asks. `whole` is what they are, where that is known just now.
    pub(crate) fn publish_version(&self, id: BlobId, making: Making, whole: Option<Bytes>) {
        if let Some(whole) = whole {
            self.served.put(id, whole);
        }
        if making.deltas.is_empty() {
            return self.publish([id]);
        }
        self.publish(making.deltas.iter().copied().chain([id]));
        self.makings.write().unwrap_or_else(PoisonError::into_inner).insert(id, making);
    }

    /// True where anyone may fetch this blob.
    pub(crate) fn is_public(&self, id: BlobId) -> bool {
        self.public.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// A blob that is public, mostly from memory.
    pub(crate) async fn served(&self, id: BlobId) -> Result<Bytes, BlobError> {
        self.served.get(id, self.load(id)).await
    }

    async fn load(&self, id: BlobId) -> Result<Bytes, BlobError> {
        let making = self.makings.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        match making {
            Some(making) => self.make(id, making).await,
            None => self.blobs.get(id, limits::BLOB_BYTES_MAX).await,
        }
    }

    /// Makes a version of a stored one and deltas.
    async fn make(&self, id: BlobId, Making { from, deltas }: Making) -> Result<Bytes, BlobError> {
        let broken = |reason: String| BlobError::Store(format!("{id} cannot be made: {reason}"));
        let _permit = self.making.acquire().await.map_err(|e| broken(e.to_string()))?;
        let mut whole = self.blobs.get(from, limits::BLOB_BYTES_MAX).await?;
        for delta in deltas {
            let delta = self.blobs.get(delta, limits::UPDATE_BYTES_MAX).await?;
            let step = move || {
                let theta = weights_from_bytes(&whole, whole.len() / 4).map_err(|e| e.to_string())?;
                let next = advance(&theta, &delta).map_err(|e| e.to_string())?;
                Ok(Bytes::from(bytes_from_weights(&next)))
            };
            let made = tokio::task::spawn_blocking(step).await.map_err(|e| broken(e.to_string()))?;
            whole = made.map_err(broken)?;
        }
        if id_of(&whole).await? == id { Ok(whole) } else { Err(BlobError::Damaged { id }) }
    }
}
