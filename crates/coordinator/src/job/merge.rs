//! Carries merges out: reads the updates, merges, steps, stores what leads to the new version; and
//! does the same again after a start, until the newest version is there. Which updates and with what
//! weight was decided by the scheduler; it is told once everything is durable.

use std::sync::Arc;

use bytes::Bytes;
use potluck_protocol::{BlobId, OuterStep, Version, limits};
use potluck_scheduler::{Checkpoint, Contribution, Fold, MergePart, State};
use potluck_update::{
    DecodeError, Global, Scaled, Stepped, bytes_from_weights, decode, merge_scaled, weights_from_bytes,
};

use super::uploads::Uploads;
use crate::{
    blobs::{BlobError, Blobs},
    folder::Folder,
};

/// Why a version cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Something cannot be read or written.
    #[error("{version} cannot be made: {error}")]
    Blob {
        /// The version.
        version: Version,
        /// Why.
        error: BlobError,
    },
    /// Stored bytes are not what they were when they were accepted.
    #[error("{version} cannot be made: {error}")]
    Decode {
        /// The version.
        version: Version,
        /// Why.
        error: DecodeError,
    },
    /// A version came out other than it was.
    #[error(
        "{version} is {expected} in the log, but its checkpoint and its updates make {made}: this program or a file of \
         the folder is not what it was. Start the program that served this folder last, or restore the folder from a \
         backup"
    )]
    OtherVersion {
        /// The version.
        version: Version,
        /// What the log says.
        expected: BlobId,
        /// What came out.
        made: BlobId,
    },
    /// The merge itself broke.
    #[error("{version} cannot be made: {reason}")]
    Broken {
        /// The version.
        version: Version,
        /// Why.
        reason: String,
    },
}

impl MergeError {
    /// True where the disk takes nothing at the moment.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Blob { error: BlobError::DiskFull, .. })
    }
}

/// What the scheduler asked for.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) version: Version,
    pub(super) parts: Vec<MergePart>,
    pub(super) outer: OuterStep,
}

/// A version that was made.
pub(crate) struct Made {
    pub(super) version: Version,
    pub(super) parts: Vec<Contribution>,
    pub(super) outer: OuterStep,
    pub(super) whole: Whole,
    /// What leads to it from the version before.
    pub(super) delta: Bytes,
    /// Where it was time for a checkpoint.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// A version with what the next merge needs, and its parameters as they are served.
pub(crate) struct Whole {
    pub(super) global: Global,
    pub(super) bytes: Bytes,
    pub(super) id: BlobId,
}

impl Whole {
    fn new(global: Global) -> Self {
        let bytes = Bytes::from(bytes_from_weights(&global.theta));
        Self { id: BlobId::of(&bytes), bytes, global }
    }
}

/// What a merge reads from and writes to.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) blobs: Blobs,
    /// Outer momenta and feedback.
    pub(super) momenta: Blobs,
    pub(super) uploads: Arc<Uploads>,
    pub(super) parameters: usize,
    /// Kept while a merge runs, so that the folder is not free before it is done.
    pub(super) folder: Arc<Folder>,
}

impl Bench {
    /// The right to delete, for as long as it is held.
    pub(super) fn may_delete(&self) -> Option<std::fs::File> {
        self.folder.may_delete()
    }

    /// Makes the version after `before`. Writes nothing.
    pub(super) async fn make(&self, order: Order, before: Whole) -> Result<Made, MergeError> {
        let (version, outer) = (order.version, order.outer);
        let parts = order.parts.iter().map(|part| part.contribution).collect();
        let (whole, delta) = self.step(order, before.global).await?;
        Ok(Made { version, parts, outer, whole, delta, checkpoint: None })
    }

    /// Stores the delta of a version and, for each sixteenth, a checkpoint. When it returns, all of it
    /// is durable; where it fails it may be called again.
    pub(super) async fn keep(&self, made: &mut Made) -> Result<(), MergeError> {
        let version = made.version;
        self.blobs.put(made.delta.clone()).await.map_err(|error| MergeError::Blob { version, error })?;
        if version.0.is_multiple_of(limits::CHECKPOINT_VERSIONS) {
            made.checkpoint = Some(self.store(version, &made.whole).await?);
        }
        Ok(())
    }

    /// Stores a version with what the next merge needs. When it returns, all of it is durable.
    pub(super) async fn store(&self, version: Version, whole: &Whole) -> Result<Checkpoint, MergeError> {
        let put = async || {
            let Global { theta: _, momentum, feedback } = &whole.global;
            self.blobs.put(whole.bytes.clone()).await?;
            let momentum = match momentum {
                Some(momentum) => Some(self.momenta.put(bytes_from_weights(momentum).into()).await?),
                None => None,
            };
            let feedback = match feedback.is_empty() {
                true => None,
                false => Some(self.momenta.put(bytes_from_weights(feedback).into()).await?),
            };
            Ok(Checkpoint { version, momentum, feedback })
        };
        put().await.map_err(|error| MergeError::Blob { version, error })
    }

