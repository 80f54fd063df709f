//! Immutable bytes by their SHA-256, in a folder or any other `object_store`.
//!
//! A blob is whole and on the disk before anything names it, and is checked when it is read. Who
//! may read one is none of this module's business.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Address};
use potluck_protocol::BlobId;

use crate::folder::RESTORE;

/// Why a blob cannot be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob {id} is missing: {RESTORE}")]
    Missing {
        /// Its name.
        id: BlobId,
    },
    /// It is larger than what was asked for.
    #[error("blob {id} has {got} bytes, at most {max} were expected")]
    TooLarge {
        /// Its name.
        id: BlobId,
        /// Its bytes.
        got: u64,
        /// The limit.
        max: usize,
    },
    /// Its bytes are not what its name says.
    #[error("blob {id} is damaged, its bytes are not those of its name: {RESTORE}")]
    Damaged {
        /// Its name.
        id: BlobId,
    },
    /// No space is left.
    #[error(
        "the disk with the blobs is full, or a limit is reached: free some space; a coordinator that is running goes on by \
         itself, another has to be started again; nothing that was acknowledged is lost"
    )]
    DiskFull,
    /// Anything else that the store says.
    #[error("the blob store failed: {0}")]
    Store(String),
}

impl BlobError {
    /// The blob that is not what it was, where that is the trouble.
    pub(crate) fn harmed(&self) -> Option<BlobId> {
        match self {
            Self::Missing { id } | Self::Damaged { id } | Self::TooLarge { id, .. } => Some(*id),
            _ => None,
        }
    }
}

/// A store of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Blobs(Arc<dyn ObjectStore>);

impl Blobs {
    /// A store in a folder, which is made where it is missing.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(folder).map_err(|e| BlobError::Store(format!("{}: {e}", folder.display())))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(explain)?;
        Ok(Self(Arc::new(store.with_fsync(true))))
    }

    /// Stores the bytes; when it returns, they survive a power cut. A blob that is there already
    /// and whole is left as it is.
    pub(crate) async fn put(&self, bytes: Bytes) -> Result<BlobId, BlobError> {
        let id = id_of(&bytes).await?;
        if self.get(id, bytes.len()).await.is_err() {
            self.0.put(&address(id), PutPayload::from_bytes(bytes)).await.map_err(explain)?;
        }
        Ok(id)
    }

    /// The bytes of a blob of at most `bytes_max`; looked at before anything is allocated.
    pub(crate) async fn get(&self, id: BlobId, bytes_max: usize) -> Result<Bytes, BlobError> {
        let found = self.0.get(&address(id)).await.map_err(|e| missing(id, e))?;
        let got = found.meta.size;
        if got > bytes_max as u64 {
            return Err(BlobError::TooLarge { id, got, max: bytes_max });
        }
        let bytes = found.bytes().await.map_err(|e| missing(id, e))?;
        if id_of(&bytes).await? != id {
            return Err(BlobError::Damaged { id });
        }
        Ok(bytes)
    }

    /// True where there is such a blob, whole or not.
    pub(crate) async fn has(&self, id: BlobId) -> Result<bool, BlobError> {
        match self.0.head(&address(id)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(explain(e)),
        }
    }

    /// Removes a blob; one that is not there is fine.
    pub(crate) async fn delete(&self, id: BlobId) -> Result<(), BlobError> {
        match self.0.delete(&address(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(explain(e)),
        }
    }

    /// Every blob of the store.
    pub(crate) async fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        let names = self.0.list(None).map_ok(|found| found.location.filename().and_then(|name| name.parse().ok()));
        let found: Vec<Option<BlobId>> = names.try_collect().await.map_err(explain)?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Above this hashing takes a millisecond or more, which is long for a thread that serves everybody.
const HASHED_AT_ONCE_MAX: usize = 256 << 10;

/// The name of these bytes.
pub(crate) async fn id_of(bytes: &Bytes) -> Result<BlobId, BlobError> {
    if bytes.len() <= HASHED_AT_ONCE_MAX {
        return Ok(BlobId::of(bytes));
    }
    let bytes = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || BlobId::of(&bytes)).await;
    hashed.map_err(|e| BlobError::Store(e.to_string()))
}

/// 256 folders, so that none grows too large to list.
fn address(id: BlobId) -> Address {
    let name = id.to_string();
    Address::from(format!("{}/{name}", &name[..2]))
}

fn missing(id: BlobId, error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::Missing { id },
        other => explain(other),
    }
}

/// The same of a file that is read or written here.
pub(crate) fn explain_io(path: &Path, error: &io::Error) -> BlobError {
    if is_full(error) { BlobError::DiskFull } else { BlobError::Store(format!("{}: {error}", path.display())) }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Looks for a full disk among the causes; it is the one error an owner can mend at once.
fn explain(error: object_store::Error) -> BlobError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if e.downcast_ref::<io::Error>().is_some_and(is_full) {
            return BlobError::DiskFull;
        }
        cause = e.source();
    }
    BlobError::Store(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::in_folder(&folder.path().join("blobs")).expect("a store");
        (folder, blobs)
    }

    #[tokio::test]
    async fn bytes_come_back_by_their_hash() {
        let (folder, blobs) = store();
        let id = blobs.put(Bytes::from_static(b"potluck")).await.expect("stored");
        assert_eq!(id, BlobId::of(b"potluck"));
        assert_eq!(blobs.put(Bytes::from_static(b"potluck")).await.expect("again"), id);
        assert_eq!(blobs.get(id, 7).await.expect("read"), Bytes::from_static(b"potluck"));
        assert_eq!(blobs.list().await.expect("listed"), [id]);
        let name = id.to_string();
        assert!(folder.path().join("blobs").join(&name[..2]).join(&name).is_file());
        blobs.delete(id).await.expect("deleted");
        blobs.delete(id).await.expect("deleted twice");
        assert!(matches!(blobs.get(id, 7).await, Err(BlobError::Missing { .. })));
    }

    #[tokio::test]
    async fn large_and_damaged_blobs_are_refused_and_mended() {
        let (folder, blobs) = store();
        let id = blobs.put(Bytes::from_static(b"potluck")).await.expect("stored");
        assert!(matches!(blobs.get(id, 6).await, Err(BlobError::TooLarge { got: 7, max: 6, .. })));
        let name = id.to_string();
        std::fs::write(folder.path().join("blobs").join(&name[..2]).join(&name), b"pOtluck").expect("damaged");
        assert!(matches!(blobs.get(id, 7).await, Err(BlobError::Damaged { .. })));
        blobs.put(Bytes::from_static(b"potluck")).await.expect("stored again");
        blobs.get(id, 7).await.expect("whole again");
    }
}