    /// The newest version: the last checkpoint, and the merges since once more. Each version must come
    /// out as its fact says.
    pub(super) async fn restore(&self, state: &State) -> Result<Whole, MergeError> {
        let mut whole = self.read_checkpoint(state).await?;
        for Fold { version, parts, outer } in state.folds().iter().cloned() {
            let (made, delta) = self.step(Order { version, parts, outer }, whole.global).await?;
            whole = made;
            let record = state.record(version);
            let expected = record.map_or(whole.id, |record| record.base);
            if whole.id != expected {
                return Err(MergeError::OtherVersion { version, expected, made: whole.id });
            }
            // Whoever holds the version before asks for it, and a disk may have lost it.
            let got = self.blobs.put(delta).await.map_err(|error| MergeError::Blob { version, error })?;
            if let Some(expected) = record.and_then(|record| record.delta).filter(|expected| *expected != got) {
                return Err(MergeError::OtherVersion { version, expected, made: got });
            }
        }
        Ok(whole)
    }

    async fn read_checkpoint(&self, state: &State) -> Result<Whole, MergeError> {
        let Checkpoint { version, momentum, feedback } = *state.last_checkpoint();
        let decoded = |bytes: &[u8]| {
            weights_from_bytes(bytes, self.parameters).map_err(|error| MergeError::Decode { version, error })
        };
        let read = async |store: &Blobs, id: BlobId| {
            let bytes =
                store.get(id, limits::BLOB_BYTES_MAX).await.map_err(|error| MergeError::Blob { version, error })?;
            decoded(&bytes)
        };
        let missing = || MergeError::Broken { version, reason: "the log has no such version".to_owned() };
        let base = state.record(version).ok_or_else(missing)?.base;
        let mut global = Global::new(read(&self.blobs, base).await?);
        if let Some(id) = momentum {
            global.momentum = Some(read(&self.momenta, id).await?);
        }
        if let Some(id) = feedback {
            global.feedback = read(&self.momenta, id).await?;
        }
        Ok(Whole::new(global))
    }

    async fn step(&self, order: Order, global: Global) -> Result<(Whole, Bytes), MergeError> {
        let Order { version, parts, outer } = order;
        let mut updates = Vec::with_capacity(parts.len());
        for part in parts {
            let bytes = self.uploads.bytes(part.update, part.encoding).await;
            updates.push((part, bytes.map_err(|error| MergeError::Blob { version, error })?));
        }
        let count = self.parameters;
        let stepped = tokio::task::spawn_blocking(move || {
            let merged = merged(&updates, count).map_err(|error| MergeError::Decode { version, error })?;
            drop(updates);
            let mut global = global;
            let broken = || MergeError::Broken { version, reason: "the version before it is not finite".to_owned() };
            let Stepped { delta, moved } = global.step(&merged, outer).ok_or_else(broken)?;
            if !moved {
                tracing::error!(
                    "{version} would hold NaN or infinity and is left as the version before: the training diverges; \
                     a smaller train.lr may help"
                );
            }
            Ok((Whole::new(global), Bytes::from(delta)))
        });
        stepped.await.map_err(|e| MergeError::Broken { version, reason: e.to_string() })?
    }
}

/// The merged update of these, each with its bytes.
fn merged(updates: &[(MergePart, Bytes)], count: usize) -> Result<Vec<f32>, DecodeError> {
    let values = updates.iter().map(|(part, bytes)| decode(part.encoding, count, bytes));
    let values: Vec<Vec<f32>> = values.collect::<Result<_, DecodeError>>()?;
    let parts = updates.iter().zip(&values);
    let scaled = parts.map(|((part, _), values)| (part.contribution.weight, part.scale, values));
    let parts: Vec<Scaled<'_>> = scaled.map(|(weight, scale, values)| Scaled { weight, scale, values }).collect();
    Ok(merge_scaled(&parts))
}

#[cfg(test)]
mod tests {
    use potluck_protocol::{TaskId, UpdateEncoding};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::packs::Packs;

    #[tokio::test]
    async fn a_merge_that_is_not_finite_leaves_the_version_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = |name: &str| Blobs::in_folder(&folder.path().join(name)).expect("a store");
        let encoding = UpdateEncoding::Int8;
        let updates = Packs::in_folder(&folder.path().join("updates")).expect("packs");
        let uploads = Arc::new(Uploads::new(updates, 2));
        let bench = Bench {
            blobs: store("blobs"),
            momenta: store("momenta"),
            uploads: Arc::clone(&uploads),
            parameters: 2,
            folder: Arc::new(Folder::open(&folder.path().join("data")).expect("a folder")),
        };
        // Whichever way the step goes, one of the two overflows.
        let before = Whole::new(Global::new(vec![3e38, -3e38]));
        let id = before.id;
        let bytes = Bytes::from(potluck_update::encode(encoding, &[3e38, 3e38]));
        let facts =
            uploads.facts((BlobId::of(&bytes), encoding), bytes.clone(), &Semaphore::new(1)).await.expect("decoded");
        uploads.keep(TaskId(1), facts, bytes).await.expect("kept");
        let contribution = Contribution { task: TaskId(1), weight: 1.0 };
        let outer = OuterStep::nesterov(1.0, 0.5);
        let parts = vec![MergePart { contribution, scale: 1.0, update: facts.id, encoding }];
        let order = Order { version: Version(1), parts, outer };
        let mut made = bench.make(order, before).await.expect("merged");
        assert_eq!((made.whole.id, &made.whole.global.momentum), (id, &None));
        bench.keep(&mut made).await.expect("stored");
        let delta = BlobId::of(&made.delta);
        bench.blobs.get(delta, 100).await.expect("a delta that leads nowhere");
    }
}
